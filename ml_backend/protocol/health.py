"""``GET /health``: alive, and nothing else, so that it answers at once whatever else goes on."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

STATUS: dict[str, Any] = {"status": "UP", "model_class": "GalaxyLoop"}


def create_health() -> Blueprint:
    """Return the blueprint that answers Label Studio's health check (it waits one second)."""
    blueprint = Blueprint("alive", __name__)

    @blueprint.get("/health")
    def health() -> dict[str, Any]:
        return STATUS

    return blueprint
