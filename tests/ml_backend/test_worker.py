"""The worker's jobs: a round may ask for a tuning, and a tuning for the round that judges it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_ins import settings_of

from ml_backend import worker
from ml_backend.loop.work import RoundReport
from ml_backend.store.database import Store, open_store
from ml_backend.worker import JobWork, step_back


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(settings_of(tmp_path, label_studio_api_key="key"))
    opened.projects.save(1, "Galaxies", "<View/>")
    yield opened
    opened.close()


def do(store: Store, kind: str) -> str:
    job = store.jobs.enqueue(kind, 1)
    store.jobs.claim(job.id, "me")
    message = JobWork(store)(job, lambda *_: None)
    store.jobs.finish(job.id, "me")
    return message


@pytest.mark.parametrize("wanted", [True, False])
def test_a_round_asks_for_a_tuning_once_labels_suffice(
    store: Store, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    monkeypatch.setattr(worker, "run_round", lambda *_: RoundReport(tune=wanted))
    do(store, "round")
    do(store, "round")
    assert [job.kind for job in store.jobs.queued()] == (["tune"] if wanted else [])


def test_a_tuning_asks_for_the_round_that_judges_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "step_back", lambda: None)
    monkeypatch.setattr(worker, "tune", lambda context, project: f"Tuned project {project}.")
    assert do(store, "tune") == "Tuned project 1."
    assert [job.kind for job in store.jobs.queued()] == ["round"]


def test_only_the_thread_that_tunes_steps_back() -> None:
    before, found = os.getpriority(os.PRIO_PROCESS, 0), []

    def tuning() -> None:
        step_back()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=tuning)
    thread.start()
    thread.join()
    assert found == [19]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
