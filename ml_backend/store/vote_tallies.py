"""Tallies of votes by person and day, kept up with every change of a task's votes.

Whoever changes votes does so inside `tallied`, which counts the tasks' votes before and after and
moves the tallies by the difference: exact, and as dear as the change is large. What changed votes
without it is found by the number of votes, and at the latest by the next full reading of Label
Studio, which counts anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, String, cast, delete, func, insert, literal, select
from sqlalchemy.orm import Session

from ml_backend.store.dashboard_tables import VoteTally
from ml_backend.store.tables import Vote

NOBODY = 0
"""Stands for whom Label Studio does not name."""

_AT_ONCE = 500


@contextmanager
def tallied(session: Session, project_id: int, task_ids: Sequence[int]) -> Iterator[None]:
    """Change votes of these tasks inside, in the same transaction.

    Parameters
    ----------
    session : Session
        One that may write.
    project_id : int
    task_ids : sequence of int
    """
    before = _counted(session, project_id, task_ids)
    yield
    session.flush()
    after = _counted(session, project_id, task_ids)
    for key in before.keys() | after.keys():
        old, new = before.get(key, _NOTHING), after.get(key, _NOTHING)
        if old == new:
            continue
        who, day, skipped = key
        row = session.get(VoteTally, (project_id, who, day, skipped))
        if row is None:
            row = VoteTally(project_id=project_id, annotator=who, day=day, skipped=skipped,
                            votes=0, annotations=0, seconds=0.0, timed=0)  # fmt: skip
            session.add(row)
        row.votes += new[0] - old[0]
        row.annotations += new[1] - old[1]
        row.seconds += new[2] - old[2]
        row.timed += new[3] - old[3]
        if row.votes <= 0:
            session.delete(row)
        session.flush()


def count_anew(session: Session, project_id: int) -> None:
    """Count all votes of a project; a million take seconds."""
    session.execute(delete(VoteTally).where(VoteTally.project_id == project_id))
    columns = [literal(project_id), *_key(session), *_sums()]
    names = ["project_id", "annotator", "day", "skipped", "votes", "annotations", "seconds",
             "timed"]  # fmt: skip
    counted = select(*columns).where(Vote.project_id == project_id).group_by(*_key(session))
    session.execute(insert(VoteTally).from_select(names, counted))
    session.expire_all()


def are_whole(session: Session, project_id: int) -> bool:
    """Tell whether the tallies count as many votes as there are."""
    there = session.scalar(select(func.count()).where(Vote.project_id == project_id))
    query = select(func.sum(VoteTally.votes)).where(VoteTally.project_id == project_id)
    return int(there or 0) == int(session.scalar(query) or 0)


_Key = tuple[int, str, bool]
_Sums = tuple[int, int, float, int]
_NOTHING: _Sums = (0, 0, 0.0, 0)


def _counted(session: Session, project_id: int, task_ids: Sequence[int]) -> dict[_Key, _Sums]:
    found: dict[_Key, _Sums] = {}
    for start in range(0, len(task_ids), _AT_ONCE):
        part = task_ids[start : start + _AT_ONCE]
        rows = session.execute(
            select(*_key(session), *_sums())
            .where(Vote.project_id == project_id, Vote.task_id.in_(part))
            .group_by(*_key(session))
        )
        for who, day, skipped, *sums in rows:
            key = (int(who), str(day), bool(skipped))
            old = found.get(key, _NOTHING)
            found[key] = (
                old[0] + int(sums[0]),
                old[1] + int(sums[1]),
                old[2] + float(sums[2]),
                old[3] + int(sums[3]),
            )
    return found


def _key(session: Session) -> list[ColumnElement[Any]]:
    return [
        func.coalesce(Vote.annotator, literal(NOBODY)),
        func.coalesce(_utc_day(session), literal("")),
        Vote.skipped.expression,
    ]


def _sums() -> list[ColumnElement[Any]]:
    # An annotation has one person and one day, so that its number is counted once in all.
    return [
        func.count(),
        func.count(Vote.annotation_id.distinct()),
        func.coalesce(func.sum(Vote.lead_time), literal(0.0)),
        func.count(Vote.lead_time),
    ]


def _utc_day(session: Session) -> ColumnElement[Any]:
    if session.get_bind().dialect.name == "postgresql":
        # Else the day would be that of the database's own time zone.
        return func.to_char(func.timezone("UTC", Vote.created_at), "YYYY-MM-DD")
    # Kept in UTC as text: its day is its beginning, which is quicker than to parse it.
    return func.substr(cast(Vote.created_at, String), 1, 10)
