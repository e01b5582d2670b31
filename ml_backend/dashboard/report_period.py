"""The time that a report is about, and what happened in it; read from kept figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from ml_backend.dashboard.progress_rows import POINT_COLUMNS, Progress, point_rows
from ml_backend.store.database import Store
from ml_backend.store.tables import Project

LONGEST = 366
"""Days of a period; counts of older days are kept once a week only."""
MOST_SHOWN = 62
"""Days of a plot."""
CHANGES = {
    "labelled": "Galaxies with an answer",
    "retired": "Galaxies retired (answers enough)",
    "expert": "Galaxies with experts",
    "doubt": "Galaxies in doubt",
}
"""Counts of galaxies that a report follows, and what it calls them."""


@dataclass(frozen=True)
class Period:
    """Whole UTC days up to today, which is not over; and as many days before them.

    Attributes
    ----------
    first : date
    now : datetime
    """

    first: date
    now: datetime

    @property
    def last(self) -> date:
        """Today (UTC)."""
        return self.now.astimezone(UTC).date()

    @property
    def days(self) -> int:
        """How many days it has, today counted."""
        return (self.last - self.first).days + 1

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def before(self) -> date:
        """The first day of the period before."""
        return self.first - timedelta(days=self.days)

    @property
    def with_before(self) -> list[date]:
        """The days of the period before and of this one, at most `MOST_SHOWN`."""
        first = max(self.before, self.last - timedelta(days=MOST_SHOWN - 1))
        return [first + timedelta(days=at) for at in range((self.last - first).days + 1)]


def period_of(now: datetime, days: int = 7, since: date | None = None) -> Period:
    """Return the period of the last `days` days, or from the day `since` on.

    Raises
    ------
    ValueError
        It has no day yet, or more than `LONGEST`.
    """
    today = now.astimezone(UTC).date()
    first = since if since is not None else today - timedelta(days=min(days, LONGEST + 1) - 1)
    if first > today:
        raise ValueError(f"{first} is still to come; today is {today} (UTC).")
    if (today - first).days >= LONGEST:
        raise ValueError(f"A report covers at most {LONGEST} days, so {today} minus that.")
    return Period(first, now)


@dataclass(frozen=True)
class Change:
    """One line of what happened: the state now, what the period added, and the one before.

    None: not known. `at_least`: the period before counts only the busiest people.
    """

    name: str
    said: str
    now: int | None
    during: int | None
    before: int | None
    at_least: bool = False


def changes(
    store: Store,
    project: Project,
    period: Period,
    progress: Progress,
    people: Mapping[str, Any] | None,
) -> list[Change]:
    """Return what happened: votes, people at work, and galaxies by state.

    Parameters
    ----------
    store : Store
    project : Project
    period : Period
    progress : Progress
    people : mapping or None
        The kept figure ``people``.
    """
    counts = progress.counts
    votes = [
        sum(sum(row.values()) for day, row in progress.days.items() if first <= day < end)
        for first, end in (
            (period.first, period.last + timedelta(days=1)),
            (period.before, period.first),
        )
    ]
    found = [Change("votes", "Votes", counts["votes"], votes[0], votes[1])]
    if people is not None:
        found.append(_at_work(people, period))
    points = [dict(zip(POINT_COLUMNS, row, strict=True)) for row in point_rows(store, project.id)]
    start = _state(points, project, period.start)
    earlier = _state(points, project, period.start - timedelta(days=period.days))
    for name, said in CHANGES.items():
        if name == "expert" and not progress.crowded:
            continue
        before = None
        if start is not None and earlier is not None and project.created_at < period.start:
            before = start[name] - earlier[name]
        found.append(
            Change(
                name, said, counts[name], None if start is None else counts[name] - start[name],
                before,
            )
        )  # fmt: skip
    return found


def votes_by_person(people: Mapping[str, Any], period: Period) -> dict[str, int] | None:
    """Return the answers of the busiest people in the period; None where not kept for so long."""
    kept_from, busiest, _ = counted_days(people["days"])
    if kept_from > period.first:
        return None
    return {**dict.fromkeys(busiest, 0), **_counted(people, period.first, period.last)[0]}


def counted_days(days: Mapping[str, Any]) -> tuple[date, list[str], list[list[int]]]:
    """Return the first day that is kept, the busiest people, and the counts by person and day.

    One row more than people is that of everybody else.
    """
    people = [str(who) for who in days["people"]]
    counts = [[int(count) for count in row] for row in days["counts"]]
    return date.fromisoformat(days["first"]), people, counts


def _state(
    points: Sequence[Mapping[str, Any]], project: Project, when: datetime
) -> dict[str, int] | None:
    """The counts at a time: zeros before the project was connected, None where not kept."""
    found = None
    for point in points:
        if datetime.fromisoformat(str(point["at"])) >= when:
            break
        found = point
    if found is None:
        return dict.fromkeys(CHANGES, 0) if project.created_at >= when else None
    return {name: int(found.get(name) or 0) for name in CHANGES}


def _at_work(people: Mapping[str, Any], period: Period) -> Change:
    seen = [str(one["last_seen"]) for one in people["people"] if one.get("last_seen")]
    during = sum(datetime.fromisoformat(at) >= period.start for at in seen)
    before, rest = _counted(people, period.before, period.first - timedelta(days=1))
    known = counted_days(people["days"])[0] <= period.before
    return Change(
        "people", "People at work", len(people["people"]), during,
        len(before) if known else None, at_least=rest > 0,
    )  # fmt: skip


def _counted(people: Mapping[str, Any], first: date, last: date) -> tuple[dict[str, int], int]:
    """Answers by person from a first to a last day, and those of everybody else."""
    kept_from, busiest, counts = counted_days(people["days"])
    start = max((first - kept_from).days, 0)
    end = max((last - kept_from).days + 1, 0)
    sums = [sum(row[start:end]) for row in counts]
    named = {who: count for who, count in zip(busiest, sums, strict=False) if count > 0}
    return named, sum(sums[len(busiest) :])
