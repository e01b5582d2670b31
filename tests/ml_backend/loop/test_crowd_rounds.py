"""A crowd in rounds: votes opened where they are worth most, tasks closed when it is enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from stand_ins import KINDS, truth
from world import World

from ml_backend.store.crowd_tables import Gold, Posterior, Skill, Verdict, Wish
from ml_backend.store.tables import Ranking, Task, Vote

SKILLS = {1: 0.97, 2: 0.9, 3: 0.85, 4: 0.7, 5: 0.4}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    # However busy the machine is: what is left for the next round has a test of its own.
    made = World(tmp_path / "world", most_people=5, overlap_seconds=600)
    yield made
    made.store.close()


def answer(world: World, task: int, person: int) -> str:
    """What a person says of a task, the same whenever asked."""
    right = truth(world.images[task])
    rng = np.random.default_rng([7, person, task])
    if rng.random() < SKILLS[person]:
        return right
    return str(rng.choice([kind for kind in KINDS if kind != right]))


def people_work(world: World, clicks: int) -> list[tuple[int, int]]:
    """Let everybody take the next task in turn; return (person, task) of each click."""
    done = []
    for click in range(clicks):
        person = list(SKILLS)[click % len(SKILLS)]
        task = world.label_studio.serve(1, person)
        if task is not None:
            world.label_studio.annotate(task, answer(world, task, person), person)
            done.append((person, task))
    return done


def rows(world: World, table: Any) -> list[Any]:
    with world.store.reading() as session:
        return list(session.scalars(select(table)))


def raw_votes(world: World) -> list[tuple[Any, ...]]:
    state = world.label_studio._read()
    return sorted(
        (found["id"], task["id"], found["completed_by"], str(found["result"]))
        for task in state["tasks"].values()
        for found in task["annotations"]
    )


def in_label_studio(world: World) -> dict[int, dict[str, Any]]:
    return {task["id"]: task for task in world.label_studio.tasks(1)}


def test_the_order_and_the_verdicts_decide_what_is_open(world: World) -> None:
    world.round()
    for _ in range(12):
        given = people_work(world, 20)
        assert len(set(given)) == len(given)
        before = raw_votes(world)
        world.round()
        assert raw_votes(world) == before, "raw votes are never touched"
        tasks = in_label_studio(world)
        states = {row.task_id: row.state for row in rows(world, Verdict)}
        with world.store.reading() as session:
            ranked = set(
                session.scalars(
                    select(Ranking.task_id).where(
                        Ranking.version == world.store.projects.get(1).champion
                    )
                )
            )
        for number, task in tasks.items():
            opened = not task["is_labeled"] and task["total_annotations"] < task["overlap"]
            if states.get(number, "open") != "open":
                assert not opened, f"task {number} is {states[number]} but open"
            if number in ranked:
                assert opened, f"{number} is in the order but closed: {states.get(number)}, {task}"
            if opened and task["total_annotations"]:
                assert task["overlap"] == task["total_annotations"] + 1
    people = {p for p, _ in given}
    assert people <= set(SKILLS)
    votes = raw_votes(world)
    assert len({(task, person) for _, task, person, _ in votes}) == len(votes)
    counts = np.bincount([vote[1] for vote in votes])
    retired = [task for task, state in states.items() if state == "retired"]
    assert len(retired) > 30
    assert len({counts[task] for task in retired}) > 1, "closed by posterior, not by a count"


def test_skills_are_told_apart_and_posteriors_beat_chance(world: World) -> None:
    world.round()
    for _ in range(8):
        people_work(world, 25)
        world.round()
    posteriors = rows(world, Posterior)
    right = [row.label == truth(world.images[row.task_id]) for row in posteriors]
    assert np.mean(right) > 0.85
    assert all(abs(sum(row.probabilities) - 1) < 1e-3 for row in posteriors)
    skills = {row.person: row.reliability for row in rows(world, Skill)}
    assert skills["person 1"] > skills["person 5"] + 0.1


def test_an_edit_or_a_deletion_opens_a_task_again(world: World) -> None:
    task = world.tasks[0]
    world.vote(60)
    kept = world.label_studio.annotate(task, truth(world.images[task]), person=2)
    world.label_studio.annotate(task, truth(world.images[task]), person=3)
    world.round()
    with world.store.reading() as session:
        assert session.get(Verdict, task).state == "retired"
    assert in_label_studio(world)[task]["is_labeled"]
    wrong = next(kind for kind in KINDS if kind != truth(world.images[task]))
    world.label_studio.edit(kept, wrong)
    other = [a for a in in_label_studio(world)[task]["annotations"] if a["completed_by"] == 3]
    world.label_studio.delete_annotation(other[0]["id"])
    world.round()
    with world.store.reading() as session:
        assert session.get(Verdict, task).state == "open"
    state = in_label_studio(world)[task]
    assert not state["is_labeled"]
    assert state["overlap"] == state["total_annotations"] + 1


@pytest.mark.parametrize("mode", ["REQUEUE_FOR_OTHERS", "REQUEUE_FOR_ME", "IGNORE_SKIPPED"])
def test_a_skip_is_never_a_vote(world: World, mode: str) -> None:
    state = world.label_studio._read()
    state["projects"]["1"]["skip_queue"] = mode
    world.label_studio._write(state)
    world.vote(10, start=20)
    world.round()
    task = world.label_studio.served(1)[0]
    world.label_studio.annotate(task, None, person=4, skip=True)
    world.round()
    assert not in_label_studio(world)[task]["is_labeled"]
    served = {person: world.label_studio.serve(1, person) for person in (1, 2, 3)}
    world.label_studio.ttl = 0
    assert any(found is not None for found in served.values())
    with world.store.reading() as session:
        verdict = session.get(Verdict, task)
    assert verdict is not None
    assert verdict.state == "open"
    assert verdict.people == 0


def test_what_everybody_skips_goes_to_experts(world: World) -> None:
    world.round()
    for person in SKILLS:
        world.label_studio.annotate(world.tasks[3], None, person=person, skip=True)
    world.vote(5, start=30)
    world.round()
    with world.store.reading() as session:
        verdict = session.get(Verdict, world.tasks[3])
    assert verdict.state == "expert"
    assert "skipped" in verdict.reason
    assert in_label_studio(world)[world.tasks[3]]["is_labeled"]


def test_wishes_are_heard(world: World) -> None:
    world.vote(6)
    world.round()
    pin, late, hard = world.label_studio.served(1)[5:8]
    with world.store.session() as session:
        for task, kind in ((pin, "pin"), (late, "postpone"), (hard, "expert")):
            session.add(Wish(project_id=1, task_id=task, kind=kind, created_at=_now(), account="m"))
    world.round(rerank=True)
    served = world.label_studio.served(1)
    assert served[0] == pin
    assert hard not in served
    assert in_label_studio(world)[hard]["is_labeled"]
    assert late not in served[:-1]
    with world.store.session() as session:
        session.delete(session.get(Wish, (1, hard)))
        session.add(Wish(project_id=1, task_id=hard + 0, kind="pin", created_at=_now()))
        session.delete(session.get(Wish, (1, pin)))
    world.round(rerank=True)
    assert world.label_studio.served(1)[0] == hard, "an expert's task comes back to the crowd"


def test_an_experts_answer_settles_a_task(world: World) -> None:
    world.store.projects.save(1, options={"experts": [5]})
    world.vote(8)
    task = world.tasks[20]
    one = world.label_studio.annotate(task, "Merger", person=5)
    world.round()
    golds = rows(world, Gold)
    assert [(g.task_id, g.labels, g.source, g.annotation_id) for g in golds] == [
        (task, ["Merger"], "expert", one)
    ]
    with world.store.reading() as session:
        verdict = session.get(Verdict, task)
    assert verdict.state == "retired"
    assert "known" in verdict.reason
    assert in_label_studio(world)[task]["is_labeled"]
    world.label_studio.edit(one, "Spiral")
    world.round()
    assert [gold.labels for gold in rows(world, Gold)] == [["Spiral"]]
    world.store.projects.save(1, options={"experts": []})
    world.vote(1, start=9)
    world.round()
    assert rows(world, Gold) == []


@pytest.mark.parametrize("most_people", [1, 5])
def test_an_answer_that_became_known_opens_nothing(tmp_path: Path, most_people: int) -> None:
    world = World(tmp_path / "known", most_people=most_people, experts="5", gold_fraction=0)
    world.vote(8)
    world.round()
    task = world.label_studio.served(1)[0]
    world.label_studio.annotate(task, "Merger", person=5)
    # Counted as if nobody were asked again: its answer is flagged, and takes nobody's place.
    world.label_studio.annotate(world.label_studio.served(1)[0], "Merger", 4, ground_truth=True)
    world.round()
    assert len(rows(world, Gold)) == 2
    for _ in range(2):
        assert all(in_label_studio(world)[g.task_id]["is_labeled"] for g in rows(world, Gold))
        world.round()
    world.store.close()


def test_what_waits_for_an_expert_wants_no_new_order(tmp_path: Path) -> None:
    world = World(tmp_path / "expert")
    world.vote(8)
    with world.store.session() as session:
        session.add(Wish(project_id=1, task_id=world.tasks[30], kind="expert", created_at=_now()))
    assert world.round(rerank=True).version
    assert world.round().version is None
    world.store.close()


def test_the_budget_leaves_the_rest_for_the_next_round(tmp_path: Path) -> None:
    world = World(tmp_path / "slow", most_people=5, overlap_seconds=0)
    world.vote(60)
    report = world.round()
    assert report.patches_left > 0
    assert "wait for the next round" in report.message
    assert "update_task" not in world.label_studio.calls
    world.store.close()


def test_one_vote_each_patches_nothing_and_judges_nobody(tmp_path: Path) -> None:
    world = World(tmp_path / "single")
    world.vote(10)
    report = world.round()
    assert "update_task" not in world.label_studio.calls
    assert report.patches_left == 0
    assert "overlap" not in report.timings
    assert rows(world, Verdict) == []
    assert rows(world, Posterior) == []
    # Several people on one task are still compared.
    world.label_studio.annotate(world.tasks[0], truth(world.images[world.tasks[0]]), person=2)
    world.round()
    assert [row.task_id for row in rows(world, Posterior)] == [world.tasks[0]]
    world.store.close()


def test_overlap_changed_by_hand_is_read_back(world: World) -> None:
    world.vote(10)
    world.round()
    closed = world.label_studio.served(1)[0]
    world.label_studio.update_task(closed, is_labeled=True)
    world.round(rerank=True)
    assert not in_label_studio(world)[closed]["is_labeled"]
    with world.store.reading() as session:
        kept = session.get(Task, closed)
    assert kept.overlap == 1
    assert not kept.is_labeled


def test_a_task_that_vanishes_costs_only_itself(world: World) -> None:
    world.vote(60)
    gone = world.tasks[0]
    calls = world.label_studio.update_task

    def update(task: int, **fields: Any) -> dict[str, Any]:
        if task == gone:
            world.label_studio.remove_task(task)
        return calls(task, **fields)

    world.label_studio.update_task = update  # type: ignore[method-assign]
    world.label_studio.annotate(gone, "Merger", person=4)
    report = world.round()
    assert report.version
    assert gone not in in_label_studio(world), "it was to be opened, and was gone by then"
    world.round()
    with world.store.reading() as session:
        assert not list(session.scalars(select(Vote).where(Vote.task_id == gone)))


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)
