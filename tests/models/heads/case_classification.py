"""The heads for lists of choices, for the contract's suite."""

from __future__ import annotations

from typing import Any

import numpy as np
from head_case import HeadCase

from models.heads import MultipleChoiceHead, SingleChoiceHead

LABELS = ("elliptical", "spiral", "Verschmelzung – ✨")


def galaxies(n: int, seed: int) -> tuple[Any, Any]:
    """Embeddings of which the first directions tell the label, and one-hot targets."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(LABELS), n)
    x = rng.normal(size=(n, 12))
    x[np.arange(n), truth] += 3.0
    return x.astype(np.float32), np.eye(len(LABELS))[truth]


CASES = [
    HeadCase("single_choice", lambda: SingleChoiceHead(LABELS), galaxies),
    HeadCase("multiple_choice", lambda: MultipleChoiceHead(LABELS), galaxies),
]
