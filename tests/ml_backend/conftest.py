"""Puts the stand-ins of this folder within reach of its tests, and keeps to one processor."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_limits

from ml_backend.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Threads of linear algebra wait for one another where processors are few and busy."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


@pytest.fixture(autouse=True)
def settings_of_no_one_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a developer's environment nor a loop that runs for other tests says anything here."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)


@pytest.fixture
def stand_in() -> Iterator[Any]:
    """A server that answers as a test says."""
    from http_stand_in import StandIn

    server = StandIn()
    yield server
    server.close()


@pytest.fixture
def second_server() -> Iterator[Any]:
    """Another one."""
    from http_stand_in import StandIn

    server = StandIn()
    yield server
    server.close()


@pytest.fixture
def reply() -> type[Any]:
    """What such a server answers."""
    from http_stand_in import Reply

    return Reply
