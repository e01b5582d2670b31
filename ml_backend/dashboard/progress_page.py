"""The page ``progress``: how far a project is."""

from __future__ import annotations

from flask import Blueprint

from ml_backend.dashboard.login import PREFIX
from ml_backend.dashboard.site import DashboardContext, show
from ml_backend.store.figures import kept_figure


def create_progress(context: DashboardContext) -> Blueprint:
    """Return the blueprint of ``/dashboard/<project_id>/progress``."""
    blueprint = Blueprint("progress", __name__, url_prefix=f"{PREFIX}/<int:project_id>/progress")

    @blueprint.get("/")
    def page(project_id: int) -> str:
        figure = kept_figure(context.store, project_id, "progress")
        counts = context.store.projects.counts(project_id)
        return show(
            context, project_id, "progress", heading="Progress", figure=figure, counts=counts
        )

    return blueprint
