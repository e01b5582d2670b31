"""Logits of fitted heads: linear in the embedding and in the likeness to some galaxies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.heads.base import Floats, HeadError
from models.heads.crossfit import Model
from models.heads.landmarks import Curves, Landmarks

_BLOCK = 16384


@dataclass(frozen=True, eq=False)
class Logits:
    """``x @ weight + bias``, and ``likeness(x) @ curve`` where there are landmarks.

    Attributes
    ----------
    weight : float32 [d, k]
    bias : float32 [k]
    curves : Curves or None
    curve : float32 [m, k]
        m is 0 without curves.
    """

    weight: Floats
    bias: Floats
    curves: Curves | None
    curve: Floats

    @classmethod
    def of(cls, model: Model, landmarks: Landmarks | None) -> Logits:
        """Keep what a fit found."""
        weight, bias, curve = (np.asarray(part, np.float32) for part in model)
        return cls(weight, bias, None if landmarks is None else Curves.of(landmarks), curve)

    @property
    def dimension(self) -> int:
        """Length d of the embeddings."""
        return len(self.weight)

    def at(self, embeddings: ArrayLike) -> Floats:
        """Return the logits ``[n, k]`` of embeddings ``[n, d]``, computed in blocks.

        Raises
        ------
        HeadError
            If the embeddings have another length, or hold NaN or infinite values.
        """
        x = np.asarray(embeddings)
        if x.ndim != 2 or x.shape[1] != self.dimension:
            raise HeadError(
                f"This head takes embeddings [n, {self.dimension}], not {list(x.shape)}. Were they "
                "made by another LVM? Then encode the images again and train anew."
            )
        out = np.empty((len(x), len(self.bias)), dtype=np.float32)
        for start in range(0, len(x), _BLOCK):
            block = x[start : start + _BLOCK].astype(np.float32, copy=False)
            part = block @ self.weight + self.bias
            if self.curves is not None:
                part += self.curves.likeness(block) @ self.curve
            out[start : start + _BLOCK] = part
        if not np.isfinite(out).all():
            bad = int(np.flatnonzero(~np.isfinite(out).all(axis=1))[0])
            raise HeadError(f"Embedding {bad} is not finite (NaN or infinite); encode it again.")
        return out

    def columns(self, chosen: slice) -> Logits:
        """Return those of some of the k columns."""
        return Logits(self.weight[:, chosen], self.bias[chosen], self.curves, self.curve[:, chosen])

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return arrays by name, for `Head.state`."""
        named: dict[str, NDArray[Any]] = {"weight": self.weight, "bias": self.bias}
        if self.curves is not None:
            named |= {"curve": self.curve, **vars(self.curves)}
        return named

    @classmethod
    def restore(
        cls, tensors: dict[str, NDArray[Any]], k: int, more: dict[str, tuple[int, ...]]
    ) -> Logits:
        """Build them of what `tensors` returned.

        Parameters
        ----------
        tensors : dict
        k : int
            Columns that there must be.
        more : dict
            Shapes of the other tensors that must be there, by name.

        Raises
        ------
        HeadError
            If a tensor is missing, unknown, of another shape, or not finite.
        """
        shapes = {name: value.shape for name, value in tensors.items()}
        d = (shapes.get("weight") or (0,))[0]
        expected: dict[str, tuple[int, ...]] = {"weight": (d, k), "bias": (k,), **more}
        curved = bool({"curve", "basis", "origin", "points"} & set(shapes))
        if curved:
            m, p = (*shapes.get("points", ()), 0, 0)[:2]
            expected |= {"curve": (m, k), "basis": (d, p), "origin": (p,), "points": (m, p)}
        if (
            d < 1
            or shapes != expected
            or not all(v.dtype.kind == "f" and np.isfinite(v).all() for v in tensors.values())
        ):
            rest = "".join(f", {name} {list(shape)}" for name, shape in more.items())
            raise HeadError(
                f"A head with {k} columns needs finite tensors weight [d, {k}], bias [{k}]{rest}, "
                f"and curve [m, {k}], basis [d, p], origin [p] and points [m, p] or none of these; "
                f"the file holds { {name: list(s) for name, s in shapes.items()} }. Roll back to "
                "another version."
            )
        given = {name: value.astype(np.float32) for name, value in tensors.items()}
        if not curved:
            return cls(given["weight"], given["bias"], None, np.zeros((0, k), np.float32))
        curves = Curves(given["basis"], given["origin"], given["points"])
        return cls(given["weight"], given["bias"], curves, given["curve"])
