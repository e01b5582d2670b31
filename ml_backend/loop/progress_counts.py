"""Counts of a project by the database: tasks by state, votes by day and by person.

Tasks and verdicts are counted in indices, votes are in kept tallies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Date, cast, func, select
from sqlalchemy.orm import Session

from ml_backend.store.crowd_tables import OutsideVote, Verdict
from ml_backend.store.dashboard_tables import VoteTally
from ml_backend.store.tables import Task
from ml_backend.store.vote_tallies import NOBODY

MOST_IN_PLOT = 7
"""People with a series of their own in the votes per day; all others are one."""
OTHERS = "others"


@dataclass
class PersonCounts:
    """One person's votes: of a Label Studio user, of nobody known, or of an outside source."""

    person: str
    votes: int = 0
    skips: int = 0
    seconds: float = 0.0
    timed: int = 0
    days: dict[str, int] = field(default_factory=dict)
    """Votes by UTC day (``2026-11-23``)."""

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON, without the days."""
        return {
            "person": self.person,
            "votes": self.votes,
            "skips": self.skips,
            "seconds": round(self.seconds / self.timed, 2) if self.timed else None,
            "days": sum(count > 0 for count in self.days.values()),
            "first": min(self.days, default=None),
            "last": max(self.days, default=None),
        }


def task_counts(session: Session, project_id: int) -> dict[str, int]:
    """Count tasks: ``tasks``, ``unusable``, ``done`` (Label Studio serves them no more), and by
    verdict ``retired``, ``expert`` and ``open`` (asked about, and more votes are wanted).
    """
    mine = (Task.project_id == project_id, ~Task.removed)

    def count(*further: ColumnElement[bool]) -> int:
        return int(session.scalar(select(func.count()).where(*mine, *further)) or 0)

    found = _verdicts(session, project_id)
    return {
        "tasks": count(),
        "unusable": count(Task.problem.is_not(None)),
        "done": count(Task.is_labeled.expression),
        **{state: found.get(state, 0) for state in ("retired", "expert", "open")},
    }


def _verdicts(session: Session, project_id: int) -> dict[str, int]:
    """Count the verdicts of tasks that are there: of all, less those of the few that are gone."""
    asked = (Verdict.project_id == project_id, Verdict.people > 0)
    query = select(Verdict.state, func.count()).where(*asked).group_by(Verdict.state)
    found = {str(state): int(count) for state, count in session.execute(query)}
    gone = select(Task.id).where(Task.project_id == project_id, Task.removed)
    for state, count in session.execute(query.where(Verdict.task_id.in_(gone))):
        found[str(state)] -= int(count)
    return found


def people_counts(session: Session, project_id: int) -> list[PersonCounts]:
    """Return votes and skips by person and UTC day, those with the most votes first.

    Those of Label Studio are as the tallies have them (see `store.vote_tallies`).
    """
    found: dict[str, PersonCounts] = {}
    told = (VoteTally.annotator, VoteTally.day, VoteTally.skipped, VoteTally.votes,
            VoteTally.seconds, VoteTally.timed)  # fmt: skip
    tallies = session.execute(select(*told).where(VoteTally.project_id == project_id)).all()
    for annotator, on, skipped, count, seconds, timed in tallies:
        name = "not known" if annotator == NOBODY else f"person {annotator}"
        one = found.setdefault(name, PersonCounts(name))
        _count(one, on or None, skipped, count, seconds, timed)
    day = _utc_day(session, OutsideVote.created_at)
    rows = session.execute(
        select(
            OutsideVote.source,
            day,
            func.count(),
            func.sum(OutsideVote.lead_time),
            func.count(OutsideVote.lead_time),
        )
        .where(OutsideVote.project_id == project_id)
        .group_by(OutsideVote.source, day)
    )
    for source, on, count, seconds, timed in rows:
        name = f"people of {source}"
        one = found.setdefault(name, PersonCounts(name))
        _count(one, on, False, int(count), seconds, int(timed))
    return sorted(found.values(), key=lambda person: (-person.votes, person.person))


def _count(
    one: PersonCounts, on: Any, skipped: bool, count: int, seconds: float | None, timed: int
) -> None:
    if skipped:
        one.skips += count
        return
    one.votes += count
    one.seconds += float(seconds or 0.0)
    one.timed += timed
    if on is not None:
        text = str(on)
        one.days[text] = one.days.get(text, 0) + count


def days_by_person(people: list[PersonCounts]) -> dict[str, dict[str, int]]:
    """Return the votes of each day by person, the busiest `MOST_IN_PLOT` by name."""
    named = {person.person for person in people[:MOST_IN_PLOT]}
    found: dict[str, dict[str, int]] = {}
    for person in people:
        name = person.person if person.person in named else OTHERS
        for day, count in person.days.items():
            row = found.setdefault(day, {})
            row[name] = row.get(name, 0) + count
    return dict(sorted(found.items()))


def votes_by_day(days: Mapping[str, Mapping[str, int]]) -> dict[date, float]:
    """Return the votes of each day; what is no day is left out."""
    found = {}
    for day, row in days.items():
        try:
            found[date.fromisoformat(day)] = float(sum(row.values()))
        except (ValueError, TypeError, AttributeError):
            continue
    return found


def _utc_day(session: Session, column: Any) -> ColumnElement[Any]:
    if session.get_bind().dialect.name == "postgresql":
        # Else the day would be that of the database's own time zone.
        return cast(func.timezone("UTC", column), Date)
    # Kept in UTC as text: its day is its beginning, which is quicker than to parse it.
    return func.substr(column, 1, 10)


def iso(time: datetime | None) -> str | None:
    """Return a time as kept in figures, to the second."""
    return time.isoformat(timespec="seconds") if time else None
