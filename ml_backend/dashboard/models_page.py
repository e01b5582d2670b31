"""The page ``models``: versions, what the gate said, two compared, and the way back."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Blueprint, Response, abort, flash, redirect, request
from flask import url_for as address_of

from ml_backend.dashboard import version_rows as rows
from ml_backend.dashboard.login import PREFIX, acting, current_account
from ml_backend.dashboard.site import DashboardContext, project_of, show
from ml_backend.dashboard.tables import csv_response
from ml_backend.errors import GalaxyLoopError, StoreError
from ml_backend.loop.requests import check_rollback, request_rollback
from ml_backend.store.tables import Version

DEEDS_SHOWN = 10
TUNINGS_SHOWN = 5

log = structlog.get_logger(__name__)


def create_models(context: DashboardContext) -> Blueprint:
    """Return the blueprint of ``/dashboard/<project_id>/models``."""
    blueprint = Blueprint("models", __name__, url_prefix=f"{PREFIX}/<int:project_id>/models")
    store = context.store

    def wanted(project_id: int, name: str) -> Version:
        project_of(store, project_id)
        found = rows.version_of(store, project_id, name)
        if found is None:
            abort(404, f"Project {project_id} has no version of this name.")
        return found

    def may_act() -> bool:
        account = current_account()
        return account is not None and account.role == "manager"

    @blueprint.get("/")
    def page(project_id: int) -> str:
        project_of(store, project_id)
        count = rows.version_count(store, project_id)
        pages = max(-(-count // rows.PER_PAGE), 1)
        at = min(max(request.args.get("page", 1, type=int), 1), pages)
        return show(
            context, project_id, "models", heading="Models", count=count, pages=pages, at=at,
            versions=rows.versions_of(store, project_id, at),
            kept=rows.kept_versions(store, project_id),
            tunings=store.tunings.listing(project_id)[::-1][:TUNINGS_SHOWN],
            deeds=store.accounts.deeds(project_id, DEEDS_SHOWN),
            rows=rows, may_act=may_act(),
        )  # fmt: skip

    @blueprint.get("/<name>/")
    def version(project_id: int, name: str) -> str:
        found = wanted(project_id, name)
        return show(
            context, project_id, "models", template="version", heading=name, version=found,
            measured=rows.measured(found.quality), rows=rows, may_act=may_act(),
        )  # fmt: skip

    @blueprint.get("/compare")
    def compare(project_id: int) -> str:
        names = [request.args.get(side, "") for side in ("first", "second")]
        first, second = (wanted(project_id, name) for name in names)
        compared, problem = [], ""
        if first.on_disk and second.on_disk and first.name != second.name:
            # Slow to import, and needed by nobody else here.
            from ml_backend.loop.comparison import compare_versions

            try:
                project = project_of(store, project_id)
                compared = compare_versions(store, project, first, second)
            except GalaxyLoopError as error:
                log.warning("comparison_failed", project=project_id, problem=str(error))
                problem = str(error)
        return show(
            context, project_id, "models", template="compare", heading="Compare", first=first,
            second=second, compared=compared, problem=problem, rows=rows, may_act=may_act(),
            sides={
                one.control: rows.measured({one.control: one.first}, {one.control: one.second})
                for one in compared
            },
            measured=rows.measured(first.quality, second.quality),
        )  # fmt: skip

    @blueprint.get("/<name>/rollback")
    def confirm(project_id: int, name: str) -> Any:
        found = wanted(project_id, name)
        problem = ""
        try:
            check_rollback(found, project_id, name)
        except StoreError as error:
            problem = str(error)
        project = project_of(store, project_id)
        champion = rows.version_of(store, project_id, project.champion or "")
        return show(
            context, project_id, "models", template="rollback", heading="Roll back",
            version=found, champion=champion, problem=problem, may_act=may_act(),
            measured=rows.measured(found.quality, champion.quality if champion else None),
        )  # fmt: skip

    @blueprint.post("/<name>/rollback")
    @acting
    def roll_back(project_id: int, name: str) -> Any:
        found = wanted(project_id, name)
        project, account = project_of(store, project_id), current_account()
        try:
            job = request_rollback(store, project_id, found.name)
        except StoreError:
            # Somebody was quicker: the page of the question says what is so now.
            return redirect(address_of("models.confirm", project_id=project_id, name=name))
        assert account is not None
        store.accounts.note(
            account.name, "rollback", found.name, project_id,
            instead_of=project.champion, job=job.id,
        )  # fmt: skip
        flash(f"Job {job.id} brings {found.name} back. It takes as long as a round.")
        return redirect(address_of("models.page", project_id=project_id))

    @blueprint.get("/versions.csv")
    def versions_file(project_id: int) -> Response:
        project_of(store, project_id)
        made = (rows.version_row(one) for one in rows.versions_of(store, project_id))
        return csv_response(f"project-{project_id}-versions", rows.VERSION_COLUMNS, made)

    @blueprint.get("/tunings.csv")
    def tunings_file(project_id: int) -> Response:
        project_of(store, project_id)
        made = (rows.tuning_row(one) for one in store.tunings.listing(project_id))
        return csv_response(f"project-{project_id}-tunings", rows.TUNING_COLUMNS, made)

    @blueprint.get("/deeds.csv")
    def deeds_file(project_id: int) -> Response:
        project_of(store, project_id)
        made = (rows.deed_row(one) for one in store.accounts.deeds(project_id, rows.DEEDS_IN_FILE))
        return csv_response(f"project-{project_id}-audit-log", rows.DEED_COLUMNS, made)

    return blueprint
