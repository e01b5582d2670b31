"""What is known of some galaxies: what people and the model say, and their places in the queue."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ml_backend.errors import GalaxyLoopError
from ml_backend.labelstudio.config import LabelConfig, parse_controls
from ml_backend.loop.plans import usable_heads
from ml_backend.loop.search import SearchSpace
from ml_backend.store.crowd_tables import Gold, Posterior, Verdict, Wish
from ml_backend.store.database import Store
from ml_backend.store.tables import Project, Ranking, Task, Vote
from ml_backend.store.versions import load_heads, version_folder
from models.heads.base import Head, ProbabilityHead
from models.heads.interest import InterestHead

_log = structlog.get_logger(__name__)
_AT_ONCE = 5000
Singles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Opinion:
    """A label and how probably it is right, in [0, 1]; None where that is not known."""

    label: str
    confidence: float | None


@dataclass
class GalaxyState:
    """What is known of one task.

    Attributes
    ----------
    task_id : int
    done : bool
        Label Studio serves it no more.
    problem : str
        Why its image cannot be used; empty where it can.
    people : int
        Who answered.
    said : Opinion or None
        What people say, of the first list of choices.
    opinions : tuple of Opinion
        What the model says of that, the likeliest first.
    doubt : float or None
        Of the published head, in [0, 1].
    uncertainty : float or None
        What the project's strategy computed when the queue was made; larger is more doubtful.
    interest : float or None
        Probability of being of interest, where a project looks for that.
    place, arm : int or None, str
        In the published queue, from 0.
    wish, wished_by : str
        ``pin``, ``postpone`` or ``expert``, and whose wish that is.
    verdict, reason : str
        ``open``, ``retired`` or ``expert``, and why.
    is_gold : bool
        Its answer is known.
    """

    task_id: int
    done: bool = False
    problem: str = ""
    people: int = 0
    said: Opinion | None = None
    opinions: tuple[Opinion, ...] = ()
    doubt: float | None = None
    uncertainty: float | None = None
    interest: float | None = None
    place: int | None = None
    arm: str = ""
    wish: str = ""
    wished_by: str = ""
    verdict: str = ""
    reason: str = ""
    is_gold: bool = False
    answers: Mapping[str, Any] = field(default_factory=dict)
    """What was suggested in the queue, by control."""


class Observer:
    """Tells what is known of galaxies; keeps the heads of published versions loaded.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._heads: dict[int, tuple[tuple[str, str], dict[str, Head]]] = {}

    def states(
        self, project: Project, task_ids: Sequence[int], space: SearchSpace | None
    ) -> list[GalaxyState]:
        """Return what is known of tasks of a project, in order; others than its own are left out.

        Parameters
        ----------
        project : Project
        task_ids : sequence of int
        space : SearchSpace or None
            Has their embeddings, which the heads are asked about.
        """
        config = _config(project)
        heads = self._usable(project, config)
        found: dict[int, GalaxyState] = {}
        with self._store.reading() as session:
            for part in _parts(task_ids):
                found |= _read(session, project, part, _asked(config, heads))
        if space is not None and heads:
            _ask(found, heads, space)
        return [found[task] for task in task_ids if task in found]

    def _usable(self, project: Project, config: LabelConfig | None) -> dict[str, Head]:
        """Return the heads of the published version that see embeddings, loaded once."""
        if config is None or not project.champion:
            return {}
        key = (project.champion, config.digest)
        with self._lock:
            kept = self._heads.get(project.id)
            if kept is None or kept[0] != key:
                try:
                    folder = version_folder(self._store.folder, project.champion)
                    heads = usable_heads(load_heads(folder), config)
                except GalaxyLoopError as error:
                    _log.warning("heads_not_read", project=project.id, reason=str(error))
                    heads = {}
                kept = key, {n: head for n, head in heads.items() if head.sees == "embedding"}
                self._heads[project.id] = kept
            return kept[1]


def main_head(heads: Mapping[str, Head]) -> tuple[str, ProbabilityHead] | None:
    """Return the first head that tells labels apart, and its control."""
    for name, head in heads.items():
        if isinstance(head, ProbabilityHead) and head.labels:
            return name, head
    return None


def _config(project: Project) -> LabelConfig | None:
    try:
        return parse_controls(project.label_config) if project.label_config else None
    except GalaxyLoopError:
        return None


