"""What the Progress page shows, read from the kept figures; broken ones are as if not there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from ml_backend.dashboard.people_rows import pseudonym
from ml_backend.loop.progress_points import points_of
from ml_backend.store.database import Store
from ml_backend.store.figures import kept_figure

COUNTS = {
    "labelled": "labelled: at least one answer",
    "retired": "retired: answers enough",
    "doubt": "in doubt: answered, more answers wanted",
    "expert": "with experts: the crowd cannot tell",
    "remaining": "remaining: no answer yet",
    "unusable": "unusable images",
}
"""Counts in the order of the page, and what each means."""
CLASS_COLUMNS = ("control", "label", "people", "model")
PEOPLE_COLUMNS = ("person", "votes", "skips", "seconds", "days", "first", "last")
POINT_COLUMNS = (
    "at", "version", "votes", "tasks", "labelled", "retired", "doubt", "expert", "remaining",
    "unusable", "expected_accuracy",
)  # fmt: skip
MOST_DAYS = 1500
"""Days without votes are filled in for so long a time at most; a wrong clock makes centuries."""
_USER = re.compile("person [0-9]+")


@dataclass(frozen=True)
class ClassRow:
    """One label: how many galaxies people call so, and the model of the others (None: not told)."""

    label: str
    people: int
    model: float | None


@dataclass(frozen=True)
class Progress:
    """The figure ``progress``, checked.

    Attributes
    ----------
    at : datetime
    counts : dict of str to int
    crowded : bool
        Verdicts on votes are given: galaxies may be asked about several times.
    classes : dict of str to list of ClassRow
        By control.
    by : dict of str to str
        ``posterior`` or ``votes``, by control.
    people : list of dict
    days : dict of date to dict of str to int
        Votes by person, days without votes included, by day.
    expected : float or None
    sampled, unanswered : int
        Galaxies that the model was asked about, and all without an answer.
    changes : list of dict
    """

    at: datetime
    counts: dict[str, int]
    crowded: bool = False
    classes: dict[str, list[ClassRow]] = field(default_factory=dict)
    by: dict[str, str] = field(default_factory=dict)
    people: list[dict[str, Any]] = field(default_factory=list)
    days: dict[date, dict[str, int]] = field(default_factory=dict)
    expected: float | None = None
    sampled: int = 0
    unanswered: int = 0
    changes: list[dict[str, Any]] = field(default_factory=list)


def read_progress(store: Store, project_id: int) -> tuple[Progress | None, bool]:
    """Return the figure, and whether there is one that cannot be read; people are ``person 12``."""
    kept = kept_figure(store, project_id, "progress")
    if kept is None:
        return None, False
    try:
        return _progress(kept.at, kept.data), False
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None, True


def read_under_pseudonyms(store: Store, project_id: int) -> tuple[Progress | None, bool]:
    """Return what `read_progress` does, with people called as the People page calls them."""
    progress, broken = read_progress(store, project_id)
    if progress is not None:
        progress = _under_pseudonyms(progress, store.dashboard_secret(), project_id)
    return progress, broken


def _under_pseudonyms(progress: Progress, secret: str, project_id: int) -> Progress:
    """Call Label Studio's users by pseudonyms; sums of people keep their names.

    Two people whose pseudonyms fall together are told apart by a number.
    """
    names = [one["person"] for one in progress.people]
    names += [name for row in progress.days.values() for name in row]
    shown, taken = dict[str, str](), dict[str, int]()
    for name in dict.fromkeys(names):
        said = pseudonym(secret, project_id, name) if _USER.fullmatch(name) else name
        taken[said] = taken.get(said, 0) + 1
        shown[name] = said if taken[said] == 1 else f"{said}-{taken[said]}"
    return replace(
        progress,
        people=[{**one, "person": shown[one["person"]]} for one in progress.people],
        days={
            day: {shown[name]: count for name, count in row.items()}
            for day, row in progress.days.items()
        },
    )


def class_rows(progress: Progress) -> list[tuple[Any, ...]]:
    """Return the table of classes, as its CSV file has it."""
    return [
        (control, row.label, row.people, row.model)
        for control, rows in progress.classes.items()
        for row in rows
    ]


def people_rows(progress: Progress) -> list[tuple[Any, ...]]:
    """Return the table of people, as its CSV file has it."""
    return [
        (one["person"], *(one.get(name) for name in PEOPLE_COLUMNS[1:])) for one in progress.people
    ]


def point_rows(store: Store, project_id: int) -> list[tuple[Any, ...]]:
    """Return the progress points by time, as their CSV file has them; broken ones are left out."""
    with store.reading() as session:
        points = points_of(session, project_id)
    found: list[tuple[Any, ...]] = []
    for point in points:
        data = point.data if isinstance(point.data, Mapping) else {}
        counts = data.get("counts")
        if not isinstance(counts, Mapping):
            continue
        told = {**counts, "at": point.at.isoformat(timespec="seconds")}
        told |= {name: data.get(name) for name in ("version", "expected_accuracy")}
        found.append(tuple(told.get(name) for name in POINT_COLUMNS))
    return found


def _progress(at: datetime, data: Mapping[str, Any]) -> Progress:
    counts = {str(name): int(count) for name, count in data["counts"].items()}
    for name in ("tasks", "votes", "skips", *COUNTS):
        counts.setdefault(name, 0)
    expected = data.get("expected_accuracy")
    return Progress(
        at=at,
        counts=counts,
        crowded=bool(data.get("crowded")),
        classes={str(n): _classes(one) for n, one in (data.get("classes") or {}).items()},
        by={str(n): str(one.get("by", "")) for n, one in (data.get("classes") or {}).items()},
        people=[
            {**one, "person": str(one["person"]), "votes": int(one["votes"])}
            for one in data.get("people") or []
        ],
        days=_filled(data.get("days") or {}),
        expected=None if expected is None else float(expected),
        sampled=int(data.get("sampled") or 0),
        unanswered=int(data.get("unanswered") or 0),
        changes=[dict(one) for one in data.get("changes") or []],
    )


def _classes(told: Mapping[str, Any]) -> list[ClassRow]:
    labels, people = told["labels"], told["people"]
    model: Sequence[Any] = told.get("model") or [None] * len(labels)
    return [
        ClassRow(str(label), int(count), None if guess is None else float(guess))
        for label, count, guess in zip(labels, people, model, strict=True)
    ]


def _filled(told: Mapping[str, Mapping[str, Any]]) -> dict[date, dict[str, int]]:
    days = {
        date.fromisoformat(day): {str(who): int(count) for who, count in row.items()}
        for day, row in told.items()
    }
    if not days:
        return {}
    first, last = min(days), max(days)
    if (last - first).days <= MOST_DAYS:
        for at in range((last - first).days):
            days.setdefault(first + timedelta(days=at), {})
    return dict(sorted(days.items()))
