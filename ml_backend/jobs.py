"""Jobs: how one is done, with heartbeats and a safe end.

The table of jobs is the truth (`ml_backend.store.jobs`); huey only carries numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from ml_backend.errors import GalaxyLoopError
from ml_backend.store.database import Store
from ml_backend.store.jobs import worker_name
from ml_backend.store.tables import Job, Project

HEARTBEAT_SECONDS = 3.0
RETRY_SECONDS = (10.0, 300.0)
"""First and longest wait after a round that failed; doubled each time."""

_log = structlog.get_logger(__name__)


class Interrupted(Exception):
    """The worker ends, or the job is no longer its own: stop at once, nothing is lost."""


class Work(Protocol):
    """Does a job; reports through `progress`, which may raise `Interrupted`."""

    def __call__(self, job: Job, progress: Callable[[float, str], None]) -> str: ...


class Runner:
    """Does jobs of one worker process, one at a time in each lane.

    Parameters
    ----------
    store : Store
    work : Work
        Does the job and returns a sentence about it.
    stopping : threading.Event
        Set when the worker ends: the job at work is put back into the queue.
    name : str, optional
        The worker's name in the table.
    """

    def __init__(
        self, store: Store, work: Work, stopping: threading.Event, name: str | None = None
    ) -> None:
        self._store, self._work, self._stopping = store, work, stopping
        self.name = name or worker_name()
        self.seconds_between = HEARTBEAT_SECONDS

    def run(self, job_id: int) -> None:
        """Do a job if it is to be had; never raises."""
        jobs = self._store.jobs
        if self._stopping.is_set() or not jobs.claim(job_id, self.name):
            return
        job = jobs.get(job_id)
        assert job is not None
        _log.info("job_begun", job=job.id, kind=job.kind, project=job.project_id)
        beat = _Heartbeat(self._store, job.id, self.name, self.seconds_between)

        def progress(share: float, message: str) -> None:
            beat.say(share, message)
            if beat.lost.is_set() or self._stopping.is_set():
                raise Interrupted

        try:
            with beat:
                message = self._work(job, progress)
            jobs.finish(job.id, self.name, message)
            _log.info("job_done", job=job.id, message=message)
        except Interrupted:
            jobs.release(job.id, self.name)
            _log.info("job_interrupted", job=job.id)
        except GalaxyLoopError as error:
            self._fail(job, str(error))
        except Exception as error:  # noqa: BLE001  it must be told, whatever it is
            _log.exception("job_crashed", job=job.id)
            self._fail(
                job,
                f"Something that should not happen did: {type(error).__name__}: {error}. The "
                "worker's log has the details; it is tried again.",
            )

    def _fail(self, job: Job, reason: str) -> None:
        _log.warning("job_failed", job=job.id, reason=reason)
        if not self._store.jobs.fail(job.id, self.name, reason) or job.kind != "round":
            return
        with self._store.session() as session:
            project = session.get(Project, job.project_id, with_for_update=True)
            if project is not None:
                project.failures += 1
                # What was asked for by hand is tried once, not over and over without a pause; what
                # was asked for while the job ran has not been tried yet.
                asked = project.training_requested_at
                if asked and job.started_at and asked <= job.started_at:
                    project.training_requested_at = None
                if job.payload.get("full"):
                    project.swept_at = None
                project.hints = max(project.hints, 1)
                now = datetime.now(UTC)
                project.first_hint_at = project.first_hint_at or now
                project.hinted_at = project.hinted_at or now
                first, longest = RETRY_SECONDS
                wait = min(first * 2 ** min(project.failures - 1, 10), longest)
                project.retry_at = now + timedelta(seconds=wait)


class _Heartbeat:
    """Says every few seconds that a job is alive, from a thread of its own."""

    def __init__(self, store: Store, job_id: int, worker: str, seconds: float) -> None:
        self._store, self._job_id, self._worker, self._seconds = store, job_id, worker, seconds
        self._said: tuple[float, str] = (0.0, "")
        self._end = threading.Event()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def say(self, share: float, message: str) -> None:
        self._said = share, message

    def __enter__(self) -> _Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _beat(self) -> None:
        told: tuple[float, str] | None = None
        last = 0.0
        while not self._end.wait(min(0.5, self._seconds)):
            last += min(0.5, self._seconds)
            if self._said == told and last < self._seconds:
                continue
            told, last = self._said, 0.0
            try:
                if not self._store.jobs.heartbeat(self._job_id, self._worker, *told):
                    self.lost.set()
                    return
            except Exception:  # noqa: BLE001  the next beat may succeed
                _log.exception("heartbeat_failed", job=self._job_id)
