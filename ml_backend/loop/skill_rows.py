"""Rows of skills: how reliable each person is, from the crowds of choices and numbers and golds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from ml_backend.labelstudio.config import LabelConfig, NumberControl, RatingControl
from ml_backend.labelstudio.typed import TypedAnswer, restored
from ml_backend.loop.consensus import LEAST_CHECKED
from ml_backend.loop.crowd_views import View
from ml_backend.loop.number_crowds import AgreedNumbers, agree_on_numbers, period_of
from ml_backend.loop.typed_votes import typed_votes
from ml_backend.store.crowd_tables import Gold, OutsideVote
from ml_backend.store.database import Store
from ml_backend.store.tables import Vote

_Tried = dict[tuple[str, str], dict[int, bool]]


def skill_rows(
    store: Store, project_id: int, config: LabelConfig, views: Mapping[str, View]
) -> list[dict[str, Any]]:
    """Return all rows of `Skill` of a project but their project and time.

    Where no crowd tells how reliable a person is, a person who was tried on known answers has a
    row all the same, without reliability.

    Parameters
    ----------
    store : Store
    project_id : int
    config : LabelConfig
    views : mapping of control to View
        Of lists of choices.
    """
    rows = [row for name, view in views.items() for row in view.skill_rows(name)]
    with store.reading() as session:
        tried = _tried(session, project_id)
        have = {(row["control"], row["person"]) for row in rows}
        rows += _only_tried(session, project_id, [key for key in tried if key not in have])
    for row in rows:
        found = tried.get((row["control"], row["person"]), {})
        row["golds"], row["golds_right"] = len(found), sum(found.values())
    for control in config.answered:
        if isinstance(control, RatingControl | NumberControl) and not control.per_region:
            rows += _of_numbers(store, project_id, control)
    return rows


def _tried(session: Session, project_id: int) -> _Tried:
    """Whether each person was right on known choices: by control and person, then by task.

    Of several answers of one person to one task the latest counts.
    """
    right = select(Gold.task_id).where(Gold.project_id == project_id, Gold.answer.is_(None))
    if session.execute(right.limit(1)).first() is None:
        return {}
    found: _Tried = {}
    asked: tuple[tuple[Any, Any, Any], ...] = (
        (Vote, Vote.annotator, (Vote.updated_at, Vote.annotation_id)),
        (OutsideVote, OutsideVote.person, (OutsideVote.created_at, OutsideVote.id)),
    )
    for table, who, order in asked:
        query = (
            select(table.control, who, table.task_id, table.labels, Gold.labels.label("right"))
            .join(
                Gold,
                and_(
                    Gold.project_id == table.project_id,
                    Gold.task_id == table.task_id,
                    Gold.control == table.control,
                ),
            )
            .where(table.project_id == project_id, Gold.answer.is_(None), who.is_not(None))
            .order_by(*order)
        )
        if table is Vote:
            # Whoever gave the known answer is not tried on it, nor is who flagged another one.
            own = or_(Gold.annotation_id.is_(None), Gold.annotation_id != Vote.annotation_id)
            query = query.where(~Vote.skipped, ~Vote.ground_truth, own)
        for control, person, task, labels, known in session.execute(query):
            key = control, _named(person)
            found.setdefault(key, {})[task] = set(labels) == set(known)
    return found


def _only_tried(
    session: Session, project_id: int, keys: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Rows of people of whom nothing is known but what they said on known answers."""
    if not keys:
        return []
    counts: dict[tuple[str, str], int] = {}
    for table, who in ((Vote, Vote.annotator), (OutsideVote, OutsideVote.person)):
        query = (
            select(table.control, who, func.count(table.task_id.distinct()))
            .where(table.project_id == project_id, who.is_not(None))
            .where(table.control.in_({control for control, _ in keys}))
            .group_by(table.control, who)
        )
        if table is Vote:
            query = query.where(~Vote.skipped)
        for row in session.execute(query):
            counts[row[0], _named(row[1])] = row[2]
    return [
        {
            "control": control,
            "person": person,
            "votes": counts.get((control, person), 0),
            "reliability": None,
            "low": None,
            "high": None,
            "details": {},
        }
        for control, person in sorted(keys)
    ]


def _named(person: int | str | None) -> str:
    return person[:200] if isinstance(person, str) else f"person {person}"


def _of_numbers(
    store: Store, project_id: int, control: RatingControl | NumberControl
) -> list[dict[str, Any]]:
    """Bias and scatter of each person at one control.

    As with choices, nothing is said of people before `LEAST_CHECKED` tasks have something to hold
    an answer against. A number is not right or wrong, so that no golds are counted: they are in
    the bias.
    """
    with store.reading() as session:
        golds, givers = _known_numbers(session, project_id, control.name)
    agreed = agree_on_numbers(
        (
            (vote.task_id, vote.person, vote.answer)
            for vote in typed_votes(store, project_id, control.name)
            # Whoever gave the known answer is not tried on it.
            if (vote.task_id, vote.person) not in givers
        ),
        period_of(control),
        golds,
    )
    if _checked(agreed, golds) < LEAST_CHECKED:
        return []
    crowd = agreed.crowd
    return [
        {
            "control": control.name,
            "person": person[:200],
            "votes": int(crowd.answers[at]),
            "reliability": None,
            "low": None,
            "high": None,
            "golds": 0,
            "golds_right": 0,
            "details": {
                "bias": float(f"{crowd.bias[at]:.4g}"),
                "bias_error": float(f"{crowd.bias_error[at]:.4g}"),
                "scatter": float(f"{crowd.scatter[at]:.4g}"),
            },
        }
        for at, person in enumerate(agreed.people)
    ]


def _known_numbers(
    session: Session, project_id: int, control: str
) -> tuple[list[tuple[int, TypedAnswer]], set[tuple[int, str]]]:
    """Return the known answers to one control, and (task, person) of those who gave them."""
    golds = session.execute(
        select(Gold.task_id, Gold.answer, Gold.annotation_id).where(
            Gold.project_id == project_id, Gold.control == control, Gold.answer.is_not(None)
        )
    ).all()
    found = []
    for gold in golds:
        try:
            found.append((gold.task_id, restored(control, gold.answer)))
        except ValueError:  # written by another version of us
            continue
    sources = [gold.annotation_id for gold in golds if gold.annotation_id is not None]
    givers = session.execute(
        select(Vote.task_id, Vote.annotator).where(
            Vote.project_id == project_id,
            Vote.control == control,
            or_(Vote.ground_truth, Vote.annotation_id.in_(sources)),
        )
    )
    return found, {(task, f"person {person}") for task, person in givers}


def _checked(agreed: AgreedNumbers, golds: Sequence[tuple[int, TypedAnswer]]) -> int:
    known = np.isin(agreed.tasks, [task for task, _ in golds])
    return int(((agreed.crowd.counts > 1) | (known & (agreed.crowd.counts > 0))).sum())
