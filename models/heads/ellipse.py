"""The head for ellipses: what is measured on the pixels, corrected to how people draw it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from models.answers import Answer, Ellipse
from models.calibration import fit_platt
from models.ellipses import drawn_from, ellipse_of, mean_ellipse, overlap, relative
from models.heads.base import Floats, Head, HeadError
from models.heads.features import as_kept, taken
from models.heads.inputs import check_positive
from models.heads.linear import Doubles, folds_of
from models.heads.regression import fit_regression
from models.opinions import Opinions
from models.photometry import NAMES, Outline, measure_galaxy
from models.scenes import Scene
from models.similarity import Standard

_SEEN = [NAMES.index(name) for name in ("log_r50", "log_concentration", "ellipticity", "log_snr")]
# Before people drew anything: twice the half-light radius, as often drawn around a galaxy.
_EXPECTED = math.log(2.0)
# An ellipse is right if this share of the area of both is common.
_RIGHT = 0.5


@dataclass(frozen=True, eq=False)
class Ellipses:
    """One ellipse per image and label; rows can be chosen by an index or a slice.

    Attributes
    ----------
    shape : float64 [n, k, 5]
        Centre x and y, semi-major and semi-minor axis (pixels), angle (degrees, [0, 180)).
    right : float64 [n, k]
        Probability that half of the area is common with what people draw, in (0, 1).
    marked : float64 [n, k]
        Share of the people that would draw one at all, in [0, 1].
    """

    shape: Doubles
    right: Doubles
    marked: Doubles

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, rows: Any) -> Ellipses:
        index = [rows] if isinstance(rows, int | np.integer) else rows
        return Ellipses(*(getattr(self, part.name)[index] for part in fields(self)))


class EllipseHead(Head):
    """An ellipse around the galaxy in the middle, for each label.

    Centre, axes and angle are measured by `models.photometry`; size and elongation are corrected
    by a regression on what people drew, which falls back to a common factor, and without
    evidence to the measurement.
    """

    kind = "ellipse"
    sees = "scene"

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__(labels)
        self._standard: Standard | None = None
        self._forget()
        self._dimension = 0

    def _forget(self) -> None:
        k = len(self.labels)
        # Of each label: log of the size over r50, and elongation beyond that measured.
        self._weight: Doubles = np.zeros((k, len(_SEEN), 2))
        self._bias: Doubles = np.tile([_EXPECTED, 0.0], (k, 1))
        # Of each label: slope and offset of the score, and how often it is drawn.
        self._score: Doubles = np.tile([1.0, 0.0, 1.0], (k, 1))

    @property
    def dimension(self) -> int:
        """Channels of the LVM of the scenes that it was fitted on; they are not looked at."""
        self._fitted()
        return self._dimension

    def fit(
        self,
        seen: Sequence[Scene],
        targets: Sequence[Opinions],
        weights: ArrayLike | None = None,
        *,
        pool: Any = None,
        seed: int = 0,
    ) -> Self:
        """Fit to people's ellipses (see `Head.fit`); the pool is not used.

        Of several by one person with one label the one nearest to the middle counts.
        """
        outlines, table = _measured(seen)
        n, k = len(table), len(self.labels)
        w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        if n == 0:
            raise HeadError("There is no labelled row to fit to.")
        if len(targets) != n or w.shape != (n,):
            raise HeadError(
                f"{n} images need {n} targets and weights, not {len(targets)} and {list(w.shape)}."
            )
        check_positive(w)
        drawn, share = self._drawn(targets, outlines)
        asked = np.isfinite(share).all(axis=1)
        if not asked.any():
            raise HeadError("Nobody looked at any of these images.")
        self._forget()
        self._dimension = int(seen[0].lvm.dimension)
        found = Standard.of(table)
        precision = as_kept(1 / found.scale)
        with np.errstate(divide="ignore"):
            standard = Standard(as_kept(found.mean), 1 / precision)
        self._standard = standard
        x = standard.apply(table)
        fold = folds_of(table, np.zeros((n, 1)), max(2, min(n, 10)), seed)
        self.out_of_fold = said = self._said(outlines, table)
        for label in range(k):
            votes = w[asked] * np.array([len(targets[row]) for row in np.flatnonzero(asked)])
            rate = (votes @ share[asked, label] + 1) / (votes.sum() + 2)
            marks = np.flatnonzero(np.isfinite(drawn[:, label, 0]))
            goal = np.full((n, 2), np.nan)
            for row in marks:
                goal[row] = relative(drawn[row, label], outlines[row])
            right = np.zeros(len(marks))
            for held in np.unique(fold[marks]):
                rows, others = marks[fold[marks] == held], marks[fold[marks] != held]
                weight, bias = _correction(x[others], goal[others], w[others])
                for row in rows:
                    shape = drawn_from(outlines[row], x[row] @ weight + bias)
                    said.shape[row, label] = shape
                    right[marks == row] = overlap(shape, drawn[row, label]) >= _RIGHT
            weight, bias = _correction(x[marks], goal[marks], w[marks])
            self._weight[label], self._bias[label] = as_kept(weight), as_kept(bias)
            hint = _hint(table[marks])
            slope, offset = fit_platt(hint[:, None], right[:, None], w[marks])
            self._score[label] = as_kept(np.array([slope, offset[0], rate]))
            said.right[:, label] = expit(slope * _hint(table) + offset[0])
            # A row's own share is a small part of the rate, and is taken out of it.
            own = np.where(asked, w * [len(row) for row in targets], 0)
            drew = own * np.nan_to_num(share[:, label])
            all_votes = votes.sum() + 2
            said.marked[:, label] = (rate * all_votes - drew) / (all_votes - own)
        return self

    def predict(self, seen: Sequence[Scene]) -> Ellipses:
        """Return an ellipse for each image and label, drawn or not."""
        self._fitted()
        return self._said(*_measured(seen))

    def at(self, scene: Scene, x: float, y: float, label: str | None = None) -> Ellipse:
        """Return the ellipse of the galaxy at a place of a scene, as a label's (the first's)."""
        self._fitted()
        if label is not None and label not in self.labels:
            raise HeadError(f"{label!r} is none of the labels {self.labels}.")
        place = self.labels.index(label) if label is not None else 0
        found = _measured([scene], (x, y))
        said = self._said(*found)
        return ellipse_of(said.shape[0, place], self.labels[place], said.right[0, place])

    def uncertainty(self, seen: Sequence[Scene]) -> Floats:
        """Return the mean over the labels of how doubtful ellipse and mark are."""
        said = self.predict(seen)
        sure = np.maximum(said.right * said.marked, 1 - said.marked)
        return np.asarray(1 - sure.mean(axis=1), dtype=np.float32)

    def answers(self, seen: Sequence[Scene]) -> list[tuple[Answer, ...]]:
        """Return the ellipses that most people would draw."""
        said = self.predict(seen)
        return [
            tuple(
                ellipse_of(said.shape[row, place], label, said.right[row, place])
                for place, label in enumerate(self.labels)
                if said.marked[row, place] > 0.5
            )
            for row in range(len(said))
        ]

    def losses(self, said: Ellipses, targets: Sequence[Opinions]) -> Floats:
        """Return one minus the overlap (intersection over union), the mean of the labels.

        1 where one of people and head draws and the other does not; 0 where nobody looked.
        """
        if len(said) != len(targets):
            raise HeadError(f"{len(said)} predictions do not go with {len(targets)} targets.")
        middles = [Outline(x, y, 1, 1, 0, 1, 1) for x, y in said.shape[:, 0, :2]]
        drawn, share = self._drawn(targets, middles)
        found = np.zeros(share.shape)
        for row, place in np.argwhere(np.isfinite(share)):
            wanted, given = share[row, place] > 0.5, said.marked[row, place] > 0.5
            if wanted and given:
                shape = said.shape[row, place]
                found[row, place] = 1 - overlap(shape, drawn[row, place])
            else:
                found[row, place] = float(wanted != given)
        return np.asarray(found.mean(axis=1), dtype=np.float32)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the corrections, the scores and the scale of what is seen."""
        standard = self._fitted()
        tensors = {
            "weight": self._weight,
            "bias": self._bias,
            "score": self._score,
            "mean": standard.mean,
            "precision": 1 / standard.scale,
        }
        kept = {name: value.astype(np.float32) for name, value in tensors.items()}
        return kept, {"dimension": self._dimension}

    @classmethod
    def restore(
        cls, labels: Sequence[str], tensors: dict[str, NDArray[Any]], values: dict[str, Any]
    ) -> Self:
        """Build a head from its `state`."""
        head = cls(labels)
        k, s = len(head.labels), len(_SEEN)
        head._weight = np.asarray(taken(tensors, "weight", (k, s, 2)))
        head._bias = taken(tensors, "bias", (k, 2))
        head._score = taken(tensors, "score", (k, 3))
        precision = taken(tensors, "precision", (s,))
        if precision.min() < 0 or not isinstance(values.get("dimension"), int):
            raise HeadError("The head's values are out of range; roll back to another version.")
        with np.errstate(divide="ignore"):
            head._standard = Standard(taken(tensors, "mean", (s,)), 1 / precision)
        head._dimension = values["dimension"]
        return head

    def _said(self, outlines: list[Outline], table: Doubles) -> Ellipses:
        n, k = len(table), len(self.labels)
        x = self._fitted().apply(table)
        shape = np.zeros((n, k, 5))
        for row, outline in enumerate(outlines):
            for label in range(k):
                change = x[row] @ self._weight[label] + self._bias[label]
                shape[row, label] = drawn_from(outline, change)
        right = expit(_hint(table)[:, None] * self._score[:, 0] + self._score[:, 1])
        return Ellipses(shape, right, np.tile(self._score[:, 2], (n, 1)))

    def _drawn(
        self, targets: Sequence[Opinions], outlines: list[Outline]
    ) -> tuple[Doubles, Doubles]:
        """People's mean ellipse [n, k, 5], NaN where none; share that drew one [n, k]."""
        n, k = len(targets), len(self.labels)
        drawn, share = np.full((n, k, 5), np.nan), np.full((n, k), np.nan)
        for row, opinions in enumerate(targets):
            if not isinstance(opinions, Opinions):
                raise HeadError(f"Target {row} is a {type(opinions).__name__}, not Opinions.")
            for place, label in enumerate(self.labels):
                mine: dict[int, Ellipse] = {}
                for person, one in opinions.each(Ellipse):
                    near = math.hypot(one.x - outlines[row].x, one.y - outlines[row].y)
                    other = mine.get(person)
                    if one.label == label and (
                        other is None
                        or near < math.hypot(other.x - outlines[row].x, other.y - outlines[row].y)
                    ):
                        mine[person] = one
                if len(opinions):
                    share[row, place] = len(mine) / len(opinions)
                if mine:
                    drawn[row, place] = mean_ellipse(list(mine.values()))
        return drawn, share

    def _fitted(self) -> Standard:
        if self._standard is None:
            raise HeadError("This head is not fitted; call fit() or load() first.")
        return self._standard


