"""The job queue's transport: huey, with messages in JSON (its default would unpickle them).

A message only says "look at job N": what the job is and how it stands is in our own table, so a
lost or doubled message costs nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from huey import RedisHuey, SqliteHuey
from huey.api import Huey
from huey.consumer import Consumer
from huey.registry import Message
from huey.serializer import Serializer

from ml_backend.errors import SettingsError, StoreError
from ml_backend.settings import Settings

NAME = "galaxyloop"


class JsonSerializer(Serializer):  # type: ignore[misc]
    """Writes huey's messages as JSON, and takes nothing else."""

    def _serialize(self, data: Any) -> bytes:
        return json.dumps(list(data)).encode()

    def _deserialize(self, data: bytes) -> Message:
        return Message(*json.loads(data))


class Transport:
    """Carries the numbers of jobs from the scheduler to the thread that does them.

    Parameters
    ----------
    settings : Settings
        ``queue_url`` (``redis://...``), or a SQLite file in the data folder.
    work : callable
        Called with the number of a job, in the consumer's thread; must not raise.
    name : str
        Of the queue; each has a thread of its own.

    Raises
    ------
    SettingsError
        ``GALAXYLOOP_QUEUE_URL`` cannot be used.
    StoreError
        The queue's file cannot be opened.
    """

    def __init__(self, settings: Settings, work: Callable[[int], None], name: str = NAME) -> None:
        self._huey = _huey(settings, name)

        def look_at(job_id: int) -> None:
            work(int(job_id))

        self._look_at = self._huey.task(name="look_at")(look_at)
        self._consumer: Consumer | None = None

    def send(self, job_id: int) -> None:
        """Ask that a job be looked at."""
        self._look_at(job_id)

    def waiting(self) -> int:
        """Return how many messages nobody has taken yet."""
        return int(self._huey.pending_count())

    def start(self) -> None:
        """Begin to take messages, one at a time; only in the main thread."""
        self._consumer = self._huey.create_consumer(
            workers=1,
            periodic=False,
            initial_delay=0.1,
            max_delay=0.5,
            check_worker_health=False,
            shutdown_timeout=60,
        )
        self._consumer.start()

    def stop(self) -> None:
        """Take no more messages, and wait for the job at work to end."""
        if self._consumer is not None:
            self._consumer.stop(graceful=True)
            self._consumer = None


def _huey(settings: Settings, name: str) -> Huey:
    url = settings.queue_url
    if url and not url.startswith(("redis://", "rediss://", "unix://")):
        raise SettingsError(
            f"GALAXYLOOP_QUEUE_URL begins with {url.split(':')[0]!r}; give redis://host:port/0, "
            "or leave it empty for a SQLite file in MODEL_DIR."
        )
    try:
        if url:
            return RedisHuey(name, url=url, results=False, serializer=JsonSerializer())
        settings.model_dir.mkdir(parents=True, exist_ok=True)
        path = settings.model_dir / "queue.sqlite3"
        return SqliteHuey(
            name, filename=str(path), results=False, serializer=JsonSerializer(), timeout=30
        )
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"The job queue in {settings.model_dir} cannot be opened ({error}). "
            "Check the disk and the folder's permissions."
        ) from error
    except Exception as error:  # redis is optional, and so are its error classes
        raise SettingsError(
            f"The job queue cannot be opened ({error}). Install galaxyloop[redis] and check "
            "GALAXYLOOP_QUEUE_URL, or leave it empty."
        ) from error
