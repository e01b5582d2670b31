"""People as the figure of project 3 keeps them, for tests of the People page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from dashboard_world import DashboardSite

from ml_backend.store.dashboard_tables import Figure

PATH = "/dashboard/3/people/"
NO_ARM = {"answers": 0, "agreed": 0, "share": None, "low": None, "high": None}


def person(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "person": f"person {number}", "votes": 100, "skips": 1, "tasks": 90, "seconds": 4.2,
        "per_hour": 300.0, "last_seen": "2026-11-20T10:00:00+00:00", "reliability": None,
        "low": None, "high": None, "skills": [], "golds": 0, "golds_right": 0, "consensus": 0,
        "consensus_same": 0, "kappa": None, "kappa_error": None, "shared": 0, "shown": 0,
        "accepted": 0, "blind": 0, "blind_agreed": 0, "suspicions": [], **fields,
    }  # fmt: skip


def keep(
    site: DashboardSite, people: list[dict[str, Any]], days: dict[str, Any] | None = None
) -> None:
    named = [one["person"] for one in people[:12]]
    data = {
        "people": people,
        "controls": [],
        "pairs": [],
        "days": days
        or {"first": "2026-09-28", "people": named, "counts": [[1] * 60] * (len(named) + 1)},
        "anchoring": {
            "shown": NO_ARM, "blind": NO_ARM, "excess": None, "versions": [], "warning": "",
            "misled": {"shown": NO_ARM, "blind": NO_ARM, "excess": None},
        },
    }  # fmt: skip
    with site.store.session() as session:
        session.merge(Figure(project_id=3, name="people", at=datetime.now(UTC), data=data))
