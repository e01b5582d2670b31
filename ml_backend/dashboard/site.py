"""The site below ``/dashboard``: its pages in their order, and what each is made with."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import bokeh
from flask import Blueprint, Flask, Response, abort, render_template, request

from ml_backend.dashboard.checkups import Checkups
from ml_backend.dashboard.login import PREFIX, current_account, inside, register_login
from ml_backend.dashboard.measures import label, quality_of, said_as
from ml_backend.dashboard.projects_page import Summary, summaries
from ml_backend.dashboard.tables import csv_response
from ml_backend.dashboard.version_rows import DEED_COLUMNS, DEEDS_IN_FILE, deed_row
from ml_backend.dashboard.words import ago, grouped, size
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.pictures.drawing import PictureMaker
from ml_backend.settings import Settings
from ml_backend.store.database import Store
from ml_backend.store.tables import Project

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; font-src 'self' data:; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""Our own scripts only; Bokeh puts its styles into the page itself."""

_SCRIPT = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"


@dataclass(frozen=True)
class DashboardContext:
    """What pages are made with."""

    settings: Settings
    store: Store
    maker: PictureMaker
    checkups: Checkups
    client: Callable[[], LabelStudioClient]


@dataclass(frozen=True)
class DashboardPage:
    """One page of each project: ``/dashboard/<project_id>/<name>``.

    `create` returns a blueprint named `name` with a view ``page`` at
    ``/dashboard/<int:project_id>/<name>``; further addresses of it lie below that.
    """

    name: str
    title: str
    create: Callable[[DashboardContext], Blueprint]


def register_dashboard(
    app: Flask, context: DashboardContext, pages: Sequence[DashboardPage], secret: str
) -> None:
    """Add the site and its login to `app`.

    Parameters
    ----------
    app : Flask
    context : DashboardContext
    pages : sequence of DashboardPage
        In the order of the navigation.
    secret : str
        Signs cookies.
    """
    register_login(app, context.store, secret)
    # Below the prefix, so that the login page's own looks ask for no other password.
    app.register_blueprint(
        Blueprint(
            "dashboard",
            __name__,
            template_folder="templates",
            static_folder="static",
            static_url_path=f"{PREFIX}/static",
        )
    )
    app.register_blueprint(_create_site(context))
    for page in pages:
        app.register_blueprint(page.create(context))
    app.jinja_env.globals.update(
        dashboard_pages=pages, bokeh_version=bokeh.__version__, prefix=PREFIX
    )
    app.jinja_env.filters.update(
        ago=ago, size=size, grouped=grouped, measure=label, quality=quality_of, said_as=said_as
    )

    @app.after_request
    def _policy(response: Response) -> Response:
        if inside():
            response.headers["Content-Security-Policy"] = POLICY
        return response


def project_of(store: Store, project_id: int) -> Project:
    """Return a connected project; the page is answered 404 where there is none."""
    project = store.projects.get(project_id) if 0 < project_id < 2**63 else None
    if project is None:
        abort(404, f"Project {project_id} is not connected.")
    return project


def label_studio_address(settings: Settings) -> str:
    """Return Label Studio's address in people's browsers."""
    return settings.label_studio_public_url or settings.label_studio_url


def show(
    context: DashboardContext, project_id: int, page: str, template: str = "", **values: Any
) -> str:
    """Render ``dashboard/<page>.html`` of a project; templates extend ``dashboard/frame.html``.

    A further view of a page names its own `template`, and stays under the page's tab.
    """
    project = project_of(context.store, project_id)
    browser = label_studio_address(context.settings)
    return render_template(
        f"dashboard/{template or page}.html",
        project=project,
        current=page,
        label_studio=f"{browser}/projects/{project.id}/data",
        **values,
    )


def _create_site(context: DashboardContext) -> Blueprint:
    blueprint = Blueprint("site", __name__, url_prefix=PREFIX, template_folder="templates")

    @blueprint.get("/")
    def home() -> str:
        found: list[Summary] = summaries(context.store)
        return render_template(
            "dashboard/home.html",
            summaries=found,
            workers=context.store.jobs.workers(),
            label_studio=label_studio_address(context.settings),
        )

    @blueprint.get("/audit.csv")
    def audit() -> Response:
        account = current_account()
        if account is None or account.role != "manager":
            abort(403, "Only an account with the role 'manager' may see what all others did.")
        deeds = context.store.accounts.deeds(None, DEEDS_IN_FILE)
        rows = ((deed.project_id, *deed_row(deed)) for deed in deeds)
        return csv_response("audit-log", ("project", *DEED_COLUMNS), rows)

    @blueprint.get("/bokeh-<version>.js")
    def script(version: str) -> Response:
        # Its version is in its address, so browsers may keep it for good.
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        response = Response(_script(packed), mimetype="text/javascript")
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["Vary"] = "Accept-Encoding"
        return response

    return blueprint


@lru_cache(maxsize=2)
def _script(packed: bool) -> bytes:
    data = _SCRIPT.read_bytes()
    return gzip.compress(data) if packed else data
