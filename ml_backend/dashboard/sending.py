"""Galaxies of one project sent to another as tasks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from ml_backend.dashboard.wishes import own_tasks
from ml_backend.errors import StoreError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import parse_controls
from ml_backend.loop.requests import request_round
from ml_backend.store.database import Store
from ml_backend.store.tables import Project, Task

MOST = 500
"""Tasks sent at once."""
_LONGEST = 2000
_lock = threading.Lock()


@dataclass(frozen=True)
class Sent:
    """What became of a selection: tasks made, and those whose image the target had already."""

    made: int
    already: int


def send_tasks(
    store: Store,
    client: LabelStudioClient,
    source: Project,
    target: Project,
    task_ids: Sequence[int],
    account: str,
) -> Sent:
    """Make tasks with the same data in another connected project, and ask for a round of it.

    Images that the target has (by address or by content) are left out, so that sending twice makes
    nothing twice. It is written into the audit log.

    Parameters
    ----------
    store : Store
    client : LabelStudioClient
    source, target : Project
    task_ids : sequence of int
        Tasks of `source`; others are left alone. At most `MOST`.
    account : str
        Who sends them.

    Raises
    ------
    StoreError
        The target is the source, or shows no image; or too many tasks are named.
    LabelStudioError
        Label Studio made no or not all tasks.
    LabelConfigError
        A labelling configuration cannot be read.
    """
    if source.id == target.id:
        raise StoreError("These galaxies are in this project already. Pin them instead.")
    if len(task_ids) > MOST:
        raise StoreError(f"At most {MOST} galaxies are sent at once; these are {len(task_ids)}.")
    field = _image_field(target)
    if not field:
        raise StoreError(
            f"The labelling configuration of project {target.id} shows no image that can be "
            "answered about. Choose another project."
        )
    # Two clicks at once would both find the target without these images.
    with _lock:
        chosen, already = _chosen(store, source.id, target.id, task_ids)
        if not chosen:
            return Sent(0, already)
        own = _image_field(source)
        data = client.task_data(source.id, [task.id for task in chosen])
        tasks = []
        for task in chosen:
            facts = dict(data.get(task.id) or {own or field: task.image})
            facts[field] = facts.get(field) or task.image
            tasks.append({"data": facts})
        ids = client.import_tasks(target.id, tasks)
        made = [
            Task(
                id=number,
                project_id=target.id,
                image=str(sent["data"][field]),
                content_hash=task.content_hash if sent["data"][field] == task.image else None,
            )
            for number, sent, task in zip(ids, tasks, chosen, strict=True)
        ]
        try:
            with store.session() as session:
                session.add_all(made)
        except IntegrityError:
            pass  # a round has read them meanwhile
    store.accounts.note(
        account, "send", f"{len(ids)} tasks to project {target.id}", source.id,
        target=target.id, tasks=[task.id for task in chosen], made=ids,
    )  # fmt: skip
    request_round(store, target.id)
    return Sent(len(ids), already)


def _chosen(
    store: Store, source: int, target: int, task_ids: Sequence[int]
) -> tuple[list[Task], int]:
    """Return the tasks whose images the target does not have, and how many it has."""
    with store.reading() as session:
        ids = own_tasks(session, source, task_ids)
        rows = {row.id: row for row in session.scalars(select(Task).where(Task.id.in_(ids)))}
        tasks = [rows[task] for task in ids if rows[task].image]
        # Pictures that stand inside their tasks are addresses of megabytes: their content tells.
        short = [task.image for task in tasks if len(task.image) <= _LONGEST]
        hashes = [task.content_hash for task in tasks if task.content_hash]
        ours = Task.project_id == target, ~Task.removed
        images = set(session.scalars(select(Task.image).where(*ours, Task.image.in_(short))))
        contents = set(
            session.scalars(select(Task.content_hash).where(*ours, Task.content_hash.in_(hashes)))
        )
        chosen = []
        for task in tasks:
            if task.image in images or (task.content_hash and task.content_hash in contents):
                continue
            images.add(task.image)
            contents.add(task.content_hash)
            chosen.append(task)
        session.expunge_all()
    return chosen, len(tasks) - len(chosen)


def _image_field(project: Project) -> str:
    from ml_backend.loop.annotations import main_field

    return main_field(parse_controls(project.label_config)) if project.label_config else ""
