"""What the doctor checks of a project that asks several people about a galaxy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from ml_backend.connection.findings import Trouble
from ml_backend.store.crowd_tables import Gold, Verdict
from ml_backend.store.database import Store
from ml_backend.store.tables import Task


def crowd_trouble(project: Mapping[str, Any], store: Store | None) -> None:
    """Raise `Trouble` where votes cannot be steered task by task as they should be.

    Parameters
    ----------
    project : mapping
        As Label Studio gives it; its ``maximum_annotations`` is 1.
    store : Store or None
        None: what only the store knows is not checked.
    """
    number = int(project["id"])
    mode = project.get("skip_queue") or "REQUEUE_FOR_OTHERS"
    if mode != "REQUEUE_FOR_OTHERS":
        raise Trouble(
            f"Its skip_queue is {mode}: Label Studio takes a skip for an answer when it gives out "
            "tasks, so each skip costs a call to open another place.",
            f"Set it to REQUEUE_FOR_OTHERS (PATCH /api/projects/{number}/).",
        )
    if project.get("overlap_cohort_percentage") not in (None, 100):
        raise Trouble(
            "Its overlap_cohort_percentage was changed, which rewrites the overlap of tasks.",
            f"Set it to 100 (PATCH /api/projects/{number}/); the next rounds put tasks right.",
        )
    strayed = _served_though_done(store, number) if store is not None else 0
    if strayed:
        raise Trouble(
            f"Label Studio still serves {strayed} galaxies that have votes enough.",
            "Nothing, if rounds run: each closes some. Else see `galaxyloop jobs`, and raise "
            "GALAXYLOOP_OVERLAP_SECONDS if their number grows.",
        )


def _served_though_done(store: Store, project_id: int) -> int:
    """Count tasks that are done and, by the last reconciliation, are still served.

    Galaxies with a known answer are served on purpose.
    """
    with store.reading() as session:
        found = session.scalar(
            select(func.count())
            .select_from(Task)
            .join(Verdict, Verdict.task_id == Task.id)
            .where(Task.project_id == project_id, ~Task.removed, ~Task.is_labeled)
            .where(Verdict.state != "open", Task.annotations < func.coalesce(Task.overlap, 1))
            .where(Task.id.not_in(select(Gold.task_id).where(Gold.project_id == project_id)))
        )
    return int(found or 0)
