"""The pool: a project's tasks with their embeddings and votes, as one round sees them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_backend.labelstudio.config import LabelConfig
from ml_backend.loop.acquisition import audit_order
from ml_backend.loop.consensus import Consensus, consensus
from ml_backend.loop.counting_votes import cast_votes, counting_votes, known_answers
from ml_backend.loop.lessons import Lessons, load_lessons
from ml_backend.loop.plans import counted_controls, head_plans, learned_controls
from ml_backend.store.database import Store
from ml_backend.store.embeddings import EmbeddingStore
from ml_backend.store.rows import StoredRows
from ml_backend.store.tables import Task, Vote

Ids = npt.NDArray[np.int64]

_BLOCK = 16384


@dataclass(frozen=True)
class Pool:
    """What a round works on.

    Attributes
    ----------
    task_ids : int64 [n]
        Tasks with an embedding, in rising order.
    embeddings : StoredRows [n, d]
        On disk; read in parts.
    is_open : bool [n]
        Label Studio still serves the task.
    is_voted : bool [n]
        The task has an answer that counts.
    votes : int
        Answers that count.
    consensus : dict of str to Consensus
        By control, of the lists of choices with a head of their own; empty ones where nobody has
        answered.
    audited : frozenset of int
        Tasks with votes that a random order led to, whichever arm served them (see `_audited`).
    digest : str
        Changes with the votes that count and with known answers.
    lessons : dict of str to Lessons
        By plan, of all other heads; empty ones where nobody has answered.
    counted : dict of str to Consensus
        By control, of all lists of choices whose votes count, also those of plans.
    """

    task_ids: Ids
    embeddings: StoredRows
    is_open: npt.NDArray[np.bool_]
    is_voted: npt.NDArray[np.bool_]
    votes: int
    consensus: dict[str, Consensus]
    audited: frozenset[int]
    digest: str
    lessons: dict[str, Lessons] = field(default_factory=dict)
    counted: dict[str, Consensus] = field(default_factory=dict)

    @property
    def has_votes(self) -> bool:
        """Whether anything can be learned from."""
        return bool(self.is_voted.any())

    @property
    def free(self) -> Ids:
        """Tasks that nobody has answered and that are still served."""
        return self.task_ids[self.is_open & ~self.is_voted]

    def rows_of(self, task_ids: Ids) -> tuple[Ids, npt.NDArray[np.bool_]]:
        """Return the rows of tasks, and which of the tasks are in the pool."""
        if not len(self.task_ids):
            return np.zeros(len(task_ids), np.int64), np.zeros(len(task_ids), np.bool_)
        at = np.searchsorted(self.task_ids, task_ids).clip(0, len(self.task_ids) - 1)
        return at, np.asarray(self.task_ids[at] == task_ids)

    def scored(
        self, score: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]], rows: Ids | None = None
    ) -> npt.NDArray[Any]:
        """Return a score of each embedding (or of those of `rows`), read in blocks."""
        count = len(self.task_ids) if rows is None else len(rows)
        parts = []
        for start in range(0, max(count, 1), _BLOCK):
            part = slice(start, start + _BLOCK)
            block = self.embeddings[part if rows is None else rows[part]]
            parts.append(score(np.asarray(block, np.float32)))
        return np.concatenate(parts)


def load_pool(
    store: Store, project_id: int, config: LabelConfig, embeddings: EmbeddingStore
) -> Pool:
    """Read a project's pool from the store.

    Votes on controls or labels that the configuration no longer has are left out, and so are
    skips.
    """
    with store.reading() as session:
        tasks = session.execute(
            select(Task.id, Task.content_hash, Task.is_labeled)
            .where(Task.project_id == project_id, ~Task.removed, Task.content_hash.is_not(None))
            .order_by(Task.id)
        ).all()
        used = counting_votes(session, project_id, counted_controls(config))
        drawn = _drawn(session, project_id, config)
        golds, sources = known_answers(session, project_id)
    rows, found = embeddings.view([task.content_hash for task in tasks])
    ids = np.array([task.id for task in tasks], np.int64)[found]
    open_ = np.array([not task.is_labeled for task in tasks], np.bool_)[found]

    plans = head_plans(config)
    votes = cast_votes(used, sources)
    agreed = consensus(votes, counted_controls(config), golds)
    lessons = {plan.name: load_lessons(store, project_id, plan, agreed, votes) for plan in plans}
    marks = sum(
        int(lessons[plan.name].weights.sum()) for plan in plans if plan.learns == "opinions"
    )
    own = [agreed[control.name] for control in learned_controls(config)]
    answered = [part.task_ids for part in own] + [part.task_ids for part in lessons.values()]
    voted = np.unique(np.concatenate(answered or [ids[:0]]))
    told: list[Any] = [[*vote[:4], sorted(vote.labels)] for vote in used]
    told += [[*key, *labels] for key, labels in sorted(golds.items())]
    told += [[name, part.digests.tolist()] for name, part in lessons.items() if len(part)]
    return Pool(
        task_ids=ids,
        embeddings=rows,
        is_open=open_,
        is_voted=np.isin(ids, voted),
        votes=len(used) + marks,
        consensus={control.name: agreed[control.name] for control in learned_controls(config)},
        audited=_audited(ids, voted, drawn, store.settings.seed),
        digest=hashlib.sha256(json.dumps(told).encode()).hexdigest(),
        lessons=lessons,
        counted=agreed,
    )


def _drawn(session: Session, project_id: int, config: LabelConfig) -> list[int]:
    """Return the tasks that have an answer of people whom the audit arm served."""
    names = [control.name for control in config.answered]
    chosen = select(Vote.task_id).where(
        Vote.project_id == project_id, Vote.audit, ~Vote.skipped, Vote.control.in_(names)
    )
    return list(session.scalars(chosen))


def _audited(task_ids: Ids, voted: Ids, drawn: list[int], seed: int) -> frozenset[int]:
    """Return the voted tasks that the random order has reached.

    The audit arm serves the first tasks of that order that have no votes yet, so alone it is
    drawn from what the active arm left over. The order up to the last task that the arm served
    is a sample that no model chose: its tasks count whichever arm was first.
    """
    order = task_ids[audit_order(task_ids, seed)]
    reached = np.flatnonzero(np.isin(order, drawn))
    if not len(reached):
        return frozenset()
    front = order[: reached[-1] + 1]
    return frozenset(front[np.isin(front, voted)].tolist())
