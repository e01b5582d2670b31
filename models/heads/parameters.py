"""The head for numbers: a value with a calibrated interval for each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.answers import Answer, Number
from models.heads.base import Floats, Head, HeadError
from models.heads.inputs import check_positive
from models.heads.intervals import LEVELS, share_within
from models.heads.linear import Doubles
from models.heads.number_model import NumberModel, Said
from models.heads.numbers import Numbers, people_numbers
from models.opinions import Opinions
from models.photometry import MEASURED
from models.scene_features import scene_features
from models.sunet import LVMError

# Numbers above 0 of which the largest tenth is ten times the smallest are taken as logarithms.
_DECADE = 10.0
_GIVEN = ("minimum", "maximum", "period", "log", "tolerance")
_AT_68, _AT_95 = int(np.argmin(abs(LEVELS - 0.68))), int(np.argmin(abs(LEVELS - 0.95)))


class NumberHead(Head):
    """A number for each image, by regression on quick measurements and the embedding.

    It sees scenes, because brightness and size in pixels are not in an embedding; a table as
    `models.scene_features.scene_features` gives it is taken as well wherever scenes are, so that
    the features of an image need not be made twice. The value is linear in the features and in the
    likeness to landmarks (of measurements and of embeddings), as strong as the evidence says. The
    spread of the errors is learned, too, and intervals are made right on rows left out.

    Parameters
    ----------
    labels : sequence of one str
    minimum, maximum : float, optional
        The least and largest number; values and intervals are cut there.
    period : float, optional
        Of circular numbers, e.g. 180 for position angles; values are in [0, period).
    log : bool, optional
        Whether to learn the logarithm; by default where all numbers are above 0 and span more
        than a decade.
    tolerance : float, optional
        How far from the truth an answer may be and still be right; scores need it.

    Raises
    ------
    HeadError
        If these do not go together.
    """

    kind = "number"
    sees = "scene"

    def __init__(
        self,
        labels: Sequence[str] = ("value",),
        *,
        minimum: float | None = None,
        maximum: float | None = None,
        period: float | None = None,
        log: bool | None = None,
        tolerance: float | None = None,
    ) -> None:
        super().__init__(labels)
        if len(self.labels) != 1:
            raise HeadError(f"A number has one label, not {len(self.labels)}: {self.labels}.")
        given = (minimum, maximum, period, tolerance)
        if not all(value is None or np.isfinite(value) for value in given):
            raise HeadError("Minimum, maximum, period and tolerance must be finite.")
        if minimum is not None and maximum is not None and minimum >= maximum:
            raise HeadError(f"The minimum {minimum:g} is not below the maximum {maximum:g}.")
        if any(value is not None and value <= 0 for value in (period, tolerance)):
            raise HeadError("Period and tolerance must be above 0.")
        if period is not None and log:
            raise HeadError("A circular number has no logarithm; leave log or period out.")
        self.minimum, self.maximum, self.period = minimum, maximum, period
        self.log, self.tolerance = log, tolerance
        self._model: NumberModel | None = None
        self._centre, self._scale, self._logs = 0.0, 1.0, False

    @property
    def dimension(self) -> int:
        """Length d of the embeddings of the LVM."""
        return self._fitted().features.columns - MEASURED

    def fit(
        self,
        seen: Any,
        targets: Sequence[Opinions],
        weights: ArrayLike | None = None,
        *,
        pool: Any = None,
        seed: int = 0,
    ) -> Self:
        """Fit to people's numbers (see `Head.fit`).

        Rows without a number are left out; their `out_of_fold` are ordinary predictions.
        """
        table = _table(seen)
        n = len(table)
        w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        if n == 0:
            raise HeadError("There is no labelled row to fit to.")
        if len(targets) != n or w.shape != (n,):
            raise HeadError(
                f"{n} images need {n} targets and weights, not {len(targets)} and {list(w.shape)}."
            )
        check_positive(w)
        plain, _ = people_numbers(targets, self.period)
        used = np.isfinite(plain)
        if not used.any():
            raise HeadError("Nobody gave a number for any of these images.")
        self._logs = self._as_logs(plain[used])
        value, variance = people_numbers(targets, self.period, self._logs)
        rows = np.flatnonzero(used)
        z, unit = self._standard(value[rows])
        self._model, left_out, members = NumberModel.fit(
            table[rows],
            z,
            w[rows],
            variance[rows] * unit**2,
            split=MEASURED,
            pool=None if pool is None or not len(pool) else _table(pool, table.shape[1]),
            seed=seed,
        )
        self.committee = tuple(self._with(member) for member in members)
        self.out_of_fold = self.predict(table)
        for name, found in vars(self._numbers(left_out)).items():
            getattr(self.out_of_fold, name)[rows] = found
        return self

    def predict(self, seen: Any) -> Numbers:
        """Return values with intervals."""
        return self._numbers(self._said(seen))

    def uncertainty(self, seen: Any) -> Floats:
        """Return the variance of what is expected over the sum of that and of the targets'."""
        said = self._said(seen)
        squared = (said.spread * said.widths[:, _AT_68]) ** 2
        return np.asarray(squared / (squared + 1), dtype=np.float32)

    def answers(self, seen: Any) -> list[tuple[Answer, ...]]:
        """Return the value of each image; scored where the head knows a tolerance.

        The score is the probability that the truth is within `tolerance` of the value.
        """
        said = self._said(seen)
        value = self._numbers(said).value.astype(np.float64)
        if self.tolerance is None:
            return [(Number(float(each)),) for each in value]
        if self._logs:
            reach = np.log1p(self.tolerance / np.maximum(np.abs(value), 1e-30)) / self._scale
        else:
            reach = np.full(len(value), self.tolerance * self._unit)
        pairs = zip(value, reach / said.spread, said.widths, strict=True)
        return [(Number(float(v), score=float(share_within(r, w))),) for v, r, w in pairs]

    def losses(self, said: Numbers, targets: Sequence[Opinions]) -> Floats:
        """Return the weighted interval score of each row (`Numbers.scores`), 0 without a number.

        In the unit of the number; where `log` was given as True, of its natural logarithm.
        """
        if len(said) != len(targets):
            raise HeadError(
                f"{len(said)} predictions cannot be compared to {len(targets)} targets."
            )
        value, _ = people_numbers(targets, self.period, bool(self.log))
        asked = np.isfinite(value)
        value = np.where(asked, value, 1.0)
        if self.log:
            said, value = said.logarithm(), np.log(value)
        return np.where(asked, said.scores(value, self.period), 0.0).astype(np.float32)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the state of the model, and what was given or found of the scale."""
        tensors, values = self._fitted().state()
        own = {"centre": self._centre, "scale": self._scale, "logs": self._logs}
        return tensors, values | self._given() | own

    @classmethod
    def restore(
        cls, labels: Sequence[str], tensors: dict[str, NDArray[Any]], values: dict[str, Any]
    ) -> Self:
        """Build a head from its `state`."""
        try:
            head = cls(labels, **{name: values[name] for name in _GIVEN})
            head._centre, head._scale = float(values["centre"]), float(values["scale"])
            head._logs = bool(values["logs"])
        except (KeyError, TypeError, ValueError) as error:
            raise HeadError(f"The head's values cannot be used: {error}.") from None
        if not np.isfinite(head._centre) or not 0 < head._scale < np.inf:
            raise HeadError("The head's values are out of range; roll back to another version.")
        head._model = NumberModel.restore(tensors, values, 2 if head.period else 1)
        if [part.start for part in head._model.features.parts] != [0, MEASURED]:
            raise HeadError(
                f"This head was fitted to other measurements than these {MEASURED}; train anew."
            )
        return head

    @property
    def _unit(self) -> float:
        """Standard units (of directions: radians) per unit of the number or of its logarithm."""
        return 2 * np.pi / self.period if self.period else 1 / self._scale

    def _standard(self, value: Doubles) -> tuple[Doubles, float]:
        """Choose the scale; return standard values [n, k] and `_unit`."""
        if self.period:
            self._centre, self._scale = 0.0, 1.0
            turn = value * self._unit
            return np.stack([np.cos(turn), np.sin(turn)], axis=1), self._unit
        y = np.log(value) if self._logs else value
        self._centre = float(np.median(y))
        spread = float(y.std())
        if len(y) < 2 or spread <= 1e-9 * max(abs(self._centre), 1e-30):
            # One number, or always the same: what is allowed, or its size, tells the scale.
            spread = 1.0 if self._logs or not self._centre else abs(self._centre) / 2
            if self.minimum is not None and self.maximum is not None and not self._logs:
                spread = (self.maximum - self.minimum) / 4
        self._scale = spread
        return ((y - self._centre) / spread)[:, None], self._unit

    def _as_logs(self, value: Doubles) -> bool:
        if self.period is not None:
            return False
        positive = bool(value.min() > 0)
        if self.log is None:
            low, high = np.percentile(value, [5, 95])
            return positive and len(value) > 9 and bool(high > _DECADE * low)
        if self.log and not positive:
            raise HeadError("A logarithm was asked for, but a number is not above 0.")
        return self.log

    def _numbers(self, said: Said) -> Numbers:
        around = [said.widths[:, place] * said.spread / self._unit for place in (_AT_68, _AT_95)]
        if self.period:
            value = said.angle / self._unit % self.period
            # Beyond half a period there is nothing more to be wrong by.
            around = [np.minimum(half, self.period / 2) for half in around]
        else:
            value = said.middle[:, 0] * self._scale + self._centre
        ends = [value - around[0], value + around[0], value - around[1], value + around[1]]
        if self._logs:
            value, ends = _powers(value), [_powers(end) for end in ends]
        spread = (ends[1] - ends[0]) / 2
        low, high = self.minimum, self.maximum
        if (low is not None or high is not None) and not self.period:
            value, *ends = (np.clip(part, low, high) for part in (value, *ends))
        return Numbers(*(part.astype(np.float32) for part in (value, spread, *ends)))

    def _said(self, seen: Any) -> Said:
        model = self._fitted()
        return model.said(_table(seen, model.features.columns))

    def _with(self, model: NumberModel) -> Self:
        head = type(self)(self.labels, **self._given())
        head._centre, head._scale, head._logs = self._centre, self._scale, self._logs
        head._model = model
        return head

    def _given(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _GIVEN}

    def _fitted(self) -> NumberModel:
        if self._model is None:
            raise HeadError("This head is not fitted; call fit() or load() first.")
        return self._model


def _powers(logarithms: Doubles) -> Doubles:
    # Within single precision, in which they are told.
    return np.exp(np.clip(logarithms, -85, 85))


def _table(seen: Any, columns: int | None = None) -> Floats:
    """Return the features of scenes, or a table of them as it is, checked."""
    if isinstance(seen, np.ndarray) and seen.dtype != object:
        table = seen.astype(np.float32)
    else:
        try:
            table = scene_features(seen)
        except (LVMError, TypeError, ValueError) as error:
            raise HeadError(f"These scenes cannot be measured: {error}") from None
        if not len(table):
            return np.zeros((0, columns or 0), dtype=np.float32)
    if table.ndim != 2 or table.shape[1] <= MEASURED or columns not in (None, table.shape[1]):
        raise HeadError(
            f"This head takes scenes, or tables [n, {columns or f'more than {MEASURED}'}] of their "
            f"features, not {list(table.shape)}. Were they made by another LVM? Then train anew."
        )
    bad = ~np.isfinite(table).all(axis=1)
    if bad.any():
        raise HeadError(f"Row {int(np.flatnonzero(bad)[0])} is not finite; measure it again.")
    return table
