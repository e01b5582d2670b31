"""Rounds against a Label Studio in a file: what is published when."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select
from stand_ins import SHAPE_CONFIG, settings_of, sky, tiny_lvm, truth
from world import World

from ml_backend.errors import LabelStudioError, StoreError
from ml_backend.loop import candidates
from ml_backend.loop.gate import GateDecision
from ml_backend.loop.prediction import Predictor
from ml_backend.loop.rounds import RoundContext, run_round
from ml_backend.store.database import open_store
from ml_backend.store.tables import Ranking, Task, Vote
from ml_backend.store.versions import load_heads, version_folder


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def test_a_cold_round_publishes_an_order_without_votes(world: World) -> None:
    report = world.round()
    assert report.kind == "cold"
    assert world.published == report.version == "galaxyloop-p1-v1"
    served = world.label_studio.served(1)
    assert len(served) == 20
    assert len(set(served)) == 20
    with world.store.reading() as session:
        ranked = session.scalars(select(Ranking).order_by(Ranking.place)).all()
    assert [row.task_id for row in ranked] == served
    assert all(0 <= row.score < 0.5 for row in ranked)
    assert Counter(row.arm for row in ranked) == {"cold": 18, "audit": 2}
    assert all(p["result"] == [] for p in world.label_studio.predictions(1))


def test_votes_make_a_trained_version_that_knows_the_galaxies(world: World) -> None:
    world.round()
    world.vote(24)
    report = world.round()
    assert report.kind == "trained"
    assert world.published == report.version
    version = world.versions()[-1]
    assert version.votes == 24
    assert version.state == "published"
    assert version.quality["shape"]["accuracy"] > 0.9
    assert version.seconds > 0
    right = [
        prediction["result"][0]["value"]["choices"] == [truth(world.images[prediction["task"]])]
        for prediction in world.label_studio.predictions(1, report.version)
        if prediction["result"]
    ]
    assert np.mean(right) > 0.9
    with world.store.reading() as session:
        arms = Counter(
            session.scalars(select(Ranking.arm).where(Ranking.version == report.version))
        )
    assert len(right) == arms["active"], "what measures is served without a suggestion"
    assert not set(world.label_studio.served(1)) & set(world.tasks[:24])


def test_nothing_new_means_nothing_done(world: World) -> None:
    world.round()
    world.vote(6)
    world.round()
    before = world.label_studio.predictions(1)
    report = world.round()
    assert report.version is None
    assert report.message == "Nothing is new."
    assert world.label_studio.predictions(1) == before
    assert len(world.versions()) == 2


def test_force_trains_although_nothing_is_new(world: World) -> None:
    world.vote(9)
    first = world.round()
    assert world.round(force=True).version != first.version
    world.store.projects.request_training(1)
    assert world.round().kind == "trained"
    project = world.store.projects.get(1)
    assert project is not None
    assert project.training_requested_at is None
    assert world.round().version is None


def test_every_image_is_encoded_once_also_after_a_restart(world: World) -> None:
    world.round()
    assert sorted(world.sky.fetched) == sorted(sky(60))
    world.store.close()
    world.store = open_store(world.store.settings)
    world.vote(6)
    world.round()
    assert len(world.sky.fetched) == 60
    embeddings = world.store.embeddings(tiny_lvm().identity)
    assert len(embeddings) == 60


def test_a_rejected_challenger_keeps_its_reason_and_the_queue_is_ranked_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.vote(9)
    champion = world.round().version
    world.vote(9, start=9)
    refusal = GateDecision(False, "Not promoted, worse on all unseen votes.", {"all": {}})
    monkeypatch.setattr(candidates, "compare", lambda *_: refusal)
    report = world.round()
    rejected, published = world.versions()[-2:]
    assert rejected.state == "rejected"
    assert rejected.problem == refusal.reason
    assert rejected.gate["champion"] == champion
    assert (published.kind, published.source) == ("rerank", champion)
    assert world.published == published.name == report.version
    assert rejected.name not in world.label_studio.model_versions(1)
    assert not set(world.label_studio.served(1)) & set(world.tasks[:18])
    heads = [load_heads(version_folder(world.store.folder, str(name)))["shape"]
             for name in (champion, published.name)]  # fmt: skip
    rows = np.ones((2, tiny_lvm().dimension), np.float32)
    assert np.array_equal(heads[0].predict(rows), heads[1].predict(rows))
    assert world.round().version is None


def test_a_queue_that_runs_low_is_filled_with_the_same_heads(world: World) -> None:
    world.vote(3)
    first = world.round().version
    for task in world.label_studio.served(1)[:10]:
        world.label_studio.annotate(task, None)
    assert world.round().version is None
    world.label_studio.annotate(world.label_studio.served(1)[0], None)
    report = world.round()
    assert report.kind == "rerank"
    assert world.versions()[-1].source == first
    assert len(world.label_studio.served(1)) == 20


@pytest.mark.parametrize("votes", [0, 6])
def test_changed_options_order_the_queue_anew(world: World, votes: int) -> None:
    world.vote(votes)
    first = world.round().version
    world.store.projects.save(1, options={"top_k": 7})
    assert world.round().version is None
    report = world.round(rerank=True)
    assert report.kind == ("rerank" if votes else "cold")
    assert report.version == world.published != first
    assert len(world.label_studio.served(1)) == 7


def test_tasks_that_come_join_a_queue_with_room_at_once(world: World) -> None:
    for task in world.tasks[5:]:
        world.label_studio.remove_task(task)
    world.vote(1)
    world.round()
    assert len(world.label_studio.served(1)) == 4
    new = world.label_studio.add_tasks(1, sky(2, start=60))
    assert world.round().kind == "rerank"
    assert set(new) <= set(world.label_studio.served(1))


def test_tasks_that_come_to_a_full_queue_wait_for_the_next_version(world: World) -> None:
    world.vote(3)
    world.round()
    world.label_studio.add_tasks(1, sky(3, start=60))
    assert world.round().version is None


@pytest.mark.parametrize("lost", ["all", "some", "the choice of the version"])
def test_an_order_that_label_studio_lost_is_published_again(world: World, lost: str) -> None:
    world.vote(6)
    name = str(world.round().version)
    order = world.label_studio.served(1)
    if lost == "all":
        world.label_studio.delete_version(1, name)
    if lost == "some":
        for row in world.label_studio.predictions(1, name)[::2]:
            world.label_studio.delete_prediction(row["id"])
    else:
        world.label_studio.update_project(1, model_version="")
    since = world.versions()[-1].published_at
    report = world.round(full=True)
    assert (report.version, report.kind) == (name, "trained")
    assert "did not have its order" in report.message
    assert (world.published, world.label_studio.served(1)) == (name, order)
    assert [(v.name, v.published_at) for v in world.versions()] == [(name, since)]
    assert world.round(full=True).version is None


def test_a_lost_order_whose_file_is_broken_is_ranked_anew(world: World) -> None:
    world.vote(6)
    name = str(world.round().version)
    world.label_studio.delete_version(1, name)
    (version_folder(world.store.folder, name) / "predictions.json").write_text("{")
    assert world.round().kind == "rerank"
    assert len(world.label_studio.served(1)) == 20


def test_a_broken_image_costs_only_itself(world: World) -> None:
    addresses = ["junk://1", "file:///etc/passwd", "", None]
    broken = world.label_studio.add_tasks(1, addresses)
    world.round()
    with world.store.reading() as session:
        problems = dict(
            session.execute(select(Task.id, Task.problem).where(Task.id.in_(broken))).all()
        )
        good = session.scalars(select(Task).where(Task.id.in_(world.tasks))).all()
    assert all(problems.values())
    assert "may not be read" in problems[broken[1]]
    assert "'image'" in problems[broken[2]]
    assert all(task.problem is None and task.content_hash for task in good)
    assert not set(broken) & set(world.label_studio.served(1))


def test_a_changed_configuration_rebuilds_heads_and_keeps_old_votes(world: World) -> None:
    world.vote(12)
    world.round()
    renamed = SHAPE_CONFIG.replace('"Merger"', '"Irregular"')
    world.label_studio.set_config(1, renamed)
    report = world.round()
    assert report.kind == "trained"
    heads = load_heads(version_folder(world.store.folder, str(report.version)))
    assert heads["shape"].labels == ("Smooth", "Spiral", "Irregular")
    assert world.versions()[-1].votes == 8
    with world.store.reading() as session:
        labels = Counter(label for vote in session.scalars(select(Vote)) for label in vote.labels)
    assert labels == {"Smooth": 4, "Spiral": 4, "Merger": 4}
    world.label_studio.set_config(1, SHAPE_CONFIG)
    world.round()
    assert world.versions()[-1].votes == 12


def test_rollback_brings_the_earlier_heads_back_until_new_votes(world: World) -> None:
    world.vote(6)
    old = world.round().version
    world.vote(12, start=6)
    newer = world.round().version
    report = world.round(rollback=old)
    assert report.kind == "rollback"
    assert world.published == report.version
    assert not set(world.label_studio.served(1)) & set(world.tasks[:18])
    assert world.round().version is None, "the same votes do not bring the newer version back"
    with pytest.raises(StoreError, match="no version 'nonsense'"):
        world.round(rollback="nonsense")
    with pytest.raises(StoreError, match="published version already"):
        world.round(rollback=report.version)
    states = {version.name: version.state for version in world.versions()}
    assert states[newer] == "retired"


def test_a_failing_label_studio_leaves_the_published_version(world: World) -> None:
    world.vote(6)
    before = world.round().version
    world.vote(6, start=6)

    def refuse(*_: object, **__: object) -> int:
        raise LabelStudioError("Label Studio answered 500.", status=500, retryable=True)

    importing = world.label_studio.import_predictions
    world.label_studio.import_predictions = refuse  # type: ignore[method-assign]
    with pytest.raises(LabelStudioError):
        world.round()
    assert world.published == before
    begun = world.versions()[-1]
    assert (begun.state, begun.stage) == ("building", "ranked")
    world.label_studio.import_predictions = importing  # type: ignore[method-assign]
    assert world.round().version == begun.name


def test_a_champion_with_broken_files_is_replaced(world: World) -> None:
    world.vote(9)
    broken = world.round().version
    for path in version_folder(world.store.folder, str(broken)).rglob("head.json"):
        path.write_text("{")
    task = {"id": world.tasks[0], "data": {"image": world.images[world.tasks[0]]}}
    prediction = Predictor(world.store, 1, world.sky, tiny_lvm).predict([task])[0]
    assert prediction["result"] == []
    report = world.round()
    assert report.kind == "trained"
    assert "broken" in world.versions()[-1].gate["reason"]
    assert world.round().version is None


def test_a_disk_that_is_full_leaves_the_published_version(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.vote(6)
    before = world.round().version
    world.vote(6, start=6)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(StoreError, match="the disk is full"):
            world.round()
    assert world.published == before
    task = {"id": world.tasks[0], "data": {"image": world.images[world.tasks[0]]}}
    prediction = Predictor(world.store, 1, world.sky, tiny_lvm).predict([task])[0]
    assert (prediction["model_version"], len(prediction["result"])) == (before, 1)
    report = world.round()
    assert world.published == report.version != before
    assert world.versions()[-1].votes == 12


def test_when_everything_is_labelled_the_heads_are_still_renewed(world: World) -> None:
    world.vote(30)
    served = world.round().version
    world.vote(30, start=30)
    report = world.round()
    assert report.kind == "trained"
    assert world.versions()[-1].votes == 60
    assert world.published == served, "Label Studio cannot switch to a version without predictions"
    project = world.store.projects.get(1)
    assert project is not None
    assert project.champion == report.version
    assert world.round().version is None


def test_hints_that_come_during_a_round_stay(world: World) -> None:
    world.store.projects.save(1, hints=7)

    def progress(_share: float, message: str) -> None:
        if message == "Ranking":
            project = world.store.projects.get(1)
            assert project is not None
            world.store.projects.save(1, hints=project.hints + 2)

    context = RoundContext(world.store, world.label_studio, world.sky, tiny_lvm, progress=progress)
    run_round(context, 1)
    project = world.store.projects.get(1)
    assert project is not None
    assert project.hints == 2


def test_a_project_that_is_not_connected_is_refused(world: World) -> None:
    with pytest.raises(StoreError, match="galaxyloop connect"):
        run_round(RoundContext(world.store, world.label_studio, world.sky, tiny_lvm), 99)


def test_a_new_store_takes_no_name_that_label_studio_has(world: World) -> None:
    world.round()
    world.vote(6)
    assert world.round().version == "galaxyloop-p1-v2"
    world.store.close()
    world.store = open_store(settings_of(world.folder / "new"))
    world.store.projects.save(1, "Galaxies", SHAPE_CONFIG)
    world.vote(6, start=6)
    assert world.round().version == world.published == "galaxyloop-p1-v3"
    with world.store.reading() as session:
        ranked = session.scalars(select(Ranking.task_id).order_by(Ranking.place)).all()
    assert world.label_studio.served(1) == ranked
    assert world.versions()[-1].number == 3
