"""A decision tree for the contract's suite: three questions along two directions."""

from __future__ import annotations

import numpy as np
from head_case import HeadCase
from numpy.typing import NDArray

from models.heads import DecisionTreeHead, Question

QUESTIONS = (
    Question("shape", ("smooth", "featured", "artifact")),
    Question("edge on", ("yes", "no"), (("shape", "featured"),)),
    Question("round", ("round", "cigar"), (("shape", "smooth"),)),
)


def data(n: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Embeddings and the votes of twelve people on each."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 12))
    logits = np.stack([2 * x[:, 0], -2 * x[:, 0], np.full(n, -3.0)], axis=1)
    shape = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    side = 1 / (1 + np.exp(-2 * x[:, 1]))
    counts = np.zeros((n, 7))
    for row in range(n):
        counts[row, :3] = rng.multinomial(12, shape[row])
        for first, asked in ((3, counts[row, 1]), (5, counts[row, 0])):
            counts[row, first] = rng.binomial(int(asked), side[row])
            counts[row, first + 1] = asked - counts[row, first]
    return x.astype(np.float32), counts


CASES = [HeadCase("decision tree", lambda: DecisionTreeHead(QUESTIONS), data)]
