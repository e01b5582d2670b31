"""The worker's jobs: a round may ask for a tuning, and a tuning for the round that judges it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stand_ins import settings_of
from tuned_world import TunedWorld

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


WORKER = """
import sys, time
from pathlib import Path
folder, stand_ins, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
sys.path.insert(0, stand_ins)
from stand_ins import Sky, StandIn, settings_of, tiny_lvm
from tuned_world import PROMOTE, quick
from ml_backend import worker
from ml_backend.loop import tuned_rounds, tuning

def slow(*given, **more):
    for step in range(int(10 * seconds)):
        more["progress"](0.1, f"Fine-tuning, step {step}")
        time.sleep(0.1)
    return quick(*given, **more)

tuning.finetune = slow
tuned_rounds.judge = lambda *_: PROMOTE
lvm = tiny_lvm()  # once: two threads that draw weights at a time would get other ones
worker.load_lvm = lambda settings: lvm
worker.prior_heads = lambda settings, controls: {}
made = worker.JobWork.__init__

def with_stand_ins(self, store):
    made(self, store)
    self._client, self._fetcher = StandIn(folder / "label-studio.json"), Sky()

worker.JobWork.__init__ = with_stand_ins
how = {"tune_from": 50, "seconds_per_round": 1, "poll_seconds": 2, "debounce_seconds": 0}
worker.run_worker(settings_of(folder / "data", label_studio_api_key="key", **how))
"""


def worker_process(folder: Path, seconds: float) -> subprocess.Popen[bytes]:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", WORKER, str(folder), here, str(seconds)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def wait_for(what: Callable[[], Any], seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)
    return found


@pytest.mark.timeout(900)
def test_rounds_go_on_while_it_tunes_and_a_kill_only_delays_it(tmp_path: Path) -> None:
    world = TunedWorld(tmp_path)
    world.vote(54)
    jobs = world.store.jobs

    def tuning_at_work() -> bool:
        return any(
            job.kind == "tune" and job.state == "running" and "step" in job.message
            for job in jobs.listing(1)
        )

    process = worker_process(tmp_path, seconds=600)
    try:
        wait_for(tuning_at_work)
        before = len(world.versions())
        world.vote(1, start=54)
        wait_for(lambda: len(world.versions()) > before)
        assert tuning_at_work(), "the round did not wait for it"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = worker_process(tmp_path, seconds=0.2)
        wait_for(lambda: world.tuning().state == "accepted")
        assert world.version().kind == "tuned"
        first = min((job for job in jobs.listing(1) if job.kind == "tune"), key=lambda job: job.id)
        assert first.attempts == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        world.store.close()
