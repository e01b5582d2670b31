"""Small pictures inside a report: what can be had within seconds, and no longer."""

from __future__ import annotations

import base64
import queue
import threading
import time
from collections.abc import Sequence

import structlog
from sqlalchemy import select

from ml_backend.errors import GalaxyLoopError
from ml_backend.pictures.addresses import Wanted, token_in
from ml_backend.pictures.drawing import PictureMaker
from ml_backend.store.database import Store
from ml_backend.store.tables import Task

SECONDS = 5.0
"""How long a report waits for its pictures, all together."""
SIDE = 192
_AT_ONCE = 4

_log = structlog.get_logger(__name__)


def report_pictures(
    store: Store,
    maker: PictureMaker,
    project_id: int,
    task_ids: Sequence[int],
    seconds: float = SECONDS,
) -> dict[int, str]:
    """Return pictures of tasks as ``data:`` addresses; those that do not come in time are left out.

    Parameters
    ----------
    store : Store
    maker : PictureMaker
    project_id : int
    task_ids : sequence of int
    seconds : float
        How long to wait for all of them together.
    """
    chosen = select(Task.id, Task.image).where(
        Task.id.in_(task_ids), Task.project_id == project_id, ~Task.removed
    )
    with store.reading() as session:
        images = {int(task): str(image or "") for task, image in session.execute(chosen)}
    waiting: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    made: queue.SimpleQueue[tuple[int, str | None]] = queue.SimpleQueue()
    asked = [task for task in task_ids if images.get(task)]
    for task in asked:
        waiting.put((task, images[task]))
    over = threading.Event()
    addresses = store.picture_addresses()

    def work() -> None:
        while not over.is_set():
            try:
                task, address = waiting.get_nowait()
            except queue.Empty:
                return
            picture = None
            try:
                # What Label Studio shows of a FITS file is a picture of ours: keep its look.
                token = token_in(address)
                wanted = addresses.read(token) if token else None
                data = maker.thumbnail(wanted or Wanted(address), SIDE).data
                picture = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
            except GalaxyLoopError as error:
                _log.info("report_without_picture", task=task, reason=str(error))
            made.put((task, picture))

    # Daemons: a server that does not answer must not hold the command back when it ends.
    for _ in range(min(_AT_ONCE, len(asked))):
        threading.Thread(target=work, name="report-picture", daemon=True).start()
    found: dict[int, str] = {}
    end = time.monotonic() + seconds
    for _ in asked:
        try:
            task, picture = made.get(timeout=max(end - time.monotonic(), 0.001))
        except queue.Empty:
            break
        if picture is not None:
            found[task] = picture
    over.set()
    return found
