"""The doctor in the background: no page waits for it, and it costs only itself."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from dashboard_world import Found

from ml_backend.dashboard.checkups import Checkups

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_a_page_does_not_wait_for_the_doctor() -> None:
    begun, release = threading.Event(), threading.Event()

    def slow() -> list[Found]:
        begun.set()
        release.wait(30)
        return [Found("a", True)]

    checkups = Checkups(slow)
    assert checkups.latest() is None
    assert begun.wait(10)
    assert checkups.busy
    assert checkups.latest() is None
    release.set()
    assert [finding.check for finding in checkups.run().findings] == ["a"]
    assert not checkups.busy


def test_an_old_result_is_shown_and_renewed() -> None:
    clock = [NOW]
    runs = threading.Semaphore(0)

    def check() -> list[Found]:
        runs.release()
        return []

    checkups = Checkups(check, now=lambda: clock[0])
    checkups.run()
    assert runs.acquire(timeout=5)
    assert checkups.latest() is not None
    assert not runs.acquire(timeout=0.2)
    clock[0] += timedelta(minutes=5)
    assert checkups.latest() is not None
    assert runs.acquire(timeout=5)


def test_looking_again_is_done_at_once() -> None:
    runs = threading.Semaphore(0)
    checkups = Checkups(lambda: runs.release() or [])
    checkups.run()
    assert runs.acquire(timeout=5)
    checkups.begin()
    assert runs.acquire(timeout=5)


def test_a_doctor_that_fails_costs_only_itself() -> None:
    def fail() -> list[Found]:
        raise RuntimeError("inner detail")

    checkup = Checkups(fail).run()
    assert "RuntimeError" in checkup.failure
    assert "inner detail" not in checkup.failure
