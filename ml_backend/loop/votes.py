"""Votes: what Label Studio holds, brought into the store; webhooks are only hints.

The truth is read back through the API. A task's ``updated_at`` moves with every creation, edit,
skip or deletion of its annotations, so reading the tasks that changed finds them all; a full sweep
also finds what no time stamp tells, and reads old annotations with a changed configuration.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy import case, delete, func, select, update
from sqlalchemy.orm import Session

from ml_backend.errors import StoreError
from ml_backend.labelstudio.config import parse_controls
from ml_backend.loop.annotations import ReconcileReport, take_in
from ml_backend.loop.golds import take_ground_truths
from ml_backend.loop.served import time_of
from ml_backend.store.crowd_tables import OutsideVote
from ml_backend.store.database import Store
from ml_backend.store.tables import Project, Task, Vote
from ml_backend.store.vote_tallies import are_whole, count_anew, tallied

OVERLAP_SECONDS = 15.0
"""How far before the latest change seen we read again: a slow transaction shows up late."""

SWEEP_SECONDS = 3600.0
"""Seconds between full sweeps."""

_BATCH = 200
_log = structlog.get_logger(__name__)

__all__ = ["ReconcileReport", "VotesClient", "consume_hints", "reconcile", "record_hint"]


class VotesClient(Protocol):
    """What reconciliation asks of Label Studio (a part of its client)."""

    def project(self, project: int) -> dict[str, Any]: ...

    def tasks(
        self, project: int, updated_since: datetime | None = None
    ) -> Iterator[dict[str, Any]]: ...

    def task_ids(self, project: int) -> set[int]: ...


def record_hint(store: Store, project_id: int, action: str, count: int = 1) -> bool:
    """Note webhooks: something may have changed.

    One row of one table is written and nothing is computed, so that the annotator's Submit, inside
    which Label Studio calls, does not wait.

    Parameters
    ----------
    store : Store
    project_id : int
    action : str
        Label Studio's name of the event; ``START_TRAINING`` asks for a round at once.
    count : int
        Events of that kind.

    Returns
    -------
    bool
        False where the project is not connected (nothing is written).
    """
    if action == "START_TRAINING":
        return store.projects.request_training(project_id)
    now = datetime.now(UTC)
    with store.session() as session:
        changed = session.execute(
            update(Project)
            .where(Project.id == project_id)
            .values(
                hints=Project.hints + count,
                hinted_at=now,
                first_hint_at=func.coalesce(Project.first_hint_at, now),
            )
            .execution_options(synchronize_session=False)
        )
        return bool(changed.rowcount)  # type: ignore[attr-defined]


def consume_hints(store: Store, seen: Project) -> None:
    """Forget the hints that a round has taken in; later ones stay.

    Parameters
    ----------
    store : Store
    seen : Project
        The row as it was when the round began.
    """
    now = datetime.now(UTC)
    left = Project.hints - seen.hints
    asked = Project.training_requested_at
    with store.session() as session:
        session.execute(
            update(Project)
            .where(Project.id == seen.id)
            .values(
                hints=case((left > 0, left), else_=0),
                first_hint_at=case((left > 0, now), else_=None),
                training_requested_at=case((asked <= seen.training_requested_at, None), else_=asked)
                if seen.training_requested_at
                else asked,
                failures=0,
                retry_at=None,
            )
            .execution_options(synchronize_session=False)
        )


def reconcile(
    client: VotesClient, store: Store, project_id: int, full: bool = False
) -> ReconcileReport:
    """Bring tasks and votes of a project into the store; safe to repeat, safe to kill.

    Parameters
    ----------
    client : LabelStudioClient
    store : Store
    project_id : int
    full : bool
        Read every task, not only those that changed. Done by itself for a new project, after a
        change of the labelling configuration, and every :data:`SWEEP_SECONDS`.

    Raises
    ------
    LabelStudioError
        Label Studio does not answer as it should; what was read until then is kept.
    LabelConfigError
        The labelling configuration cannot be read.
    StoreError
        The project is not connected.
    """
    known = store.projects.get(project_id)
    if known is None:
        raise StoreError(
            f"Project {project_id} is not connected. Run `galaxyloop connect --project "
            f"{project_id}`."
        )
    began = datetime.now(UTC)
    shown = client.project(project_id)
    label_config = str(shown.get("label_config") or "")
    config = parse_controls(label_config)
    if label_config != known.label_config or shown.get("title", known.title) != known.title:
        title = str(shown.get("title") or known.title)
        store.projects.save(project_id, title=title, label_config=label_config)
    full = (
        full
        or known.reconciled_until is None
        or known.swept_at is None
        or known.swept_digest != config.digest
        or (began - known.swept_at).total_seconds() > SWEEP_SECONDS
    )
    report = ReconcileReport(config, full)
    since = None
    if not full and known.reconciled_until is not None:
        since = known.reconciled_until - timedelta(seconds=OVERLAP_SECONDS)

    latest, seen = known.reconciled_until, set[int]()
    for batch in _batches(client.tasks(project_id, updated_since=since), _BATCH):
        tasks = [task for task in batch if isinstance(task.get("id"), int)]
        with store.session() as session, _keeping_tallies(session, project_id, tasks, full):
            take_in(session, project_id, tasks, config, report, known)
        for task in tasks:
            seen.add(task["id"])
            changed = time_of(task.get("updated_at"))
            if changed and (latest is None or changed > latest):
                latest = changed
    if full:
        report.tasks_removed = _remove_others(store, project_id, seen, report)
    elif _kept(store, project_id) != shown.get("task_number"):
        ids = client.task_ids(project_id)
        report.tasks_removed = _remove_others(store, project_id, ids, report)

    with store.session() as session:
        # What changed without them is found here; a round that dies before comes again.
        if full or not are_whole(session, project_id):
            count_anew(session, project_id)
    # Before the time is kept: a round that dies here reads the same flags again.
    take_ground_truths(store, project_id)
    fields: dict[str, Any] = {"reconciled_until": latest, "reconciled_at": began}
    if full:
        fields |= {"swept_at": began, "swept_digest": config.digest}
    store.projects.save(project_id, **fields)
    _log.info(
        "reconciled",
        project=project_id,
        full=full,
        tasks_added=report.tasks_added,
        tasks_removed=report.tasks_removed,
        votes_added=report.votes_added,
        votes_changed=report.votes_changed,
        votes_removed=report.votes_removed,
    )
    return report


def _keeping_tallies(
    session: Session, project_id: int, tasks: list[dict[str, Any]], full: bool
) -> AbstractContextManager[None]:
    # All tasks of a large project one by one would take longer than to count at the end.
    return nullcontext() if full else tallied(session, project_id, [task["id"] for task in tasks])


def _remove_others(store: Store, project_id: int, ids: set[int], report: ReconcileReport) -> int:
    with store.reading() as session:
        ours = session.scalars(
            select(Task.id).where(Task.project_id == project_id, ~Task.removed)
        ).all()
    gone = sorted(set(ours) - ids)
    for batch in _batches(gone, _BATCH):
        with store.session() as session:
            session.execute(update(Task).where(Task.id.in_(batch)).values(removed=True))
            with tallied(session, project_id, batch):
                votes = session.execute(delete(Vote).where(Vote.task_id.in_(batch)))
            report.votes_removed += int(votes.rowcount)  # type: ignore[attr-defined]
            outside = session.execute(delete(OutsideVote).where(OutsideVote.task_id.in_(batch)))
            report.votes_removed += int(outside.rowcount)  # type: ignore[attr-defined]
    return len(gone)


def _kept(store: Store, project_id: int) -> int:
    with store.reading() as session:
        query = select(func.count()).where(Task.project_id == project_id, ~Task.removed)
        return int(session.scalar(query) or 0)


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
