"""The projects that are connected, and their options."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from ml_backend.errors import StoreError
from ml_backend.settings import Settings
from ml_backend.store.crowd_tables import OutsideVote
from ml_backend.store.dashboard_tables import VoteTally
from ml_backend.store.tables import Project, Task, Vote
from ml_backend.store.vote_tallies import NOBODY, are_whole

OPTIONS = (
    "strategy",
    "diversity",
    "audit_fraction",
    "explore",
    "votes_per_round",
    "seconds_per_round",
    "top_k",
    "most_people",
    "retire_confidence",
    "experts",
    "gold_fraction",
    "blind_audit",
)
"""What a project may set for itself; all but ``diversity`` (default True) are settings too."""

SessionMaker = Callable[[], AbstractContextManager[Session]]


class ProjectStore:
    """Reads and writes of :class:`~ml_backend.store.tables.Project` rows."""

    def __init__(self, write: SessionMaker, read: SessionMaker, settings: Settings) -> None:
        self._write, self._read, self._settings = write, read, settings

    def save(
        self,
        project_id: int,
        title: str | None = None,
        label_config: str | None = None,
        options: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Project:
        """Register a project, or change what is given of a registered one.

        Parameters
        ----------
        project_id : int
            Label Studio's id.
        title, label_config : str, optional
        options : dict, optional
            Options to change (see :data:`OPTIONS`); None removes one.
        **fields
            Further columns, e.g. ``backend_id``, ``webhook_id``.

        Raises
        ------
        StoreError
            An option has no such name.
        """
        unknown = set(options or {}) - set(OPTIONS)
        if unknown:
            raise StoreError(
                f"No project option is called {', '.join(sorted(unknown))}. "
                f"There are: {', '.join(OPTIONS)}."
            )
        with self._write() as session:
            project = session.get(Project, project_id)
            if project is None:
                project = Project(id=project_id, created_at=datetime.now(UTC), options={})
                session.add(project)
            if title is not None:
                project.title = title
            if label_config is not None:
                project.label_config = label_config
            if options:
                merged = {**project.options, **options}
                project.options = {k: v for k, v in merged.items() if v is not None}
            for name, value in fields.items():
                if name not in Project.__table__.columns:
                    raise StoreError(f"A project has no column {name}.")
                setattr(project, name, value)
            session.flush()
            return project

    def get(self, project_id: int) -> Project | None:
        """Return the project, or None where it is not connected."""
        with self._read() as session:
            return session.get(Project, project_id)

    def listing(self) -> list[Project]:
        """Return all connected projects, by id."""
        with self._read() as session:
            return list(session.scalars(select(Project).order_by(Project.id)))

    def option(self, project: Project, name: str) -> Any:
        """Return a project's own option, else the setting of that name."""
        value = project.options.get(name)
        if value is not None:
            return value
        return True if name == "diversity" else getattr(self._settings, name)

    def request_training(self, project_id: int) -> bool:
        """Ask for a round now (``START_TRAINING``); False where the project is unknown."""
        with self._write() as session:
            changed = session.execute(
                update(Project)
                .where(Project.id == project_id)
                .values(training_requested_at=datetime.now(UTC), retry_at=None)
            )
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def counts(self, project_id: int) -> dict[str, int]:
        """Count what the store holds of a project.

        Returns
        -------
        dict
            ``tasks``, ``labeled``, ``broken`` (images that cannot be used), ``votes`` (answers),
            ``annotations``, ``skips`` and ``annotators``; ``outside``: votes that were not cast in
            Label Studio, and not counted among the others.
        """
        with self._read() as session:
            tasks = select(func.count()).where(Task.project_id == project_id, ~Task.removed)
            outside = select(func.count()).where(OutsideVote.project_id == project_id)

            def count(query: Any) -> int:
                return int(session.scalar(query) or 0)

            found = {
                "tasks": count(tasks),
                "labeled": count(tasks.where(Task.is_labeled)),
                "broken": count(tasks.where(Task.problem.is_not(None))),
                "outside": count(outside),
            }
            counted = _by_tallies if are_whole(session, project_id) else _by_votes
            return found | counted(session, project_id)


def _by_tallies(session: Session, project_id: int) -> dict[str, int]:
    told = session.execute(
        select(
            func.sum(VoteTally.votes),
            func.sum(VoteTally.annotations),
            func.count(VoteTally.annotator.distinct()),
        ).where(VoteTally.project_id == project_id, ~VoteTally.skipped)
    ).one()
    mine = (VoteTally.project_id == project_id, ~VoteTally.skipped)
    nobody = select(func.count()).where(*mine, VoteTally.annotator == NOBODY)
    skips = select(func.sum(VoteTally.votes)).where(
        VoteTally.project_id == project_id, VoteTally.skipped
    )
    return {
        "votes": int(told[0] or 0),
        "annotations": int(told[1] or 0),
        "annotators": int(told[2] or 0) - bool(session.scalar(nobody)),
        "skips": int(session.scalar(skips) or 0),
    }


def _by_votes(session: Session, project_id: int) -> dict[str, int]:
    """Count where no tallies have been made yet."""
    told = session.execute(
        select(
            func.count(),
            func.count(Vote.annotation_id.distinct()),
            func.count(Vote.annotator.distinct()),
        ).where(Vote.project_id == project_id, ~Vote.skipped)
    ).one()
    skips = select(func.count()).where(Vote.project_id == project_id, Vote.skipped)
    return {
        "votes": int(told[0]),
        "annotations": int(told[1]),
        "annotators": int(told[2]),
        "skips": int(session.scalar(skips) or 0),
    }
