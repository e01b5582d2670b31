"""The page ``people``: who works, how well, how far people agree, and what suggestions do."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Blueprint, Response, abort, request

from ml_backend.dashboard import people_rows as rows
from ml_backend.dashboard.login import PREFIX, acting, current_account
from ml_backend.dashboard.plots import new_plot, palette, plot_response
from ml_backend.dashboard.progress_plots import days_plot as drawn_days
from ml_backend.dashboard.site import DashboardContext, project_of, show
from ml_backend.dashboard.tables import csv_response
from ml_backend.errors import GalaxyLoopError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import ChoicesControl, parse_controls
from ml_backend.store.figures import kept_figure

MOST_IN_PLOT = 40

log = structlog.get_logger(__name__)


def create_people(context: DashboardContext) -> Blueprint:
    """Return the blueprint of ``/dashboard/<project_id>/people``."""
    blueprint = Blueprint("people", __name__, url_prefix=f"{PREFIX}/<int:project_id>/people")
    store = context.store
    secret = store.dashboard_secret()

    def figure_of(project_id: int) -> Any:
        project_of(store, project_id)
        return kept_figure(store, project_id, "people")

    def table_of(project_id: int, names: dict[str, str] | None = None) -> list[dict[str, Any]]:
        figure = figure_of(project_id)
        return rows.named(figure.data["people"] if figure else [], secret, project_id, names)

    def may_act() -> bool:
        account = current_account()
        return account is not None and account.role == "manager"

    def shown(project_id: int, names: dict[str, str] | None = None, problem: str = "") -> str:
        figure = figure_of(project_id)
        table = table_of(project_id, names)
        allowed = {name: word for name, (word, _) in rows.SORTS.items()}
        if not may_act():
            del allowed["suspicions"]
        sort = request.args.get("sort", "votes")
        sort = sort if sort in allowed else "votes"
        pages = max(-(-len(table) // rows.PER_PAGE), 1)
        at = min(max(request.args.get("page", 1, type=int), 1), pages)
        part = rows.ordered(table, sort)[(at - 1) * rows.PER_PAGE : at * rows.PER_PAGE]
        said = {one["person"]: one["name"] for one in table}
        return show(
            context, project_id, "people", heading="People", figure=figure, count=len(table),
            table=part, sorts=allowed, sort=sort, at=at, pages=pages, may_act=may_act(),
            named=names is not None, problem=problem, said=said,
            active=bool(figure and rows.days_of(figure.data["days"], {})[0]),
            suspects=[one for one in table if one["suspicions"]] if may_act() else [],
            compared=rows.compared_at(figure.data) if figure else None,
        )  # fmt: skip

    @blueprint.get("/")
    def page(project_id: int) -> str:
        return shown(project_id)

    @blueprint.post("/names")
    @acting
    def names(project_id: int) -> str:
        project_of(store, project_id)
        account = current_account()
        assert account is not None
        try:
            found = rows.names_of(LabelStudioClient.from_settings(context.settings).users())
            # People from outside bring their names.
            others = [one["person"] for one in table_of(project_id)]
            found |= {name: name for name in others if not name.startswith("person ")}
        except GalaxyLoopError as error:
            log.warning("names_not_read", project=project_id, problem=str(error))
            return shown(project_id, problem=f"The names could not be read. {error}")
        store.accounts.note(account.name, "names revealed", "people", project_id)
        return shown(project_id, found)

    @blueprint.get("/<key>/")
    def person(project_id: int, key: str) -> str:
        one = next((one for one in table_of(project_id) if one["key"] == key), None)
        if one is None:
            abort(404, "Nobody in this project goes by this name.")
        project = project_of(store, project_id)
        try:
            config = parse_controls(project.label_config)
            labels = {c.name: c.labels for c in config.answered if isinstance(c, ChoicesControl)}
        except GalaxyLoopError:
            labels = {}
        return show(
            context, project_id, "people", template="person", heading=one["name"], one=one,
            confusions=rows.confusions(one, labels), numbers=rows.numbers(one),
            may_act=may_act(),
        )  # fmt: skip

    @blueprint.get("/people.csv")
    def people_file(project_id: int) -> Response:
        made = (rows.csv_row(one) for one in table_of(project_id))
        return csv_response(f"project-{project_id}-people", rows.COLUMNS, made)

    @blueprint.get("/agreement.csv")
    def agreement_file(project_id: int) -> Response:
        figure = figure_of(project_id)
        found = figure.data["controls"] if figure else []
        columns = ("control", "level", "tasks", "fleiss", "alpha")
        made = ([one[name] for name in columns] for one in found)
        return csv_response(f"project-{project_id}-agreement", columns, made)

    @blueprint.get("/suspicions.csv")
    def suspicions_file(project_id: int) -> Response:
        if not may_act():
            abort(403, "Only an account with the role 'manager' may see this.")
        made = (
            (one["name"], found["kind"], found["sentence"])
            for one in table_of(project_id)
            for found in one["suspicions"]
        )
        columns = ("person", "kind", "sentence")
        return csv_response(f"project-{project_id}-suspicions", columns, made)

    @blueprint.get("/reliability.json")
    def reliability_plot(project_id: int) -> Response:
        table = [one for one in table_of(project_id) if one["reliability"] is not None]
        table = rows.ordered(table[:MOST_IN_PLOT], "reliability")
        colours = palette()
        plot = new_plot(
            colours,
            height=80 + 22 * max(len(table), 3),
            y_range=[one["key"] for one in table],
            x_range=(0, 1),
            tooltips=[
                ("person", "@key"),
                ("right", "@value{0 %}"),
                ("90 % interval", "@low{0 %} to @high{0 %}"),
                ("answers", "@votes"),
            ],
            tools="save",
        )
        data = {
            "key": [one["key"] for one in table],
            "value": [one["reliability"] for one in table],
            "low": [one["low"] for one in table],
            "high": [one["high"] for one in table],
            "votes": [one["votes"] for one in table],
        }
        from bokeh.models import ColumnDataSource

        source = ColumnDataSource(data)
        plot.segment("low", "key", "high", "key", source=source, line_color=colours.accent)
        plot.scatter("value", "key", source=source, size=9, color=colours.accent)
        plot.xaxis.axis_label = "chance that an answer is right"
        return plot_response(plot)

    @blueprint.get("/days.json")
    def days_plot(project_id: int) -> Response:
        figure = figure_of(project_id)
        said = {one["person"]: one["key"] for one in table_of(project_id)}
        days, stack = rows.days_of(figure.data["days"] if figure else {}, said)
        return plot_response(drawn_days(days, stack, palette()))

    return blueprint