def _measured(
    seen: Sequence[Scene], at: tuple[float, float] | None = None
) -> tuple[list[Outline], Doubles]:
    """Outlines and what corrections are linear in, [n, s]."""
    outlines, rows = [], np.zeros((len(seen), len(_SEEN)))
    for place, scene in enumerate(seen):
        if not isinstance(scene, Scene):
            raise HeadError(f"Row {place} is a {type(scene).__name__}, not a scene.")
        if not torch.isfinite(scene.inputs).all():
            raise HeadError(f"Scene {place} holds values that are not finite; read it again.")
        try:
            found = measure_galaxy(scene, at)
        except ValueError as error:
            raise HeadError(f"Scene {place} cannot be measured: {error}") from None
        outlines.append(found.outline)
        rows[place] = found.numbers[_SEEN]
    return outlines, rows


def _correction(x: Doubles, goal: Doubles, weights: Doubles) -> tuple[Doubles, Doubles]:
    """Return weight [s, 2] and bias [2]; without rows the expected size, and no elongation more."""
    start = np.array([_EXPECTED, 0.0])
    weight, bias = np.zeros((x.shape[1], 2)), start.copy()
    for part in range(2 if len(x) else 0):
        found = fit_regression([x], goal[:, part : part + 1] - start[part], weights, tie=1.0)
        weight[:, part], bias[part] = found.coefficients[:, 0], found.bias[0] + start[part]
    return weight, bias


def _hint(table: Doubles) -> Doubles:
    """What tells whether an ellipse will be right, before it is calibrated: signal to noise."""
    return 2 * (table[:, -1] - 1)
