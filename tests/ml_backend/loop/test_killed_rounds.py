"""Rounds that are killed anywhere, and what the next one makes of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from stand_ins import Sky, StandIn, tiny_lvm
from world import World

from ml_backend.loop import candidates
from ml_backend.loop.gate import GateDecision
from ml_backend.loop.rounds import RoundContext, run_round
from ml_backend.store.database import open_store
from ml_backend.store.tables import Project, Ranking, Vote

KILLING_POINTS = [
    "message Reading votes and embeddings",
    "message Training",
    "message Writing version",
    "message Ranking",
    "message Publishing",
    "within import_predictions",
    "after import_predictions",
    "before update_project",
    "after update_project",
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a round that nobody kills ends in."""
    world = World(tmp_path_factory.mktemp("undisturbed"))
    world.round()
    world.vote(12)
    world.round()
    yield outcome(world)
    world.store.close()


@pytest.mark.parametrize("point", KILLING_POINTS)
def test_a_killed_round_ends_in_the_same_state(
    tmp_path: Path, point: str, undisturbed: Any
) -> None:
    world = World(tmp_path)
    world.round()
    world.vote(12)
    killed_round(world, point)
    world.round()
    name = world.published
    tasks = [row["task"] for row in world.label_studio.predictions(1, name)]
    assert len(tasks) == len(set(tasks)) == 20, "a prediction is doubled or missing"
    assert [v.name for v in world.versions() if v.state == "published"] == [name]
    with world.store.reading() as session:
        project = session.get(Project, 1)
        votes = session.scalars(select(Vote)).all()
        ranked = session.scalars(
            select(Ranking.task_id).where(Ranking.version == name).order_by(Ranking.place)
        ).all()
    assert project is not None
    assert project.champion == name
    assert len(votes) == 12
    assert ranked == world.label_studio.served(1)
    assert not list((world.store.folder / "versions").glob(".draft-*"))
    assert outcome(world) == undisturbed
    world.store.close()


def test_a_killed_training_that_is_refused_stays_the_refused_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.vote(9)
    world.round()
    world.store.projects.request_training(1)
    killed_round(world, "message Writing version")
    refusal = GateDecision(False, "Not promoted, worse on all unseen votes.", {"all": {}})
    monkeypatch.setattr(candidates, "compare", lambda *_: refusal)
    report = world.round()
    told = [(v.number, v.kind, v.state, v.problem) for v in world.versions()[1:]]
    assert told == [(2, "trained", "rejected", refusal.reason)]
    assert report.rejected == "galaxyloop-p1-v2"
    project = world.store.projects.get(1)
    assert project is not None
    assert project.training_requested_at is None


def test_votes_that_come_after_a_kill_are_not_lost(world: World) -> None:
    world.round()
    world.vote(6)
    killed_round(world, "within import_predictions")
    world.vote(6, start=6)
    world.round()
    left, done = world.versions()[-2:]
    assert (left.state, left.in_label_studio) == ("abandoned", True)
    assert (done.state, done.votes) == ("published", 12)


def test_changed_options_are_not_lost_on_a_round_that_was_killed(world: World) -> None:
    world.round()
    world.vote(6)
    killed_round(world, "within import_predictions")
    world.store.projects.save(1, options={"top_k": 7})
    assert world.round(rerank=True).version == world.published == "galaxyloop-p1-v2"
    assert len(world.label_studio.predictions(1, world.published)) == 7


def outcome(world: World) -> Any:
    """Return what is published, in all that matters."""
    name = world.published
    version = next(v for v in world.versions() if v.name == name)
    rows = world.label_studio.predictions(1, name)
    told = {row["task"]: (row["score"], str(row["result"])) for row in rows}
    return name, version.votes, version.quality, told


def killed_round(world: World, point: str) -> None:
    """Run a round in a child process that is killed with SIGKILL at `point`."""
    world.store.close()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)
            client = StandIn(world.state, point)

            def progress(_share: float, message: str) -> None:
                if point.startswith("message ") and message.startswith(point[8:]):
                    os.kill(os.getpid(), signal.SIGKILL)

            store = open_store(world.store.settings)
            run_round(RoundContext(store, client, Sky(), tiny_lvm, progress=progress), 1)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    world.store = open_store(world.store.settings)
