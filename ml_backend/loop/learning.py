"""Learning: the heads of plans are fitted, and tell how wrong they are on tasks they never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from ml_backend.loop.acquisition import audit_order
from ml_backend.loop.head_plan import HeadPlan
from ml_backend.loop.lessons import Lessons
from ml_backend.loop.pool import Pool
from ml_backend.loop.scene_source import SceneSource
from models.heads.base import Head, HeadError

MOST_SCENES = 300
"""Most labelled scenes that a head learns from at once; 512 x 512 pixels take about 8 MB each."""

GROWTH = 1.1
"""Times as many labelled scenes as at the last fit before a head that sees them is fitted anew."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class UnseenLosses:
    """How wrong a head is on tasks, by models that never saw them.

    Attributes
    ----------
    task_ids : int64 [n]
    losses : float32 [n]
        See `Head.losses`.
    digests : int64 [n]
        Of the answers that they were measured on (`Lessons.digests`).
    fitted_on : int
        Tasks that the head was fitted on.
    """

    task_ids: npt.NDArray[np.int64]
    losses: npt.NDArray[np.float32]
    digests: npt.NDArray[np.int64]
    fitted_on: int

    @property
    def quality(self) -> dict[str, float | None]:
        """Figures for people: the mean loss, and on how many galaxies."""
        mean = float(self.losses.mean()) if len(self.losses) else None
        return {"loss": mean, "rows": float(len(self.losses))}


@dataclass(frozen=True)
class Learned:
    """The head of one plan.

    Attributes
    ----------
    head : Head
    unseen : UnseenLosses
    before : UnseenLosses or None
        The same of the champion's head; None where it has none, or where it was kept.
    kept : bool
        It is the champion's own head: too little is new for another fit.
    """

    head: Head
    unseen: UnseenLosses
    before: UnseenLosses | None = None
    kept: bool = False


def learn(
    plans: Sequence[HeadPlan],
    pool: Pool,
    scenes: SceneSource | None,
    champion: Mapping[str, tuple[Head, UnseenLosses | None]],
    seed: int,
    progress: Callable[[str, float], None] = lambda message, share: None,
) -> dict[str, Learned]:
    """Fit the heads of plans to a pool's lessons.

    A head that cannot be fitted (nothing usable was said) is left out, with a line in the log. A
    head that sees scenes is only fitted anew when a tenth more tasks are labelled; until then the
    champion's goes on.

    Parameters
    ----------
    plans : sequence of HeadPlan
    pool : Pool
    scenes : SceneSource or None
        None: heads that see scenes are left out.
    champion : mapping of plan to (Head, UnseenLosses or None)
        Heads that fit, of the published version, on the same LVM.
    seed : int
    progress : callable
        Called with a sentence and the share done.
    """
    found = {}
    for done, plan in enumerate(plans):
        lessons = pool.lessons.get(plan.name)
        if lessons is None or not len(lessons):
            continue
        said = f"Training the head of '{plan.name}'"
        progress(said, done / len(plans))
        try:
            learned = _learn(plan, lessons, pool, scenes, champion.get(plan.name), seed)
        except HeadError as error:
            _log.warning("head_not_fitted", control=plan.name, reason=str(error))
            continue
        if learned is not None:
            found[plan.name] = learned
    return found


def _learn(
    plan: HeadPlan,
    lessons: Lessons,
    pool: Pool,
    scenes: SceneSource | None,
    champion: tuple[Head, UnseenLosses | None] | None,
    seed: int,
) -> Learned | None:
    head = plan.make()
    rows, inside = pool.rows_of(lessons.task_ids)
    lessons, rows = lessons.rows(inside), rows[inside]
    if not len(lessons):
        return None
    seen: Any
    if head.sees == "embedding":
        seen = np.asarray(pool.embeddings[rows], np.float32)
        step = max(1, -(-len(pool.task_ids) // 8192))
        unlabelled = np.asarray(pool.embeddings[::step], np.float32)
    else:
        if scenes is None:
            return None
        if champion is not None and champion[1] is not None:
            told = champion[1]
            usable = min(len(lessons), MOST_SCENES)
            if usable < max(GROWTH * told.fitted_on, told.fitted_on + 1):
                return Learned(champion[0], told, kept=True)
        if len(lessons) > MOST_SCENES:
            first = np.zeros(len(lessons), np.bool_)
            first[audit_order(lessons.task_ids, seed)[:MOST_SCENES]] = True
            lessons = lessons.rows(first)
        seen, got = scenes.scenes(lessons.task_ids)
        lessons, unlabelled = lessons.rows(got), None
        if not len(lessons):
            return None
    before = None if champion is None else _before(champion, lessons, seen)
    head.fit(seen, lessons.targets, lessons.weights, pool=unlabelled, seed=seed)
    losses = head.losses(head.out_of_fold, lessons.targets)
    return Learned(head, _unseen(lessons, losses, len(lessons)), before)


def _before(
    champion: tuple[Head, UnseenLosses | None], lessons: Lessons, seen: Any
) -> UnseenLosses | None:
    """What the champion says of the lessons' tasks without having seen their answers."""
    head, told = champion
    kept = {} if told is None else dict(zip(told.task_ids.tolist(), range(len(told.task_ids)),
                                            strict=True))  # fmt: skip
    new = np.array([int(task) not in kept for task in lessons.task_ids], np.bool_)
    losses = np.full(len(lessons), np.nan, np.float32)
    if new.any():
        part = seen[new] if isinstance(seen, np.ndarray) else [
            one for one, chosen in zip(seen, new, strict=True) if chosen
        ]  # fmt: skip
        try:
            losses[new] = head.losses(head.predict(part), lessons.rows(new).targets)
        except HeadError as error:
            _log.warning("champion_not_compared", reason=str(error))
            return None
    for row in np.flatnonzero(~new):
        place = kept[int(lessons.task_ids[row])]
        assert told is not None
        # Measured on other answers than there are now: no pair.
        if told.digests[place] == lessons.digests[row]:
            losses[row] = told.losses[place]
    return _unseen(lessons, losses, 0)


def _unseen(lessons: Lessons, losses: npt.NDArray[np.float32], fitted_on: int) -> UnseenLosses:
    known = np.isfinite(losses)
    return UnseenLosses(
        lessons.task_ids[known],
        np.asarray(losses[known], np.float32),
        lessons.digests[known],
        fitted_on,
    )
