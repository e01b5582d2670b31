"""Encoded tasks: a project's galaxies that have an embedding, and the table of these."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from ml_backend.store.database import Store
from ml_backend.store.rows import StoredRows
from ml_backend.store.tables import Task


def encoded_tasks(
    store: Store, project_id: int, lvm_identity: str
) -> tuple[npt.NDArray[np.int64], StoredRows]:
    """Return the tasks [n] that an LVM has encoded, in rising order, and their embeddings [n, d].

    Raises
    ------
    StoreError
        There are no embeddings of that LVM.
    """
    with store.reading() as session:
        tasks = session.execute(
            select(Task.id, Task.content_hash)
            .where(Task.project_id == project_id, ~Task.removed, Task.content_hash.is_not(None))
            .order_by(Task.id)
        ).all()
    rows, found = store.embeddings(lvm_identity).view([task.content_hash or "" for task in tasks])
    return np.array([task.id for task in tasks], np.int64)[found], rows
