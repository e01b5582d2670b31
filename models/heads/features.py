"""Features of a table with two parts: planes and curves of each, for regressions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.heads.base import HeadError
from models.heads.landmarks import Landmarks, landmarks_of
from models.heads.linear import Doubles, Projection, projection_of

_FIRST_COMPONENTS = 64


@dataclass(frozen=True)
class Part:
    """Columns `start` to `stop` of a table, as planes and as likeness to landmarks (or None)."""

    start: int
    stop: int
    planes: Projection
    curves: Landmarks | None

    @classmethod
    def of(cls, pool: NDArray[Any], start: int, stop: int, seed: int) -> Part:
        """Learn the features from the rows of a pool."""
        columns = pool[:, start:stop]
        planes = _single(projection_of(columns, _FIRST_COMPONENTS))
        curves = landmarks_of(columns, seed)
        if curves is not None:
            curves = Landmarks(
                _single(curves.projection),
                as_kept(curves.points),
                as_kept(curves.whitening),
                as_kept(curves.centre),
            )
        return cls(start, stop, planes, curves)

    def apply(self, rows: NDArray[Any]) -> list[Doubles]:
        """Return the planes [n, r] and, where there are landmarks, the curves [n, q]."""
        columns = rows[:, self.start : self.stop]
        found = [self.planes.apply(columns)]
        if self.curves is not None:
            found.append(self.curves.features(columns))
        return found


@dataclass(frozen=True)
class Features:
    """The features of all parts of a table.

    Attributes
    ----------
    parts : tuple of Part
    """

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, pool: NDArray[Any], split: int, seed: int) -> Features:
        """Learn from a pool [m, D] whose columns before and from `split` on are of two kinds."""
        edges = [0, split, pool.shape[1]]
        pairs = itertools.pairwise(edges)
        return cls(tuple(Part.of(pool, low, high, seed) for low, high in pairs if high > low))

    @property
    def columns(self) -> int:
        """Number of columns of the tables."""
        return self.parts[-1].stop

    def apply(self, rows: NDArray[Any]) -> list[Doubles]:
        """Return the groups of features, each [n, p_g]."""
        return [group for part in self.parts for group in part.apply(rows)]

    def planes(self, rows: NDArray[Any]) -> list[Doubles]:
        """Return the groups that are linear in the columns."""
        return [part.apply(rows)[0] for part in self.parts]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what `restore` needs, float32 by name."""
        kept: dict[str, NDArray[Any]] = {}
        for place, part in enumerate(self.parts):
            kept[f"mean{place}"], kept[f"basis{place}"] = part.planes.mean, part.planes.basis
            if part.curves is not None:
                kept[f"origin{place}"] = part.curves.projection.mean
                kept[f"directions{place}"] = part.curves.projection.basis
                kept[f"points{place}"] = part.curves.points
                kept[f"whitening{place}"] = part.curves.whitening
                kept[f"centre{place}"] = part.curves.centre
        return {name: value.astype(np.float32) for name, value in kept.items()}

    @classmethod
    def restore(cls, tensors: dict[str, NDArray[Any]], edges: list[int]) -> Self:
        """Build from `state` and where the parts begin and end.

        Raises
        ------
        HeadError
            If a tensor is missing, or of another shape than the others ask for.
        """
        parts = []
        for place, (low, high) in enumerate(itertools.pairwise(edges)):
            d = high - low
            basis = taken(tensors, f"basis{place}", (d, None))
            planes = Projection(taken(tensors, f"mean{place}", (d,)), basis)
            curves = None
            if f"points{place}" in tensors:
                directions = taken(tensors, f"directions{place}", (d, None))
                points = taken(tensors, f"points{place}", (None, directions.shape[1]))
                whitening = taken(tensors, f"whitening{place}", (len(points), None))
                curves = Landmarks(
                    Projection(taken(tensors, f"origin{place}", (d,)), directions),
                    points,
                    whitening,
                    taken(tensors, f"centre{place}", (whitening.shape[1],)),
                )
            parts.append(Part(low, high, planes, curves))
        return cls(tuple(parts))


def taken(tensors: dict[str, NDArray[Any]], name: str, shape: tuple[int | None, ...]) -> Doubles:
    """Return a tensor of a kept head as float64.

    Raises
    ------
    HeadError
        If it is missing, not finite, or of another shape; None stands for any length.
    """
    value = tensors.get(name)
    if value is None or value.dtype.kind != "f":
        raise HeadError(f"The file lacks the tensor {name}. Roll back to another version.")
    fits = value.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, value.shape, strict=True)
    )
    if not fits or not np.isfinite(value).all():
        raise HeadError(
            f"The tensor {name} must be finite and of shape {list(shape)}; it is "
            f"{list(value.shape)}. Roll back to another version."
        )
    return value.astype(np.float64)


def as_kept(value: Doubles) -> Doubles:
    """Round to what a file keeps (float32), so that what is used is what a file gives back."""
    return value.astype(np.float32).astype(np.float64)


def _single(projection: Projection) -> Projection:
    return Projection(as_kept(projection.mean), as_kept(projection.basis))
