"""What programs ask of the backend as a whole: ``/``, ``/doctor`` and ``/jobs``, as JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, abort, jsonify, redirect, request

from ml_backend.protocol.health import STATUS
from ml_backend.protocol.security import Gate, unauthorised
from ml_backend.store.database import Store
from ml_backend.store.jobs import job_details

HOME = "status.home"
"""Endpoint that asks for credentials by itself: browsers are led on without any."""


def create_status(
    store: Store, gate: Gate, pages: str, checkup: Callable[[], dict[str, Any]]
) -> Blueprint:
    """Return the blueprint.

    Parameters
    ----------
    store : Store
    gate : Gate
        Knows who may ask.
    pages : str
        Address of the pages for people, where ``/`` leads browsers.
    checkup : callable
        Runs the doctor and returns what it found as JSON.
    """
    blueprint = Blueprint("status", __name__)

    @blueprint.get("/")
    def home() -> Any:
        # A browser names text/html; Label Studio and scripts send */* or application/json.
        if "text/html" in [kind for kind, _ in request.accept_mimetypes]:
            return redirect(pages)
        if not gate.knows(request):
            raise unauthorised()
        return jsonify(STATUS)

    @blueprint.get("/doctor")
    def doctor() -> dict[str, Any]:
        return checkup()

    @blueprint.get("/jobs")
    def jobs() -> dict[str, Any]:
        limit = min(max(request.args.get("limit", 50, type=int), 1), 1000)
        found = store.jobs.listing(_project_asked_for(), limit)
        return {"jobs": [job_details(job) for job in found]}

    return blueprint


def _project_asked_for() -> int | None:
    named = request.args.get("project")
    if named is None:
        return None
    # What a database can hold has fewer digits; other scripts' digits are no numbers to it.
    if not (named.isascii() and named.isdecimal() and len(named) <= 18):
        abort(400, "The project is not a number.")
    return int(named)
