"""Golds: galaxies whose answer is known, which train people and measure them.

They come from Label Studio's ground-truth flag, from a file, or from experts. A known answer of a
file stands above a flagged one, and that above an expert's: what stood below comes back when what
stood above goes, since each round reads flags and experts' answers anew.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnExpressionArgument, delete, func, select
from sqlalchemy.orm import Session

from ml_backend.store.crowd_tables import Gold
from ml_backend.store.database import Store
from ml_backend.store.tables import Vote

Ids = npt.NDArray[np.int64]

GROUND_TRUTH, FILE, EXPERT = "ground_truth", "file", "expert"
RANK = {FILE: 3, GROUND_TRUTH: 2, EXPERT: 1}
SERVED = (GROUND_TRUTH, FILE)
"""Sources whose galaxies are served to everybody. Experts are asked about what the crowd cannot
tell, which tests nobody."""


@dataclass(frozen=True)
class KnownAnswer:
    """A known answer to one control: labels, or what `Vote.answer` holds of it."""

    labels: tuple[str, ...]
    answer: dict[str, Any] | None = None
    annotation_id: int | None = None


def take_ground_truths(store: Store, project_id: int) -> int:
    """Make the answers flagged in Label Studio the known ones; return how many changed."""
    with store.session() as session:
        wanted = answers_voted(session, project_id, Vote.ground_truth)
        return make_known(session, project_id, GROUND_TRUTH, wanted)


def answers_voted(
    session: Session, project_id: int, condition: ColumnExpressionArgument[bool]
) -> dict[tuple[int, str], KnownAnswer]:
    """Return the answers of the votes for which a condition holds, by task and control.

    The latest counts; skips, and votes that could not be read in full, are left out.
    """
    votes = session.scalars(
        select(Vote)
        .where(Vote.project_id == project_id, ~Vote.skipped, condition)
        .order_by(Vote.updated_at, Vote.id)
    )
    return {
        (vote.task_id, vote.control): KnownAnswer(
            tuple(vote.labels), vote.answer, vote.annotation_id
        )
        for vote in votes
        if not vote.problem
    }


def make_known(
    session: Session,
    project_id: int,
    source: str,
    wanted: Mapping[tuple[int, str], KnownAnswer],
    keep_others: bool = False,
) -> int:
    """Make the known answers of one source these; return how many rows changed.

    Parameters
    ----------
    session : Session
        One that may write.
    project_id : int
    source : str
        One of `RANK`. Answers of a source that stands above are left as they are.
    wanted : mapping of (task number, control) to KnownAnswer
    keep_others : bool
        Leave answers of this source that are not in `wanted`.
    """
    kept = {
        (gold.task_id, gold.control): gold
        for gold in session.scalars(select(Gold).where(Gold.project_id == project_id))
    }
    changed = 0
    for key, gold in kept.items():
        if gold.source == source and key not in wanted and not keep_others:
            session.delete(gold)
            changed += 1
    for (task_id, control), known in wanted.items():
        old = kept.get((task_id, control))
        if old is not None and RANK[old.source] > RANK[source]:
            continue
        values: dict[str, Any] = {
            "labels": list(known.labels),
            "answer": known.answer,
            "annotation_id": known.annotation_id,
            "source": source,
        }
        if old is None:
            session.add(
                Gold(
                    project_id=project_id,
                    task_id=task_id,
                    control=control,
                    created_at=datetime.now(UTC),
                    **values,
                )
            )
        elif any(getattr(old, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(old, name, value)
        else:
            continue
        changed += 1
    return changed


def remove_golds(store: Store, project_id: int, task_ids: Collection[int] | None = None) -> int:
    """Forget known answers that came from a file, of some tasks or of all; return how many.

    Flags and experts' answers are taken back where they were given, in Label Studio.
    """
    query = delete(Gold).where(Gold.project_id == project_id, Gold.source == FILE)
    with store.session() as session:
        if task_ids is None:
            return int(session.execute(query).rowcount)  # type: ignore[attr-defined]
        removed = 0
        for task_id in set(task_ids):
            found = session.execute(query.where(Gold.task_id == task_id))
            removed += int(found.rowcount)  # type: ignore[attr-defined]
        return removed


def golds_of(store: Store, project_id: int) -> list[Gold]:
    """Return the known answers of a project, by task and control."""
    with store.reading() as session:
        return list(
            session.scalars(
                select(Gold)
                .where(Gold.project_id == project_id)
                .order_by(Gold.task_id, Gold.control)
            )
        )


def golds_to_serve(store: Store, project_id: int, seed: int) -> Ids:
    """Return the tasks with a known answer that somebody has not seen yet, int64 [g].

    Those that the fewest people have answered come first, others in a random order that the seed
    decides. A task that everybody who works in the project has answered is left out: Label Studio
    would serve it to nobody, and hold it open.
    """
    with store.reading() as session:
        tasks = session.scalars(
            select(Gold.task_id)
            .where(Gold.project_id == project_id, Gold.source.in_(SERVED))
            .distinct()
        ).all()
        if not tasks:
            return np.zeros(0, np.int64)
        people = session.scalar(
            select(func.count(Vote.annotator.distinct())).where(Vote.project_id == project_id)
        )
        golds = select(Gold.task_id).where(Gold.project_id == project_id, Gold.source.in_(SERVED))
        answered = session.execute(
            select(Vote.task_id, func.count(Vote.annotator.distinct()))
            .where(Vote.project_id == project_id, Vote.task_id.in_(golds))
            .group_by(Vote.task_id)
        )
        counts = {row[0]: row[1] for row in answered}
    ids = np.array(sorted(tasks), np.int64)
    seen = np.array([counts.get(task, 0) for task in ids.tolist()], np.int64)
    mixed = np.random.default_rng([seed, 7]).random(len(ids))
    order = np.lexsort((mixed, seen))
    order = order[seen[order] < max(int(people or 0), 1)]
    return ids[order]


def mix_golds(
    rows: Sequence[int], golds: Sequence[int], fraction: float, rng: np.random.Generator
) -> tuple[list[int], list[bool]]:
    """Mix golds into an order at a rate.

    Parameters
    ----------
    rows : sequence of int
        The order without golds; it is kept.
    golds : sequence of int
        The first ones are taken.
    fraction : float
        Share of golds in what is returned, in [0, 1), as long as there are golds. A round may
        come before many places were served, so the first place for one is drawn at random: on
        average the share holds from the first place on. Without other tasks none are served, so
        that a project comes to an end.
    rng : numpy.random.Generator

    Returns
    -------
    order : list of int
    is_gold : list of bool
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the share of golds must be in [0, 1), not {fraction}")
    order: list[int] = []
    marks: list[bool] = []
    left, due = list(golds)[::-1], float(rng.random())
    for row in rows:
        due += fraction
        while due >= 1 and left:
            order.append(left.pop())
            marks.append(True)
            due += fraction - 1
        order.append(row)
        marks.append(False)
    return order, marks
