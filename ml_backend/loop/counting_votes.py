"""The votes that count, as the store has them, and the known answers beside them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import DateTime, Text, cast, select, type_coerce
from sqlalchemy.orm import Session

from ml_backend.labelstudio.config import ChoicesControl
from ml_backend.loop.consensus import CastVote
from ml_backend.loop.person import person_of
from ml_backend.store.crowd_tables import Gold, OutsideVote
from ml_backend.store.tables import Vote


class CountingVote(NamedTuple):
    """An answer that counts, of Label Studio or from outside (its names are texts then)."""

    annotation_id: int | str
    control: str
    task_id: int
    annotator: int | str | None
    labels: tuple[str, ...]
    at: float
    """When, in seconds since 1970; 0 where that is not known."""


def _seconds(time: datetime | None) -> float:
    if time is None:
        return 0.0
    # SQLite gives a time without its zone.
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def counting_votes(
    session: Session, project_id: int, controls: Sequence[ChoicesControl]
) -> list[CountingVote]:
    """Return the votes that count, by annotation and control, then those from outside.

    Left out are skips, and votes on controls or labels that are none of `controls`'.
    """
    labels = {control.name: set(control.labels) for control in controls}
    # As text, and each answer read once: a million of them are a few different ones.
    rows = session.execute(
        select(
            Vote.annotation_id,
            Vote.control,
            Vote.task_id,
            Vote.annotator,
            cast(Vote.labels, Text),
            type_coerce(Vote.updated_at, DateTime(timezone=True)),
        )
        .where(Vote.project_id == project_id, ~Vote.skipped)
        .order_by(Vote.annotation_id, Vote.control)
    )
    found: list[CountingVote] = []
    known: dict[tuple[str, str], tuple[str, ...] | None] = {}
    for annotation_id, control, task_id, annotator, text, at in rows:
        key = control, text
        if key not in known:
            said = tuple(json.loads(text))
            named = control in labels and (not said or labels[control] & set(said))
            known[key] = said if named else None
        told = known[key]
        if told is not None:
            found.append(
                CountingVote(annotation_id, control, task_id, annotator, told, _seconds(at))
            )
    return found + [
        vote
        for vote in _outside(session, project_id)
        if vote.control in labels and (not vote.labels or labels[vote.control] & set(vote.labels))
    ]


def _outside(session: Session, project_id: int) -> list[CountingVote]:
    """Return the choices among the votes from outside; tasks that are gone have none."""
    rows = session.execute(
        select(
            OutsideVote.source,
            OutsideVote.classification,
            OutsideVote.control,
            OutsideVote.task_id,
            OutsideVote.person,
            OutsideVote.labels,
            OutsideVote.created_at,
        )
        .where(OutsideVote.project_id == project_id, OutsideVote.answer.is_(None))
        .order_by(OutsideVote.id)
    )
    return [
        CountingVote(
            f"{row.source} {row.classification}",
            row.control,
            row.task_id,
            row.person,
            tuple(row.labels),
            _seconds(row.created_at),
        )
        for row in rows
    ]


def known_answers(
    session: Session, project_id: int
) -> tuple[dict[tuple[int, str], tuple[str, ...]], frozenset[int]]:
    """Return the known answers to lists of choices, and the annotations that they come from."""
    rows = session.execute(
        select(Gold.task_id, Gold.control, Gold.labels, Gold.annotation_id).where(
            Gold.project_id == project_id, Gold.answer.is_(None)
        )
    ).all()
    flagged = session.scalars(
        select(Vote.annotation_id).where(Vote.project_id == project_id, Vote.ground_truth)
    ).all()
    return (
        {(row.task_id, row.control): tuple(row.labels) for row in rows},
        frozenset(row.annotation_id for row in rows if row.annotation_id is not None)
        | frozenset(flagged),
    )


def cast_votes(votes: Iterable[CountingVote], sources: Collection[int] = ()) -> list[CastVote]:
    """Return votes from `counting_votes` as the consensus takes them.

    Parameters
    ----------
    votes : iterable of CountingVote
    sources : collection of int
        Annotations that known answers come from.
    """
    return [
        CastVote(
            vote.task_id,
            person_of(vote.annotator, vote.annotation_id),
            vote.control,
            vote.labels,
            vote.at,
            is_known=vote.annotation_id in sources,
        )
        for vote in votes
    ]
