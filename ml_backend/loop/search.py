"""Search through a project's galaxies by marks: likeness, interest, and what a new image is like.

A search keeps nothing: the marks come with each step, so that it goes on after a restart and
several people can search at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sqlalchemy import func, select

from ml_backend.errors import StoreError
from ml_backend.loop import drafts
from ml_backend.loop.encoded_tasks import encoded_tasks
from ml_backend.store.database import Store
from ml_backend.store.rows import StoredRows
from ml_backend.store.tables import Task
from models.heads.interest import InterestHead
from models.similarity import more_like

Ids = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]

MOST_MARKS = 400
"""Marks that one step learns from."""
FRESH_SECONDS = 30.0
_SAMPLE = 2048
_BLOCK = 16_384
_SPACES = 8


@dataclass(frozen=True)
class Found:
    """What a step of a search says.

    Attributes
    ----------
    task_ids : int64 [m]
        Not marked yet, the likeliest first.
    scores : float32 [m]
        Likeness in [0, 1] to a single example, else probability of being of interest.
    kind : str
        ``likeness`` or ``interest``.
    expected : float or None
        How many of the galaxies that nobody marked are of interest, by the sum of their
        probabilities; None for likeness, and where nothing was marked as not of interest.
    """

    task_ids: Ids
    scores: Singles
    kind: str
    expected: float | None = None

    def by_task(self) -> dict[int, float]:
        """Return the scores by task."""
        return dict(zip(self.task_ids.tolist(), self.scores.tolist(), strict=True))


@dataclass(frozen=True)
class SearchSpace:
    """A project's galaxies in the embedding space of its published version.

    Attributes
    ----------
    lvm_identity : str
    task_ids : int64 [n]
        In rising order.
    rows : StoredRows [n, d]
        On disk.
    sample : float32 [at most 2048, d]
        Tells what is common.
    """

    lvm_identity: str
    task_ids: Ids
    rows: StoredRows = field(repr=False)
    sample: Singles = field(repr=False)

    def __len__(self) -> int:
        return len(self.task_ids)

    def embeddings(self, task_ids: Sequence[int]) -> tuple[Ids, Singles]:
        """Return those of these tasks that are here, and their embeddings [m, d]."""
        wanted = np.array(sorted(set(task_ids)), np.int64)
        if not len(self) or not len(wanted):
            return wanted[:0], np.zeros((0, self.rows.shape[1]), np.float32)
        at = np.searchsorted(self.task_ids, wanted).clip(0, len(self) - 1)
        at = at[self.task_ids[at] == wanted]
        return self.task_ids[at], np.asarray(self.rows[at], np.float32)

    def step(
        self,
        yes: Sequence[int],
        no: Sequence[int],
        aim: Singles | None = None,
        count: int = 24,
        seed: int = 0,
    ) -> Found:
        """Rank what is not marked yet by what is.

        A single example ranks by likeness (`models.similarity.more_like`), more marks by an
        `InterestHead`.

        Parameters
        ----------
        yes, no : sequence of int
            Tasks that are and are not of interest; others than the project's are left out, and
            the earliest where there are more than `MOST_MARKS`.
        aim : float32 [d], optional
            An embedding of interest that is no task's (an image from outside).
        count : int
            How many to return.
        seed : int

        Raises
        ------
        StoreError
            There is no example, or the aim is none of this LVM's embeddings.
        """
        liked, x = self.embeddings(yes[-MOST_MARKS:])
        disliked, y = self.embeddings([task for task in no[-MOST_MARKS:] if task not in set(yes)])
        if aim is not None:
            if aim.shape != (self.rows.shape[1],) or not np.isfinite(aim).all():
                raise StoreError(
                    "The image was encoded by another LVM than the project's is now. Upload it "
                    "again."
                )
            x = np.vstack([x, aim])
        if not len(x):
            raise StoreError("A search needs one galaxy that is of interest. Mark one.")
        if len(x) == 1 and not len(y):
            scores = self._scored(lambda block: more_like(block, x, self.sample))
            kind = "likeness"
        else:
            targets = np.zeros((len(x) + len(y), 2))
            targets[: len(x), 0] = targets[len(x) :, 1] = 1
            head = InterestHead().fit(np.vstack([x, y]), targets, pool=self.sample, seed=seed)
            scores = self._scored(head.interest)
            kind = "interest"
        marked = np.union1d(liked, disliked)
        scores[np.searchsorted(self.task_ids, marked)] = -np.inf
        best = _largest(scores, count)
        told = scores[np.isfinite(scores)]
        expected = float(told.sum(dtype=np.float64)) if kind == "interest" and len(y) else None
        return Found(self.task_ids[best], scores[best], kind, expected)

    def spread(self, count: int, seed: int = 0) -> Ids:
        """Return some tasks drawn at random, to begin a search with."""
        rng = np.random.default_rng(seed)
        return rng.choice(self.task_ids, min(count, len(self)), replace=False)

    def _scored(self, score: Callable[[Singles], npt.NDArray[np.floating]]) -> Singles:
        """Score all galaxies in blocks; -inf where an embedding is damaged."""
        out = np.full(len(self), -np.inf, np.float32)
        for start in range(0, len(self), _BLOCK):
            block = np.asarray(self.rows[start : start + _BLOCK], np.float32)
            good = np.isfinite(block).all(axis=1)
            if good.all():
                out[start : start + _BLOCK] = score(block)
            elif good.any():
                out[start + np.flatnonzero(good)] = score(block[good])
        return out


class SearchSpaces:
    """The spaces that people search, kept while they are as the store is; safe between threads.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store, now: Callable[[], float] = time.monotonic) -> None:
        self._store, self._now = store, now
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[float, tuple[object, ...], SearchSpace]] = {}

    def of(self, project_id: int) -> SearchSpace | None:
        """Return a project's space; None before its first version.

        What is older than `FRESH_SECONDS` is compared with the store.
        """
        champion = drafts.champion_of(self._store, project_id)
        if champion is None or not champion.lvm_identity:
            return None
        with self._lock:
            kept = self._kept.get(project_id)
            if kept is not None and kept[2].lvm_identity == champion.lvm_identity:
                if self._now() - kept[0] < FRESH_SECONDS:
                    return kept[2]
                if kept[1] == self._stamp(project_id):
                    self._kept[project_id] = (self._now(), *kept[1:])
                    return kept[2]
            stamp = self._stamp(project_id)
            space = load_space(self._store, project_id, champion.lvm_identity)
            self._kept.pop(project_id, None)
            while len(self._kept) >= _SPACES:
                self._kept.pop(next(iter(self._kept)))
            self._kept[project_id] = (self._now(), stamp, space)
            return space

    def _stamp(self, project_id: int) -> tuple[object, ...]:
        # Which tasks there are and which of them were encoded last.
        encoded = select(func.count(), func.max(Task.id), func.max(Task.tried_at)).where(
            Task.project_id == project_id, ~Task.removed, Task.content_hash.is_not(None)
        )
        with self._store.reading() as session:
            return tuple(session.execute(encoded).one())


def load_space(store: Store, project_id: int, lvm_identity: str) -> SearchSpace:
    """Read which galaxies of a project have an embedding of an LVM."""
    ids, rows = encoded_tasks(store, project_id, lvm_identity)
    step = max(1, -(-len(ids) // _SAMPLE))
    sample = np.asarray(rows[np.arange(0, len(ids), step)], np.float32)
    return SearchSpace(lvm_identity, ids, rows, sample[np.isfinite(sample).all(axis=1)])


def _largest(scores: Singles, count: int) -> Ids:
    """Return the rows of the largest scores in falling order; those of -inf are left out."""
    count = min(count, int(np.isfinite(scores).sum()))
    if count < 1:
        return np.zeros(0, np.int64)
    best = np.argpartition(-scores, count - 1)[:count]
    return np.asarray(best[np.lexsort((best, -scores[best]))], np.int64)
