"""The page ``progress``: how far a project is, who did it, and when it will be good enough."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, abort, request

from ml_backend.dashboard import progress_rows as rows
from ml_backend.dashboard.login import PREFIX
from ml_backend.dashboard.outlook import Outlook, outlook, wanted_of
from ml_backend.dashboard.plots import palette, plot_response
from ml_backend.dashboard.progress_plots import days_plot, forecast_plot, history_plot
from ml_backend.dashboard.report import ReportOptions, make_report
from ml_backend.dashboard.report_period import period_of
from ml_backend.dashboard.site import DashboardContext, project_of, show
from ml_backend.dashboard.tables import csv_response

CLASSES_SHOWN = 30
PEOPLE_SHOWN = 15


def create_progress(context: DashboardContext) -> Blueprint:
    """Return the blueprint of ``/dashboard/<project_id>/progress``."""
    blueprint = Blueprint("progress", __name__, url_prefix=f"{PREFIX}/<int:project_id>/progress")
    store = context.store

    def looked_ahead(project_id: int, progress: rows.Progress | None) -> Outlook:
        control, wanted = request.args.get("control", ""), request.args.get("accuracy")
        return outlook(store, project_id, progress, control, wanted_of(wanted))

    def read(project_id: int) -> rows.Progress:
        project_of(store, project_id)
        progress, _ = rows.read_under_pseudonyms(store, project_id)
        if progress is None:
            abort(404, "Nothing is counted yet: the next round does it.")
        return progress

    @blueprint.get("/")
    def page(project_id: int) -> str:
        project_of(store, project_id)
        progress, broken = rows.read_under_pseudonyms(store, project_id)
        return show(
            context, project_id, "progress", heading="Progress", progress=progress, broken=broken,
            meanings=rows.COUNTS, look=looked_ahead(project_id, progress),
            people=rows.people_rows(progress)[:PEOPLE_SHOWN] if progress else [],
            classes_shown=CLASSES_SHOWN,
            points=len(rows.point_rows(store, project_id)) if progress else 0,
        )  # fmt: skip

    @blueprint.get("/plots/days")
    def days(project_id: int) -> Response:
        progress = read(project_id)
        people = [one["person"] for one in progress.people]
        return plot_response(days_plot(progress.days, people, palette()))

    @blueprint.get("/plots/forecast")
    def forecast(project_id: int) -> Response:
        return plot_response(forecast_plot(looked_ahead(project_id, read(project_id)), palette()))

    @blueprint.get("/plots/history")
    def history(project_id: int) -> Response:
        project_of(store, project_id)
        points = [
            dict(zip(rows.POINT_COLUMNS, row, strict=True))
            for row in rows.point_rows(store, project_id)
        ]
        return plot_response(history_plot(points, palette()))

    @blueprint.get("/report.html")
    def report_file(project_id: int) -> Response:
        project = project_of(store, project_id)
        period = period_of(datetime.now(UTC))
        wanted = wanted_of(request.args.get("accuracy"))
        # A file is passed on, so people go by pseudonyms in it whoever asks.
        options = ReportOptions(period, wanted, request.args.get("control", ""))
        made = make_report(store, project, options, context.maker)
        response = Response(made, mimetype="text/html")
        name = f"galaxyloop-report-{project_id}-{period.last}.html"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    @blueprint.get("/classes.csv")
    def classes_file(project_id: int) -> Response:
        made = rows.class_rows(read(project_id))
        return csv_response(f"project-{project_id}-classes", rows.CLASS_COLUMNS, made)

    @blueprint.get("/people.csv")
    def people_file(project_id: int) -> Response:
        made = rows.people_rows(read(project_id))
        return csv_response(f"project-{project_id}-votes-by-person", rows.PEOPLE_COLUMNS, made)

    @blueprint.get("/days.csv")
    def days_file(project_id: int) -> Response:
        made = [
            (day.isoformat(), who, count)
            for day, row in read(project_id).days.items()
            for who, count in (row or {"": 0}).items()
        ]
        return csv_response(f"project-{project_id}-votes-by-day", ("day", "person", "votes"), made)

    @blueprint.get("/points.csv")
    def points_file(project_id: int) -> Response:
        project_of(store, project_id)
        made = rows.point_rows(store, project_id)
        return csv_response(f"project-{project_id}-progress", rows.POINT_COLUMNS, made)

    return blueprint
