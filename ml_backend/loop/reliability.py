"""How far confidences and labels can be relied on: diagram, confusion matrix, errors of figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.loop.consensus import Consensus
from models.calibration import expected_calibration_error
from models.metrics import quality

Floats = npt.NDArray[np.float64]

BINS = 10
TASKS_KEPT = 60
"""Tasks of a cell that are kept for its page, those of which the model was surest first."""
MOST_LABELS = 40
"""Labels beyond which no matrix is kept: nobody could read it."""
MOST_MATRICES = 20
"""Of a multiple choice, which has a matrix per label."""
_DRAWS = 100
_MOST_ROWS = 3000
_MEASURES = ("accuracy", "macro_auc", "log_loss", "calibration_error")


def measured(
    told: Floats, votes: Consensus, rows: npt.NDArray[np.int64], seed: int
) -> dict[str, Any]:
    """Measure predictions on rows of a consensus, with errors by the bootstrap over galaxies.

    Parameters
    ----------
    told : [m, k]
        Unseen predictions.
    votes : Consensus
    rows : int [m]
        Their rows in `votes`.
    seed : int

    Returns
    -------
    dict
        ``rows``, and for each figure of `models.metrics.quality` ``[value, standard error]``, or
        None where it is not defined. Of many galaxies the error is that of 3000 of them, scaled.
    """
    t, w, exclusive = votes.targets[rows], votes.weights[rows], not votes.multiple
    whole = quality(told, t, w, exclusive)
    rng = np.random.default_rng(seed)
    n = len(rows)
    part = np.arange(n) if n <= _MOST_ROWS else rng.choice(n, _MOST_ROWS, replace=False)
    drawn: dict[str, list[float]] = {name: [] for name in _MEASURES}
    for _ in range(_DRAWS if n > 1 else 0):
        take = part[rng.integers(0, len(part), len(part))]
        for name, value in quality(told[take], t[take], w[take], exclusive).items():
            if name in drawn and value is not None:
                drawn[name].append(value)
    scale = np.sqrt(len(part) / max(n, 1))
    found: dict[str, Any] = {"rows": n}
    for name in _MEASURES:
        value, values = whole[name], drawn[name]
        error = float(np.std(values, ddof=1)) * scale if len(values) > _DRAWS // 2 else None
        if name == "accuracy" and value is not None and error is not None:
            error = max(error, _least_error(value, n))
        found[name] = None if value is None else [value, error]
    return found


def reliability_diagram(
    told: Floats, votes: Consensus, rows: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """Return confidence against how often it was right, in bins of equal width.

    Returns
    -------
    dict
        ``error`` (expected calibration error) and ``bins``: rows of mean confidence, share right,
        its standard error, and answers; bins without answers are left out. For a multiple choice
        each label is an answer.
    """
    p, t = told.astype(np.float64), votes.targets[rows].astype(np.float64)
    w = votes.weights[rows].astype(np.float64)
    if votes.multiple:
        sure, hit = p.ravel(), t.ravel()
        w = np.repeat(w, p.shape[1])
    else:
        best, at = p.argmax(axis=1), np.arange(len(p))
        sure, hit = p[at, best], t[at, best]
    place = np.clip((sure * BINS).astype(int), 0, BINS - 1)
    bins = []
    for one in range(BINS):
        inside = place == one
        total = float(w[inside].sum())
        if total <= 0:
            continue
        right = float(w[inside] @ hit[inside] / total)
        count = int(inside.sum())
        middle = float(w[inside] @ sure[inside] / total)
        bins.append([middle, right, _least_error(right, count), count])
    error = expected_calibration_error(sure, hit, w, BINS)
    return {"error": error if np.isfinite(error) else None, "bins": bins}


def _least_error(share: float, count: int) -> float:
    """Standard error of a share as Agresti and Coull (1998) have it: 3 of 3 is not certain."""
    pulled = (share * count + 2) / (count + 4)
    return float(np.sqrt(pulled * (1 - pulled) / (count + 4)))


def confusion_matrices(
    told: Floats, votes: Consensus, rows: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return what people say against what the model says unseen.

    Returns
    -------
    list of dict
        One for a single choice, one per label of a multiple choice: ``title``, ``labels``,
        ``counts`` [k, k] (rows: people) and ``tasks``: by ``"row-column"`` at most `TASKS_KEPT`
        numbers of tasks, those of which the model was surest first.
    """
    tasks, t = votes.task_ids[rows], votes.targets[rows]
    if not votes.multiple:
        if len(votes.labels) > MOST_LABELS:
            return []
        columns = told.argmax(axis=1)
        sure = told[np.arange(len(told)), columns]
        return [_matrix("", list(votes.labels), t.argmax(axis=1), columns, sure, tasks)]
    return [
        _matrix(
            label,
            ["no", "yes"],
            (t[:, at] > 0.5).astype(np.int64),
            (told[:, at] > 0.5).astype(np.int64),
            np.maximum(told[:, at], 1.0 - told[:, at]),
            tasks,
        )
        for at, label in enumerate(votes.labels[:MOST_MATRICES])
    ]


def _matrix(
    title: str,
    labels: list[str],
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    sure: Floats,
    tasks: npt.NDArray[np.int64],
) -> dict[str, Any]:
    k = len(labels)
    counts = np.bincount(rows * k + columns, minlength=k * k).reshape(k, k)
    kept: dict[str, list[int]] = {}
    for at in np.argsort(-sure, kind="stable"):
        cell = kept.setdefault(f"{rows[at]}-{columns[at]}", [])
        if len(cell) < TASKS_KEPT:
            cell.append(int(tasks[at]))
    return {"title": title, "labels": labels, "counts": counts.tolist(), "tasks": kept}
