"""Settling: what all votes say of each task, who is how reliable, and what has votes enough.

Once in each round, after training, so that the model can be heard as one more witness: with
predictions that it made without having seen a task's votes. Written are the rows of
`ml_backend.store.crowd_tables`; raw votes are never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from ml_backend.labelstudio.config import Control, LabelConfig
from ml_backend.loop.asked import asked
from ml_backend.loop.consensus import Consensus
from ml_backend.loop.crowd_rows import write_posteriors, write_skills, write_verdicts
from ml_backend.loop.crowd_views import View, view_of
from ml_backend.loop.people_asked import PeopleAsked, people_asked
from ml_backend.loop.skill_rows import skill_rows
from ml_backend.loop.training import Unseen
from ml_backend.store.crowd_tables import Gold, Wish
from ml_backend.store.database import Store
from ml_backend.store.tables import Task
from models.crowd.retirement import RetirementRule, judge, together

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OPEN, RETIRED, EXPERT = "open", "retired", "expert"


@dataclass(frozen=True)
class Settled:
    """What a round thinks of the tasks that people have answered or skipped.

    Attributes
    ----------
    task_ids : int64 [n]
        In rising order.
    states : str [n]
        ``open``, ``retired`` or ``expert``.
    gains : float64 [n]
        Wrong answers that one more vote is expected to spare.
    views : dict of str to View
        What is thought of each list of choices, by control.
    """

    task_ids: Ids
    states: npt.NDArray[np.str_]
    gains: Doubles
    views: dict[str, View] = field(default_factory=dict)


def settle(
    store: Store,
    project_id: int,
    config: LabelConfig,
    agreed: Mapping[str, Consensus],
    unseen: Mapping[str, Unseen],
    rule: RetirementRule,
) -> Settled:
    """Judge all tasks with votes, and keep what is thought of them.

    Where one vote per task is wanted (`rule.most_people` is 1) nobody is judged, and posteriors
    and skills are kept only where several people have answered the same task, or its answer is
    known.

    Parameters
    ----------
    store : Store
    project_id : int
    config : LabelConfig
    agreed : mapping of control to Consensus
        Of all lists of choices whose votes count.
    unseen : mapping of control to Unseen
        What the heads say of tasks without having seen their votes; controls may lack.
    rule : RetirementRule
    """
    crowded = rule.most_people > 1
    told = people_asked(store, project_id, [control.name for control in config.answered])
    golds, wishes = _known_answers(store, project_id, agreed)
    views = {
        name: view_of(part, unseen.get(name), golds.get(name, ()))
        for name, part in agreed.items()
        if len(part) and (crowded or part.answered.max() > 1)
    }
    posteriors: list[dict[str, Any]] = []
    for name, view in views.items():
        posteriors += view.posterior_rows(name, least_people=1 if crowded else 2)
    skills = skill_rows(store, project_id, config, views)
    if crowded:
        settled, verdicts = _judged(config, views, told, rule, wishes)
    else:
        settled, verdicts = Settled(told.task_ids[:0], np.zeros(0, "U7"), np.zeros(0), views), []
    with store.session() as session:
        write_posteriors(session, project_id, posteriors)
        write_skills(session, project_id, skills)
        write_verdicts(session, project_id, verdicts)
    return settled


def _known_answers(
    store: Store, project_id: int, agreed: Mapping[str, Consensus]
) -> tuple[dict[str, set[int]], Ids]:
    """Return the tasks with a known answer, by control, and those that wait for an expert.

    Left out is what the consensus passes over, too: labels that the configuration has no more.
    """
    golds: dict[str, set[int]] = {}
    with store.reading() as session:
        known = select(Gold.control, Gold.task_id, Gold.labels).where(
            Gold.project_id == project_id, Gold.answer.is_(None)
        )
        for control, task_id, labels in session.execute(known):
            part = agreed.get(control)
            if part is None or not set(labels) <= set(part.labels):
                continue
            if part.multiple or len(set(labels)) == 1:
                golds.setdefault(control, set()).add(task_id)
        wished = session.scalars(
            select(Wish.task_id)
            .join(Task, Task.id == Wish.task_id)
            .where(Wish.project_id == project_id, Wish.kind == EXPERT, ~Task.removed)
        ).all()
    return golds, np.array(sorted(wished), np.int64)


def _judged(
    config: LabelConfig,
    views: Mapping[str, View],
    told: PeopleAsked,
    rule: RetirementRule,
    for_experts: Ids,
) -> tuple[Settled, list[dict[str, Any]]]:
    answered = [view.task_ids for view in views.values()]
    tasks = np.unique(np.concatenate([told.task_ids, for_experts, *answered]))
    people = told.answered_by(tasks)
    for view in views.values():
        at = np.searchsorted(tasks, view.task_ids)
        people[at] = np.maximum(people[at], view.people)
    shown = asked(config.answered, _chosen(views, tasks), len(tasks))
    parts = []
    gains = np.zeros(len(tasks))
    for control in config.answered:
        if control.name in views:
            view = views[control.name]
            states, reasons, worth = _of_choices(control, view, tasks, people, rule)
            gains += np.where(shown[control.name], worth, 0.0)
        else:
            states, reasons = _by_count(control, people, rule)
        parts.append((shown[control.name], states, reasons))
    states, reasons = _together(parts, len(tasks))
    states, reasons = _where_skipped(states, reasons, told.skipped_by(tasks), people, rule)
    asked_for = np.isin(tasks, for_experts)
    states[asked_for] = EXPERT
    reasons[asked_for] = "For experts: a manager asked for one."
    known = _known(views, tasks, shown)
    states[known] = RETIRED
    reasons[known] = "Retired: its answer is known."
    gains[states != OPEN] = 0.0
    verdicts = [
        {"task_id": task, "state": state, "reason": reason, "people": count, "gain": gain}
        for task, state, reason, count, gain in zip(
            tasks.tolist(),
            states.tolist(),
            reasons.tolist(),
            people.tolist(),
            gains.tolist(),
            strict=True,
        )
    ]
    return Settled(tasks, states, gains, dict(views)), verdicts


def _chosen(views: Mapping[str, View], tasks: Ids) -> dict[str, tuple[Sequence[str], Bools]]:
    found: dict[str, tuple[Sequence[str], Bools]] = {}
    for name, view in views.items():
        marks = np.zeros((len(tasks), len(view.labels)), np.bool_)
        marks[np.searchsorted(tasks, view.task_ids)] = view.chosen
        found[name] = (view.labels, marks)
    return found


def _of_choices(
    control: Control, view: View, tasks: Ids, people: Ids, rule: RetirementRule
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.object_], Doubles]:
    """Judge one list of choices on all tasks; where nobody answered it, it is open until the most
    people have been asked.
    """
    states, reasons = _by_count(control, people, rule)
    worth = np.zeros(len(tasks))
    at = np.searchsorted(tasks, view.task_ids)
    # Who was asked and left it empty has been asked all the same.
    counted = np.where(people[at] >= rule.most_people, people[at], view.people)
    judgements = [
        judge(part.posterior, counted, part.gain, rule, predicted=part.predicted, labels=part.names)
        for part in view.parts
    ]
    whole = together(judgements)
    states[at], reasons[at] = whole.states, whole.reasons
    worth[at] = view.gain
    return states, reasons, worth


def _by_count(
    control: Control, people: Ids, rule: RetirementRule
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.object_]]:
    """Judge by the number of people alone, where no model of answers says more."""
    done = people >= rule.most_people
    reasons = np.empty(len(people), object)
    for count in np.unique(people).tolist():
        word = "Retired" if count >= rule.most_people else "Open"
        reasons[people == count] = (
            f"{word}: {count} of {rule.most_people} people were asked for '{control.name}'."
        )
    return np.where(done, RETIRED, OPEN).astype("U7"), reasons


def _together(
    parts: Sequence[tuple[Bools, npt.NDArray[np.str_], npt.NDArray[np.object_]]], count: int
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.object_]]:
    """Join the questions that were asked: open while any is, else for experts if any is."""
    states: npt.NDArray[np.str_] = np.full(count, "", "U7")
    reasons = np.empty(count, object)
    reasons[:] = "Open: nobody has answered yet."
    rank = {RETIRED: 1, EXPERT: 2, OPEN: 3}
    best = np.zeros(count, np.int64)
    for shown, found, why in parts:
        order = np.array([rank[state] for state in found.tolist()], np.int64)
        take = shown & (order > best)
        states[take], reasons[take], best[take] = found[take], why[take], order[take]
    states[best == 0] = OPEN
    return states, reasons


def _where_skipped(
    states: npt.NDArray[np.str_],
    reasons: npt.NDArray[np.object_],
    skips: Ids,
    people: Ids,
    rule: RetirementRule,
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.object_]]:
    """Send to experts what as many people have skipped as may be asked; a skip is never a vote."""
    given_up = (states == OPEN) & (skips >= rule.most_people)
    states[given_up] = EXPERT
    for row in np.flatnonzero(given_up).tolist():
        reasons[row] = f"For experts: {skips[row]} people skipped it, {people[row]} answered."
    return states, reasons


def _known(views: Mapping[str, View], tasks: Ids, shown: Mapping[str, Bools]) -> Bools:
    """Tasks of which every list of choices that is asked has a known answer."""
    found = np.ones(len(tasks), np.bool_) if views else np.zeros(len(tasks), np.bool_)
    for name, view in views.items():
        mine = np.zeros(len(tasks), np.bool_)
        mine[np.searchsorted(tasks, view.task_ids)] = view.known
        found &= mine | ~shown[name]
    return found & np.any([shown[name] for name in views] or [np.zeros(len(tasks), np.bool_)], 0)
