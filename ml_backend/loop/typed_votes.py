"""Typed votes: what people marked or measured, written into votes and read back identical."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import select

from ml_backend.labelstudio.config import ChoicesControl, Control, LabelConfig, RegionControl
from ml_backend.labelstudio.reading import read_answers
from ml_backend.labelstudio.typed import TypedAnswer, kept, restored
from ml_backend.loop.person import person_of
from ml_backend.store.crowd_tables import OutsideVote
from ml_backend.store.database import Store
from ml_backend.store.tables import Vote

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TypedVote:
    """One person's latest answer to one control on one task.

    Attributes
    ----------
    task_id : int
    person : str
        Who answered; any stable name.
    answer : TypedAnswer
    at : float
        When, in seconds since 1970; 0 where it is not known.
    """

    task_id: int
    person: str
    answer: TypedAnswer
    at: float = 0.0


def typed_controls(config: LabelConfig) -> tuple[Control, ...]:
    """Return the answered controls whose votes are more than labels."""
    return tuple(
        control
        for control in config.answered
        if control.per_region or not isinstance(control, ChoicesControl)
    )


def typed_rows(
    annotation: Mapping[str, Any],
    config: LabelConfig,
    suggested: Mapping[str, Mapping[str, Any]],
    would: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the columns of an annotation's typed votes, by control.

    Parameters
    ----------
    annotation : mapping
        As Label Studio lists it; nothing in it makes this fail.
    config : LabelConfig
    suggested : mapping of control to mapping
        What the version on show had said, as rankings keep it: `kept` answers under ``answer``.
        A snapshot of the prediction in the annotation itself goes before it.
    would : mapping of control to mapping, optional
        The same of what it had to say, shown or not; by default `suggested`.

    Returns
    -------
    dict
        None of a tag without regions ("nothing there") where what a person asked the backend with
        (``smartOnly``) is left in the annotation: its suggestion was not accepted, only forgotten.
    """
    controls = typed_controls(config)
    if not controls:
        return {}
    asked = [c for c in config.understood if isinstance(c, RegionControl) and c.prompt_only]
    reading = read_answers(annotation, config, (*controls, *asked))
    # Who asked for an object, and did not accept it, does not say that there is none.
    prompts = {control.name for control in asked}
    asking = any(found.items for found in reading.answers if found.control in prompts)
    snapshot = annotation.get("prediction")
    told = snapshot.get("result") if isinstance(snapshot, Mapping) else None
    shown = _restored(suggested)
    had = shown if would is None else _restored(would)
    # Without a region in it, the snapshot is that of a suggestion that was held back.
    if isinstance(snapshot, Mapping) and isinstance(told, list) and told:
        shown = {found.control: found for found in read_answers(snapshot, config, controls).answers}
    wanted = {control.name for control in controls}
    regions = {control.name for control in controls if isinstance(control, RegionControl)}
    rows: dict[str, dict[str, Any]] = {}
    for answer in reading.answers:
        name = answer.control
        if name not in wanted or (asking and name in regions and not answer.items):
            continue
        problems = [told for told in reading.problems if repr(name) in told]
        accepted = answer.same_as(shown[name]) if name in shown else None
        rows[name] = {
            "labels": list(answer.labels),
            "answer": kept(answer),
            "skipped": False,
            "origin": answer.origin,
            "accepted": accepted,
            "agrees": answer.same_as(had[name]) if name in had else accepted,
            "problem": None if answer.complete else "; ".join(problems)[:2000] or None,
        }
    return rows


def _restored(told: Mapping[str, Mapping[str, Any]]) -> dict[str, TypedAnswer]:
    found: dict[str, TypedAnswer] = {}
    for name, answer in told.items():
        if "answer" in answer:
            with contextlib.suppress(ValueError):  # written by another version of us
                found[name] = restored(name, answer["answer"])
    return found


def typed_votes(store: Store, project_id: int, control: str) -> list[TypedVote]:
    """Return what people said of one control, the latest answer of each person on each task.

    Ordered by task, then person. Skips are left out; a person without a name is told apart by the
    annotation.
    """
    votes = []
    for vote in kept_votes(store, project_id, control):
        try:
            answer = restored(control, vote.answer)
        except ValueError as error:
            # Written by another version of us: it costs one vote, not every round.
            _log.warning("vote_not_read", task=vote.task_id, reason=str(error))
            continue
        votes.append(TypedVote(vote.task_id, vote.person, answer, vote.at))
    return votes


@dataclass(frozen=True)
class KeptVote:
    """A `TypedVote` whose answer is still as it is `kept`: small, whatever was painted."""

    task_id: int
    person: str
    answer: dict[str, Any]
    at: float = 0.0


def kept_votes(store: Store, project_id: int, control: str) -> list[KeptVote]:
    """Return the votes of `typed_votes`, their answers not yet restored."""
    with store.reading() as session:
        rows = session.execute(
            select(
                Vote.task_id, Vote.annotator, Vote.annotation_id, Vote.answer, Vote.updated_at
            ).where(
                Vote.project_id == project_id,
                Vote.control == control,
                ~Vote.skipped,
                Vote.answer.is_not(None),
            )
        ).all()
        outside = session.execute(
            select(
                OutsideVote.task_id,
                OutsideVote.person,
                OutsideVote.id,
                OutsideVote.answer,
                OutsideVote.created_at,
            ).where(
                OutsideVote.project_id == project_id,
                OutsideVote.control == control,
                OutsideVote.answer.is_not(None),
            )
        ).all()
    latest: dict[tuple[int, str], tuple[float, int, dict[str, Any]]] = {}
    for row in rows:
        person = person_of(row.annotator, row.annotation_id)
        at = row.updated_at.timestamp() if row.updated_at else 0.0
        key = row.task_id, person
        if key not in latest or (at, row.annotation_id) > latest[key][:2]:
            latest[key] = at, row.annotation_id, row.answer
    for told in outside:
        at = told.created_at.timestamp() if told.created_at else 0.0
        if (at, told.id) > latest.get((told.task_id, told.person), (-1.0, 0, {}))[:2]:
            latest[told.task_id, told.person] = at, told.id, told.answer
    return [
        KeptVote(task_id, person, made, at)
        for (task_id, person), (at, _, made) in sorted(latest.items(), key=lambda entry: entry[0])
    ]
