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
from models.scenes import Scene

MOST_SCENES = 300
"""Most labelled scenes that a head learns from at once; 512 x 512 pixels take about 8 MB each."""

GROWTH = 1.1
"""Times as many labelled tasks as at the last fit before a head that sees scenes is fitted anew;
a task whose answers have changed since counts as one more."""

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
    labelled : int
        Tasks that were labelled then, whether or not the head was fitted on all of them.
    """

    task_ids: npt.NDArray[np.int64]
    losses: npt.NDArray[np.float32]
    digests: npt.NDArray[np.int64]
    labelled: int

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
    head that sees scenes is only fitted anew when a tenth more tasks are labelled, or otherwise
    than they were; until then, and while no image can be had, the champion's goes on.

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
    labelled = len(lessons)
    if not labelled:
        return None
    seen: Any
    if head.sees == "embedding":
        seen = np.asarray(pool.embeddings[rows], np.float32)
        step = max(1, -(-len(pool.task_ids) // 8192))
        unlabelled = np.asarray(pool.embeddings[::step], np.float32)
    else:
        if scenes is None:
            return None
        told = None if champion is None else champion[1]
        as_it_is = Learned(champion[0], told, kept=True) if champion and told else None
        if as_it_is is not None and not _much_is_new(lessons, as_it_is.unseen):
            return as_it_is
        if len(lessons) > MOST_SCENES:
            first = np.zeros(len(lessons), np.bool_)
            first[audit_order(lessons.task_ids, seed)[:MOST_SCENES]] = True
            lessons = lessons.rows(first)
        seen, got = scenes.scenes(lessons.task_ids)
        lessons, unlabelled = lessons.rows(got), None
        if plan.marks:
            lessons, seen = _on_their_image(lessons, seen, plan.name)
        if not len(lessons):
            return as_it_is
    before = None if champion is None else _before(champion, lessons, seen)
    head.fit(seen, lessons.targets, lessons.weights, pool=unlabelled, seed=seed)
    losses = head.losses(head.out_of_fold, lessons.targets)
    return Learned(head, _unseen(lessons, losses, labelled), before)


def _much_is_new(lessons: Lessons, told: UnseenLosses) -> bool:
    _, now, then = np.intersect1d(lessons.task_ids, told.task_ids, return_indices=True)
    changed = int((lessons.digests[now] != told.digests[then]).sum())
    return len(lessons) + changed >= max(GROWTH * told.labelled, told.labelled + 1)


def _on_their_image(
    lessons: Lessons, seen: Sequence[Scene], name: str
) -> tuple[Lessons, list[Scene]]:
    """Leave out tasks that were marked on a picture of another size than their image has now.

    Their places are somewhere else now; and a mask that does not fit would cost all other votes.
    """
    sizes = [opinions.size for opinions in lessons.targets]
    fits = np.array(
        [size in (None, scene.size) for size, scene in zip(sizes, seen, strict=True)], np.bool_
    )
    if not fits.all():
        others = lessons.task_ids[~fits][:10].tolist()
        _log.warning("marked_on_another_picture", control=name, tasks=others)
    return lessons.rows(fits), [scene for scene, fit in zip(seen, fits, strict=True) if fit]


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


def _unseen(lessons: Lessons, losses: npt.NDArray[np.float32], labelled: int) -> UnseenLosses:
    known = np.isfinite(losses)
    return UnseenLosses(
        lessons.task_ids[known],
        np.asarray(losses[known], np.float32),
        lessons.digests[known],
        labelled,
    )
