"""The page ``learning``: how good the model is, what it confuses, and what its order spared."""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from ml_backend.dashboard import learning_rows as rows
from ml_backend.dashboard.learning_plots import calibration_plot, curve_plot, saved_plot
from ml_backend.dashboard.login import PREFIX
from ml_backend.dashboard.plots import palette, plot_response
from ml_backend.dashboard.site import DashboardContext, project_of, show
from ml_backend.dashboard.tables import csv_response

LABELS_SHOWN = 20
"""Labels of a matrix that is drawn as a table; larger ones are in the CSV file."""


def create_learning(context: DashboardContext) -> Blueprint:
    """Return the blueprint of ``/dashboard/<project_id>/learning``."""
    blueprint = Blueprint("learning", __name__, url_prefix=f"{PREFIX}/<int:project_id>/learning")
    store = context.store

    def read(project_id: int) -> rows.Learning:
        project_of(store, project_id)
        learning, _ = rows.read_learning(store, project_id)
        if learning is None:
            abort(404, "Nothing is measured yet: the next round does it.")
        return learning

    def chosen(project_id: int) -> rows.ControlLearning:
        found = read(project_id).control(request.args.get("control", ""))
        if found is None:
            abort(404, "The project has no such control with a head.")
        return found

    @blueprint.get("/")
    def page(project_id: int) -> str:
        project_of(store, project_id)
        learning, broken = rows.read_learning(store, project_id)
        name = request.args.get("control", "")
        control = (learning.control(name) or learning.control("")) if learning else None
        measure = request.args.get("measure", "")
        if control is not None and not control.seen.get(measure):
            measure = control.measure
        return show(
            context, project_id, "learning", heading="Learning", learning=learning, broken=broken,
            control=control, measure_shown=measure, measures=rows.MEASURES,
            labels_shown=LABELS_SHOWN,
        )  # fmt: skip

    @blueprint.get("/cell/<int:matrix>/<int:row>/<int:column>")
    def cell(project_id: int, matrix: int, row: int, column: int) -> str:
        control = chosen(project_id)
        if matrix >= len(control.matrices):
            abort(404, "There is no such matrix.")
        found = control.matrices[matrix]
        if max(row, column) >= len(found.labels):
            abort(404, "The matrix has no such cell.")
        return show(
            context, project_id, "learning", template="confused", heading="Confusion",
            control=control, matrix=found, row=row, column=column,
            tasks=found.tasks.get((row, column), ()),
        )  # fmt: skip

    @blueprint.get("/plots/curve")
    def curve(project_id: int) -> Response:
        control, measure = chosen(project_id), request.args.get("measure", "")
        if measure not in rows.MEASURES:
            measure = control.measure
        return plot_response(curve_plot(control, measure, palette()))

    @blueprint.get("/plots/calibration")
    def calibration(project_id: int) -> Response:
        return plot_response(calibration_plot(chosen(project_id), palette()))

    @blueprint.get("/plots/saved")
    def saved(project_id: int) -> Response:
        found = chosen(project_id).saved
        if found is None or not found.curve:
            abort(404, "Labels saved are not measured yet.")
        return plot_response(saved_plot(found, palette()))

    @blueprint.get("/curves.csv")
    def curves_file(project_id: int) -> Response:
        made = rows.curve_rows(read(project_id))
        return csv_response(f"project-{project_id}-learning", rows.CURVE_COLUMNS, made)

    @blueprint.get("/errors.csv")
    def errors_file(project_id: int) -> Response:
        made = rows.error_rows(read(project_id))
        return csv_response(f"project-{project_id}-quality", rows.ERROR_COLUMNS, made)

    @blueprint.get("/calibration.csv")
    def calibration_file(project_id: int) -> Response:
        made = rows.calibration_rows(read(project_id))
        return csv_response(f"project-{project_id}-calibration", rows.CALIBRATION_COLUMNS, made)

    @blueprint.get("/confusion.csv")
    def confusion_file(project_id: int) -> Response:
        made = rows.confusion_rows(read(project_id))
        return csv_response(f"project-{project_id}-confusion", rows.CONFUSION_COLUMNS, made)

    return blueprint
