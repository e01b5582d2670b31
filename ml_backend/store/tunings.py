"""The tunings' table: every try to tune the LVM to a project, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from ml_backend.store.tables import Project, Tuning

SessionMaker = Callable[[], AbstractContextManager[Session]]

OVER = ("refused", "failed", "accepted", "lost")


class TuningStore:
    """Reads and writes of :class:`~ml_backend.store.tables.Tuning` rows."""

    def __init__(self, write: SessionMaker, read: SessionMaker) -> None:
        self._write, self._read = write, read

    def begin(self, project_id: int, base_identity: str, labels: int) -> Tuning:
        """Begin a try, or go on with the project's latest where that did not end."""
        with self._write() as session:
            session.get(Project, project_id, with_for_update=True)
            row = _latest(session, project_id, base_identity)
            if row is None or row.state not in ("running", "failed"):
                row = Tuning(project_id=project_id, base_identity=base_identity, labels=labels)
                row.created_at = datetime.now(UTC)
                session.add(row)
            row.state, row.reason, row.finished_at = "running", "", None
            if row.lvm_identity is None:
                row.labels = labels
            session.flush()
            return row

    def note(self, tuning_id: int, **values: Any) -> None:
        """Change columns of a try; one that is over gets the time."""
        if values.get("state") in OVER:
            values.setdefault("finished_at", datetime.now(UTC))
        with self._write() as session:
            session.execute(update(Tuning).where(Tuning.id == tuning_id).values(**values))

    def latest(self, project_id: int, base_identity: str | None = None) -> Tuning | None:
        """Return the latest try (from one LVM), None where there was none."""
        with self._read() as session:
            return _latest(session, project_id, base_identity)

    def ready(self, project_id: int, base_identity: str) -> Tuning | None:
        """Return the try that made an LVM which no round has judged yet."""
        row = self.latest(project_id, base_identity)
        return row if row is not None and row.state == "ready" else None

    def of_lvm(self, project_id: int, identity: str) -> Tuning | None:
        """Return the latest try that made this LVM."""
        with self._read() as session:
            return session.scalar(
                select(Tuning)
                .where(Tuning.project_id == project_id, Tuning.lvm_identity == identity)
                .order_by(Tuning.id.desc())
            )

    def listing(self, project_id: int | None = None) -> list[Tuning]:
        """Return the tries (of a project), oldest first."""
        query = select(Tuning).order_by(Tuning.id)
        if project_id is not None:
            query = query.where(Tuning.project_id == project_id)
        with self._read() as session:
            return list(session.scalars(query))


def _latest(session: Session, project_id: int, base_identity: str | None) -> Tuning | None:
    query = select(Tuning).where(Tuning.project_id == project_id).order_by(Tuning.id.desc())
    if base_identity is not None:
        query = query.where(Tuning.base_identity == base_identity)
    return session.scalar(query)
