"""The page ``explore``: a map of the galaxies, the search by marks, and sending what was found."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from sqlalchemy import select

from ml_backend.dashboard.explore_map import (
    COLOURS,
    MOST_POINTS,
    MapPoint,
    drawn_tasks,
    map_plot,
    map_points,
)
from ml_backend.dashboard.galaxies import Galaxies, tasks_in
from ml_backend.dashboard.login import PREFIX, acting, current_account
from ml_backend.dashboard.plots import palette, plot_response
from ml_backend.dashboard.queue_rows import columns, row_of
from ml_backend.dashboard.search_form import check_known, read_search, search_step
from ml_backend.dashboard.sending import MOST, send_tasks
from ml_backend.dashboard.site import DashboardContext, project_of, show
from ml_backend.dashboard.tables import csv_response
from ml_backend.dashboard.thumbnails import add_thumbnails
from ml_backend.dashboard.wishes import KINDS, own_tasks
from ml_backend.errors import FetchError, GalaxyLoopError, StoreError
from ml_backend.loop.project_map import load_map
from ml_backend.store.figures import kept_figure
from ml_backend.store.tables import Project, Vote

MOST_UPLOAD = 16 * 2**20
"""Bytes of an uploaded image."""
_BEGIN_WITH = 24


def create_explore(context: DashboardContext) -> Blueprint:
    """Return the blueprint of ``/dashboard/<project_id>/explore``."""
    blueprint = Blueprint("explore", __name__, url_prefix=f"{PREFIX}/<int:project_id>/explore")
    galaxies = Galaxies(context.store)
    uploads = threading.BoundedSemaphore(1)
    add_thumbnails(blueprint, context)
    _add_map(blueprint, context, galaxies)
    _add_selection(blueprint, context, galaxies)

    @blueprint.get("/")
    def page(project_id: int) -> str:
        project = project_of(context.store, project_id)
        kept = load_map(context.store, project_id)
        colour = request.args.get("colour", "class")
        space = galaxies.space(project_id)
        figure = kept_figure(context.store, project_id, "map")
        return show(
            context,
            project_id,
            "explore",
            heading="Explore",
            encoded=0 if space is None else len(space),
            mapped=0 if kept is None else len(kept.task_ids),
            asked=bool(figure and figure.data.get("asked")),
            colour=colour if colour in COLOURS else "class",
            colours=COLOURS,
            most=MOST_POINTS,
            first=galaxies.states(project, [int(t) for t in space.spread(1)]) if space else [],
            most_upload=MOST_UPLOAD // 2**20,
            is_connected=bool(project.champion),
        )

    @blueprint.get("/galaxy/<int:task_id>")
    def galaxy(project_id: int, task_id: int) -> str:
        project = project_of(context.store, project_id)
        found = galaxies.states(project, [task_id]) if task_id < 2**63 else []
        if not found:
            abort(404, f"Project {project_id} has no task {task_id}.")
        space = galaxies.space(project_id)
        about: dict[str, Any] = {
            "state": found[0],
            "votes": _votes(context, project_id, task_id),
            "kinds": KINDS,
            "encoded": space is not None and bool(len(space.embeddings([task_id])[0])),
        }
        if request.args.get("part") == "1":
            return render_template("dashboard/_galaxy.html", project=project, **about)
        return show(context, project_id, "explore", "galaxy", heading=f"Task {task_id}", **about)

    @blueprint.route("/search", methods=["GET", "POST"])
    def search(project_id: int) -> Any:
        project = project_of(context.store, project_id)
        asked = read_search()
        space = galaxies.space(project_id)
        problem, found, states = "", None, []
        if space is None or not len(space):
            return redirect(url_for("explore.page", project_id=project_id))
        try:
            file = request.files.get("image")
            if file is not None and file.filename:
                with _turn(uploads):
                    asked.aim = _encoded(context, project_id, file.stream, space.lvm_identity)
            check_known(space, asked.yes)
            if asked.has_example:
                found = search_step(space, asked, context.settings.seed)
                asked.step += 1
                states = galaxies.states(project, [int(task) for task in found.task_ids])
        except GalaxyLoopError as error:
            problem = str(error)
        if found is None:
            # Other galaxies each time, so that who saw nothing of interest sees some more.
            drawn = space.spread(_BEGIN_WITH, context.settings.seed + asked.looked)
            states = galaxies.states(project, [int(task) for task in drawn])
        scores = {} if found is None else found.by_task()
        page = show(
            context,
            project_id,
            "explore",
            "search",
            heading="Search",
            search=asked,
            found=found,
            states=states,
            scores=scores,
            yes=galaxies.states(project, asked.yes[-60:]),
            problem=problem,
            total=len(space),
        )
        return page, 400 if problem else 200

    return blueprint


def _add_map(blueprint: Blueprint, context: DashboardContext, galaxies: Galaxies) -> None:
    def points_of(project: Project) -> list[MapPoint]:
        kept = load_map(context.store, project.id)
        if kept is None:
            abort(404, "There is no map of this project yet.")
        states = galaxies.states(project, drawn_tasks(kept, context.settings.seed))
        return map_points(kept, states)

    @blueprint.get("/map.json")
    def plot(project_id: int) -> Response:
        points = points_of(project_of(context.store, project_id))
        colour = request.args.get("colour", "class")
        thumbnails = url_for("explore.thumbnail", project_id=project_id, task_id=0)
        address = thumbnails.removesuffix("0") + "@{task}?side=96"
        chosen = colour if colour in COLOURS else "class"
        return plot_response(map_plot(points, chosen, palette(), address))

    @blueprint.get("/map.csv")
    def table(project_id: int) -> Response:
        points = points_of(project_of(context.store, project_id))
        rows = [
            (p.state.task_id, p.x, p.y, p.label, p.by, p.state.doubt, p.state.people)
            for p in points
        ]
        names = ("task", "x", "y", "class", "said_by", "doubt", "people")
        return csv_response(f"map-{project_id}", names, rows)


def _add_selection(blueprint: Blueprint, context: DashboardContext, galaxies: Galaxies) -> None:
    @blueprint.route("/selection", methods=["GET", "POST"])
    def selection(project_id: int) -> str:
        project = project_of(context.store, project_id)
        # From a search comes what was marked, the marks of this step included.
        chosen = tasks_in("task", "tasks") or read_search().yes
        states = galaxies.states(project, chosen[:MOST])
        others = [row for row in context.store.projects.listing() if row.id != project_id]
        return show(
            context,
            project_id,
            "explore",
            "selection",
            heading="Selection",
            states=states,
            left_out=len(chosen) - len(states),
            others=others,
            most=MOST,
        )

    @blueprint.post("/selection.csv")
    def selection_csv(project_id: int) -> Response:
        project = project_of(context.store, project_id)
        states = galaxies.states(project, tasks_in("task"))
        rows = [row_of(state, None if state.place is None else state.place + 1) for state in states]
        return csv_response(f"selection-{project_id}", columns(), rows)

    @blueprint.post("/send")
    @acting
    def send(project_id: int) -> Any:
        project = project_of(context.store, project_id)
        target = request.form.get("target", 0, type=int)
        chosen = tasks_in("task")
        with context.store.reading() as session:
            ours = own_tasks(session, project_id, chosen)
        if not ours:
            abort(400, "No galaxy of this project is selected.")
        account = current_account()
        try:
            sent = send_tasks(
                context.store,
                context.client(),
                project,
                project_of(context.store, target),
                ours,
                account.name if account else "",
            )
        except GalaxyLoopError as error:
            flash(f"Nothing was sent. {error}", "bad")
        else:
            flash(_told(sent.made, sent.already, target))
        return redirect(url_for("explore.selection", project_id=project_id, tasks=_short(ours)))


def _told(made: int, already: int, target: int) -> str:
    said = f"{made} {'task was' if made == 1 else 'tasks were'} made in project {target}."
    if already:
        said += f" {already} of the images {'was' if already == 1 else 'were'} there already."
    return said


def _short(task_ids: list[int]) -> str:
    """Numbers for an address, which must not become too long for proxies."""
    return ",".join(map(str, task_ids[:150]))


def _votes(context: DashboardContext, project_id: int, task_id: int) -> list[Any]:
    chosen = (
        select(Vote.control, Vote.labels, Vote.created_at, Vote.skipped)
        .where(Vote.project_id == project_id, Vote.task_id == task_id)
        .order_by(Vote.id.desc())
        .limit(50)
    )
    with context.store.reading() as session:
        return list(session.execute(chosen))


def _encoded(context: DashboardContext, project_id: int, stream: Any, lvm_identity: str) -> str:
    data = stream.read(MOST_UPLOAD + 1)
    if not data:
        raise FetchError("The uploaded file is empty (0 bytes).")
    if len(data) > MOST_UPLOAD:
        raise FetchError(
            f"The uploaded file is larger than {MOST_UPLOAD // 2**20} MiB. Make it smaller, or cut "
            "the galaxy out of it."
        )
    # Importing torch takes seconds, in which /health must answer already.
    from ml_backend.loop.uploads import encode_upload, packed

    return packed(encode_upload(context.store, project_id, data, lvm_identity))


@contextmanager
def _turn(places: threading.BoundedSemaphore) -> Iterator[None]:
    """One upload is decoded and encoded at a time; the next one waits a little."""
    if not places.acquire(timeout=10):
        raise StoreError("Another image is being looked at. Upload yours again in a moment.")
    try:
        yield
    finally:
        places.release()
