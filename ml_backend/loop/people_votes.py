"""Votes of a project as arrays, for what is told of people; a million of them take seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import DateTime, Text, cast, select, type_coerce

from ml_backend.store.crowd_tables import OutsideVote
from ml_backend.store.database import Store
from ml_backend.store.tables import Vote

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_PART = 50_000


@dataclass(frozen=True)
class PeopleVotes:
    """Votes and skips of all people, one row for each annotation and control.

    Votes from outside have annotations below 0, in the order of their time.

    Attributes
    ----------
    persons, controls, answers, versions : tuple of str
        What the codes below mean. An answer is the JSON of its labels in alphabetic order; a
        version that is not known is "".
    person, control, answer, version, task, annotation : int64 [v]
    skipped, audit, known : bool [v]
        `known`: flagged as the known answer, so no vote.
    accepted, agrees : int8 [v]
        1, 0, or -1 where it is not told (see `Vote`).
    at : float64 [v]
        When it was submitted, in seconds since 1970; NaN where that is not known.
    lead : float64 [v]
        Seconds taken; NaN where they are not known.
    """

    persons: tuple[str, ...]
    controls: tuple[str, ...]
    answers: tuple[str, ...]
    versions: tuple[str, ...]
    person: Ids
    control: Ids
    answer: Ids
    version: Ids
    task: Ids
    annotation: Ids
    skipped: Bools
    audit: Bools
    known: Bools
    accepted: npt.NDArray[np.int8]
    agrees: npt.NDArray[np.int8]
    at: Doubles
    lead: Doubles

    def __len__(self) -> int:
        return len(self.person)

    @property
    def counted(self) -> Bools:
        """Answers: neither skips nor known answers, [v]."""
        return ~self.skipped & ~self.known

    @property
    def submissions(self) -> Ids:
        """One row of each annotation, in the order of their numbers."""
        return np.unique(self.annotation, return_index=True)[1]

    @property
    def sources(self) -> Ids:
        """Where each person answers, [p]: the same number for all of Label Studio's users.

        Seconds are comparable only there: another site shows other pages.
        """
        names = [name.split(" ", 1)[0] for name in self.persons]
        return np.unique(names, return_inverse=True)[1] if names else np.zeros(0, np.int64)


class _Codes:
    """Values as numbers, in the order in which they come; `same` makes one of several forms."""

    def __init__(self, same: Callable[[Any], Any] | None = None) -> None:
        self._places: dict[Any, int] = {}
        self._forms: dict[Any, int] = {}
        self._same = same

    def of(self, values: tuple[Any, ...]) -> Ids:
        return np.array([self._code(value) for value in values], np.int64)

    def _code(self, value: Any) -> int:
        code = self._forms.get(value)
        if code is None:
            made = value if self._same is None else self._same(value)
            code = self._forms[value] = self._places.setdefault(made, len(self._places))
        return code

    def names(self, said: Callable[[Any], str] = str) -> tuple[str, ...]:
        return tuple(said(value) for value in self._places)


def people_votes(store: Store, project_id: int) -> PeopleVotes:
    """Read all votes and skips of a project that tell who gave them, also from outside.

    Where Label Studio tells nobody, an annotation is left out: nothing can be said of a person of
    whom there is one annotation.
    """
    persons, controls, versions, answers = _Codes(), _Codes(), _Codes(), _Codes(_sorted)
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    query = select(
        Vote.annotator,
        Vote.control,
        cast(Vote.labels, Text),
        Vote.shown_version,
        Vote.task_id,
        Vote.annotation_id,
        Vote.skipped,
        Vote.audit,
        Vote.ground_truth,
        Vote.accepted,
        Vote.agrees,
        type_coerce(Vote.created_at, DateTime(timezone=True)),
        Vote.lead_time,
    ).where(Vote.project_id == project_id, Vote.annotator.is_not(None))
    with store.reading() as session:
        for rows in session.execute(query).partitions(_PART):
            c = list(zip(*rows, strict=True))
            parts.append(
                (
                    persons.of(c[0]),
                    controls.of(c[1]),
                    answers.of(c[2]),
                    versions.of(c[3]),
                    np.array(c[4], np.int64),
                    np.array(c[5], np.int64),
                    *(np.array(column, np.bool_) for column in c[6:9]),
                    *(_told(column) for column in c[9:11]),
                    np.array([_seconds(time) for time in c[11]]),
                    np.array(c[12], np.float64),
                )
            )
        outside = select(
            OutsideVote.source,
            OutsideVote.classification,
            OutsideVote.person,
            OutsideVote.control,
            cast(OutsideVote.labels, Text),
            OutsideVote.task_id,
            type_coerce(OutsideVote.created_at, DateTime(timezone=True)),
            OutsideVote.lead_time,
        ).where(OutsideVote.project_id == project_id)
        told = session.execute(outside.order_by(OutsideVote.created_at, OutsideVote.id)).all()
    if told:
        c = list(zip(*told, strict=True))
        submission = _Codes().of(tuple(zip(c[0], c[1], strict=True)))
        nothing, unknown = np.zeros(len(told), np.bool_), np.full(len(told), -1, np.int8)
        parts.append(
            (
                persons.of(c[2]),
                controls.of(c[3]),
                answers.of(c[4]),
                versions.of((None,) * len(told)),
                np.array(c[5], np.int64),
                submission - submission.max() - 1,
                *(nothing, nothing, nothing, unknown, unknown),
                np.array([_seconds(time) for time in c[6]]),
                np.array(c[7], np.float64),
            )
        )
    columns = [np.concatenate(found) for found in zip(*parts, strict=True)] if parts else _NONE
    return PeopleVotes(
        persons.names(lambda one: one if isinstance(one, str) else f"person {one}"),
        controls.names(),
        answers.names(),
        versions.names(lambda name: name or ""),
        *columns,
    )


_NONE: list[npt.NDArray[Any]] = [
    *(np.zeros(0, np.int64) for _ in range(6)),
    *(np.zeros(0, np.bool_) for _ in range(3)),
    *(np.zeros(0, np.int8) for _ in range(2)),
    *(np.zeros(0) for _ in range(2)),
]


def _sorted(labels: str) -> str:
    """The same labels, however they were ticked, are the same answer."""
    return json.dumps(sorted(json.loads(labels)))


def _told(column: tuple[bool | None, ...]) -> npt.NDArray[np.int8]:
    return np.array([-1 if value is None else value for value in column], np.int8)


def _seconds(time: datetime | None) -> float:
    if time is None:
        return float("nan")
    # SQLite gives a time without its zone.
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
