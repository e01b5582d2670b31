"""The outlook: clicks and dates to a chosen quality, and whether to stop now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.dashboard.progress_rows import Progress
from ml_backend.loop.forecast import CurveForecast, Range, forecast_quality, why_not
from ml_backend.loop.pace import Dates, Pace, measure_pace
from ml_backend.loop.stopping import Advice, Agreement, stop_advice
from ml_backend.store.database import Store
from ml_backend.store.figures import kept_figure

WANTED = 0.95
"""Accuracy that is forecast to where the reader chooses none."""
_LEAST, _MOST = 0.5, 0.999


@dataclass(frozen=True)
class CurvePoint:
    """A version on the curve: its accuracy on unseen answers, and its standard error."""

    version: str
    votes: float
    quality: float
    error: float
    rows: float


@dataclass(frozen=True)
class Outlook:
    """Where a project is going.

    Attributes
    ----------
    control : str
        Whose accuracy is forecast; empty where none is measured.
    controls : tuple of str
        All whose accuracy is measured.
    wanted : float
    points : tuple of CurvePoint
    curve : CurveForecast or None
    why_not : str
        Why there is no curve.
    needed : Range or None
        Further votes.
    dates : Dates or None
    pace : Pace or None
    by_hand : Dates or None
        When every galaxy has an answer, at this pace.
    advice : Advice
    """

    control: str
    controls: tuple[str, ...]
    wanted: float
    points: tuple[CurvePoint, ...]
    curve: CurveForecast | None
    why_not: str
    needed: Range | None
    dates: Dates | None
    pace: Pace | None
    by_hand: Dates | None
    advice: Advice

    @property
    def level(self) -> tuple[float, float] | None:
        """The band of the accuracy with ten times the votes, None where nothing is forecast."""
        if self.curve is None:
            return None
        low, _, high = self.curve.quality([10 * self.curve.votes])[:, 0]
        return float(low), float(high)

    @property
    def shown_votes(self) -> NDArray[np.float64]:
        """Votes at which the forecast is drawn, from the first version on; none without a curve."""
        if self.curve is None:
            return np.zeros(0)
        end = 3 * self.curve.votes
        if self.needed is not None and self.needed.middle is not None:
            wanted = 1.3 * (self.curve.votes + self.needed.middle)
            end = max(end, min(wanted, 20 * self.curve.votes))
        first = max(min(point.votes for point in self.points), 1.0)
        return np.asarray(np.geomspace(first, end, 120))


def wanted_of(text: str | None) -> float:
    """Return the accuracy that a form asks for, in [0.5, 0.999]; percent are understood too."""
    try:
        value = float((text or "").strip().rstrip("%").replace(",", "."))
    except ValueError:
        return WANTED
    if value > 1.0:
        value /= 100.0
    return min(max(value, _LEAST), _MOST) if np.isfinite(value) else WANTED


def outlook(
    store: Store,
    project_id: int,
    progress: Progress | None,
    control: str = "",
    wanted: float = WANTED,
    now: datetime | None = None,
) -> Outlook:
    """Forecast a project from its kept figures; what cannot be read is left out."""
    now = now or datetime.now(UTC)
    kept = kept_figure(store, project_id, "learning")
    curves = curves_of(kept.data if kept is not None else {})
    if control not in curves:
        control = next(iter(curves), "")
    points = curves.get(control, ())
    votes = [point.votes for point in points]
    quality = [point.quality for point in points]
    rows = [point.rows for point in points]
    curve = forecast_quality(votes, quality, rows, store.settings.seed)
    by_day = {
        day: float(sum(row.values())) for day, row in (progress.days if progress else {}).items()
    }
    pace = measure_pace(by_day, now)
    needed = curve.needed(wanted) if curve is not None else None
    draws = curve.draws_needed(wanted) if curve is not None else None
    today = now.date()
    remaining = progress.counts["remaining"] if progress is not None else 0
    return Outlook(
        control=control,
        controls=tuple(curves),
        wanted=wanted,
        points=points,
        curve=curve,
        why_not=why_not(votes, quality, rows),
        needed=needed,
        dates=pace.dates(draws, today) if pace is not None and draws is not None else None,
        pace=pace,
        by_hand=pace.dates([remaining], today) if pace is not None and remaining else None,
        advice=stop_advice(_changes(progress), curve),
    )


def curves_of(learning: Mapping[str, Any]) -> dict[str, tuple[CurvePoint, ...]]:
    """Return the accuracy of each control's versions, from the figure ``learning``."""
    found: dict[str, tuple[CurvePoint, ...]] = {}
    curves = learning.get("curves")
    for control, told in curves.items() if isinstance(curves, Mapping) else ():
        points = []
        for one in told if isinstance(told, Sequence) else ():
            try:
                quality, rows = float(one["accuracy"]), float(one["rows"])
                error = _error(learning, str(one["version"]), control, quality, rows)
                points.append(
                    CurvePoint(str(one["version"]), float(one["votes"]), quality, error, rows)
                )
            except (KeyError, TypeError, ValueError):
                continue
        if points:
            found[str(control)] = tuple(points)
    return found


def _error(
    learning: Mapping[str, Any], version: str, control: str, quality: float, rows: float
) -> float:
    """The kept standard error, else that of a share of as many galaxies."""
    try:
        return float(learning["measured"][version][control]["all"]["accuracy"][1])
    except (KeyError, TypeError, ValueError, IndexError):
        pulled = (quality * rows + 2) / (rows + 4)
        return float(np.sqrt(max(pulled * (1 - pulled), 0.0) / (rows + 4)))


def _changes(progress: Progress | None) -> list[Agreement]:
    found = []
    for one in progress.changes if progress is not None else ():
        try:
            found.append(
                Agreement(float(one["kappa"]), float(one["changed"]), int(one["galaxies"]))
            )
        except (KeyError, TypeError, ValueError):
            continue
    return found
