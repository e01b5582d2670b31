"""Hints reach the store without holding anybody up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from ml_backend.errors import Busy
from ml_backend.protocol.hints import HintWriter


@pytest.fixture
def blocked(backend: Any) -> Iterator[Any]:
    """A transaction that keeps every other writer out until it is closed."""
    with backend.store.engine.connect() as connection:
        writer = connection.execution_options(galaxyloop_write=True)
        writer.execute(text("UPDATE projects SET title = title"))
        yield connection


def _eventually(backend: Any, hints: int) -> None:
    end = time.monotonic() + 30
    while backend.store.projects.get(2).hints != hints:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_locked_database_holds_up_neither_submit_nor_health(
    backend: Any, payload: Any, secret_header: Any, blocked: Any
) -> None:
    begun = time.monotonic()
    for _ in range(20):
        event = payload("annotation_created")
        answer = backend.client.post("/webhook", json=event, headers=secret_header)
        assert answer.json == {"status": "noted"}
        assert backend.client.get("/health").status_code == 200
    assert time.monotonic() - begun < 10
    assert backend.store.projects.get(2).hints == 0
    blocked.rollback()
    _eventually(backend, 20)


def test_hints_do_not_pile_up_without_end(backend: Any, blocked: Any) -> None:
    writer = HintWriter(backend.store, patience=0.01, most=3)
    for _ in range(3):
        assert writer.write(2, "ANNOTATION_CREATED")
    with pytest.raises(Busy):
        writer.write(2, "ANNOTATION_CREATED")
    blocked.rollback()
    _eventually(backend, 3)
    assert writer.write(2, "ANNOTATION_CREATED")
    _eventually(backend, 4)


def test_an_unknown_project_is_told_when_it_is_known_in_time(backend: Any) -> None:
    assert HintWriter(backend.store, patience=30).write(77, "ANNOTATION_CREATED") is False
