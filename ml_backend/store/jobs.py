"""The jobs' table: queued, running with a heartbeat, done or failed with the reason."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.orm import Session, aliased

from ml_backend.store.tables import Job, Project, WorkerSign

SessionMaker = Callable[[], AbstractContextManager[Session]]

STALE_AFTER = 20.0
"""Seconds without a heartbeat after which a running job counts as abandoned."""

MAX_ATTEMPTS = 5
"""Times a job is taken up before it is given up: something in it kills its worker."""


BESIDE = ("tune", "map")
"""Kinds of long jobs that run beside a project's others, in a thread of their own."""


def worker_name() -> str:
    """Return a name for this process that no other has: ``host:pid:random``."""
    name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    _made.add(name)
    return name


def made_here(name: str) -> bool:
    """Tell whether this very process made that name."""
    return name in _made


_made: set[str] = set()


def job_details(job: Job) -> dict[str, Any]:
    """Return a job as JSON (times are ISO 8601 in UTC; progress is in [0, 1])."""

    def iso(time: datetime | None) -> str | None:
        return time.isoformat(timespec="seconds") if time else None

    return {
        "id": job.id,
        "kind": job.kind,
        "project": job.project_id,
        "state": job.state,
        "progress": job.progress,
        "message": job.message,
        "problem": job.problem,
        "attempts": job.attempts,
        "worker": job.worker,
        "created_at": iso(job.created_at),
        "started_at": iso(job.started_at),
        "heartbeat_at": iso(job.heartbeat_at),
        "finished_at": iso(job.finished_at),
    }


