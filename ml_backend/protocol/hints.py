"""Writes hints in the background, so that a busy database never holds up an annotator."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore

import structlog

from ml_backend.errors import Busy
from ml_backend.loop.votes import record_hint
from ml_backend.store.database import Store

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 0.02
"""Longest time that an answer waits for its write: Label Studio calls from inside Submit."""

MOST_WAITING = 1000
"""Hints that may wait. One lost beyond them costs little: the worker also polls."""


class HintWriter:
    """One thread that writes one hint after another.

    Writers of SQLite exclude one another, and the worker writes in batches. Waiting here costs
    one thread; waiting in the requests would cost all of them, and ``/health`` with them.

    Parameters
    ----------
    store : Store
        Where to.
    patience : float
        Seconds.
    most : int
        Hints that may wait.
    """

    def __init__(
        self, store: Store, patience: float = PATIENCE_SECONDS, most: int = MOST_WAITING
    ) -> None:
        self._store = store
        self._patience = patience
        self._places = BoundedSemaphore(most)
        # Its thread starts with the first hint, and ends with the process when all are written.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hints")

    def write(self, project_id: int, action: str) -> bool:
        """Write a hint, now or as soon as the database is free.

        Returns
        -------
        bool
            False where it is known by now that the project is not connected.

        Raises
        ------
        Busy
            If too many hints wait already.
        """
        if not self._places.acquire(blocking=False):
            raise Busy("Too many webhooks wait to be written.")
        written = self._pool.submit(record_hint, self._store, project_id, action)
        written.add_done_callback(self._done)
        try:
            return written.result(self._patience)
        except TimeoutError:
            return True

    def _done(self, written: Future[bool]) -> None:
        self._places.release()
        # The answer may have gone out before: then nobody else hears of it.
        if error := written.exception():
            log.error("hint_lost", problem=str(getattr(error, "orig", None) or error))
