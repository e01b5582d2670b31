"""Times and sizes in words, for all pages."""

from __future__ import annotations

from datetime import UTC, datetime


def ago(time: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago `time` was, in words; a dash where it is not known."""
    if time is None:
        return "–"
    seconds = max(0.0, ((now or datetime.now(UTC)) - time).total_seconds())
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now" if seconds < 10 else f"{int(seconds)} seconds ago"


def size(count: float) -> str:
    """Return a number of bytes as people read it: ``512 bytes``, ``3.4 MB`` (powers of 1000)."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            return f"{count:.1f} {unit}" if count < 100 else f"{count:.0f} {unit}"
    raise AssertionError


def grouped(count: float) -> str:
    """Return a whole number with thin spaces between thousands."""
    return f"{count:,.0f}".replace(",", "\u2009")
