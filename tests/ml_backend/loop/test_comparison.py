"""Any two versions, compared on the votes of now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_ins import truth
from world import World

from ml_backend.errors import StoreError
from ml_backend.loop import comparison
from ml_backend.loop.comparison import compare_versions
from ml_backend.store.versions import remove_version, version_folder


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def _compared(world: World, first: int, second: int) -> Any:
    versions = world.versions()
    project = world.store.projects.get(1)
    assert project is not None
    (one,) = compare_versions(world.store, project, versions[first], versions[second])
    return one


def test_a_version_that_was_taught_wrong_is_worse_by_more_than_the_error(world: World) -> None:
    wrong = {name: name for name in map(truth, world.images.values())}
    names = sorted(wrong)
    for task in world.tasks[:12]:
        right = truth(world.images[task])
        world.label_studio.annotate(task, names[(names.index(right) + 1) % len(names)])
    world.round()
    for task in world.tasks[:12]:
        world.label_studio.annotate(task, truth(world.images[task]), person=8)
        world.label_studio.annotate(task, truth(world.images[task]), person=9)
    world.vote(36, start=12)
    world.round(force=True)
    one = _compared(world, 0, -1)
    assert (one.control, one.measure, one.rows) == ("shape", "log_loss", 48)
    assert one.difference < -2 * one.standard_error < 0
    assert one.first["accuracy"] < one.second["accuracy"]
    # The other way round it is the same, with the other sign.
    back = _compared(world, -1, 0)
    assert back.difference == pytest.approx(-one.difference)
    assert back.standard_error == pytest.approx(one.standard_error)


def test_a_version_against_itself_differs_by_nothing(world: World) -> None:
    world.vote(12)
    world.round()
    one = _compared(world, 0, 0)
    assert one.difference == 0
    assert one.standard_error == 0


def test_many_labelled_galaxies_are_drawn_from(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.vote(30)
    world.round()
    monkeypatch.setattr(comparison, "MOST_TASKS", 10)
    assert _compared(world, 0, 0).rows == 10


def test_a_cold_version_knows_nothing_to_compare(world: World) -> None:
    world.round()
    world.vote(12)
    world.round()
    project = world.store.projects.get(1)
    assert project is not None
    assert compare_versions(world.store, project, *world.versions()) == []


def test_files_that_are_gone_are_said(world: World) -> None:
    world.vote(12)
    world.round()
    (version,) = world.versions()
    remove_version(version_folder(world.store.folder, version.name))
    project = world.store.projects.get(1)
    assert project is not None
    with pytest.raises(StoreError, match="cannot be read"):
        compare_versions(world.store, project, version, version)
    assert np.isfinite(version.votes)
