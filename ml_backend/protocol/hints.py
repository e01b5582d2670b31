"""Writes hints in the background, so that a busy database never holds up an annotator."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import structlog

from ml_backend.loop.votes import record_hint
from ml_backend.store.database import Store

log = structlog.get_logger(__name__)


class HintWriter:
    """One thread that writes hints; those that came during a write are written as one.

    Writers of SQLite exclude one another, and the worker writes in batches. Waiting here costs
    one thread; waiting in the requests would cost all of them, and ``/health`` with them. A hint
    that is lost with the process costs little: the worker also polls.

    Parameters
    ----------
    store : Store
        Where to.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._waiting: Counter[tuple[int, str]] = Counter()
        self._at_work = False
        # Its thread starts with the first hint, and ends with the process when all are written.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="hints")

    def write(self, project_id: int, action: str) -> None:
        """Write a hint as soon as the database is free; returns at once."""
        with self._lock:
            self._waiting[project_id, action] += 1
            if not self._at_work:
                self._at_work = True
                self._pool.submit(self._work)

    def flush(self) -> None:
        """Wait until what was given until now is written."""
        self._pool.submit(lambda: None).result()

    def _work(self) -> None:
        while True:
            with self._lock:
                hints, self._waiting = self._waiting, Counter()
                if not hints:
                    self._at_work = False
                    return
            for (project_id, action), count in hints.items():
                try:
                    record_hint(self._store, project_id, action, count)
                except Exception:
                    log.exception("hints_lost", project=project_id, action=action, count=count)
