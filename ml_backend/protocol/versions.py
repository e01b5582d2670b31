"""``GET /versions``: the versions that can be served, by name, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, request
from sqlalchemy import select

from ml_backend.protocol.payloads import project_number
from ml_backend.store.database import Store
from ml_backend.store.tables import Version


def version_details(version: Version) -> dict[str, Any]:
    """Return what is known of `version` as JSON (times are ISO 8601 in UTC)."""
    return {
        "name": version.name,
        "project": version.project_id,
        "kind": version.kind,
        "state": version.state,
        "stage": version.stage,
        "votes": version.votes,
        "seconds": version.seconds,
        "quality": version.quality,
        "gate": version.gate,
        "problem": version.problem,
        "created_at": _iso(version.created_at),
        "published_at": _iso(version.published_at),
    }


def create_versions(store: Store) -> Blueprint:
    """Return the blueprint of ``/versions``; ``?project=N`` narrows it to one project.

    Label Studio reads `versions` (names); `details` is for people and scripts.
    """
    blueprint = Blueprint("versions", __name__)

    @blueprint.get("/versions")
    def versions() -> dict[str, Any]:
        statement = select(Version).order_by(Version.project_id, Version.number.desc())
        project = request.args.get("project")
        if project is not None:
            statement = statement.where(Version.project_id == project_number(project))
        with store.reading() as session:
            details = [version_details(version) for version in session.scalars(statement)]
        return {
            "versions": [
                version["name"]
                for version in details
                if version["state"] in ("published", "retired")
            ],
            "details": details,
        }

    return blueprint


def _iso(time: datetime | None) -> str | None:
    return time.isoformat(timespec="seconds") if time else None
