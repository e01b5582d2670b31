"""The page ``health``: what runs, what failed and why, and what to do about it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, redirect, render_template, request
from flask import url_for as address_of
from sqlalchemy import func, select

from ml_backend.dashboard.checkups import Checkup, Finding
from ml_backend.dashboard.login import PREFIX, check_form
from ml_backend.dashboard.projects_page import COUNTED_ANEW_TO, counts_of
from ml_backend.dashboard.site import DashboardContext, label_studio_address, project_of, show
from ml_backend.dashboard.tables import csv_response
from ml_backend.store.database import Store
from ml_backend.store.jobs import job_details
from ml_backend.store.sizes import Sizes, sizes
from ml_backend.store.tables import Task

JOBS_SHOWN = 8
JOBS_IN_FILE = 1000
BROKEN_SHOWN = 25
MEASURED_ANEW = 60.0
"""Seconds after which sizes on the disk, and what is many, are measured again."""
LABEL_STUDIO = "Label Studio"
_OF_PROJECT = re.compile(r"project (\d+): ")
_PARTS = ("state", "jobs", "checks")


def create_health(context: DashboardContext) -> Blueprint:
    """Return the blueprint of ``/dashboard/<project_id>/health``."""
    blueprint = Blueprint("health", __name__, url_prefix=f"{PREFIX}/<int:project_id>/health")
    store, checkups = context.store, context.checkups
    measured = _Kept(lambda: sizes(context.settings))
    counted: dict[int, tuple[float, int]] = {}

    def waiting(project_id: int) -> int:
        # The page asks every few seconds while a round runs: as of a million new images.
        at, count = counted.get(project_id, (0.0, 0))
        if count <= COUNTED_ANEW_TO or time.monotonic() - at > MEASURED_ANEW:
            at, count = counted[project_id] = time.monotonic(), waiting_images(store, project_id)
        return count

    def now(project_id: int) -> dict[str, Any]:
        project = project_of(store, project_id)
        checkup = checkups.latest()
        jobs = store.jobs.listing(project_id, JOBS_SHOWN)
        return {
            "project": project,
            "workers": store.jobs.workers(),
            "jobs": jobs,
            "checkup": checkup,
            "findings": findings_of(checkup, project_id),
            "label_studio_state": label_studio_state(checkup),
            "looking": checkups.busy or checkup is None,
            "waiting": waiting(project_id),
            "counts": counts_of(store, project_id)[0],
            "busy": any(job.state in ("queued", "running") for job in jobs),
        }

    @blueprint.get("/")
    def page(project_id: int) -> str:
        values = now(project_id)
        values.pop("project")
        counts, counted_at = values.pop("counts"), counts_of(store, project_id)[1]
        at = max(request.args.get("page", 1, type=int), 1)
        broken = broken_tasks(store, project_id, at) if counts["broken"] else []
        return show(
            context, project_id, "health", heading="Health", counts=counts,
            counted_at=counted_at, broken=broken, at=at, sizes=measured(),
            pages=-(-counts["broken"] // BROKEN_SHOWN),
            tasks_address=f"{label_studio_address(context.settings)}/projects/{project_id}/data",
            **values,
        )  # fmt: skip

    @blueprint.get("/now.json")
    def current(project_id: int) -> dict[str, Any]:
        values = now(project_id)
        return {
            "busy": values["busy"] or values["looking"],
            "parts": {
                part: render_template(f"dashboard/_health_{part}.html", **values) for part in _PARTS
            },
        }

    @blueprint.post("/look")
    def look(project_id: int) -> Any:
        check_form()
        project_of(store, project_id)
        checkups.begin()
        return redirect(address_of("health.page", project_id=project_id, _anchor="checks"))

    @blueprint.get("/jobs.csv")
    def jobs(project_id: int) -> Response:
        project_of(store, project_id)
        rows = [job_details(job) for job in store.jobs.listing(project_id, JOBS_IN_FILE)]
        columns = list(rows[0]) if rows else ["id"]
        return csv_response(
            f"project-{project_id}-jobs", columns, ([row[name] for name in columns] for row in rows)
        )

    @blueprint.get("/broken.csv")
    def broken(project_id: int) -> Response:
        project_of(store, project_id)
        rows = (
            (task, address[:1000], problem, tried.isoformat(timespec="seconds") if tried else None)
            for task, address, problem, tried in broken_tasks(store, project_id, None)
        )
        columns = ("task", "image", "problem", "tried_at")
        return csv_response(f"project-{project_id}-broken-images", columns, rows)

    @blueprint.get("/checks.csv")
    def checks(project_id: int) -> Response:
        project_of(store, project_id)
        found = findings_of(checkups.run(), project_id)
        rows = ((one.check, "ok" if one.ok else "wrong", one.problem, one.remedy) for one in found)
        columns = ("check", "state", "problem", "remedy")
        return csv_response(f"project-{project_id}-checks", columns, rows)

    return blueprint


def findings_of(checkup: Checkup | None, project_id: int) -> list[Finding]:
    """Return the findings that concern a project: its own and those of the whole backend."""
    found = []
    for finding in checkup.findings if checkup is not None else ():
        named = _OF_PROJECT.match(finding.check)
        if named is None or int(named[1]) == project_id:
            found.append(finding)
    return found


def label_studio_state(checkup: Checkup | None) -> str:
    """Return ``answers``, ``has a problem``, or ``not known yet``."""
    found = (
        [one for one in checkup.findings if one.check.startswith(LABEL_STUDIO)] if checkup else []
    )
    if not found:
        return "not known yet"
    return "answers" if all(one.ok for one in found) else "has a problem"


def waiting_images(store: Store, project_id: int) -> int:
    """Count the images that no round has looked at yet."""
    query = select(func.count()).where(
        Task.project_id == project_id,
        Task.content_hash.is_(None),
        Task.problem.is_(None),
        ~Task.removed,
    )
    with store.reading() as session:
        return int(session.scalar(query) or 0)


def broken_tasks(
    store: Store, project_id: int, page: int | None
) -> Sequence[tuple[int, str, str, datetime | None]]:
    """Return task, image, problem and time of images that cannot be used; None: all pages."""
    query = (
        select(Task.id, Task.image, Task.problem, Task.tried_at)
        .where(Task.project_id == project_id, Task.problem.is_not(None), ~Task.removed)
        .order_by(Task.id)
    )
    if page is not None:
        query = query.limit(BROKEN_SHOWN).offset(BROKEN_SHOWN * (min(page, 10**6) - 1))
    with store.reading() as session:
        return [(row[0], row[1], row[2] or "", row[3]) for row in session.execute(query)]


class _Kept:
    """Measures again only after `MEASURED_ANEW` seconds."""

    def __init__(self, measure: Callable[[], Sizes]) -> None:
        self._measure = measure
        self._kept: tuple[float, Sizes] | None = None

    def __call__(self) -> Sizes:
        if self._kept is None or time.monotonic() - self._kept[0] > MEASURED_ANEW:
            self._kept = time.monotonic(), self._measure()
        return self._kept[1]
