"""Retirements: subjects that need no more answers at Zooniverse, and why."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select

from ml_backend.store.crowd_tables import Verdict
from ml_backend.store.database import Store
from ml_backend.zooniverse.classifications import ZooniverseError

COLUMNS = ("subject_id", "retirement_reason", "workflow_id", "task_id", "votes", "why")
"""``retirement_reason`` is what Zooniverse's API calls so."""


def write_retirements(
    path: Path, store: Store, project_id: int, subjects: Mapping[str, int], workflow: str = ""
) -> tuple[int, int]:
    """Write the subjects whose galaxies are settled here.

    Retired ones have the reason ``consensus``; those that go to experts ``other``, as more votes
    of volunteers would not help.

    Parameters
    ----------
    path : Path
        CSV; replaced as a whole.
    store : Store
    project_id : int
    subjects : mapping
        Zooniverse's number -> task.
    workflow : str
        For the column of that name.

    Returns
    -------
    (int, int)
        Subjects written, and settled galaxies that are no subject.

    Raises
    ------
    ZooniverseError
        The file cannot be written.
    """
    by_task: dict[int, list[str]] = {}
    for subject, task in subjects.items():
        by_task.setdefault(task, []).append(subject)
    with store.reading() as session:
        settled = session.scalars(
            select(Verdict)
            .where(Verdict.project_id == project_id, Verdict.state.in_(("retired", "expert")))
            .order_by(Verdict.task_id)
        ).all()
    rows, strangers = [], 0
    for verdict in settled:
        names = by_task.get(verdict.task_id, [])
        strangers += not names
        reason = "consensus" if verdict.state == "retired" else "other"
        rows += [
            (name, reason, workflow, verdict.task_id, verdict.people, verdict.reason)
            for name in sorted(names)
        ]
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with made.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(rows)
        made.replace(path)
    except OSError as error:
        raise ZooniverseError(f"{path} cannot be written ({error.strerror}).") from error
    return len(rows), strangers
