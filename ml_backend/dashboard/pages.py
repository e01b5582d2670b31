"""The page for people at ``/``, the doctor's findings, and the jobs as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, abort, jsonify, render_template, request

from ml_backend.dashboard.checkups import Checkups
from ml_backend.dashboard.overview import job_details, overviews, quality_labelled
from ml_backend.settings import Settings
from ml_backend.store.database import Store

JOBS_SHOWN = 8


def create_pages(
    settings: Settings, store: Store, checkups: Checkups, status: dict[str, Any]
) -> Blueprint:
    """Return the blueprint of ``/``, ``/doctor`` and ``/jobs``.

    Parameters
    ----------
    settings, store
        What the page tells about.
    checkups : Checkups
        The doctor's findings.
    status : dict
        What ``/`` answers to a program, such as Label Studio, instead of the page.
    """
    blueprint = Blueprint(
        "dashboard",
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )
    blueprint.add_app_template_filter(ago, "ago")
    blueprint.add_app_template_filter(quality_labelled, "quality")

    @blueprint.get("/")
    def home() -> Response | str:
        if not _wants_page():
            return jsonify(status)
        jobs = store.jobs.listing(limit=JOBS_SHOWN)
        return render_template(
            "home.html",
            overviews=overviews(settings, store),
            jobs=jobs,
            busy=any(job.state in ("queued", "running") for job in jobs),
            workers=store.jobs.workers(),
            checkup=checkups.latest(),
            label_studio=settings.label_studio_public_url or settings.label_studio_url,
            now=datetime.now(UTC),
        )

    @blueprint.get("/doctor")
    def doctor() -> Response | str:
        checkup = checkups.run()
        if _wants_page():
            return render_template("doctor.html", checkup=checkup)
        return jsonify(
            checked_at=checkup.at.isoformat(timespec="seconds"),
            failure=checkup.failure or None,
            findings=[
                {
                    "check": finding.check,
                    "ok": finding.ok,
                    "problem": finding.problem,
                    "remedy": finding.remedy,
                }
                for finding in checkup.findings
            ],
        )

    @blueprint.get("/jobs")
    def jobs() -> dict[str, Any]:
        project = _project_asked_for()
        limit = min(max(request.args.get("limit", 50, type=int), 1), 1000)
        return {"jobs": [job_details(job) for job in store.jobs.listing(project, limit)]}

    return blueprint


def ago(time: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago `time` was, in words; a dash where it is not known."""
    if time is None:
        return "–"
    seconds = max(0.0, ((now or datetime.now(UTC)) - time).total_seconds())
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now" if seconds < 10 else f"{int(seconds)} seconds ago"


def _project_asked_for() -> int | None:
    named = request.args.get("project")
    if named is None:
        return None
    # What a database can hold has fewer digits; other scripts' digits are no numbers to it.
    if not (named.isascii() and named.isdecimal() and len(named) <= 18):
        abort(400, "The project is not a number.")
    return int(named)


def _wants_page() -> bool:
    # A browser names text/html; Label Studio and scripts send */* or application/json.
    accepted = request.accept_mimetypes
    return accepted["text/html"] > 0 and "text/html" in [kind for kind, _ in accepted]
