"""When a dear part of a figure is counted anew: not each round in a project of many votes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

LARGE = 50_000
"""Below this size all is counted in every round: it takes no time."""
GROWTH = 0.02
"""Share by which the size must have moved before it is counted anew..."""
LONGEST = timedelta(hours=1)
"""...unless it is older than this."""


def counted_mark(size: int, now: datetime, of: str = "") -> dict[str, Any]:
    """Return what is kept beside a dear part, for `still_holds`.

    Parameters
    ----------
    size : int
        What it was counted from, e.g. votes.
    now : datetime
    of : str
        What it is about (a version); of another it is counted anew.
    """
    return {"size": size, "at": now.isoformat(timespec="seconds"), "of": of}


def still_holds(kept: object, size: int, now: datetime, of: str = "") -> bool:
    """Tell whether a dear part, kept with this mark, need not be counted anew.

    Parameters
    ----------
    kept : object
        What `counted_mark` has made, or anything else: that never holds.
    size, now, of
        As they are now.
    """
    if size < LARGE or not isinstance(kept, Mapping) or kept.get("of") != of:
        return False
    before, at = kept.get("size"), kept.get("at")
    if not isinstance(before, int) or not isinstance(at, str):
        return False
    try:
        age = now - datetime.fromisoformat(at)
    except (ValueError, TypeError):
        return False
    # A clock that went back makes it old, too.
    return abs(size - before) <= GROWTH * before and timedelta(0) <= age < LONGEST
