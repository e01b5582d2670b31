"""A taxonomy for the contract's suite: two levels, each kind along a direction of its own."""

from __future__ import annotations

import numpy as np
from head_case import HeadCase
from numpy.typing import NDArray

from models.answers import Paths
from models.heads import TaxonomyHead
from models.opinions import Opinions

PLACES = (
    ("galaxy", "disc"),
    ("galaxy", "elliptical"),
    ("star",),
)


def data(n: int, seed: int) -> tuple[NDArray[np.float32], list[Opinions]]:
    """Embeddings and the places that two people chose; the second is less precise."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(PLACES) + 1, n)
    x = rng.normal(size=(n, 10))
    x[np.arange(n), kind] += 3.0
    targets = []
    for which in kind:
        if which == len(PLACES):
            targets.append(Opinions.of((), ()))
        else:
            place = PLACES[which]
            targets.append(Opinions.of((Paths.of(place),), (Paths.of(place[:1]),)))
    return x.astype(np.float32), targets


CASES = [HeadCase("taxonomy", lambda: TaxonomyHead(PLACES), data)]
