"""What an object is called: a classification head on the LVM's embedding of the object alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.answers import Point, Shape
from models.boxes import bounds
from models.heads.classification import SingleChoiceHead
from models.scenes import Scene
from models.throughput import has_fast_bfloat16

Array = NDArray[np.float64]

_AROUND = 1.2
"""Side of the square that is shown to tell the label, as a share of the longer side."""


@dataclass
class Named:
    """Objects with labels, from several scenes: embedding, shares of the labels, scene, weight."""

    seen: list[NDArray[np.float32]]
    votes: list[Array]
    owner: list[int]
    weights: list[float]
    count: int

    @classmethod
    def of(cls, count: int) -> Named:
        """Start empty, for `count` labels."""
        return cls([], [], [], [], count)

    def add(
        self, scene: Scene, owner: int, marked: Sequence[tuple[Shape, Array]], weight: float
    ) -> None:
        """Add the objects of a scene; those whose votes [k] are zeros have no label."""
        told = [(shape, votes) for shape, votes in marked if votes.sum() > 0]
        self.seen.extend(embeddings(scene, [shape for shape, _ in told]))
        self.votes.extend(votes for _, votes in told)
        self.owner.extend([owner] * len(told))
        self.weights.extend([weight] * len(told))

    def head(
        self, labels: Sequence[str], owners: NDArray[np.intp], seed: int
    ) -> SingleChoiceHead | None:
        """Fit to the objects of some scenes; None if there is none, or only one label."""
        use = np.flatnonzero(np.isin(self.owner, owners))
        if len(labels) < 2 or not len(use):
            return None
        x, votes = (np.array(rows)[use] for rows in (self.seen, self.votes))
        return SingleChoiceHead(labels).fit(x, votes, np.array(self.weights)[use], seed=seed)


def told_by(
    head: SingleChoiceHead | None,
    labels: Sequence[str],
    shown: NDArray[np.float32],
) -> Array:
    """Probabilities of the labels [m, k] of embeddings [m, d]; equal if nothing was learned."""
    if head is None:
        return np.full((len(shown), len(labels)), 1 / len(labels))
    return np.asarray(head.predict(shown), dtype=np.float64)


def embeddings(scene: Scene, shapes: Sequence[Shape]) -> NDArray[np.float32]:
    """What the LVM makes of each object alone, [m, d]: of the square around it."""
    lvm = scene.lvm
    if not shapes:
        return np.zeros((0, lvm.dimension), np.float32)
    side = lvm.preprocessing.size
    crops = torch.stack([scene.crop(_square(shape, scene.size), side) for shape in shapes])
    low = has_fast_bfloat16(torch.device("cpu")) and not lvm.amplifies_rounding
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        rows = [lvm.encode(part).pooled.float() for part in crops.split(16)]
    return torch.cat(rows).numpy().astype(np.float32)


def _square(shape: Shape, size: tuple[int, int]) -> tuple[float, float, float, float]:
    if isinstance(shape, Point):
        # Nobody said how large it is: a tenth of the image.
        x, y, half = shape.x, shape.y, max(size) / 20
    else:
        left, top, right, bottom = bounds(shape)
        x, y = (left + right) / 2, (top + bottom) / 2
        half = max(right - left, bottom - top, 1.0) * _AROUND / 2
    return x - half, y - half, x + half, y + half
