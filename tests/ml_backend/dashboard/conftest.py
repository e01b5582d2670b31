"""Worlds that many tests of the dashboard begin with; made once, and copied by each test."""

import shutil
from pathlib import Path

import pytest
from world import World

from ml_backend.loop.project_map import make_map


@pytest.fixture(scope="session")
def after_a_round(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with votes on twelve galaxies and a queue learned from them; no map yet."""
    folder = tmp_path_factory.mktemp("worlds") / "after_a_round"
    world = World(folder)
    world.vote(12)
    world.round()
    world.store.close()
    return folder


@pytest.fixture(scope="session")
def with_a_map(after_a_round: Path) -> Path:
    """The same with the map of its galaxies."""
    folder = after_a_round.with_name("with_a_map")
    shutil.copytree(after_a_round, folder)
    world = World(folder)
    make_map(world.store, 1)
    world.store.close()
    return folder
