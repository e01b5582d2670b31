"""``POST /setup``: Label Studio introduces a project and asks which version serves it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from ml_backend.protocol.payloads import SetupRequest, parse, project_number, read_json
from ml_backend.store.database import Store


def current_version(store: Store, project_id: int) -> str:
    """Return the name of the project's champion, or a name that stands for "none yet".

    The name of a project that has no champion, or that is not connected yet (Label Studio asks
    while it attaches us), never changes, so that Label Studio does not ask for predictions again
    and again.
    """
    project = store.projects.get(project_id)
    champion = project.champion if project is not None else None
    return champion or f"galaxyloop-p{project_id}-v0"


def create_setup(store: Store) -> Blueprint:
    """Return the blueprint of ``/setup``: one read of one row, no model, no network.

    Label Studio waits three seconds and asks each time it serves a task. The access token in the
    body is the project creator's; it is neither used nor kept nor logged.
    """
    blueprint = Blueprint("setup", __name__)

    @blueprint.post("/setup")
    def setup() -> dict[str, Any]:
        body = parse(SetupRequest, read_json(request))
        return {"model_version": current_version(store, project_number(body.project))}

    return blueprint
