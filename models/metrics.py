"""Figures of quality, all defined for vote fractions as well as for single true labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from models.calibration import expected_calibration_error

_FLOOR = 1e-7


def auc(scores: ArrayLike, positive: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Area under the ROC curve; ties count half.

    Parameters
    ----------
    scores : [n]
        Larger means more probably positive.
    positive : [n] of bool, or fractions in [0, 1]
        A row of fraction f counts f times as positive and 1 - f times as negative.
    weights : [n], optional
        Weight of each row, >= 0.

    Returns
    -------
    float
        In [0, 1]; NaN where positives or negatives are missing.
    """
    s = np.asarray(scores, dtype=np.float64)
    f = np.asarray(positive, dtype=np.float64)
    w = np.ones(len(s)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not s.shape == f.shape == w.shape or s.ndim != 1:
        raise ValueError(f"Shapes differ: scores {s.shape}, positive {f.shape}, weights {w.shape}.")
    total_positive, total_negative = np.sum(w * f), np.sum(w * (1 - f))
    if total_positive <= 0 or total_negative <= 0:
        return float("nan")
    place = rankdata(s, method="dense") - 1
    gain = np.bincount(place, weights=w * f)
    loss = np.bincount(place, weights=w * (1 - f))
    below = np.cumsum(loss) - loss
    return float(np.sum(gain * (below + 0.5 * loss)) / (total_positive * total_negative))


def macro_auc(
    probabilities: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Mean over the labels of the one-versus-rest area under the ROC curve.

    Labels of which positives or negatives are missing are left out.

    Parameters
    ----------
    probabilities, targets : [n, k]
        Predicted probabilities and true labels (one-hot) or vote fractions.
    weights : [n], optional
        Weight of each row.

    Returns
    -------
    float
        In [0, 1]; NaN if no label can be measured.
    """
    p, t, w = _checked(probabilities, targets, weights)
    each = np.array([auc(p[:, j], t[:, j], w) for j in range(p.shape[1])])
    return float(each[np.isfinite(each)].mean()) if np.isfinite(each).any() else float("nan")


def accuracy(
    probabilities: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Share of the votes that name the most probable label (single choice); NaN without rows."""
    p, t, w = _checked(probabilities, targets, weights)
    if len(p) == 0:
        return float("nan")
    return float(np.average(t[np.arange(len(p)), p.argmax(axis=1)], weights=w))


def label_accuracy(
    probabilities: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None
) -> float:
    """Share of right yes/no answers over all labels at threshold 0.5 (multiple choice)."""
    p, t, w = _checked(probabilities, targets, weights)
    if len(p) == 0:
        return float("nan")
    return float(np.average(np.where(p >= 0.5, t, 1 - t).mean(axis=1), weights=w))


def log_losses(
    probabilities: ArrayLike, targets: ArrayLike, exclusive: bool = True
) -> NDArray[np.float64]:
    """Log loss of each row, in nats.

    Parameters
    ----------
    probabilities, targets : [n, k]
    exclusive : bool
        True: cross-entropy over exclusive labels. False: mean over the labels of the binary
        cross-entropy.

    Returns
    -------
    float64 [n]
    """
    p, t, _ = _checked(probabilities, targets, None)
    if exclusive:
        return np.asarray(-np.sum(t * np.log(np.clip(p, _FLOOR, 1)), axis=1))
    p = np.clip(p, _FLOOR, 1 - _FLOOR)
    return np.asarray(-np.mean(t * np.log(p) + (1 - t) * np.log1p(-p), axis=1))


def log_loss(
    probabilities: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    exclusive: bool = True,
) -> float:
    """Weighted mean of `log_losses`; NaN without rows."""
    p, t, w = _checked(probabilities, targets, weights)
    return float(np.average(log_losses(p, t, exclusive), weights=w)) if len(p) else float("nan")


def quality(
    probabilities: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    exclusive: bool = True,
) -> dict[str, float | None]:
    """All figures that are kept of a version, json-able (None where one is not defined).

    Returns
    -------
    dict
        ``macro_auc``, ``accuracy``, ``log_loss`` (nats), ``calibration_error`` and ``rows``.
    """
    p, t, w = _checked(probabilities, targets, weights)
    if exclusive:
        best = p.argmax(axis=1)
        rows = np.arange(len(p))
        error = expected_calibration_error(p[rows, best], t[rows, best], w)
        hit = accuracy(p, t, w)
    else:
        error = expected_calibration_error(p, t, np.repeat(w, p.shape[1]))
        hit = label_accuracy(p, t, w)
    figures = {
        "macro_auc": macro_auc(p, t, w),
        "accuracy": hit,
        "log_loss": log_loss(p, t, w, exclusive),
        "calibration_error": error,
    }
    known = {name: value if np.isfinite(value) else None for name, value in figures.items()}
    return {**known, "rows": float(len(p))}


def _checked(
    probabilities: ArrayLike, targets: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    p = np.asarray(probabilities, dtype=np.float64)
    t = np.asarray(targets, dtype=np.float64)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64)
    if p.ndim != 2 or p.shape != t.shape or w.shape != (len(p),):
        raise ValueError(
            f"Shapes differ: probabilities {p.shape}, targets {t.shape}, weights {w.shape}."
        )
    return p, t, w
