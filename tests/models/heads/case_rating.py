"""A rating for the contract's suite: five stars along one direction."""

from __future__ import annotations

import numpy as np
from head_case import HeadCase
from numpy.typing import NDArray

from models.answers import Stars
from models.heads import RatingHead
from models.opinions import Opinions


def data(n: int, seed: int) -> tuple[NDArray[np.float32], list[Opinions]]:
    """Embeddings and the stars that two people gave."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 10))
    edges = np.array([-4.0, -1.5, 1.0, 3.5])
    felt = 4 * x[:, 0, None] + rng.logistic(size=(n, 2))
    targets = [
        Opinions.of(*[(Stars(int(np.searchsorted(edges, one)) + 1),) for one in row])
        for row in felt
    ]
    return x.astype(np.float32), targets


CASES = [HeadCase("rating", lambda: RatingHead(5), data)]
