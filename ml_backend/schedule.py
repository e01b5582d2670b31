"""The schedule: which jobs are due, and who does them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import select, update

from ml_backend.loop.cleaning import removable
from ml_backend.loop.requests import request_round
from ml_backend.settings import Settings
from ml_backend.store.database import Store
from ml_backend.store.jobs import BESIDE, STALE_AFTER, made_here
from ml_backend.store.tables import Job, Project

QUIET_SECONDS = 5.0
"""Seconds without a webhook after which nobody seems to wait, and Label Studio may be cleaned."""

BACKLOG = 4
"""Old versions in Label Studio from which on it is cleaned between two Submits, too."""

_log = structlog.get_logger(__name__)


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


@dataclass(frozen=True)
class Lane:
    """The way to a thread that does jobs, one at a time.

    Attributes
    ----------
    send : callable
        Sends the number of a job.
    waiting : callable
        Returns how many numbers are on their way.
    """

    send: Callable[[int], None]
    waiting: Callable[[], int]


class Scheduler:
    """Turns hints into jobs, and sends queued and abandoned jobs to a worker.

    Parameters
    ----------
    store : Store
    lane : Lane
        For what people wait for.
    beside : Lane, optional
        For the long jobs that run beside (`BESIDE`); without one nobody does them.
    """

    def __init__(self, store: Store, lane: Lane, beside: Lane | None = None) -> None:
        self._store, self._lane, self._beside = store, lane, beside
        self._looked_for_cleaning = datetime.min.replace(tzinfo=UTC)

    def start(self) -> None:
        """Queue a full reconciliation of every project; to be called when a worker starts."""
        for project in self._store.projects.listing():
            request_round(self._store, project.id, full=True)

    def tick(self) -> None:
        """Look once at hints and jobs."""
        jobs, now = self._store.jobs, datetime.now(UTC)
        running = {job.project_id for job in self._running() if job.kind not in BESIDE}
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
        self._fill(self._lane, lambda job: job.kind not in BESIDE)
        if self._beside is not None:
            self._fill(self._beside, lambda job: job.kind in BESIDE)

    def _fill(self, lane: Lane, belongs: Callable[[Job], bool]) -> None:
        """Send what can be begun of the jobs that belong into a lane, once it is empty."""
        if lane.waiting():
            return
        jobs = self._store.jobs
        blocked = {job.project_id for job in self._running() if belongs(job)}
        for job in filter(belongs, [*jobs.abandoned(), *jobs.queued()]):
            if job.state == "running" or job.project_id not in blocked:
                blocked.add(job.project_id)
                lane.send(job.id)

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
