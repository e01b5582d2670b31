"""Who was asked: how many people answered each task, and how many skipped it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from ml_backend.store.crowd_tables import OutsideVote
from ml_backend.store.database import Store
from ml_backend.store.tables import Vote

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PeopleAsked:
    """Counts of different people, one row per task in rising order of its number.

    Attributes
    ----------
    task_ids : int64 [n]
    answered, skipped : int64 [n]
        Who has both answered and skipped a task has answered it.
    """

    task_ids: Ids
    answered: Ids
    skipped: Ids

    def answered_by(self, tasks: Ids) -> Ids:
        """Return how many people answered each of `tasks` [m]; 0 where a task is not here."""
        return self._of(self.answered, tasks)

    def skipped_by(self, tasks: Ids) -> Ids:
        """Return how many people skipped each of `tasks` [m]."""
        return self._of(self.skipped, tasks)

    def _of(self, counts: Ids, tasks: Ids) -> Ids:
        found = np.zeros(len(tasks), np.int64)
        if len(self.task_ids):
            at = np.searchsorted(self.task_ids, tasks).clip(0, len(self.task_ids) - 1)
            same = self.task_ids[at] == tasks
            found[same] = counts[at[same]]
        return found


def people_asked(store: Store, project_id: int, controls: Sequence[str]) -> PeopleAsked:
    """Count the people of each task of a project.

    Parameters
    ----------
    store : Store
    project_id : int
    controls : sequence of str
        An answer to any of these counts as an answer.
    """
    with store.reading() as session:
        rows = session.execute(
            select(Vote.task_id, Vote.annotator, Vote.annotation_id, Vote.skipped)
            .where(Vote.project_id == project_id)
            .where(Vote.skipped | Vote.control.in_(controls))
            .distinct()
        ).all()
        outside = session.execute(
            select(OutsideVote.task_id, OutsideVote.person)
            .where(OutsideVote.project_id == project_id, OutsideVote.control.in_(controls))
            .distinct()
        ).all()
    if not (rows or outside):
        none = np.zeros(0, np.int64)
        return PeopleAsked(none, none, none)
    # A person of whom Label Studio tells nothing is told by the annotation, one from outside by
    # a number of its own.
    strangers = {name: 2**62 + at for at, name in enumerate({row.person for row in outside})}
    tasks = np.array([row.task_id for row in (*rows, *outside)], np.int64)
    people = np.array(
        [row.annotator if row.annotator is not None else -1 - row.annotation_id for row in rows]
        + [strangers[row.person] for row in outside],
        np.int64,
    )
    skips = np.array([row.skipped for row in rows] + [False] * len(outside), np.bool_)
    # Answers sort before skips, and the first row of each person counts.
    order = np.lexsort((skips, people, tasks))
    tasks, people, skips = tasks[order], people[order], skips[order]
    first = np.ones(len(tasks), np.bool_)
    first[1:] = (tasks[1:] != tasks[:-1]) | (people[1:] != people[:-1])
    tasks, skips = tasks[first], skips[first]
    ids, place = np.unique(tasks, return_inverse=True)
    skipped = np.bincount(place, skips, minlength=len(ids)).astype(np.int64)
    answered = np.bincount(place, ~skips, minlength=len(ids)).astype(np.int64)
    return PeopleAsked(ids, answered, skipped)
