"""What the Learning page shows, read from the kept figure; what cannot be read is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ml_backend.store.database import Store
from ml_backend.store.figures import kept_figure

MEASURES = {
    "accuracy": "accuracy",
    "macro_auc": "macro AUC",
    "log_loss": "log loss (nats)",
    "calibration_error": "calibration error",
    "loss": "loss",
}
CURVE_COLUMNS = ("control", "version", "made", "votes", "galaxies", "published", *MEASURES)
ERROR_COLUMNS = ("control", "version", "measured_on", "galaxies", "measure", "value", "error")
CALIBRATION_COLUMNS = ("control", "confidence", "right", "error", "answers")
CONFUSION_COLUMNS = ("control", "label", "people_say", "model_says", "galaxies")
_BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


@dataclass(frozen=True)
class Measured:
    """A figure of one version: value and standard error (None: not known), on so many galaxies."""

    version: str
    votes: float
    value: float
    error: float | None
    rows: float


@dataclass(frozen=True)
class Matrix:
    """What people say (rows) against what the model says unseen (columns).

    `counts` is [k, k]; `tasks` maps (row, column) to numbers of tasks.
    """

    title: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    tasks: dict[tuple[int, int], tuple[int, ...]]

    def share(self, row: int, column: int) -> float:
        """Return the part of the row's galaxies in a cell, in [0, 1]."""
        total = sum(self.counts[row])
        return self.counts[row][column] / total if total else 0.0


@dataclass(frozen=True)
class Saved:
    """Labels saved against random order (see `loop.random_order`); empty where not measured."""

    labelled: int
    random: int
    needed: int
    would_need: tuple[float | None, ...] = ()
    saved: tuple[float | None, ...] = ()
    beyond: float = 0.0
    loss: float = 0.0
    loss_error: float = 0.0
    curve: tuple[tuple[float, float, float], ...] = ()
    learned_from: float = 0.0


@dataclass(frozen=True)
class ControlLearning:
    """One control: its curve by measure, on all unseen answers and on the audit arm."""

    name: str
    curve: tuple[dict[str, Any], ...]
    seen: dict[str, tuple[Measured, ...]] = field(default_factory=dict)
    audit: dict[str, tuple[Measured, ...]] = field(default_factory=dict)
    rows: int = 0
    audited: int = 0
    multiple: bool = False
    calibration: tuple[tuple[float, float, float, int], ...] = ()
    calibration_error: float | None = None
    matrices: tuple[Matrix, ...] = ()
    saved: Saved | None = None

    @property
    def measure(self) -> str:
        """The measure of the plot: the first that is known."""
        return next((name for name in MEASURES if self.seen.get(name)), "accuracy")

    @property
    def latest(self) -> list[tuple[str, Measured, Measured | None]]:
        """The last version's figures, on all unseen answers and on the audit arm."""
        found = []
        for name in MEASURES:
            seen, audit = self.seen.get(name), self.audit.get(name)
            if seen:
                same = audit[-1] if audit and audit[-1].version == seen[-1].version else None
                found.append((name, seen[-1], same))
        return found


@dataclass(frozen=True)
class Learning:
    """The figure ``learning``, checked."""

    at: datetime
    version: str | None
    controls: tuple[ControlLearning, ...]

    def control(self, name: str) -> ControlLearning | None:
        """Return a control by name; without a name the first."""
        if not name:
            return self.controls[0] if self.controls else None
        return next((one for one in self.controls if one.name == name), None)


def read_learning(store: Store, project_id: int) -> tuple[Learning | None, bool]:
    """Return the figure, and whether there is one that cannot be read."""
    kept = kept_figure(store, project_id, "learning")
    if kept is None:
        return None, False
    try:
        data = kept.data
        controls = tuple(_control(str(name), data) for name in data["curves"])
        version = data.get("version")
        return Learning(kept.at, None if version is None else str(version), controls), False
    except _BROKEN:
        return None, True


def curve_rows(learning: Learning) -> list[tuple[Any, ...]]:
    """Return all versions, as their CSV file has them."""
    return [
        (
            one.name, point["version"], point.get("at"), point["votes"], point.get("rows"),
            "yes" if point.get("published") else "no", *(point.get(name) for name in MEASURES),
        )
        for one in learning.controls
        for point in one.curve
    ]  # fmt: skip


def error_rows(learning: Learning) -> list[tuple[Any, ...]]:
    """Return figures with their errors, as their CSV file has them."""
    return [
        (one.name, point.version, where, point.rows, name, point.value, point.error)
        for one in learning.controls
        for where, figures in (("unseen answers", one.seen), ("audit arm", one.audit))
        for name, points in figures.items()
        for point in points
    ]