def _asked(config: LabelConfig | None, heads: Mapping[str, Head]) -> str:
    """Return the control that people's labels are shown of."""
    main = main_head(heads)
    names = [control.name for control in config.controls] if config is not None else []
    return main[0] if main and (main[0] in names or not names) else next(iter(names), "")


def _parts(task_ids: Sequence[int]) -> Iterable[Sequence[int]]:
    for start in range(0, len(task_ids), _AT_ONCE):
        yield task_ids[start : start + _AT_ONCE]


def _read(
    session: Session, project: Project, ids: Sequence[int], control: str
) -> dict[int, GalaxyState]:
    tasks = select(Task.id, Task.is_labeled, Task.problem).where(
        Task.id.in_(ids), Task.project_id == project.id, ~Task.removed
    )
    found = {
        row.id: GalaxyState(row.id, done=row.is_labeled, problem=row.problem or "")
        for row in session.execute(tasks)
    }
    ours = list(found)
    people = (
        select(Vote.task_id, func.count(func.distinct(func.coalesce(Vote.annotator, -Vote.id))))
        .where(Vote.project_id == project.id, Vote.task_id.in_(ours), ~Vote.skipped)
        .group_by(Vote.task_id)
    )
    for task, count in session.execute(people):
        found[task].people = count
    named: dict[int, Counter[str]] = {}
    votes = select(Vote.task_id, Vote.labels).where(
        Vote.project_id == project.id,
        Vote.task_id.in_(ours),
        Vote.control == control,
        ~Vote.skipped,
    )
    for task, labels in session.execute(votes):
        named.setdefault(task, Counter())[", ".join(sorted(labels))] += 1
    for task, counter in named.items():
        (label, _), *_ = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
        found[task].said = Opinion(label or "none of the labels", None)
    agreed = select(Posterior).where(
        Posterior.project_id == project.id,
        Posterior.control == control,
        Posterior.task_id.in_(ours),
    )
    for row in session.scalars(agreed):
        state = found[row.task_id]
        if row.label:
            state.said = Opinion(row.label, row.confidence)
        state.people = max(state.people, row.people)
    if project.champion:
        ranked = select(Ranking).where(
            Ranking.version == project.champion, Ranking.task_id.in_(ours)
        )
        for place in session.scalars(ranked):
            state = found[place.task_id]
            state.place, state.arm, state.uncertainty = place.place, place.arm, place.uncertainty
            state.answers = place.answers or {}
    for verdict in session.scalars(select(Verdict).where(Verdict.task_id.in_(ours))):
        found[verdict.task_id].verdict = verdict.state
        found[verdict.task_id].reason = verdict.reason
    wishes = select(Wish).where(Wish.project_id == project.id, Wish.task_id.in_(ours))
    for wish in session.scalars(wishes):
        found[wish.task_id].wish, found[wish.task_id].wished_by = wish.kind, wish.account
    golds = select(Gold.task_id).where(Gold.project_id == project.id, Gold.task_id.in_(ours))
    for task in session.scalars(golds):
        found[task].is_gold = True
    return found


def _ask(found: Mapping[int, GalaxyState], heads: Mapping[str, Head], space: SearchSpace) -> None:
    """Ask the heads about the galaxies that have an embedding."""
    ids, rows = space.embeddings(list(found))
    good = np.isfinite(rows).all(axis=1)
    ids, rows = ids[good], rows[good]
    if not len(ids):
        return
    try:
        main = main_head(heads)
        if main is not None:
            told = np.asarray(main[1].predict(rows))
            doubt = main[1].uncertainty(rows)
            order = np.argsort(-told, axis=1, kind="stable")[:, :3]
            for row, task in enumerate(ids.tolist()):
                state = found[task]
                state.opinions = tuple(
                    Opinion(main[1].labels[label], float(told[row, label])) for label in order[row]
                )
                state.doubt = float(doubt[row])
        looked_for = next((head for head in heads.values() if isinstance(head, InterestHead)), None)
        if looked_for is not None:
            for task, chance in zip(ids.tolist(), looked_for.interest(rows), strict=True):
                found[task].interest = float(chance)
    except (GalaxyLoopError, ValueError) as error:
        # Heads of another LVM, say, while a round makes new ones: the page does without.
        _log.warning("heads_not_asked", reason=str(error))
