"""Progress points: how far a project was after each round, thinned with age."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ml_backend.store.dashboard_tables import ProgressPoint

ALL_FOR = timedelta(days=7)
"""Points younger than this are all kept; older ones one a day, and after `DAILY_FOR` one a week."""
DAILY_FOR = timedelta(days=365)
STANDSTILL = timedelta(hours=6)
"""A point that says what the last one says is added only after this long."""


def add_point(session: Session, project_id: int, at: datetime, data: Mapping[str, Any]) -> bool:
    """Keep a point unless nothing has moved, and thin old ones; tell whether it was kept.

    Parameters
    ----------
    session : Session
        One that may write.
    project_id : int
    at : datetime
        If the clock went back, later points stay.
    data : mapping
        Plain JSON.
    """
    last = session.scalar(
        select(ProgressPoint)
        .where(ProgressPoint.project_id == project_id)
        .order_by(ProgressPoint.id.desc())
        .limit(1)
    )
    if last is not None and last.data == dict(data) and abs(at - last.at) < STANDSTILL:
        return False
    session.add(ProgressPoint(project_id=project_id, at=at, data=dict(data)))
    _thin(session, project_id, at)
    return True


def points_of(session: Session, project_id: int) -> list[ProgressPoint]:
    """Return the points of a project, by time."""
    return list(
        session.scalars(
            select(ProgressPoint)
            .where(ProgressPoint.project_id == project_id)
            .order_by(ProgressPoint.at, ProgressPoint.id)
        )
    )


def _thin(session: Session, project_id: int, now: datetime) -> None:
    """Keep the last point of each day, or week, of the old ones."""
    rows = session.execute(
        select(ProgressPoint.id, ProgressPoint.at)
        .where(ProgressPoint.project_id == project_id, ProgressPoint.at < now - ALL_FOR)
        .order_by(ProgressPoint.at.desc(), ProgressPoint.id.desc())
    ).all()
    seen: set[object] = set()
    gone = []
    for number, at in rows:
        period: object = at.date() if at > now - DAILY_FOR else at.isocalendar()[:2]
        if period in seen:
            gone.append(number)
        seen.add(period)
    for start in range(0, len(gone), 500):
        session.execute(
            delete(ProgressPoint).where(ProgressPoint.id.in_(gone[start : start + 500]))
        )
