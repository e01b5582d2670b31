"""The queue as it was published: its open tasks in order, and why each is where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from ml_backend.store.crowd_tables import Wish
from ml_backend.store.database import Store
from ml_backend.store.tables import Project, Ranking, Task

if TYPE_CHECKING:
    from ml_backend.loop.galaxy_states import GalaxyState

_SURE = 0.8
_MOST_PINNED = 100


def queue_length(store: Store, project: Project) -> int:
    """Return how many tasks of the published queue are open."""
    if not project.champion:
        return 0
    counted = (
        select(func.count())
        .select_from(Ranking)
        .join(Task, Task.id == Ranking.task_id)
        .where(Ranking.version == project.champion, ~Task.is_labeled, ~Task.removed)
    )
    with store.reading() as session:
        return int(session.scalar(counted) or 0)


def queued_tasks(store: Store, project: Project, start: int, count: int) -> list[int]:
    """Return open tasks of the published queue, from the `start`-th on, in their order."""
    if not project.champion:
        return []
    chosen = (
        select(Ranking.task_id)
        .join(Task, Task.id == Ranking.task_id)
        .where(Ranking.version == project.champion, ~Task.is_labeled, ~Task.removed)
        .order_by(Ranking.place)
        .offset(start)
        .limit(count)
    )
    with store.reading() as session:
        return list(session.scalars(chosen))


def waiting_wishes(store: Store, project: Project) -> list[int]:
    """Return tasks with a wish that are open and not in the published queue, the pinned first."""
    in_queue = select(Ranking.task_id).where(Ranking.version == (project.champion or ""))
    chosen = (
        select(Wish.task_id)
        .join(Task, Task.id == Wish.task_id)
        .where(Wish.project_id == project.id, ~Task.is_labeled, ~Task.removed)
        .where(Wish.task_id.not_in(in_queue))
        .order_by(Wish.kind.desc(), Wish.created_at)
        .limit(_MOST_PINNED)
    )
    with store.reading() as session:
        found = list(session.execute(chosen.add_columns(Wish.kind)))
    order = {"pin": 0, "expert": 1, "postpone": 2}
    return [task for task, kind in sorted(found, key=lambda row: order.get(row[1], 3))]


def reason_of(state: GalaxyState) -> str:
    """Say in words why a galaxy is where it is in the queue."""
    if state.wish == "pin":
        return f"Pinned by {state.wished_by or 'a manager'}."
    if state.wish == "postpone":
        return f"Postponed by {state.wished_by or 'a manager'}: served last."
    if state.wish == "expert":
        return f"Kept for an expert by {state.wished_by or 'a manager'}."
    if state.arm == "gold" or state.is_gold:
        return "A known answer, to see how well people and model do."
    if state.arm == "audit":
        return "Drawn at random, to measure the model on galaxies that nobody chose."
    if state.people:
        so_far = f"{state.people} {'person has' if state.people == 1 else 'people have'} answered"
        said = f"; together they say {_told(state.said)}" if state.said else ""
        return f"Wants one more vote: {so_far}{said}. {state.reason}".strip()
    if state.arm == "cold":
        return "Covers a region of the embedding space with no labels."
    if state.place is None:
        return "Not in the published queue."
    return _active_reason(state)


def _active_reason(state: GalaxyState) -> str:
    if state.interest is not None and state.interest >= 0.5:
        return f"Probably of interest ({100 * state.interest:.0f} %)."
    first, second = (*state.opinions[:2], None, None)[:2]
    if first is None or first.confidence is None:
        return "The model would learn most from it."
    if first.confidence >= _SURE:
        return (
            f"Unlike its neighbours in the queue; the model says {_told(first)}, and an answer "
            "tests that."
        )
    if second is None or second.confidence is None:
        return f"The model is not sure of {_told(first)}."
    return f"The model doubts between {_told(first)} and {_told(second)}."


def _told(opinion: object) -> str:
    label = getattr(opinion, "label", "")
    confidence = getattr(opinion, "confidence", None)
    return label if confidence is None else f"{label} ({100 * confidence:.0f} %)"


def is_held_back(state: GalaxyState) -> bool:
    """Tell whether people are served the galaxy without what the model says of it."""
    told = [answer for answer in state.answers.values() if isinstance(answer, dict)]
    return any(answer.get("blind") is True for answer in told)


def suggestion_of(state: GalaxyState) -> tuple[str, float | None]:
    """Return what the model said when the queue was made, and its calibrated confidence.

    People are not shown it where it `is_held_back`.
    """
    labels, least = [], None
    for answer in state.answers.values():
        if isinstance(answer, dict) and answer.get("labels"):
            labels.append(", ".join(map(str, answer["labels"])))
            if least is None and isinstance(answer.get("confidence"), int | float):
                least = float(answer["confidence"])
    if labels:
        return "; ".join(labels), least
    if state.opinions:
        return state.opinions[0].label, state.opinions[0].confidence
    return "", None


def columns() -> Sequence[str]:
    """Return the names of the columns of the queue's CSV."""
    return (
        "place", "task", "arm", "suggested", "held_back", "confidence", "uncertainty", "interest",
        "people", "people_say", "wish", "wished_by", "reason",
    )  # fmt: skip


def row_of(state: GalaxyState, number: int | None) -> Sequence[object]:
    """Return a row of the queue's CSV."""
    label, confidence = suggestion_of(state)
    return (
        number, state.task_id, state.arm, label, "yes" if is_held_back(state) else "no",
        confidence, state.uncertainty, state.interest, state.people,
        state.said.label if state.said else None, state.wish, state.wished_by, reason_of(state),
    )  # fmt: skip