def calibration_rows(learning: Learning) -> list[tuple[Any, ...]]:
    """Return the bins of the reliability diagrams, as their CSV file has them."""
    return [(one.name, *row) for one in learning.controls for row in one.calibration]


def confusion_rows(learning: Learning) -> list[tuple[Any, ...]]:
    """Return the cells of the confusion matrices, as their CSV file has them."""
    return [
        (one.name, matrix.title, row, column, matrix.counts[i][j])
        for one in learning.controls
        for matrix in one.matrices
        for i, row in enumerate(matrix.labels)
        for j, column in enumerate(matrix.labels)
    ]


def _control(name: str, data: Mapping[str, Any]) -> ControlLearning:
    curve = tuple(
        {**point, "version": str(point["version"]), "votes": float(point["votes"])}
        for point in data["curves"][name]
    )
    told = data.get("controls", {}).get(name) or {}
    calibration = told.get("calibration") or {}
    error = calibration.get("error")
    return ControlLearning(
        name=name,
        curve=curve,
        seen={measure: _seen(name, measure, curve, data) for measure in MEASURES},
        audit={measure: _audit(name, measure, curve, data) for measure in MEASURES},
        rows=int(told.get("rows", 0)),
        audited=int(told.get("audited", 0)),
        multiple=bool(told.get("multiple")),
        calibration=tuple(
            (float(sure), float(right), float(spread), int(count))
            for sure, right, spread, count in calibration.get("bins") or []
        ),
        calibration_error=None if error is None else float(error),
        matrices=tuple(_matrix(one) for one in told.get("confusion") or []),
        saved=_saved((data.get("saved") or {}).get(name)),
    )


def _seen(
    control: str, measure: str, curve: Sequence[Mapping[str, Any]], data: Mapping[str, Any]
) -> tuple[Measured, ...]:
    found = []
    for point in curve:
        value = point.get(measure)
        if not isinstance(value, int | float):
            continue
        rows = float(point.get("rows") or 0)
        kept = _kept(data, point["version"], control, "all", measure)
        error = kept[1] if kept is not None else None
        if error is None and measure == "accuracy" and rows >= 1:
            pulled = (value * rows + 2) / (rows + 4)
            error = (max(pulled * (1 - pulled), 0.0) / (rows + 4)) ** 0.5
        found.append(Measured(point["version"], point["votes"], float(value), error, rows))
    return tuple(found)


def _audit(
    control: str, measure: str, curve: Sequence[Mapping[str, Any]], data: Mapping[str, Any]
) -> tuple[Measured, ...]:
    found = []
    for point in curve:
        kept = _kept(data, point["version"], control, "audit", measure)
        if kept is not None:
            found.append(Measured(point["version"], point["votes"], kept[0], kept[1], kept[2]))
    return tuple(found)


def _kept(
    data: Mapping[str, Any], version: str, control: str, where: str, measure: str
) -> tuple[float, float | None, float] | None:
    try:
        told = data["measured"][version][control][where]
        value, error = told[measure]
        return float(value), None if error is None else float(error), float(told["rows"])
    except _BROKEN:
        return None


def _matrix(told: Mapping[str, Any]) -> Matrix:
    labels = tuple(str(label) for label in told["labels"])
    counts = tuple(tuple(int(count) for count in row) for row in told["counts"])
    if len(counts) != len(labels) or any(len(row) != len(labels) for row in counts):
        raise ValueError("A matrix has as many rows and columns as labels.")
    tasks = {}
    for cell, numbers in told["tasks"].items():
        row, column = (int(part) for part in cell.split("-"))
        tasks[row, column] = tuple(int(number) for number in numbers)
    return Matrix(str(told["title"]), labels, counts, tasks)


def _saved(told: Any) -> Saved | None:
    if not isinstance(told, Mapping):
        return None
    random = int(told.get("random", 0))
    basis = Saved(int(told["labelled"]), random, int(told["needed"]))
    if "would_need" not in told:
        now = int(told.get("random_now", random))
        return Saved(basis.labelled, max(random, now), basis.needed)
    return Saved(
        basis.labelled,
        random,
        basis.needed,
        tuple(None if value is None else float(value) for value in told["would_need"]),
        tuple(None if value is None else float(value) for value in told["saved"]),
        float(told["beyond"]),
        float(told["loss"]),
        float(told["loss_error"]),
        tuple((float(s), float(m), float(e)) for s, m, e in told["curve"]),
        float(told["learned_from"]),
    )
