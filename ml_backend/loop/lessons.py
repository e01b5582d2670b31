"""Lessons: what people said that the head of a plan learns from, one row per task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.labelstudio.config import ChoicesControl, RegionControl
from ml_backend.labelstudio.typed import TypedAnswer
from ml_backend.loop.consensus import CastVote, Consensus
from ml_backend.loop.head_plan import HeadPlan
from ml_backend.loop.typed_votes import TypedVote, typed_votes
from ml_backend.store.database import Store
from models.answers import Answer, Labels
from models.opinions import Opinions


@dataclass(frozen=True)
class Lessons:
    """The answers to the controls of one plan.

    Attributes
    ----------
    task_ids : int64 [n]
        In rising order, each once.
    targets : [n]
        `Opinions`, or a table of counts or fractions, as the plan's head learns from.
    weights : float32 [n]
        People who answered; of lists of choices effective ones, as `Consensus.weights`.
    digests : int64 [n]
        Changes with the answers to the task.
    """

    task_ids: npt.NDArray[np.int64]
    targets: Any
    weights: npt.NDArray[np.float32]
    digests: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.task_ids)

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Lessons:
        """Return the rows marked in `chosen` [n]."""
        places = np.flatnonzero(chosen)
        targets = self.targets
        if isinstance(targets, np.ndarray):
            targets = targets[places]
        else:
            targets = [targets[place] for place in places]
        return Lessons(self.task_ids[places], targets, self.weights[places], self.digests[places])


def load_lessons(
    store: Store,
    project_id: int,
    plan: HeadPlan,
    agreed: Mapping[str, Consensus],
    cast: Sequence[CastVote],
) -> Lessons:
    """Read what people said of a plan's controls.

    Parameters
    ----------
    store : Store
    project_id : int
    plan : HeadPlan
    agreed : mapping of control to Consensus
        Of the lists of choices among its controls.
    cast : sequence of CastVote
        The votes behind them.
    """
    if plan.learns == "opinions":
        return _opinions(store, project_id, plan, cast)
    tables = [(control, agreed[control.name]) for control in plan.controls]
    tasks = np.unique(np.concatenate([votes.task_ids for _, votes in tables]))
    parts, said, people = [], [], np.zeros(len(tasks), np.float32)
    for _, votes in tables:
        rows = np.searchsorted(tasks, votes.task_ids)
        counts = np.zeros((len(tasks), len(votes.labels)), np.float32)
        counts[rows] = votes.counts if plan.learns == "counts" else votes.targets
        people[rows] = np.maximum(people[rows], votes.weights)
        parts.append(counts)
        # Every vote moves what is thought of its person, and so all tasks a little: a task's
        # answers are others only where people, or the likeliest label, are.
        answers = np.zeros((len(tasks), len(votes.labels) + 1), np.float32)
        answers[rows, :-1] = (votes.fractions * votes.answered[:, None]).round(3)
        if len(votes):
            answers[rows, -1] = votes.targets.argmax(axis=1)
        said.append(answers)
    targets = np.concatenate(parts, axis=1)
    digests = [_digest(row.tobytes()) for row in np.concatenate(said, axis=1)]
    return Lessons(tasks, targets, people, np.array(digests, np.int64))


def _opinions(store: Store, project_id: int, plan: HeadPlan, cast: Sequence[CastVote]) -> Lessons:
    said: dict[int, dict[str, list[Answer]]] = {}
    sizes: dict[int, tuple[int, int]] = {}
    marks = {c.name for c in plan.controls if isinstance(c, RegionControl)}
    for control in (*plan.controls, *plan.companions):
        if isinstance(control, ChoicesControl):
            for vote in cast:
                if vote.control == control.name and vote.labels:
                    people = said.setdefault(vote.task_id, {})
                    people.setdefault(vote.person, []).append(Labels(vote.labels))
            continue
        is_mark = control.name in marks
        votes = [
            vote
            for vote in typed_votes(store, project_id, control.name)
            if _counts(vote.answer, is_mark)
        ]
        shown = _last_shown(votes)
        sizes |= shown
        for typed in votes:
            frame = typed.answer.frame
            if is_mark and frame is not None and frame.size != shown[typed.task_id]:
                continue  # drawn on another picture than the task has now
            people = said.setdefault(typed.task_id, {})
            people.setdefault(typed.person, []).extend(typed.answer.values)
    tasks = sorted(said)
    targets = [
        Opinions.of(*(said[task][who] for who in sorted(said[task])), size=sizes.get(task))
        for task in tasks
    ]
    return Lessons(
        np.array(tasks, np.int64),
        targets,
        np.array([len(target) for target in targets], np.float32),
        np.array([_digest(_told(target)) for target in targets], np.int64),
    )


def _last_shown(votes: Sequence[TypedVote]) -> dict[int, tuple[int, int]]:
    """Size of the picture of each task, as the last person who marked it was shown it."""
    told = [(vote.at, vote.task_id, vote.answer.frame) for vote in votes]
    told.sort(key=lambda one: one[0])
    return {task: frame.size for _, task, frame in told if frame is not None}


def _counts(answer: TypedAnswer, is_mark: bool) -> bool:
    """Whether an answer can be learned from.

    Of marks that could not all be read it is not known what is missing; no number is no answer,
    but no mark is one.
    """
    return answer.complete and (is_mark or bool(answer.items))


def _told(opinions: Opinions) -> bytes:
    digest = hashlib.blake2b()
    for answers in opinions.by_person:
        digest.update(b"|")
        for answer in answers:
            pixels = getattr(answer, "pixels", None)
            told = repr(answer).encode() if pixels is None else pixels.tobytes()
            digest.update(told + getattr(answer, "label", "").encode())
    return digest.digest()


def _digest(told: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big", signed=True)
