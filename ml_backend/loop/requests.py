"""What people ask the loop for: a round, or the return to an earlier version."""

from __future__ import annotations

from typing import Any

from ml_backend.errors import StoreError
from ml_backend.store.database import Store
from ml_backend.store.tables import Job, Version


def request_round(store: Store, project_id: int, **payload: Any) -> Job:
    """Queue a round of a project, e.g. ``force=True`` or ``full=True``."""
    return store.jobs.enqueue("round", project_id, payload)


def request_rollback(store: Store, project_id: int, version: str) -> Job:
    """Queue the return to an earlier version.

    Raises
    ------
    StoreError
        The version is unknown, published already, or cannot be brought back.
    """
    with store.reading() as session:
        target = session.get(Version, version)
    check_rollback(target, project_id, version)
    return request_round(store, project_id, rollback=version)


def check_rollback(target: Version | None, project_id: int, name: str) -> None:
    """Refuse a version that cannot be brought back.

    Raises
    ------
    StoreError
        It is not one of the project's, was never finished, or its files are gone.
    """
    if target is None or target.project_id != project_id:
        raise StoreError(
            f"Project {project_id} has no version {name!r}; "
            f"`galaxyloop versions --project {project_id}` lists them."
        )
    if target.state == "published":
        raise StoreError(f"{name} is the published version already.")
    if not target.on_disk or target.state not in ("retired", "rejected"):
        raise StoreError(
            f"{name} cannot be brought back: "
            + ("it was never finished." if target.on_disk else "its files were pruned.")
            + " Choose another one, or raise GALAXYLOOP_VERSIONS_KEPT for the future."
        )
