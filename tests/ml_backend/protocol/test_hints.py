"""Hints reach the store without holding anybody up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text


@pytest.fixture
def blocked(backend: Any) -> Iterator[Any]:
    """A transaction that keeps every other writer out until it is rolled back."""
    with backend.store.engine.connect() as connection:
        writer = connection.execution_options(galaxyloop_write=True)
        writer.execute(text("UPDATE projects SET title = title"))
        yield connection


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
    backend.hints.flush()
    assert backend.store.projects.get(2).hints == 20


def test_no_hint_of_many_at_once_is_lost(backend: Any) -> None:
    def write(number: int) -> None:
        backend.hints.write(2, ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")[number % 2])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(500)))
    backend.hints.flush()
    assert backend.store.projects.get(2).hints == 500


def test_a_failed_write_is_logged_and_the_next_one_works(
    backend: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with backend.store.session() as session:
        session.execute(text("ALTER TABLE projects RENAME TO gone"))
    backend.hints.write(2, "ANNOTATION_CREATED")
    backend.hints.flush()
    assert "hints_lost" in caplog.text + capsys.readouterr().out
    with backend.store.session() as session:
        session.execute(text("ALTER TABLE gone RENAME TO projects"))
    backend.hints.write(2, "ANNOTATION_CREATED")
    backend.hints.flush()
    assert backend.store.projects.get(2).hints == 1
