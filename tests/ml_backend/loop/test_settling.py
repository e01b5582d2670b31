"""Judging tasks: several questions, conditions, few votes, and rows that are left alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select
from stand_ins import settings_of

from ml_backend.labelstudio.config import parse_controls
from ml_backend.labelstudio.config.conditions import shown
from ml_backend.loop.asked import asked
from ml_backend.loop.consensus import CastVote, consensus
from ml_backend.loop.crowd_rows import write_posteriors, write_verdicts
from ml_backend.loop.demand import CHECKING, demand_of, merged
from ml_backend.loop.people_asked import people_asked
from ml_backend.loop.plans import counted_controls
from ml_backend.loop.pool import Pool
from ml_backend.loop.settling import Settled, settle
from ml_backend.loop.training import Unseen
from ml_backend.store.crowd_tables import OutsideVote, Posterior, Verdict
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Task, Vote
from models.crowd.retirement import RetirementRule

TREE = """<View><Image name="image" value="$image"/>
<Choices name="smooth" toName="image" required="true"><Choice value="Smooth"/>
<Choice value="Disk"/></Choices>
<Choices name="arms" toName="image" visibleWhen="choice-selected" whenTagName="smooth"
whenChoiceValue="Disk"><Choice value="Arms"/><Choice value="None"/></Choices>
<Choices name="odd" toName="image" choice="multiple"><Choice value="Ring"/><Choice value="Lens"/>
</Choices></View>"""
CONFIG = parse_controls(TREE)
RULE = RetirementRule(most_people=5)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(settings_of(tmp_path / "data"))
    made.projects.save(1, "Trees", TREE)
    yield made
    made.close()


def judged(
    store: Store,
    answers: dict[int, list[dict[str, list[str]]]],
    rule: RetirementRule = RULE,
    unseen: dict[str, Unseen] | None = None,
) -> dict[int, Verdict]:
    """Keep the answers of people 1, 2... to tasks as votes, and settle."""
    cast, number = [], 0
    with store.session() as session:
        session.query(Vote).delete()
        for task, given in answers.items():
            session.merge(Task(id=task, project_id=1, image="sky://Merger/1"))
            for person, said in enumerate(given, 1):
                number += 1
                for control, labels in said.items():
                    session.add(
                        Vote(
                            annotation_id=number,
                            control=control,
                            project_id=1,
                            task_id=task,
                            annotator=person,
                            labels=labels,
                        )
                    )
                    cast.append(CastVote(task, f"person {person}", control, tuple(labels)))
    agreed = consensus(cast, counted_controls(CONFIG))
    settle(store, 1, CONFIG, agreed, unseen or {}, rule)
    with store.reading() as session:
        return {row.task_id: row for row in session.scalars(select(Verdict))}


SMOOTH = {"smooth": ["Smooth"], "odd": []}
DISK = {"smooth": ["Disk"], "arms": ["Arms"], "odd": []}


def sure(times: int = 40) -> dict[int, list[dict[str, list[str]]]]:
    """Tasks on which four people agree, so that all are known to be good."""
    kinds = [SMOOTH, DISK, {**DISK, "arms": ["None"], "odd": ["Ring"]}, {**SMOOTH, "odd": ["Lens"]}]
    return {task: [kinds[task % 4]] * 4 for task in range(100, 100 + times)}


def test_a_task_is_retired_when_each_question_that_was_asked_is_settled(store: Store) -> None:
    found = judged(store, {**sure(), 1: [SMOOTH] * 3, 2: [DISK] * 3})
    assert found[1].state == "retired", found[1].reason
    assert found[2].state == "retired", found[2].reason
    assert found[1].people == 3
    open_arms = {"smooth": ["Disk"], "odd": []}
    found = judged(store, {**sure(), 3: [open_arms] * 3})
    assert found[3].state == "open"
    assert "arms" in found[3].reason


def test_gains_are_added_and_nothing_is_gained_by_what_is_done(store: Store) -> None:
    split = [DISK, {"smooth": ["Disk"], "arms": ["None"], "odd": ["Ring"]}]
    found = judged(store, {**sure(), 1: split, 2: [SMOOTH, DISK]})
    assert found[1].state == found[2].state == "open"
    assert found[1].gain > 0
    assert all(row.gain == 0 for row in found.values() if row.state != "open")


def test_a_question_left_empty_by_all_ends_with_the_most_people(store: Store) -> None:
    empty = {"smooth": ["Disk"], "odd": []}
    found = judged(store, {**sure(), 1: [empty] * 5})
    assert found[1].state == "retired", found[1].reason


def test_what_stays_split_goes_to_experts(store: Store) -> None:
    rule = RetirementRule(most_people=4)
    found = judged(store, {**sure(), 1: [SMOOTH, DISK, SMOOTH, DISK]}, rule)
    assert found[1].state == "expert"
    assert found[1].reason.startswith("For experts")


def test_the_model_is_a_witness_but_not_alone(store: Store) -> None:
    answers = {**sure(), 1: [SMOOTH], 2: [SMOOTH]}
    tasks = np.array(sorted(answers), np.int64)
    labels = ("Smooth", "Disk")
    said = np.array([[0.97, 0.03] if t % 4 in (0, 3) or t == 1 else [0.03, 0.97] for t in tasks])
    said[list(tasks).index(2)] = [0.03, 0.97]
    alone = judged(store, answers)
    assert alone[1].state == alone[2].state == "open", "one person is not enough"
    backed = judged(store, answers, unseen={"smooth": Unseen(labels, tasks, said)})
    with store.reading() as session:
        told = {
            row.task_id: row.confidence
            for row in session.scalars(select(Posterior).where(Posterior.control == "smooth"))
        }
    assert told[1] > told[2], "a model that agrees makes it surer, one that does not less"
    assert backed[2].state == "open"


def test_one_vote_each_judges_nobody_and_takes_old_verdicts_away(store: Store) -> None:
    assert judged(store, {**sure(), 1: [SMOOTH] * 3})
    found = judged(store, {1: [SMOOTH], 2: [DISK]}, RetirementRule(most_people=1))
    assert found == {}
    with store.reading() as session:
        assert not list(session.scalars(select(Posterior)))


def test_no_votes_at_all_settle_nothing(store: Store) -> None:
    assert judged(store, {}) == {}
    settled = settle(store, 1, CONFIG, consensus([], counted_controls(CONFIG)), {}, RULE)
    assert isinstance(settled, Settled)
    assert len(settled.task_ids) == 0


def test_rows_that_hardly_moved_are_not_written_again(store: Store) -> None:
    row = {
        "control": "smooth", "task_id": 1, "probabilities": [0.9, 0.1], "label": "Smooth",
        "confidence": 0.9, "people": 2, "difficulty": None,
    }  # fmt: skip
    with store.session() as session:
        assert write_posteriors(session, 1, [row, {**row, "task_id": 2}]) == 2
    with store.session() as session:
        assert (
            write_posteriors(session, 1, [{**row, "confidence": 0.9005}, row | {"task_id": 2}]) == 0
        )
    with store.session() as session:
        assert write_posteriors(session, 1, [{**row, "confidence": 0.8}]) == 2
    with store.reading() as session:
        [kept] = session.scalars(select(Posterior))
    assert (kept.task_id, kept.confidence) == (1, 0.8)
    verdict = {"task_id": 1, "state": "open", "reason": "a", "people": 1, "gain": 0.1}
    with store.session() as session:
        write_verdicts(session, 1, [verdict])
    with store.reading() as session:
        since = session.get(Verdict, 1).changed_at
    with store.session() as session:
        assert write_verdicts(session, 1, [{**verdict, "gain": 0.2, "reason": "b"}]) == 1
    with store.reading() as session:
        kept = session.get(Verdict, 1)
    assert (kept.reason, kept.changed_at) == ("b", since), "its state is the same"


def test_a_hundred_thousand_rows_take_seconds(store: Store) -> None:
    rows = [
        {"task_id": n, "state": "open", "reason": "Open.", "people": 1, "gain": 0.1}
        for n in range(100_000)
    ]
    with store.session() as session:
        write_verdicts(session, 1, rows)
    began = time.monotonic()
    with store.session() as session:
        assert write_verdicts(session, 1, rows) == 0
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("seed", range(20))
def test_which_questions_were_asked_agrees_with_the_editor(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chosen = {}
    for control in CONFIG.controls:
        marks = rng.random((30, len(control.labels))) < 0.5
        chosen[control.name] = (control.labels, marks)
    found = asked(CONFIG.answered, chosen, 30)
    for row in range(30):
        named = {
            name: [label for label, mark in zip(labels, marks[row], strict=True) if mark]
            for name, (labels, marks) in chosen.items()
        }
        here = [name for name, marks in found.items() if marks[row]]
        assert sorted(here) == sorted(shown(CONFIG.answered, named))


def test_first_and_further_votes_are_merged_by_worth() -> None:
    first, again = np.array([10, 11, 12]), np.array([20, 21])
    queue = merged(first, np.array([0.1, 0.3, 0.2]), again, np.array([0.25, 0.05]), 4)
    # The order of the active arm is kept; its values are spread over it.
    assert queue == [(10, False), (20, True), (11, False), (12, False)]
    assert merged(first[:0], np.zeros(0), again, np.array([0.0, 0.1]), 9) == [
        (21, True), (20, True),
    ]  # fmt: skip


def test_a_share_of_places_is_kept_for_second_votes() -> None:
    first, again = np.arange(40), np.array([90, 91, 92])
    queue = merged(first, np.full(40, 9.0), again, np.array([0.1, 0.2, 0.3]), 40, checking=0.25)
    assert [row for row, more in queue if more] == [92, 91, 90], "the best of them first"
    assert [place for place, (_, more) in enumerate(queue) if more] == [3, 7, 11]
    assert [row for row, more in queue if not more] == list(range(37))
    # Where further votes are worth more anyway, nothing is moved.
    plain = merged(first, np.full(40, 0.0), again, np.array([0.1, 0.2, 0.3]), 40)
    assert merged(first, np.full(40, 0.0), again, np.array([0.1, 0.2, 0.3]), 40, 0.25) == plain


def _demand(store: Store, votes: list[tuple[int, int]]) -> float:
    """Return what is kept for second votes after (task, person) have voted."""
    with store.session() as session:
        for number, (task, person) in enumerate(votes):
            if session.get(Task, task) is None:
                session.add(Task(id=task, project_id=1, image="x"))
                session.flush()
            session.add(
                Vote(annotation_id=votes[0][0] * 1000 + number, control="smooth", project_id=1,
                     task_id=task, annotator=person, labels=["Disk" if task % 3 else "Smooth"])
            )  # fmt: skip
    cast = [
        CastVote(t, f"person {p}", "smooth", ("Disk" if t % 3 else "Smooth",)) for t, p in votes
    ]
    agreed = consensus(cast, counted_controls(CONFIG))
    settled = settle(store, 1, CONFIG, agreed, {}, RetirementRule(most_people=5))
    tasks = np.array(sorted({task for task, _ in votes}), np.int64)
    some = np.ones(len(tasks), np.bool_)
    pool = Pool(tasks, np.zeros((len(tasks), 2), np.float32), some, some, len(votes), {},
                frozenset(), "")  # type: ignore[arg-type]  # fmt: skip
    return demand_of(store, 1, pool, settled, True).checking


def test_second_votes_are_asked_for_until_people_are_known(store: Store) -> None:
    lone = [(task, task % 3) for task in range(1, 40)]
    assert _demand(store, lone) == CHECKING, "nobody's votes stand beside another's"


def test_nothing_is_kept_for_one_person_alone_or_once_people_are_known(store: Store) -> None:
    assert _demand(store, [(task, 7) for task in range(1, 40)]) == 0.0
    both = [(task, person) for task in range(100, 130) for person in (7, 8)]
    assert _demand(store, [*both, (130, 7), (130, 9)]) == 0.0, "a stranger keeps nobody busy"


def test_people_from_outside_were_asked_too(store: Store) -> None:
    with store.session() as session:
        session.add(
            Vote(annotation_id=1, control="smooth", project_id=1, task_id=5, annotator=3,
                 labels=["Disk"])
        )  # fmt: skip
        for number, person in enumerate(("zooniverse a", "zooniverse b", "zooniverse a")):
            session.add(
                OutsideVote(project_id=1, source="zooniverse", classification=str(number),
                            task_id=5, person=person, control="smooth", labels=["Disk"])
            )  # fmt: skip
    assert people_asked(store, 1, ["smooth"]).answered_by(np.array([5, 6])).tolist() == [3, 0]


def test_a_time_with_its_zone_is_kept(store: Store) -> None:
    with store.session() as session:
        write_verdicts(
            session, 1, [{"task_id": 5, "state": "open", "reason": "", "people": 0, "gain": None}]
        )
    with store.reading() as session:
        kept = session.get(Verdict, 5)
    assert abs((datetime.now(UTC) - kept.changed_at).total_seconds()) < 60
