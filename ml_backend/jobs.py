"""Jobs: which are due, and how one is done, with heartbeats and a safe end.

The table of jobs is the truth (`ml_backend.store.jobs`); huey only carries numbers.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import structlog
from sqlalchemy import select, update

from ml_backend.errors import GalaxyLoopError
from ml_backend.loop.cleaning import removable
from ml_backend.loop.rounds import check_rollback
from ml_backend.settings import Settings
from ml_backend.store.database import Store
from ml_backend.store.jobs import STALE_AFTER, made_here, worker_name
from ml_backend.store.tables import Job, Project, Version

HEARTBEAT_SECONDS = 3.0
QUIET_SECONDS = 5.0
"""Seconds without a webhook after which nobody seems to wait, and Label Studio may be cleaned."""

BACKLOG = 4
"""Old versions in Label Studio from which on it is cleaned between two Submits, too."""

RETRY_SECONDS = (10.0, 300.0)
"""First and longest wait after a round that failed; doubled each time."""

_log = structlog.get_logger(__name__)


class Interrupted(Exception):
    """The worker ends, or the job is no longer its own: stop at once, nothing is lost."""


class Work(Protocol):
    """Does a job; reports through `progress`, which may raise `Interrupted`."""

    def __call__(self, job: Job, progress: Callable[[float, str], None]) -> str: ...


def request_round(store: Store, project_id: int, **payload: Any) -> Job:
    """Queue a round of a project, e.g. ``force=True`` or ``full=True``."""
    return store.jobs.enqueue("round", project_id, payload)


def request_rollback(store: Store, project_id: int, version: str) -> Job:
    """Queue the return to an earlier version.

    Raises
    ------
    StoreError
        The version is unknown, published already, or cannot be brought back.
    """
    with store.reading() as session:
        target = session.get(Version, version)
    check_rollback(target, project_id, version)
    return request_round(store, project_id, rollback=version)


def due(project: Project, now: datetime, settings: Settings, store: Store) -> str | None:
    """Say why a round of a project is due, None if it is not.

    A round is due at once when it is asked for; after ``votes_per_round`` hints, or
    ``seconds_per_round`` after the first, each followed by ``debounce_seconds`` of quiet (not
    waited for longer than it takes to collect twice the votes); and ``poll_seconds`` after the
    last reconciliation.
    """
    if project.training_requested_at is not None:
        return "it was asked for"
    if project.retry_at is not None and now < project.retry_at:
        return None
    if project.hints and project.first_hint_at and project.hinted_at:
        least = int(store.projects.option(project, "votes_per_round"))
        longest = float(store.projects.option(project, "seconds_per_round"))
        waited = (now - project.first_hint_at).total_seconds()
        quiet = (now - project.hinted_at).total_seconds()
        if project.hints >= least or waited >= longest:
            patience = longest + 5 * settings.debounce_seconds
            if (
                quiet >= settings.debounce_seconds
                or project.hints >= 2 * least
                or waited >= patience
            ):
                return f"{project.hints} hints"
    if project.reconciled_at is None:
        return "it is new"
    if (now - project.reconciled_at).total_seconds() >= settings.poll_seconds:
        return "it was not looked at for long"
    return None


class Scheduler:
    """Turns hints into jobs, and sends queued and abandoned jobs to a worker.

    Parameters
    ----------
    store : Store
    send : callable
        Sends the number of a job to the thread that does jobs.
    waiting : callable
        Returns how many numbers are on their way.
    """

    def __init__(
        self, store: Store, send: Callable[[int], None], waiting: Callable[[], int]
    ) -> None:
        self._store, self._send, self._waiting = store, send, waiting
        self._looked_for_cleaning = datetime.min.replace(tzinfo=UTC)

    def start(self) -> None:
        """Queue a full reconciliation of every project; to be called when a worker starts."""
        for project in self._store.projects.listing():
            request_round(self._store, project.id, full=True)

    def tick(self) -> None:
        """Look once at hints and jobs."""
        jobs, now = self._store.jobs, datetime.now(UTC)
        running = {job.project_id for job in self._running()}
        busy = running | {job.project_id for job in jobs.queued() if job.kind == "round"}
        for project in self._store.projects.listing():
            if project.id in busy:
                continue
            reason = due(project, now, self._store.settings, self._store)
            if reason:
                job = request_round(self._store, project.id)
                busy.add(project.id)
                _log.info("round_queued", project=project.id, job=job.id, reason=reason)
        if (now - self._looked_for_cleaning).total_seconds() > 2:
            self._looked_for_cleaning = now
            self._release_dead()
            for job in jobs.give_up():
                _log.error("job_given_up", job=job.id, problem=job.problem)
            self._queue_cleaning(busy, now)
        if self._waiting() == 0:
            blocked = {job.project_id for job in self._running()}
            for job in [*jobs.abandoned(), *jobs.queued()]:
                if job.state == "running" or job.project_id not in blocked:
                    blocked.add(job.project_id)
                    self._send(job.id)

    def _running(self) -> list[Job]:
        edge = datetime.now(UTC) - timedelta(seconds=STALE_AFTER)
        with self._store.reading() as session:
            return list(
                session.scalars(select(Job).where(Job.state == "running", Job.heartbeat_at > edge))
            )

    def _release_dead(self) -> None:
        """Let jobs go whose worker ran on this machine and is no more, without a wait."""
        for job in self._running():
            if job.worker and _is_dead(job.worker):
                with self._store.session() as session:
                    session.execute(
                        update(Job)
                        .where(Job.id == job.id, Job.worker == job.worker, Job.state == "running")
                        .values(heartbeat_at=None)
                    )
                _log.warning("job_abandoned", job=job.id, worker=job.worker)

    def _queue_cleaning(self, busy: set[int], now: datetime) -> None:
        for project in self._store.projects.listing():
            if project.id in busy:
                continue
            names = removable(self._store, project.id)
            if names and is_quiet(project, len(names), now):
                self._store.jobs.enqueue("clean", project.id)


def is_quiet(project: Project, backlog: int, now: datetime) -> bool:
    """Tell whether nobody seems to wait for Label Studio (or the backlog is too long)."""
    if project.retry_at is not None and now < project.retry_at:
        return False
    if project.hinted_at is None:
        return True
    if project.hints and backlog < BACKLOG:
        return False  # a round comes first; a cleaning would stop at once
    quiet = (now - project.hinted_at).total_seconds()
    return quiet >= (QUIET_SECONDS if backlog < BACKLOG else QUIET_SECONDS / 10)


class Runner:
    """Does jobs of one worker process, one at a time.

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


def _is_dead(worker: str) -> bool:
    """Tell whether a worker (``host:pid:random``) ran here and its process is gone."""
    host, _, rest = worker.rpartition(":")[0].rpartition(":")
    if rest == str(os.getpid()) and host == socket.gethostname():
        return not made_here(worker)  # in a container every worker has the same number
    if host != socket.gethostname() or not rest.isdigit():
        return False
    try:
        os.kill(int(rest), 0)
        # A zombie still has its number, until its parent looks.
        return Path(f"/proc/{rest}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except OSError:
        return False
