"""The page ``queue``: the next galaxies, why each is there, and what managers want of them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, flash, redirect, request, url_for

from ml_backend.dashboard.galaxies import Galaxies, add_filters, tasks_in
from ml_backend.dashboard.login import PREFIX, acting, current_account
from ml_backend.dashboard.queue_rows import (
    columns,
    queue_length,
    queued_tasks,
    row_of,
    waiting_wishes,
)
from ml_backend.dashboard.site import DashboardContext, project_of, show
from ml_backend.dashboard.tables import csv_response
from ml_backend.dashboard.wishes import KINDS, wish, wish_counts

PAGE = 24
_MOST_ROWS = 10_000


def create_queue(context: DashboardContext) -> Blueprint:
    """Return the blueprint of ``/dashboard/<project_id>/queue``."""
    blueprint = Blueprint("queue", __name__, url_prefix=f"{PREFIX}/<int:project_id>/queue")
    galaxies = Galaxies(context.store)
    add_filters(blueprint)

    @blueprint.get("/")
    def page(project_id: int) -> str:
        project = project_of(context.store, project_id)
        total = queue_length(context.store, project)
        pages = max(1, -(-total // PAGE))
        number = min(max(request.args.get("page", 1, type=int), 1), pages)
        start = (number - 1) * PAGE
        states = galaxies.states(project, queued_tasks(context.store, project, start, PAGE))
        waiting = waiting_wishes(context.store, project) if number == 1 else []
        return show(
            context,
            project_id,
            "queue",
            heading="Queue",
            states=states,
            waiting=galaxies.states(project, waiting),
            total=total,
            start=start,
            number=number,
            pages=pages,
            wishes=wish_counts(context.store, project_id),
            kinds=KINDS,
            counts=context.store.projects.counts(project_id) if not total else None,
        )

    @blueprint.get("/queue.csv")
    def table(project_id: int) -> Response:
        project = project_of(context.store, project_id)
        ids = queued_tasks(context.store, project, 0, _MOST_ROWS)
        states = galaxies.states(project, ids)
        rows = [row_of(state, place) for place, state in enumerate(states, start=1)]
        return csv_response(f"queue-{project_id}", columns(), rows)

    @blueprint.post("/wish")
    @acting
    def wished(project_id: int) -> Any:
        project = project_of(context.store, project_id)
        kind = request.form.get("kind", "")
        if kind and kind not in KINDS:
            abort(400, f"No wish is called {kind[:20]!r}. There are: {', '.join(KINDS)}.")
        account = current_account()
        done = wish(
            context.store, project.id, tasks_in("task"), kind, account.name if account else ""
        )
        if not done:
            abort(404, "The project has none of these tasks.")
        flash(
            f"{KINDS[kind] if kind else 'Wish taken back'}: {done} "
            f"{'galaxy' if done == 1 else 'galaxies'}. The order follows in the next round."
        )
        return redirect(url_for("queue.page", project_id=project.id))

    return blueprint
