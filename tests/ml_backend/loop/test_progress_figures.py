"""The figures of Progress and Learning: they count what is there, and stay as they are kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, func, select
from world import World

from ml_backend.loop.consensus import Consensus
from ml_backend.loop.progress_counts import people_counts, task_counts
from ml_backend.loop.progress_points import ALL_FOR, add_point, points_of
from ml_backend.loop.random_order import GROWTH, LEAST, labels_saved, measured_again
from ml_backend.loop.reliability import confusion_matrices, measured, reliability_diagram
from ml_backend.loop.training import Unseen
from ml_backend.store.crowd_tables import OutsideVote, Verdict
from ml_backend.store.dashboard_tables import ProgressPoint
from ml_backend.store.figures import kept_figure
from ml_backend.store.tables import Task, Vote
from ml_backend.store.vote_tallies import count_anew

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


def _figure(world: World, name: str) -> dict[str, Any]:
    kept = kept_figure(world.store, 1, name)
    assert kept is not None
    # What is kept must be plain JSON.
    return dict(json.loads(json.dumps(kept.data, allow_nan=False)))


def test_a_project_without_votes_is_counted_too(world: World) -> None:
    world.round()
    counts = _figure(world, "progress")["counts"]
    assert counts["tasks"] == counts["remaining"] == 60
    assert counts["labelled"] == counts["votes"] == counts["doubt"] == 0
    learning = _figure(world, "learning")
    assert learning["curves"] == {"shape": []}
    assert learning["controls"] == {}


def test_rounds_are_counted_and_become_points(world: World) -> None:
    world.vote(12)
    world.round()
    world.vote(12, 12)
    world.label_studio.annotate(world.tasks[30], "Merger", person=7, skip=True)
    world.round()
    told = _figure(world, "progress")
    assert told["counts"]["labelled"] == told["counts"]["retired"] == 24
    assert told["counts"]["remaining"] == 36
    assert told["counts"]["skips"] == 1
    shape = told["classes"]["shape"]
    assert sum(shape["people"]) == 24
    assert sum(shape["model"]) == pytest.approx(36)
    assert shape["by"] == "votes"
    assert 0.5 < told["expected_accuracy"] <= 1
    assert {one["person"]: one["votes"] for one in told["people"]} == {
        "person 1": 24,
        "person 7": 0,
    }
    with world.store.reading() as session:
        points = points_of(session, 1)
    assert [point.data["counts"]["votes"] for point in points] == [12, 24]
    (change,) = told["changes"]
    assert change["galaxies"] == 60
    assert change["kappa"] == pytest.approx(1.0)


def test_a_version_is_measured_with_errors_and_keeps_them(world: World) -> None:
    world.vote(12)
    world.round()
    first = _figure(world, "learning")["measured"]
    world.vote(12, 12)
    world.round()
    told = _figure(world, "learning")
    assert len(told["curves"]["shape"]) == 2
    assert [len(row) for row in told["controls"]["shape"]["confusion"][0]["counts"]] == [3, 3, 3]
    assert np.sum(told["controls"]["shape"]["confusion"][0]["counts"]) == 24
    (name,) = first
    assert told["measured"][name] == first[name]
    assert told["measured"][told["version"]]["shape"]["all"]["log_loss"][1] > 0
    assert told["saved"]["shape"] == {"labelled": 24, "random": 0, "needed": LEAST}


def test_a_broken_kept_figure_is_made_anew(world: World) -> None:
    from ml_backend.store.dashboard_tables import Figure

    world.vote(12)
    world.round()
    with world.store.session() as session:
        for name in ("progress", "learning"):
            data = {"changes": ["x"], "reference": 5, "measured": 3}
            session.merge(Figure(project_id=1, name=name, at=NOW, data=data))
    world.vote(12, 12)
    world.round()
    assert _figure(world, "progress")["counts"]["labelled"] == 24
    assert len(_figure(world, "learning")["measured"]) == 1


def test_verdicts_and_votes_from_outside_count(world: World) -> None:
    world.round()
    with world.store.session() as session:
        session.execute(delete(Verdict))
        for task, state, people in ((1, "retired", 3), (2, "expert", 9), (3, "open", 1),
                                    (4, "open", 0)):  # fmt: skip
            session.add(Verdict(task_id=world.tasks[task], project_id=1, state=state, people=people,
                                changed_at=NOW))  # fmt: skip
        for number in range(3):
            session.add(
                OutsideVote(
                    project_id=1, source="zooniverse", classification=str(number),
                    task_id=world.tasks[1], person=f"zooniverse {number}", control="shape",
                    labels=["Spiral"], created_at=NOW,
                )
            )  # fmt: skip
    with world.store.reading() as session:
        counts = task_counts(session, 1)
        (crowd,) = people_counts(session, 1)
    assert (counts["retired"], counts["expert"], counts["open"]) == (1, 1, 1)
    assert crowd.person == "people of zooniverse"
    assert crowd.days == {"2026-11-23": 3}


def test_days_are_those_of_utc_and_no_time_is_no_day(world: World) -> None:
    world.round()
    from datetime import timezone

    late = datetime(2026, 11, 23, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    with world.store.session() as session:
        for number, at in enumerate((late, None)):
            session.add(Vote(annotation_id=900 + number, control="shape", project_id=1, task_id=1,
                             annotator=None, labels=["Spiral"], created_at=at))  # fmt: skip
        session.flush()
        count_anew(session, 1)
    with world.store.reading() as session:
        (one,) = people_counts(session, 1)
    assert (one.person, one.votes, one.days) == ("not known", 2, {"2026-11-24": 1})


def test_old_points_are_thinned_and_equal_ones_not_added(world: World) -> None:
    begin = NOW - timedelta(days=30)
    with world.store.session() as session:
        for hour in range(30 * 24):
            add_point(session, 1, begin + timedelta(hours=hour), {"votes": hour})
        assert not add_point(session, 1, NOW - timedelta(minutes=30), {"votes": 30 * 24 - 1})
    with world.store.reading() as session:
        points = points_of(session, 1)
    old = [point for point in points if point.at < NOW - ALL_FOR - timedelta(hours=1)]
    young = [point for point in points if point.at >= NOW - ALL_FOR]
    assert len(young) == 7 * 24
    assert len({point.at.date() for point in old}) == len(old)
    assert points[-1].data == {"votes": 30 * 24 - 1}


def test_a_clock_that_goes_back_loses_no_point(world: World) -> None:
    with world.store.session() as session:
        add_point(session, 1, NOW, {"votes": 1})
        add_point(session, 1, NOW - timedelta(days=400), {"votes": 2})
    with world.store.reading() as session:
        assert session.scalar(select(func.count()).select_from(ProgressPoint)) == 2
        assert [point.data["votes"] for point in points_of(session, 1)] == [2, 1]


def _consensus(labels: list[int], multiple: bool = False) -> Consensus:
    targets = np.eye(3, dtype=np.float32)[labels]
    ids = np.arange(1, len(labels) + 1)
    return Consensus(("a", "b", "c"), multiple, ids, targets, np.ones(len(labels), np.float32))


def test_the_diagram_and_the_matrix_say_what_was_told() -> None:
    votes = _consensus([0, 0, 1, 2])
    told = np.array([[0.9, 0.05, 0.05], [0.2, 0.75, 0.05], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])
    rows = np.arange(4)
    (matrix,) = confusion_matrices(told, votes, rows)
    assert matrix["counts"] == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert matrix["tasks"]["0-1"] == [2]
    diagram = reliability_diagram(told, votes, rows)
    assert sum(one[3] for one in diagram["bins"]) == 4
    last = diagram["bins"][-1]
    assert last[:2] == [pytest.approx(0.9), 1.0]
    assert last[2] > 0.1  # one of one is not certain


def test_a_multiple_choice_has_a_matrix_per_label() -> None:
    votes = _consensus([0, 1, 2], multiple=True)
    found = confusion_matrices(np.full((3, 3), 0.9), votes, np.arange(3))
    assert [one["title"] for one in found] == ["a", "b", "c"]
    assert found[0]["counts"] == [[0, 2], [0, 1]]


def test_errors_shrink_with_galaxies_and_one_galaxy_has_none() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for count in (50, 5000):
        labels = rng.integers(0, 3, count)
        told = rng.dirichlet(np.ones(3), count)
        votes = _consensus(labels.tolist())
        errors.append(measured(told, votes, np.arange(count), 0)["accuracy"][1])
    assert errors[0] == pytest.approx(np.sqrt(2 / 9 / 50), rel=0.3)
    assert errors[1] == pytest.approx(np.sqrt(2 / 9 / 5000), rel=0.3)
    alone = measured(np.array([[0.8, 0.1, 0.1]]), _consensus([0]), np.zeros(1, np.int64), 0)
    assert alone["accuracy"] == [1.0, None]
    assert alone["macro_auc"] is None


class _Pool:
    """Embeddings that tell three classes apart, and tasks that a random order has reached."""

    def __init__(self, audited: int, labelled: int) -> None:
        rng = np.random.default_rng(5)
        self.labels = rng.integers(0, 3, labelled)
        self.task_ids = np.arange(1, labelled + 1)
        centres = rng.normal(size=(3, 12)) * 0.9
        noise = rng.normal(size=(labelled, 12))
        self.embeddings = (centres[self.labels] + noise).astype(np.float32)
        self.audited = frozenset(self.task_ids[:audited].tolist())

    def rows_of(self, ids: Any) -> Any:
        return np.asarray(ids) - 1, np.ones(len(ids), np.bool_)


@pytest.mark.parametrize("skill", [0.95, 0.4])
def test_labels_saved_tell_a_good_order_from_none(skill: float) -> None:
    pool = _Pool(120, 200)
    votes = _consensus(pool.labels.tolist())
    sure = np.full((200, 3), (1 - skill) / 2, np.float32)
    sure[np.arange(200), pool.labels] = skill
    unseen = Unseen(votes.labels, votes.task_ids, sure)
    found = labels_saved(pool, votes, unseen)  # type: ignore[arg-type]
    losses = [loss for _, loss, _ in found["curve"]]
    assert losses == sorted(losses, reverse=True)
    if skill > 0.9:
        # Better than random labels ever get: more than the curve's end.
        assert found["saved"][1] is None or found["saved"][1] > 0
    else:
        assert found["saved"][1] < 0


def test_labels_saved_wait_for_random_labels() -> None:
    pool = _Pool(LEAST - 1, 100)
    votes = _consensus(pool.labels.tolist())
    unseen = Unseen(votes.labels, votes.task_ids, np.full((100, 3), 1 / 3, np.float32))
    found = labels_saved(pool, votes, unseen)  # type: ignore[arg-type]
    assert found == {"labelled": 100, "random": LEAST - 1, "needed": LEAST}


def test_it_is_measured_again_only_when_labels_have_grown() -> None:
    kept = {"labelled": 100, "random": 70}
    assert measured_again(None, 10, 0)
    assert not measured_again(kept, 110, 80)
    assert measured_again(kept, int(100 * GROWTH), 80)
    assert measured_again({"labelled": 100, "random": LEAST - 1}, 101, LEAST)
    assert measured_again(kept, 50, 40)
    assert measured_again({"labelled": "many"}, 10, 0)


def test_tasks_that_are_gone_are_not_counted(world: World) -> None:
    world.vote(3)
    world.round()
    with world.store.session() as session:
        task = session.get(Task, world.tasks[0])
        assert task is not None
        task.removed = True
    with world.store.reading() as session:
        counts = task_counts(session, 1)
    assert (counts["tasks"], counts["done"]) == (59, 2)
