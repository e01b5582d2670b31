"""Measures of a version's quality: their names, their means, and which way is better."""

from __future__ import annotations

from ml_backend.store.tables import Version

MEASURES = {"macro_auc": "macro AUC", "accuracy": "accuracy", "log_loss": "log loss"}
"""In the order in which pages show them."""
_OTHERS = {"rows": "galaxies judged on"}
SMALLER_IS_BETTER = frozenset({"log_loss"})
_SHARES = frozenset({"accuracy", "calibration_error"})


def quality_of(version: Version, measure: str) -> float | None:
    """Return one measure of a version: the mean over its controls, None where it is not known."""
    quality = version.quality or {}
    values = [quality.get(measure)]
    values += [item.get(measure) for item in quality.values() if isinstance(item, dict)]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return sum(numbers) / len(numbers) if numbers else None


def label(measure: str) -> str:
    """Return the name of a measure as people read it."""
    return _OTHERS.get(measure) or MEASURES.get(measure, measure.replace("_", " "))


def said_as(value: float | None, measure: str) -> str:
    """Return a value of a measure as all pages show it: shares in percent, a dash for None."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}\u00a0%" if measure in _SHARES else f"{value:.3f}"
