"""Answers of experts are taken as known: each becomes a gold of its task."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import delete, select

from ml_backend.store.crowd_tables import Gold
from ml_backend.store.database import Store
from ml_backend.store.tables import Vote

SOURCE = "expert"


def take_experts(store: Store, project_id: int, experts: Collection[int]) -> int:
    """Make the experts' answers the known ones; return how many changed.

    The latest answer of any expert counts. A known answer of another source (flagged in Label
    Studio, or from a file) stands above it. What an expert takes back, or a person who is an
    expert no more has said, is known no more; their votes stay what they are.

    Parameters
    ----------
    store : Store
    project_id : int
    experts : collection of int
        Label Studio's numbers of the experts.
    """
    wanted: dict[tuple[int, str], Vote] = {}
    with store.session() as session:
        if experts:
            votes = session.scalars(
                select(Vote)
                .where(Vote.project_id == project_id, ~Vote.skipped)
                .where(Vote.annotator.in_(sorted(experts)))
                .order_by(Vote.updated_at, Vote.id)
            )
            wanted = {(vote.task_id, vote.control): vote for vote in votes if not vote.problem}
        kept = {
            (gold.task_id, gold.control): gold
            for gold in session.scalars(select(Gold).where(Gold.project_id == project_id))
        }
        changed = 0
        for (task_id, control), gold in kept.items():
            if gold.source == SOURCE and (task_id, control) not in wanted:
                session.execute(
                    delete(Gold).where(
                        Gold.project_id == project_id,
                        Gold.task_id == task_id,
                        Gold.control == control,
                    )
                )
                changed += 1
        for (task_id, control), vote in wanted.items():
            old = kept.get((task_id, control))
            if old is None:
                session.add(
                    Gold(
                        project_id=project_id,
                        task_id=task_id,
                        control=control,
                        labels=list(vote.labels),
                        answer=vote.answer,
                        source=SOURCE,
                        annotation_id=vote.annotation_id,
                        created_at=datetime.now(UTC),
                    )
                )
                changed += 1
            elif old.source == SOURCE and (
                old.annotation_id != vote.annotation_id
                or old.labels != list(vote.labels)
                or old.answer != vote.answer
            ):
                old.labels, old.answer = list(vote.labels), vote.answer
                old.annotation_id = vote.annotation_id
                changed += 1
    return changed
