"""Thumbnails: small pictures of tasks, for every page that shows galaxies."""

from __future__ import annotations

import threading
from html import escape
from textwrap import wrap

from flask import Blueprint, Response, abort, request
from sqlalchemy import select

from ml_backend.dashboard.site import DashboardContext, project_of
from ml_backend.errors import FetchError
from ml_backend.pictures.addresses import Wanted, token_in
from ml_backend.store.database import Store
from ml_backend.store.tables import Task

SIDES = (96, 192, 384)
"""Lengths of the longer side in pixels; others are rounded up to one of these, so that the cache
holds few sizes of each image."""
WAIT_SECONDS = 5.0
"""How long a thumbnail waits for its turn: a page asks for dozens at once."""
_SECONDS_KEPT = 86_400
_SECONDS_BROKEN = 60
_COLUMNS, _LINES = 24, 5


def add_thumbnails(blueprint: Blueprint, context: DashboardContext) -> None:
    """Add the view ``thumbnail`` at ``thumbnail/<task_id>?side=192`` to a blueprint of a project.

    It answers a JPEG; where the image cannot be used, a drawing that says why. A task of another
    project is answered 404.

    Parameters
    ----------
    blueprint : Blueprint
    context : DashboardContext
    """
    places = threading.BoundedSemaphore(max(1, context.settings.max_picture_requests // 2))
    addresses = context.store.picture_addresses()

    @blueprint.get("/thumbnail/<int:task_id>")
    def thumbnail(project_id: int, task_id: int) -> Response:
        address = _address(context.store, project_of(context.store, project_id).id, task_id)
        if not address:
            return _placeholder("The task has no image in this field.", 200, _SECONDS_BROKEN)
        if not places.acquire(timeout=WAIT_SECONDS):
            return _placeholder("Busy. Load the page again.", 503, 0)
        try:
            # What Label Studio shows of a FITS file is a picture of ours: keep its look.
            token = token_in(address)
            wanted = addresses.read(token) if token else None
            drawn = context.maker.thumbnail(wanted or Wanted(address), _side())
        except FetchError as error:
            return _placeholder(str(error), 200, _SECONDS_BROKEN)
        finally:
            places.release()
        response = Response(drawn.data, mimetype="image/jpeg")
        response.headers["Cache-Control"] = f"private, max-age={_SECONDS_KEPT}"
        response.set_etag(drawn.key)
        response.make_conditional(request)
        return response


def _side() -> int:
    asked = request.args.get("side", SIDES[1], type=int)
    return next((side for side in SIDES if side >= asked), SIDES[-1])


def _address(store: Store, project_id: int, task_id: int) -> str:
    """Return the address of a task's image; 404 where the project has no such task."""
    if task_id >= 2**63:
        abort(404, "There is no such task.")
    chosen = select(Task.image).where(
        Task.id == task_id, Task.project_id == project_id, ~Task.removed
    )
    with store.reading() as session:
        address = session.scalar(chosen)
    if address is None:
        abort(404, f"Project {project_id} has no task {task_id}.")
    return address


def _placeholder(reason: str, status: int, seconds: int) -> Response:
    """Return a grey tile with a reason, which a page shows like any picture."""
    lines = wrap(reason, _COLUMNS) or ["No image."]
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], f"{lines[_LINES - 1][: _COLUMNS - 2]} …"]
    top = 96 - 9 * (len(lines) - 1)
    told = "".join(
        f'<text x="96" y="{top + 18 * row}">{escape(_printable(line))}</text>'
        for row, line in enumerate(lines)
    )
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 192 192" width="192" height="192">'
        f"<title>{escape(_printable(reason))}</title>"
        '<rect width="192" height="192" fill="#7a8095"/><g fill="#fff" font-size="12.5" '
        f'font-family="sans-serif" text-anchor="middle">{told}</g></svg>'
    )
    response = Response(drawing, status, mimetype="image/svg+xml")
    response.headers["Cache-Control"] = f"private, max-age={seconds}" if seconds else "no-store"
    if status == 503:
        response.headers["Retry-After"] = "2"
    return response


def _printable(text: str) -> str:
    """XML knows no control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
