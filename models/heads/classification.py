"""Heads for questions with a list of answers: one right answer, or any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, softmax

from models.calibration import fit_platt, fit_temperature
from models.heads.base import Floats, Head, HeadError, ProbabilityHead
from models.heads.crossfit import Model, cross_fit
from models.heads.inputs import check_positive, finite_rows, pool_rows
from models.heads.landmarks import Curves

_BLOCK = 16384


class LinearHead(ProbabilityHead):
    """Logits by penalised likelihood, then calibrated.

    They are linear in the embedding and, where a pool was given, in the likeness to some of
    its galaxies.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__(labels)
        self._weight: Floats | None = None
        self._bias: Floats | None = None
        self._curves: Curves | None = None
        self._curve: Floats | None = None

    @property
    def dimension(self) -> int:
        """Length d of the embeddings that the head takes."""
        return len(self._fitted()[0])

    def fit(
        self,
        seen: ArrayLike,
        targets: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        pool: ArrayLike | None = None,
        prior: Head | None = None,
        seed: int = 0,
    ) -> Self:
        """Fit to consensus fractions (see `Head.fit`).

        Parameters
        ----------
        prior : Head, optional
            A head of the same class, labels and dimension that never saw these rows (for
            example one fitted on simulated galaxies) and was fitted without a pool; it is
            followed as far as the rows that are left out speak for it.
        """
        x, t, w = self._checked(seen, targets, weights)
        basis = pool_rows(pool, x.shape[1])
        given = None
        if prior is not None:
            if (
                type(prior) is not type(self)
                or prior.labels != self.labels
                or prior.dimension != x.shape[1]
            ):
                raise HeadError(
                    f"The prior head ({prior.kind}, labels {prior.labels}, dimension "
                    f"{prior.dimension}) does not match this head ({self.kind}, {self.labels}, "
                    f"{x.shape[1]}); fit without it."
                )
            if prior._curves is not None:
                raise HeadError("A prior head must be fitted without a pool; fit it anew.")
            weight, bias = prior._fitted()
            given = (weight.astype(np.float64), bias.astype(np.float64))
        found = cross_fit(x, t, w, exclusive=self.exclusive, pool=basis, prior=given, seed=seed)
        use = found.informed
        calibration = self._calibration(found.logits[use], t[use], w[use])
        curves = Curves.of(found.landmarks) if found.landmarks is not None else None
        self._set(found.model, curves, *calibration)
        self.committee = tuple(
            type(self)(self.labels)._set(model, curves, *calibration) for model in found.fold_models
        )
        self.out_of_fold = np.empty(t.shape, dtype=np.float32)
        for held in np.unique(found.fold):
            # The calibration of a fold must not have seen its votes either.
            rows = found.fold == held
            others = ~rows & use
            slope, offsets = self._calibration(found.logits[others], t[others], w[others])
            self.out_of_fold[rows] = self._link(slope * found.logits[rows] + offsets)
        return self

    def logits(self, embeddings: ArrayLike) -> Floats:
        """Return calibrated logits ``[n, k]``: log p + constant, or log odds of each label."""
        weight, bias = self._fitted()
        x = np.asarray(embeddings)
        if x.ndim != 2 or x.shape[1] != len(weight):
            raise HeadError(
                f"This head takes embeddings [n, {len(weight)}], not {list(x.shape)}. Were they "
                "made by another LVM? Then encode the images again and train anew."
            )
        out = np.empty((len(x), len(bias)), dtype=np.float32)
        for start in range(0, len(x), _BLOCK):
            block = x[start : start + _BLOCK].astype(np.float32, copy=False)
            out[start : start + _BLOCK] = block @ weight + bias
            if self._curves is not None and self._curve is not None:
                out[start : start + _BLOCK] += self._curves.likeness(block) @ self._curve
        if not np.isfinite(out).all():
            bad = int(np.flatnonzero(~np.isfinite(out).all(axis=1))[0])
            raise HeadError(f"Embedding {bad} is not finite (NaN or infinite); encode it again.")
        return out

    def predict(self, seen: ArrayLike) -> Floats:
        """Return calibrated probabilities ``[n, k]``, computed in blocks."""
        return np.asarray(self._link(self.logits(seen)), dtype=np.float32)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return weight ``[d, k]`` and bias ``[k]``, calibration included, and any landmarks."""
        weight, bias = self._fitted()
        tensors = {"weight": weight, "bias": bias}
        if self._curves is not None and self._curve is not None:
            tensors |= {"curve": self._curve, **vars(self._curves)}
        return tensors, {}

    @classmethod
    def restore(
        cls, labels: Sequence[str], tensors: dict[str, NDArray[Any]], values: dict[str, Any]
    ) -> Self:
        """Build a head from its `state`."""
        head = cls(labels)
        k = len(head.labels)
        curved = {"curve", "basis", "origin", "points"} & set(tensors)
        shapes = {name: value.shape for name, value in tensors.items()}
        d = (shapes.get("weight") or (0,))[0]
        expected: dict[str, tuple[int, ...]] = {"weight": (d, k), "bias": (k,)}
        if curved:
            m, p = shapes.get("points", ()) if len(shapes.get("points", ())) == 2 else (0, 0)
            expected |= {"curve": (m, k), "basis": (d, p), "origin": (p,), "points": (m, p)}
        if any(shapes.get(name) != shape for name, shape in expected.items()) or not all(
            np.isfinite(tensors[name]).all() for name in expected
        ):
            raise HeadError(
                f"A head with {k} labels needs finite tensors weight [d, {k}] and bias [{k}], and "
                f"curve [m, {k}], basis [d, p], origin [p] and points [m, p] or none of them; the "
                f"file holds { {name: list(s) for name, s in shapes.items()} }. Roll back to "
                "another version."
            )
        weight, bias = tensors["weight"], tensors["bias"]
        if not curved:
            return head._set((weight, bias, np.zeros((0, k))), None)
        curves = Curves(*(tensors[n].astype(np.float32) for n in ("basis", "origin", "points")))
        return head._set((weight, bias, tensors["curve"]), curves)

    def _set(
        self, model: Model, curves: Curves | None, slope: float = 1.0, offsets: Any = 0.0
    ) -> Self:
        weight, bias, curve = model
        self._weight = np.asarray(slope * weight, dtype=np.float32)
        self._bias = np.asarray(slope * bias + offsets, dtype=np.float32)
        self._curves = curves
        self._curve = None if curves is None else np.asarray(slope * curve, dtype=np.float32)
        return self

    def _fitted(self) -> tuple[Floats, Floats]:
        if self._weight is None or self._bias is None:
            raise HeadError("This head is not fitted; call fit() or load() first.")
        return self._weight, self._bias

    def _checked(
        self, embeddings: ArrayLike, targets: ArrayLike, weights: ArrayLike | None
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        x = finite_rows(embeddings, "embeddings")
        n, k = len(x), len(self.labels)
        t = np.asarray(targets, dtype=np.float64)
        w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        if n == 0:
            raise HeadError("There is no labelled row to fit to.")
        if t.shape != (n, k) or w.shape != (n,):
            raise HeadError(
                f"{n} embeddings and {k} labels need targets [{n}, {k}] and weights [{n}], not "
                f"{list(t.shape)} and {list(w.shape)}."
            )
        if not (np.isfinite(t).all() and t.min() >= 0 and t.max() <= 1 + 1e-6):
            raise HeadError("Targets must be finite fractions between 0 and 1.")
        check_positive(w)
        if self.exclusive and np.abs(t.sum(axis=1) - 1).max() > 1e-3:
            raise HeadError("Targets of a single choice must sum to 1 in each row.")
        return x, t, w

    def _link(self, logits: NDArray[Any]) -> NDArray[Any]:
        raise NotImplementedError

    def _calibration(
        self, logits: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any]
    ) -> tuple[float, Any]:
        raise NotImplementedError


class SingleChoiceHead(LinearHead):
    """Exactly one label is right: softmax, calibrated by a temperature."""

    kind = "single_choice"
    exclusive = True

    def uncertainty(self, seen: ArrayLike) -> Floats:
        """Return one minus the margin of the best label over the second."""
        p = np.sort(self.predict(seen), axis=1)
        second = p[:, -2] if p.shape[1] > 1 else np.zeros(len(p), dtype=np.float32)
        return np.asarray(1 - (p[:, -1] - second), dtype=np.float32)

    def _link(self, logits: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(softmax(logits, axis=1))

    def _calibration(
        self, logits: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any]
    ) -> tuple[float, Any]:
        return 1 / fit_temperature(logits, targets, weights), 0.0


class MultipleChoiceHead(LinearHead):
    """Any number of labels is right: one logistic answer each, calibrated after Platt."""

    kind = "multiple_choice"
    exclusive = False

    def uncertainty(self, seen: ArrayLike) -> Floats:
        """Return the mean over the labels of how near each probability is to one half."""
        return np.asarray(1 - np.abs(2 * self.predict(seen) - 1).mean(axis=1))

    def _link(self, logits: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(expit(logits))

    def _calibration(
        self, logits: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any]
    ) -> tuple[float, Any]:
        return fit_platt(logits, targets, weights)
