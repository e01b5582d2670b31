"""``POST /setup``: Label Studio introduces a project and asks which version serves it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from sqlalchemy import bindparam, select

from ml_backend.protocol.payloads import SetupRequest, parse, project_number, read_json
from ml_backend.store.database import Store
from ml_backend.store.names import initial_version
from ml_backend.store.tables import Project

_CHAMPION = select(Project.champion).where(Project.id == bindparam("project"))


def current_version(store: Store, project_id: int) -> tuple[str, bool]:
    """Return the name of the project's champion, and whether the project is connected.

    A project without a champion, or one that is not connected yet (Label Studio asks while it
    attaches us), has a name that stands for "none yet". It never changes, so that Label Studio
    does not ask for predictions again and again.
    """
    # Asked for every task that is served: one prepared statement, a third of a session's cost.
    with store.engine.connect() as connection:
        row = connection.execute(_CHAMPION, {"project": project_id}).first()
    champion = row[0] if row is not None else None
    return champion or initial_version(project_id), row is not None


def create_setup(store: Store) -> Blueprint:
    """Return the blueprint of ``/setup``: one read of one row, no model, no network.

    Label Studio waits three seconds and asks each time it serves a task. The access token in the
    body is the project creator's; it is neither used nor kept nor logged.
    """
    blueprint = Blueprint("setup", __name__)

    @blueprint.post("/setup")
    def setup() -> dict[str, Any]:
        body = parse(SetupRequest, read_json(request))
        version, _ = current_version(store, project_number(body.project))
        return {"model_version": version}

    return blueprint
