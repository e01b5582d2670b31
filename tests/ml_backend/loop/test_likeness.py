"""More like these: by command and from the loop's own embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import update
from world import World

from ml_backend.cli.command import main
from ml_backend.errors import StoreError
from ml_backend.loop.likeness import tasks_like
from ml_backend.store.tables import Task


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.round()
    return made


def kind(world: World, task: int) -> str:
    return str(world.images[task].split("/")[2])


@pytest.mark.parametrize("examples", [1, 3])
def test_the_likest_are_of_the_same_kind(world: World, examples: int) -> None:
    mergers = [task for task in world.tasks if kind(world, task) == "Merger"]
    found = tasks_like(world.store, 1, mergers[:examples], 10)
    assert len(found) == 10
    assert {kind(world, one.task) for one in found} == {"Merger"}
    assert not {one.task for one in found} & set(mergers[:examples])
    likeness = [one.likeness for one in found]
    assert likeness == sorted(likeness, reverse=True)
    assert 0.5 < likeness[-1] <= likeness[0] <= 1


def test_what_people_answered_is_said(world: World) -> None:
    world.vote(60)
    world.round()
    assert all(one.is_labeled for one in tasks_like(world.store, 1, world.tasks[:1], 5))


def test_what_is_not_there_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="999999"):
        tasks_like(world.store, 1, [world.tasks[0], 999_999], 5)
    with pytest.raises(StoreError, match="no version"):
        tasks_like(world.store, 2, [1], 5)


def test_the_command_lists_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_DIR", str(world.folder / "data"))
    task = str(world.tasks[2])
    told = CliRunner().invoke(main, ["like", task, "--project", "1", "-k", "4"])
    assert told.exit_code == 0, told.output
    assert told.output.count("sky://Merger") == 4
    as_json = CliRunner().invoke(main, ["like", task, "--project", "1", "-k", "2", "--json"])
    assert [set(one) for one in json.loads(as_json.output)] == [
        {"task", "likeness", "image", "is_labeled"}
    ] * 2
    unknown = CliRunner().invoke(main, ["like", "77", "--project", "1"])
    assert unknown.exit_code != 0
    assert "77" in unknown.output
    assert CliRunner().invoke(main, ["like", "--project", "1"]).exit_code != 0


def test_pictures_inside_tasks_are_not_printed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.store.session() as session:
        session.execute(update(Task).values(image="data:image/png;base64," + "A" * 9000))
    monkeypatch.setenv("MODEL_DIR", str(world.folder / "data"))
    told = CliRunner().invoke(main, ["like", str(world.tasks[2]), "--project", "1", "-k", "2"])
    assert told.output.count("data:image/png;base64,") == 2
    assert max(map(len, told.output.splitlines())) < 200
