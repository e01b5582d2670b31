"""Steering: Label Studio opens the tasks of our order, and closes those that have votes enough.

After the switch to a new order, in every round: tasks of the order that Label Studio does not
serve are opened for exactly one more vote, the best first, and tasks that are retired, or wait
for experts, are closed whatever their count. What holds is read from the last reconciliation, not
from what was set; what does not fit into the round's time comes with the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import func, select, update

from ml_backend.labelstudio.overlap import (
    Change,
    Served,
    SteerReport,
    closing,
    counting,
    opening,
    steer,
)
from ml_backend.loop import drafts
from ml_backend.store.crowd_tables import Gold, Verdict, Wish
from ml_backend.store.database import Store
from ml_backend.store.tables import Ranking, Task, Vote

if TYPE_CHECKING:
    from ml_backend.loop.work import RoundWork

_log = structlog.get_logger(__name__)

__all__ = ["changes_wanted", "steer_votes", "tasks_waiting"]


def steer_votes(work: RoundWork) -> SteerReport | None:
    """Open and close tasks as the champion's order and the verdicts say; None: nothing to do."""
    project = work.context.client.project(work.project_id)
    opened, closed = changes_wanted(
        work.store,
        work.project_id,
        work.crowded,
        str(project.get("skip_queue") or ""),
    )
    if not (opened or closed):
        return None
    with work.timed("overlap", 0.9, "Opening and closing tasks for votes"):
        report = steer(work.context.client, opened, closed, work.store.settings.overlap_seconds)
    _note(work.store, report)
    work.report.timings["patches"] = report.opened + report.closed
    work.report.patches_left = report.left
    work.report.message = " ".join(filter(None, [work.report.message, str(report)]))
    _log.info(
        "votes_steered",
        project=work.project_id,
        opened=report.opened,
        closed=report.closed,
        left=report.left,
        seconds=round(report.seconds, 3),
        problem=report.problem,
    )
    return report


def tasks_waiting(work: RoundWork) -> list[int]:
    """Return the tasks that Label Studio serves and that an order would hold.

    In a crowd, those are wanted whose last verdict says so; else those without an answer. One that
    waits for an expert is in no order.
    """
    with work.store.reading() as session:
        for_experts = session.scalars(
            select(Wish.task_id).where(Wish.project_id == work.project_id, Wish.kind == "expert")
        ).all()
        if not work.crowded:
            return sorted(set(work.pool.free.tolist()) - set(for_experts))
        done = session.scalars(
            select(Verdict.task_id).where(
                Verdict.project_id == work.project_id, Verdict.state != "open"
            )
        ).all()
    served = work.pool.task_ids[work.pool.is_open].tolist()
    return sorted(set(served) - set(done) - set(for_experts))


def changes_wanted(
    store: Store, project_id: int, crowded: bool, skip_queue: str
) -> tuple[list[Change], list[Change]]:
    """Return the patches that open and that close tasks, each in order of importance.

    Parameters
    ----------
    store : Store
    project_id : int
    crowded : bool
        Several people may be asked about a galaxy; else nothing is closed, and only the order's
        golds are opened again.
    skip_queue : str
        What Label Studio does with skipped tasks in this project.
    """
    champion = drafts.champion_of(store, project_id)
    with store.reading() as session:
        columns = (Task.id, Task.is_labeled, Task.overlap, Task.annotations)
        mine = (Task.project_id == project_id, ~Task.removed)
        known_answers = select(Gold.task_id).where(Gold.project_id == project_id)
        expert = select(Wish.task_id).where(Wish.project_id == project_id, Wish.kind == "expert")
        done = select(Verdict.task_id).where(
            Verdict.project_id == project_id, Verdict.state != "open"
        )
        # Verdicts may be newer than the order. Galaxies that stand in it as golds are there to be
        # answered, though nothing about them is in doubt; those whose answer became known since
        # (an expert's, a flag) are done.
        gold = (Ranking.arm == "gold") & Task.id.in_(known_answers)
        again = Task.id.not_in(done) | gold
        ranked = session.execute(
            select(*columns)
            .join(Ranking, Ranking.task_id == Task.id)
            .where(Ranking.version == (champion.name if champion else ""), *mine)
            .where(Task.id.not_in(expert))
            .where(again if crowded else gold)
            .order_by(Ranking.place)
        ).all()
        finished = session.execute(
            select(*columns)
            .where(*mine, ~Task.is_labeled)
            .where(Task.id.in_(done.union(expert)))
            .order_by(Task.id)
        ).all()
        finished = finished if crowded else []
        ids = [row.id for row in (*ranked, *finished)]
        known = _annotations(store, ids, Vote.ground_truth)
        skips = _annotations(store, ids, Vote.skipped)
    order = {row.id for row in ranked}

    def served(row: Any) -> Served:
        task_id, is_labeled, overlap, annotations = row
        taken = counting(annotations, known.get(task_id, 0), skips.get(task_id, 0), skip_queue)
        return Served(task_id, is_labeled, overlap or 1, taken)

    opened = [change for row in ranked if (change := opening(served(row))) is not None]
    closed = [
        change
        for row in finished
        if row.id not in order and (change := closing(served(row))) is not None
    ]
    return opened, closed


def _annotations(store: Store, task_ids: list[int], condition: object) -> dict[int, int]:
    """Count the annotations of tasks for which a condition on their votes holds."""
    found: dict[int, int] = {}
    with store.reading() as session:
        for start in range(0, len(task_ids), 500):
            rows = session.execute(
                select(Vote.task_id, func.count(Vote.annotation_id.distinct()))
                .where(Vote.task_id.in_(task_ids[start : start + 500]), condition)  # type: ignore[arg-type]
                .group_by(Vote.task_id)
            )
            found.update({row[0]: row[1] for row in rows})
    return found


def _note(store: Store, report: SteerReport) -> None:
    """Keep what Label Studio has answered; the next reconciliation reads it anew."""
    with store.session() as session:
        for change in report.done:
            session.execute(
                update(Task)
                .where(Task.id == change.task_id)
                .values(overlap=change.overlap, is_labeled=change.is_labeled)
            )
