"""What people were served: told from our own queue, since Label Studio's lists do not say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_backend.store.tables import Ranking, Version


class Served:
    """What the versions of our queue had for some tasks.

    A version served a task where it was the published one when the annotator began (the time of
    the annotation less its lead time, by Label Studio's clock) and has the task in its ranking.
    """

    def __init__(self, session: Session, project_id: int, task_ids: Sequence[int]) -> None:
        self._times = session.execute(
            select(Version.name, Version.published_at)
            .where(Version.project_id == project_id, Version.published_at.is_not(None))
            .order_by(Version.published_at.desc())
        ).all()
        rows = session.scalars(select(Ranking).where(Ranking.task_id.in_(task_ids)))
        self._rankings = {(row.version, row.task_id): row for row in rows}

    def version(self, task_id: int, annotation: dict[str, Any]) -> str | None:
        """Return the version that served the task, None where none did."""
        submitted = time_of(annotation.get("created_at"))
        if submitted is None:
            return None
        begun = submitted - timedelta(seconds=seconds_of(annotation.get("lead_time")) or 0.0)
        name = next((name for name, since in self._times if since and since <= begun), None)
        return name if (name, task_id) in self._rankings else None

    def answers(self, task_id: int, version: str | None) -> dict[str, Any]:
        """Return what a version had to suggest, by control; ``blind`` where nobody saw it."""
        row = self._rankings.get((version or "", task_id))
        return row.answers if row is not None else {}

    def from_audit(self, task_id: int, version: str | None) -> bool:
        """Tell whether a version served the task by its audit arm."""
        row = self._rankings.get((version or "", task_id))
        return row is not None and row.arm == "audit"


def time_of(value: object) -> datetime | None:
    """Read a time as Label Studio writes it; None where it is none."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def seconds_of(value: object) -> float | None:
    """Read a lead time in seconds; None where it is none."""
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e9 else None