class JobStore:
    """Reads and writes of :class:`~ml_backend.store.tables.Job` rows.

    Every change of state is one UPDATE with its condition, so several workers can share the
    table: at most one of them gets a job, and at most one job of a project runs, and one of those
    that run beside the others (:data:`BESIDE`).
    """

    def __init__(self, write: SessionMaker, read: SessionMaker) -> None:
        self._write, self._read = write, read

    def enqueue(self, kind: str, project_id: int, payload: dict[str, Any] | None = None) -> Job:
        """Queue a job, or return the queued one of the same kind and project.

        The new payload's entries are merged into a queued job's.
        """
        with self._write() as session:
            session.get(Project, project_id, with_for_update=True)
            job = session.scalar(
                select(Job)
                .where(Job.kind == kind, Job.project_id == project_id, Job.state == "queued")
                .order_by(Job.id)
            )
            if job is None:
                job = Job(kind=kind, project_id=project_id, created_at=datetime.now(UTC))
                job.payload = dict(payload or {})
                session.add(job)
            elif payload:
                job.payload = {**job.payload, **payload}
            session.flush()
            return job

    def claim(self, job_id: int, worker: str, stale_after: float = STALE_AFTER) -> bool:
        """Take a job that is queued or abandoned; False where it is not to be had.

        A job waits while another job of its project runs in the same lane.
        """
        now = datetime.now(UTC)
        other = aliased(Job)
        with self._write() as session:
            job = session.get(Job, job_id)
            if job is None:
                return False
            session.get(Project, job.project_id, with_for_update=True)
            blocked = select(other.id).where(
                other.project_id == job.project_id,
                other.id != job_id,
                other.kind.in_(BESIDE) if job.kind in BESIDE else other.kind.not_in(BESIDE),
                other.state == "running",
                ~_abandoned(other, now, stale_after),
            )
            taken = session.execute(
                update(Job)
                .where(
                    Job.id == job_id,
                    or_(Job.state == "queued", _abandoned(Job, now, stale_after)),
                    ~blocked.exists(),
                )
                .values(
                    state="running",
                    worker=worker,
                    heartbeat_at=now,
                    started_at=now,
                    attempts=Job.attempts + 1,
                    progress=0.0,
                    message="",
                )
                .execution_options(synchronize_session=False)
            )
            return bool(taken.rowcount)  # type: ignore[attr-defined]

    def heartbeat(
        self,
        job_id: int,
        worker: str,
        progress: float | None = None,
        message: str | None = None,
    ) -> bool:
        """Say that the job is alive; False where it is no longer this worker's."""
        values: dict[str, Any] = {"heartbeat_at": datetime.now(UTC)}
        if progress is not None:
            values["progress"] = min(max(float(progress), 0.0), 1.0)
        if message is not None:
            values["message"] = message
        return self._own(job_id, worker, values)

    def finish(self, job_id: int, worker: str, message: str = "") -> bool:
        """Mark the job done; False where it is no longer this worker's."""
        now = datetime.now(UTC)
        values = {"state": "done", "progress": 1.0, "finished_at": now, "message": message}
        return self._own(job_id, worker, values)

    def fail(self, job_id: int, worker: str, reason: str) -> bool:
        """Mark the job failed for `reason`; False where it is no longer this worker's."""
        now = datetime.now(UTC)
        return self._own(job_id, worker, {"state": "failed", "finished_at": now, "problem": reason})

    def release(self, job_id: int, worker: str) -> bool:
        """Put the job back into the queue, as if not begun (a worker that ends does this)."""
        values = {"state": "queued", "worker": None, "attempts": Job.attempts - 1, "progress": 0.0}
        return self._own(job_id, worker, values)

    def cancel(self, job_id: int) -> bool:
        """Stop a job that is queued or runs; False where it is over or unknown.

        Its worker notices at its next heartbeat, and leaves everything as after a kill.
        """
        now = datetime.now(UTC)
        values = {"state": "failed", "finished_at": now, "problem": "It was cancelled."}
        with self._write() as session:
            changed = session.execute(
                update(Job)
                .where(Job.id == job_id, Job.state.in_(("queued", "running")))
                .values(values)
                .execution_options(synchronize_session=False)
            )
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def give_up(self, stale_after: float = STALE_AFTER) -> list[Job]:
        """Fail the abandoned jobs that were begun :data:`MAX_ATTEMPTS` times; return them."""
        now = datetime.now(UTC)
        with self._write() as session:
            jobs = list(
                session.scalars(
                    select(Job).where(
                        _abandoned(Job, now, stale_after), Job.attempts >= MAX_ATTEMPTS
                    )
                )
            )
            for job in jobs:
                job.state, job.finished_at = "failed", now
                job.problem = (
                    f"Its worker died {job.attempts} times while it ran (last: {job.message or '?'}"
                    "). Look for a lack of memory or of disk space; a new vote starts a new round."
                )
            return jobs

    def abandoned(self, stale_after: float = STALE_AFTER) -> list[Job]:
        """Return running jobs without a heartbeat for `stale_after` seconds, oldest first."""
        with self._read() as session:
            return list(
                session.scalars(
                    select(Job)
                    .where(_abandoned(Job, datetime.now(UTC), stale_after))
                    .order_by(Job.id)
                )
            )

    def queued(self) -> list[Job]:
        """Return the queued jobs, oldest first."""
        with self._read() as session:
            return list(session.scalars(select(Job).where(Job.state == "queued").order_by(Job.id)))

    def get(self, job_id: int) -> Job | None:
        """Return one job."""
        with self._read() as session:
            return session.get(Job, job_id)

    def listing(self, project_id: int | None = None, limit: int = 50) -> list[Job]:
        """Return the latest jobs, newest first."""
        query = select(Job).order_by(Job.id.desc()).limit(limit)
        if project_id is not None:
            query = query.where(Job.project_id == project_id)
        with self._read() as session:
            return list(session.scalars(query))

    def prune(self, keep: int = 1000) -> int:
        """Forget all but the newest `keep` jobs that are over; return how many went."""
        with self._write() as session:
            over = Job.state.in_(("done", "failed"))
            edge = session.scalar(
                select(Job.id).where(over).order_by(Job.id.desc()).offset(keep).limit(1)
            )
            if edge is None:
                return 0
            gone = session.execute(delete(Job).where(over, Job.id <= edge))
            return int(gone.rowcount)  # type: ignore[attr-defined]

    def sign(self, worker: str) -> None:
        """Record that a worker process lives; forget workers unseen for a day."""
        now = datetime.now(UTC)
        with self._write() as session:
            row = session.get(WorkerSign, worker)
            if row is None:
                session.add(WorkerSign(name=worker, started_at=now, seen_at=now))
                session.execute(
                    delete(WorkerSign).where(WorkerSign.seen_at < now - timedelta(days=1))
                )
            else:
                row.seen_at = now

    def sign_off(self, worker: str) -> None:
        """Forget a worker that ends."""
        with self._write() as session:
            session.execute(delete(WorkerSign).where(WorkerSign.name == worker))

    def workers(self, seen_within: float = STALE_AFTER) -> list[WorkerSign]:
        """Return the workers that gave a sign of life within so many seconds."""
        since = datetime.now(UTC) - timedelta(seconds=seen_within)
        with self._read() as session:
            return list(session.scalars(select(WorkerSign).where(WorkerSign.seen_at >= since)))

    def _own(self, job_id: int, worker: str, values: dict[str, Any]) -> bool:
        with self._write() as session:
            changed = session.execute(
                update(Job)
                .where(Job.id == job_id, Job.worker == worker, Job.state == "running")
                .values(values)
                .execution_options(synchronize_session=False)
            )
            return bool(changed.rowcount)  # type: ignore[attr-defined]


def _abandoned(job: Any, now: datetime, stale_after: float) -> ColumnElement[bool]:
    edge = now - timedelta(seconds=stale_after)
    silent = or_(job.heartbeat_at.is_(None), job.heartbeat_at <= edge)
    return and_(job.state == "running", silent)
