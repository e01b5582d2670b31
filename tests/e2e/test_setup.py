"""The containers' set-up step, run against the session's Label Studio and backend."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from ml_backend.demo.setup import set_up, wait_for
from ml_backend.demo.terminal import Terminal
from ml_backend.errors import DemoError, SettingsError
from ml_backend.settings import Settings

pytestmark = pytest.mark.e2e

Loop = Any  # RunningLoop of conftest.py, which tests cannot import


def test_the_set_up_may_be_repeated(running_loop: Loop) -> None:
    settings = running_loop.services.settings()
    made = set_up(settings, galaxies=12, seed=3, terminal=Terminal())
    assert set_up(settings, galaxies=12, seed=3, terminal=Terminal()) == made
    tasks = list(running_loop.owner.tasks(made))
    assert len(tasks) == 12
    answer = requests.get(
        running_loop.server.url + tasks[0]["data"]["image"],
        headers=running_loop.server.headers(),
        timeout=30,
    )
    assert answer.ok
    assert answer.content.startswith(b"\x89PNG")
    assert len(running_loop.owner.backends(made)) == 1


def test_a_missing_folder_and_a_silent_service_are_said() -> None:
    with pytest.raises(SettingsError, match="GALAXYLOOP_IMAGE_FOLDERS"):
        set_up(Settings(GALAXYLOOP_IMAGE_FOLDERS=""), 12, 0, Terminal())
    with pytest.raises(DemoError, match="did not answer"):
        wait_for("http://127.0.0.1:9/health", "Nobody", Settings(), patience=0.2)
