"""Servers that answer as a test says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http_stand_in import Reply, StandIn


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.close()


@pytest.fixture
def reply() -> type[Reply]:
    return Reply
