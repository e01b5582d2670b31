"""What the loop has reached, read from its store, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select

from ml_backend.errors import DemoError
from ml_backend.store.database import Store
from ml_backend.store.jobs import BESIDE
from ml_backend.store.tables import Job, Project, Version
from ml_backend.store.versions import load_heads, version_folder
from models.heads.base import Head

PATIENCE = 300.0
NUDGE_AFTER = 15.0
LOOK_EVERY = 0.2
_ENDED = ("published", "retired", "rejected")


@dataclass(frozen=True)
class Landed:
    """The state after a round.

    Parameters
    ----------
    votes : int
        Votes that the round had.
    version : str
        Name of the version that is published.
    seconds : float or None
        What the round took.
    note : str
        Why a trained version was not published; else empty.
    """

    votes: int
    version: str
    seconds: float | None
    note: str = ""


class LoopProgress:
    """Follows the rounds of one project.

    Parameters
    ----------
    store : Store
        The backend's store.
    project : int
        Label Studio's id.
    alive : callable
        Called while waiting; raises where waiting has become pointless.
    patience : float
        Seconds without any progress after which waiting ends with an error.
    """

    def __init__(
        self,
        store: Store,
        project: int,
        alive: Callable[[], None],
        patience: float = PATIENCE,
    ) -> None:
        self._store = store
        self._project = project
        self._alive = alive
        self._patience = patience

    def landed(self, votes: int) -> Landed | None:
        """Return the state once a round with `votes` or more has ended, else None."""
        with self._store.reading() as session:
            project = session.get(Project, self._project)
            newest = session.scalar(
                select(Version)
                .where(
                    Version.project_id == self._project,
                    Version.state.in_(_ENDED),
                    Version.votes >= votes,
                )
                .order_by(Version.number.desc())
                .limit(1)
            )
            busy = session.scalar(
                select(func.count())
                .select_from(Job)
                .where(Job.project_id == self._project, Job.state.in_(("queued", "running")))
                .where(Job.kind.not_in(BESIDE))
            )
        if project is None or project.champion is None or newest is None:
            return None
        if newest.name != project.champion and busy:
            return None  # a refused challenger: the champion is about to be ranked anew
        note = "" if newest.state == "published" else newest.problem or newest.state
        return Landed(newest.votes, project.champion, newest.seconds, note)

    def rest(self) -> None:
        """Wait until no round is asked for, queued or running.

        Raises
        ------
        DemoError
            That takes longer than `patience` seconds.
        """
        deadline = time.monotonic() + self._patience
        while True:
            self._alive()
            with self._store.reading() as session:
                busy = session.scalar(
                    select(func.count())
                    .select_from(Job)
                    .where(Job.project_id == self._project, Job.state.in_(("queued", "running")))
                    .where(Job.kind == "round")
                )
                project = session.get(Project, self._project)
            asked = project is not None and project.training_requested_at is not None
            if not busy and not asked:
                return
            if time.monotonic() > deadline:
                raise DemoError(f"A round did not end within {self._patience:.0f} s.")
            time.sleep(LOOK_EVERY)

    def wait(
        self,
        votes: int,
        shown: Callable[[float, str], None] | None = None,
        nudge: bool = False,
    ) -> Landed:
        """Wait for :meth:`landed`.

        Parameters
        ----------
        votes : int
            Votes that the round must have.
        shown : callable, optional
            Gets the running job's progress [0, 1] and message.
        nudge : bool
            Ask for a round where none begins by itself for a while: Label Studio gives a
            webhook one second and no second try.

        Raises
        ------
        DemoError
            Nothing has moved for `patience` seconds.
        """
        moved = time.monotonic()
        last: object = None
        while (state := self.landed(votes)) is None:
            self._alive()
            job = self._job()
            sign = None if job is None else (job.id, job.state, job.progress, job.message)
            if sign != last:
                last, moved = sign, time.monotonic()
            idle = job is None or job.state not in ("queued", "running")
            if nudge and idle and time.monotonic() - moved > NUDGE_AFTER:
                nudge = False
                self.request_round()
            if job is not None and shown and job.state == "running":
                shown(job.progress, job.message)
            if time.monotonic() - moved > self._patience:
                raise DemoError(
                    f"The loop has not taken in {votes} votes and nothing has moved for "
                    f"{self._patience:.0f} s. {self._last_word(job)}"
                )
            time.sleep(LOOK_EVERY)
        return state

    def head(self, version: str, control: str) -> Head | None:
        """Return the head of a published version, None where it has none yet."""
        folder = version_folder(self._store.folder, version)
        return load_heads(folder).get(control)

    def request_round(self) -> None:
        """Ask for a round now, as "Start training" does."""
        self._store.projects.request_training(self._project)

    def _job(self) -> Job | None:
        with self._store.reading() as session:
            return session.scalar(
                select(Job)
                .where(Job.project_id == self._project, Job.kind.not_in(BESIDE))
                .order_by(Job.id.desc())
                .limit(1)
            )

    @staticmethod
    def _last_word(job: Job | None) -> str:
        if job is None:
            return "No job was queued: does the worker run, and do webhooks arrive?"
        said = job.problem or job.message or "no message"
        return f"The last job ({job.kind}) is {job.state}: {said}"
