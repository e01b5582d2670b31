"""Wishes: what managers want of tasks' places in the queue, heeded from the next round on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from ml_backend.loop.requests import request_round
from ml_backend.store.crowd_tables import Wish
from ml_backend.store.database import Store
from ml_backend.store.tables import Task

KINDS = {
    "pin": "Pinned: served first",
    "postpone": "Postponed: served last",
    "expert": "Kept for an expert",
}
"""By the kind of a wish: what it does."""
MOST = 1000
"""Tasks that one wish is for."""
_AT_ONCE = 500


def wish(store: Store, project_id: int, task_ids: Sequence[int], kind: str, account: str) -> int:
    """Keep (or with an empty kind: take back) a wish for tasks, and ask for a new order.

    It is written into the audit log.

    Parameters
    ----------
    store : Store
    project_id : int
    task_ids : sequence of int
        Those of other projects are left alone.
    kind : str
        One of `KINDS`, or empty.
    account : str
        Whose wish it is.

    Returns
    -------
    int
        How many of the tasks it is kept for.

    Raises
    ------
    ValueError
        There is no such kind.
    """
    if kind and kind not in KINDS:
        raise ValueError(f"No wish is called {kind!r}. There are: {', '.join(KINDS)}.")
    now = datetime.now(UTC)
    done: list[int] = []
    with store.session() as session:
        for start in range(0, min(len(task_ids), MOST), _AT_ONCE):
            ids = task_ids[start : min(start + _AT_ONCE, MOST)]
            done += own_tasks(session, project_id, ids)
        for start in range(0, len(done), _AT_ONCE):
            part = done[start : start + _AT_ONCE]
            session.execute(
                delete(Wish).where(Wish.project_id == project_id, Wish.task_id.in_(part))
            )
        if kind:
            session.add_all(
                Wish(
                    project_id=project_id, task_id=task, kind=kind, account=account, created_at=now
                )
                for task in done
            )
    if done:
        named = f"task {done[0]}" if len(done) == 1 else f"{len(done)} tasks"
        store.accounts.note(account, kind or "unwish", named, project_id, tasks=done)
        request_round(store, project_id, rerank=True)
    return len(done)


def own_tasks(session: Session, project_id: int, task_ids: Sequence[int]) -> list[int]:
    """Return those tasks that the project has, in the order asked for, each once."""
    wanted = [task for task in dict.fromkeys(task_ids) if 0 < task < 2**63]
    chosen = select(Task.id).where(
        Task.id.in_(wanted), Task.project_id == project_id, ~Task.removed
    )
    there = set(session.scalars(chosen))
    return [task for task in wanted if task in there]


def wish_counts(store: Store, project_id: int) -> dict[str, int]:
    """Return how many wishes of each kind a project has."""
    counted = (
        select(Wish.kind, func.count()).where(Wish.project_id == project_id).group_by(Wish.kind)
    )
    with store.reading() as session:
        return {kind: int(count) for kind, count in session.execute(counted)}
