"""Likeness: the tasks of a project that are most like some examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from sqlalchemy import select

from ml_backend.errors import StoreError
from ml_backend.store.database import Store
from ml_backend.store.tables import Project, Task, Version
from models.similarity import more_like

_POOL_ROWS = 8192


@dataclass(frozen=True)
class LikeTask:
    """A task, its likeness to the examples in [0, 1], its image, and whether people answered it."""

    task: int
    likeness: float
    image: str
    is_labeled: bool


def tasks_like(
    store: Store, project_id: int, examples: Sequence[int], count: int
) -> list[LikeTask]:
    """Return the tasks most like some of the same project, the likest first.

    The embeddings are those that the published version ranks by. The examples themselves are left
    out.

    Parameters
    ----------
    store : Store
    project_id : int
    examples : sequence of int
        Numbers of tasks, at least one.
    count : int
        How many at most.

    Raises
    ------
    StoreError
        The project has no version yet, or an example is none of its tasks or has no embedding.
    """
    with store.reading() as session:
        project = session.get(Project, project_id)
        version = session.get(Version, project.champion) if project and project.champion else None
        if version is None:
            raise StoreError(
                f"Project {project_id} has no version yet, so its images are not encoded. Connect "
                "it, and let `galaxyloop work` make one."
            )
        tasks = session.execute(
            select(Task.id, Task.content_hash, Task.image, Task.is_labeled)
            .where(Task.project_id == project_id, ~Task.removed, Task.content_hash.is_not(None))
            .order_by(Task.id)
        ).all()
    rows, found = store.embeddings(version.lvm_identity).view([t.content_hash for t in tasks])
    tasks = [task for task, there in zip(tasks, found, strict=True) if there]
    place = {task.id: row for row, task in enumerate(tasks)}
    unknown = [str(task) for task in examples if task not in place]
    if unknown:
        raise StoreError(
            f"Project {project_id} has no encoded image of {', '.join(unknown)}. Give numbers of "
            "tasks as Label Studio shows them; `galaxyloop doctor` names images that are broken."
        )
    step = max(1, -(-len(tasks) // _POOL_ROWS))
    table = np.asarray(rows[:], np.float32)
    scores = more_like(table, table[[place[task] for task in examples]], table[::step])
    order = np.argsort(-scores, kind="stable")
    own = {place[task] for task in examples}
    chosen = list(islice((row for row in order.tolist() if row not in own), count))
    return [
        LikeTask(tasks[row].id, float(scores[row]), tasks[row].image, bool(tasks[row].is_labeled))
        for row in chosen
    ]
