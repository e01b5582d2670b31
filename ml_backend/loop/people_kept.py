"""The figure ``people`` between two counts: dear parts as they were, answers and skips as they are.

How people agree, how reliable and how fast they are is counted from all votes (`people_figure`),
in a large project not in every round (`recounting`). Answers and skips move on with the tallies.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from ml_backend.loop.recounting import counted_mark, still_holds
from ml_backend.store.dashboard_tables import VoteTally
from ml_backend.store.database import Store
from ml_backend.store.vote_tallies import NOBODY

Tallies = dict[str, list[int]]
"""By person: annotations that are answers, and those that are skips."""

_NOTHING_KNOWN: dict[str, Any] = {
    "tasks": 0, "seconds": None, "per_hour": None, "last_seen": None, "reliability": None,
    "low": None, "high": None, "skills": [], "golds": 0, "golds_right": 0, "consensus": 0,
    "consensus_same": 0, "kappa": None, "kappa_error": None, "shared": 0, "shown": 0,
    "accepted": 0, "blind": 0, "blind_agreed": 0, "suspicions": [],
}  # fmt: skip


def people_tallies(store: Store, project_id: int) -> Tallies:
    """Return answers and skips of the people whom Label Studio names."""
    found: Tallies = {}
    with store.reading() as session:
        rows = session.execute(
            select(VoteTally.annotator, VoteTally.skipped, func.sum(VoteTally.annotations))
            .where(VoteTally.project_id == project_id, VoteTally.annotator != NOBODY)
            .group_by(VoteTally.annotator, VoteTally.skipped)
        )
        for who, skipped, count in rows:
            found.setdefault(f"person {who}", [0, 0])[bool(skipped)] = int(count)
    return found


def with_mark(data: dict[str, Any], tallies: Tallies, now: datetime) -> dict[str, Any]:
    """Return a figure that was just counted, with what `moved_on` needs of it."""
    size = sum(map(sum, tallies.values()))
    return {**data, "tallied": tallies, "counted": counted_mark(size, now)}


def moved_on(kept: Mapping[str, Any], tallies: Tallies, now: datetime) -> dict[str, Any] | None:
    """Return a kept figure with the answers and skips that came since; None: count anew.

    Parameters
    ----------
    kept : mapping
        The figure as it was kept; anything may be wrong with it.
    tallies : dict
        As they are now.
    now : datetime
    """
    before, people = kept.get("tallied"), kept.get("people")
    if not still_holds(kept.get("counted"), sum(map(sum, tallies.values())), now):
        return None
    if not isinstance(before, Mapping) or not isinstance(people, list):
        return None
    try:
        return {**kept, "people": _moved(people, before, tallies), "tallied": tallies}
    except (KeyError, TypeError, ValueError):
        return None


def _moved(
    people: list[dict[str, Any]], before: Mapping[str, Any], now: Tallies
) -> list[dict[str, Any]]:
    rows, seen = [], set()
    for row in people:
        name = row["person"]
        seen.add(name)
        then, here = before.get(name, (0, 0)), now.get(name, (0, 0))
        given = max(row["votes"] + here[0] - then[0], 0)
        skips = max(row["skips"] + here[1] - then[1], 0)
        if given or skips:
            rows.append({**row, "votes": given, "skips": skips})
    for name in now.keys() - seen:
        given, skips = now[name]
        rows.append({"person": name, "votes": given, "skips": skips, **_NOTHING_KNOWN})
    return sorted(rows, key=lambda row: -row["votes"])
