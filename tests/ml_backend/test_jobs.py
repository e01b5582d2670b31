"""Jobs: when a round is due, and how a job is done, failed, interrupted or taken over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from huey.registry import Message
from sqlalchemy import update
from stand_ins import settings_of

from ml_backend.errors import LabelStudioError, SettingsError, StoreError
from ml_backend.jobs import Runner
from ml_backend.loop.requests import request_rollback, request_round
from ml_backend.loop.votes import record_hint
from ml_backend.queue_transport import JsonSerializer, Transport
from ml_backend.schedule import BACKLOG, Lane, Scheduler, due, is_quiet
from ml_backend.store.database import Store, open_store
from ml_backend.store.jobs import STALE_AFTER
from ml_backend.store.tables import Job, Project, Version

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(settings_of(tmp_path))
    opened.projects.save(1, "Galaxies", "<View/>", reconciled_at=datetime.now(UTC))
    yield opened
    opened.close()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("fields", "is_due"),
    [
        ({}, False),
        ({"hints": 9, "first_hint_at": ago(30), "hinted_at": ago(5)}, False),
        ({"hints": 10, "first_hint_at": ago(30), "hinted_at": ago(5)}, True),
        ({"hints": 10, "first_hint_at": ago(30), "hinted_at": ago(0.5)}, False),
        ({"hints": 20, "first_hint_at": ago(30), "hinted_at": ago(0.1)}, True),
        ({"hints": 1, "first_hint_at": ago(59), "hinted_at": ago(59)}, False),
        ({"hints": 1, "first_hint_at": ago(60), "hinted_at": ago(60)}, True),
        ({"hints": 3, "first_hint_at": ago(63), "hinted_at": ago(0.5)}, False),
        ({"hints": 9, "first_hint_at": ago(65), "hinted_at": ago(0.1)}, True),
        ({"training_requested_at": ago(0)}, True),
        ({"training_requested_at": ago(0), "retry_at": ago(-60)}, True),
        ({"hints": 50, "first_hint_at": ago(90), "hinted_at": ago(9), "retry_at": ago(-5)}, False),
        ({"hints": 50, "first_hint_at": ago(90), "hinted_at": ago(9), "retry_at": ago(5)}, True),
        ({"reconciled_at": None}, True),
        ({"reconciled_at": ago(299)}, False),
        ({"reconciled_at": ago(300)}, True),
        ({"reconciled_at": ago(300), "retry_at": ago(-1)}, False),
        ({"options": {"votes_per_round": 2}, "hints": 2, "first_hint_at": ago(3),
          "hinted_at": ago(2)}, True),
        ({"options": {"seconds_per_round": 5}, "hints": 1, "first_hint_at": ago(6),
          "hinted_at": ago(6)}, True),
    ],
)  # fmt: skip
def test_when_a_round_is_due(store: Store, fields: dict[str, Any], is_due: bool) -> None:
    values: dict[str, Any] = {"options": {}, "hints": 0, "reconciled_at": ago(10)}
    project = Project(id=5, title="", label_config="", created_at=NOW, **(values | fields))
    assert (due(project, NOW, store.settings, store) is not None) == is_due


def test_a_burst_of_hints_makes_one_job(store: Store) -> None:
    sent: list[int] = []
    scheduler = Scheduler(store, Lane(sent.append, lambda: len(sent)))
    for _ in range(10):
        record_hint(store, 1, "ANNOTATION_CREATED")
        scheduler.tick()
    assert sent == []
    store.projects.save(1, hinted_at=datetime.now(UTC) - timedelta(seconds=2))
    for _ in range(5):
        scheduler.tick()
    assert len(sent) == 1
    assert [job.kind for job in store.jobs.listing()] == ["round"]


def test_hints_during_a_round_wait_for_its_end(store: Store) -> None:
    sent: list[int] = []
    scheduler = Scheduler(store, Lane(sent.append, lambda: 0))
    request_round(store, 1)
    scheduler.tick()
    store.jobs.claim(sent[0], "other:1:x")
    store.projects.request_training(1)
    scheduler.tick()
    assert len(store.jobs.listing()) == 1
    store.jobs.finish(sent[0], "other:1:x")
    scheduler.tick()
    assert len(store.jobs.listing()) == 2


def test_several_projects_take_turns(store: Store) -> None:
    store.projects.save(2, "More", "<View/>", reconciled_at=datetime.now(UTC))
    order: list[int] = []

    def work(job: Job, _progress: Callable[[float, str], None]) -> str:
        order.append(job.project_id)
        if len(order) < 6:
            store.projects.request_training(job.project_id)
        else:
            for project in (1, 2):
                store.projects.save(project, training_requested_at=None)
        return ""

    waiting: list[int] = []
    runner = Runner(store, work, threading.Event())
    scheduler = Scheduler(store, Lane(waiting.append, lambda: len(waiting)))
    store.projects.request_training(1)
    store.projects.request_training(2)
    for _ in range(12):
        scheduler.tick()
        if waiting:
            job = store.jobs.get(waiting[0])
            assert job is not None
            if len(order) < 6:
                store.projects.save(job.project_id, training_requested_at=None)
            runner.run(waiting.pop(0))
    assert order[:6] == [1, 2, 1, 2, 1, 2]


def test_rounds_go_on_while_a_tuning_runs(store: Store) -> None:
    sent: list[int] = []
    aside: list[int] = []
    scheduler = Scheduler(store, Lane(sent.append, lambda: 0), Lane(aside.append, lambda: 0))
    tune = store.jobs.enqueue("tune", 1)
    scheduler.tick()
    assert (sent, aside) == ([], [tune.id])
    store.jobs.claim(tune.id, "other:1:x")
    store.projects.request_training(1)
    scheduler.tick()
    assert [store.jobs.get(number).kind for number in sent] == ["round"]  # type: ignore[union-attr]
    assert store.jobs.claim(sent[0], "other:1:x")
    scheduler.tick()
    assert (len(sent), aside) == (1, [tune.id])


def test_a_cancelled_job_ends_at_its_next_step(store: Store) -> None:
    def work(job: Job, progress: Callable[[float, str], None]) -> str:
        assert store.jobs.cancel(job.id)
        for _ in range(500):
            time.sleep(0.02)
            progress(0.5, "still here")
        raise AssertionError("it was not told")

    runner = Runner(store, work, threading.Event())
    runner.seconds_between = 0.05
    job = store.jobs.enqueue("tune", 1)
    runner.run(job.id)
    row = store.jobs.get(job.id)
    assert row is not None
    assert (row.state, row.problem) == ("failed", "It was cancelled.")


def test_a_starting_worker_reads_every_project_in_full(store: Store) -> None:
    sent: list[int] = []
    Scheduler(store, Lane(sent.append, lambda: 0)).start()
    assert [(job.project_id, job.payload) for job in store.jobs.queued()] == [(1, {"full": True})]


def test_a_job_of_a_dead_process_is_sent_at_once(store: Store) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    job = request_round(store, 1)
    host = __import__("socket").gethostname()
    store.jobs.claim(job.id, f"{host}:{child.pid}:abcdef")
    sent: list[int] = []
    Scheduler(store, Lane(sent.append, lambda: 0)).tick()
    assert sent == [job.id]
    other = request_round(store, 1)
    assert store.jobs.claim(job.id, "elsewhere:1:x")
    sent.clear()
    Scheduler(store, Lane(sent.append, lambda: 0)).tick()
    assert sent == [], f"job {other.id} waits for its project's running one"


def test_a_job_is_done_with_progress_and_heartbeats(store: Store) -> None:
    seen: list[tuple[str, float, str]] = []

    def work(job: Job, progress: Callable[[float, str], None]) -> str:
        progress(0.5, "Half way")
        deadline = time.monotonic() + 60
        while (row := store.jobs.get(job.id)) and row.message != "Half way":
            assert time.monotonic() < deadline, "no heartbeat was written"
            time.sleep(0.01)
        assert row is not None
        seen.append((row.state, row.progress, row.message))
        return "Done well."

    runner = Runner(store, work, threading.Event())
    runner.seconds_between = 0.1
    job = request_round(store, 1)
    runner.run(job.id)
    assert seen == [("running", 0.5, "Half way")]
    row = store.jobs.get(job.id)
    assert row is not None
    assert (row.state, row.message) == ("done", "Done well.")


@pytest.mark.parametrize("error", [LabelStudioError("It answered 500."), KeyError("odd")])
def test_a_failed_job_keeps_its_reason_and_waits_before_the_next(
    store: Store, error: Exception
) -> None:
    def work(*_: Any) -> str:
        raise error

    waits = []
    for _ in range(3):
        job = request_round(store, 1)
        Runner(store, work, threading.Event()).run(job.id)
        row, project = store.jobs.get(job.id), store.projects.get(1)
        assert row is not None
        assert project is not None
        assert project.retry_at is not None
        assert row.state == "failed"
        assert row.problem is not None
        assert str(error) in row.problem
        waits.append((project.retry_at - datetime.now(UTC)).total_seconds())
        assert due(project, datetime.now(UTC), store.settings, store) is None
    assert [round(wait, -1) for wait in waits] == [10, 20, 40]
    later = datetime.now(UTC) + timedelta(seconds=120)
    assert due(project, later, store.settings, store)


def test_what_is_asked_for_while_a_job_fails_is_still_done(store: Store) -> None:
    def work(*_: Any) -> str:
        store.projects.request_training(1)
        raise LabelStudioError("It answered 500.")

    store.projects.request_training(1)
    Runner(store, work, threading.Event()).run(request_round(store, 1).id)
    project = store.projects.get(1)
    assert project is not None
    assert project.training_requested_at is not None
    assert due(project, datetime.now(UTC), store.settings, store) == "it was asked for"

    def fail(*_: Any) -> str:
        raise LabelStudioError("It answered 500.")

    Runner(store, fail, threading.Event()).run(request_round(store, 1).id)
    project = store.projects.get(1)
    assert project is not None
    assert project.training_requested_at is None


def test_an_ending_worker_puts_its_job_back(store: Store) -> None:
    stopping = threading.Event()

    def work(_job: Job, progress: Callable[[float, str], None]) -> str:
        stopping.set()
        progress(0.5, "never said")
        return "never reached"

    job = request_round(store, 1)
    runner = Runner(store, work, stopping)
    runner.run(job.id)
    row = store.jobs.get(job.id)
    assert row is not None
    assert (row.state, row.attempts) == ("queued", 0)
    runner.run(job.id)
    row = store.jobs.get(job.id)
    assert row is not None
    assert row.state == "queued", "a worker that ends takes nothing up"


def test_a_worker_that_lost_its_job_stops_and_changes_nothing(store: Store) -> None:
    def work(job: Job, progress: Callable[[float, str], None]) -> str:
        with store.session() as session:
            old = datetime.now(UTC) - timedelta(seconds=STALE_AFTER + 1)
            session.execute(update(Job).where(Job.id == job.id).values(heartbeat_at=old))
        assert store.jobs.claim(job.id, "second")
        for _ in range(100):
            time.sleep(0.02)
            progress(0.5, "still here")
        raise AssertionError("it was not told")

    runner = Runner(store, work, threading.Event())
    runner.seconds_between = 0.05
    job = request_round(store, 1)
    runner.run(job.id)
    row = store.jobs.get(job.id)
    assert row is not None
    assert (row.state, row.worker) == ("running", "second")


def test_two_workers_do_a_job_once(store: Store) -> None:
    done: list[str] = []
    started = threading.Barrier(2)

    def work(job: Job, _progress: Callable[[float, str], None]) -> str:
        done.append(str(job.worker))
        time.sleep(0.1)
        return ""

    job = request_round(store, 1)

    def one() -> None:
        runner = Runner(store, work, threading.Event())
        started.wait()
        runner.run(job.id)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1


def test_a_rollback_is_checked_before_it_is_queued(store: Store) -> None:
    with pytest.raises(StoreError, match="has no version"):
        request_rollback(store, 1, "galaxyloop-p1-v9")
    with store.session() as session:
        for number, (state, on_disk) in enumerate(
            [("published", True), ("retired", False), ("abandoned", True), ("retired", True)]
        ):
            session.add(
                Version(name=f"v{number}", project_id=1, number=number, kind="trained",
                        state=state, on_disk=on_disk, created_at=NOW)
            )  # fmt: skip
    with pytest.raises(StoreError, match="published version already"):
        request_rollback(store, 1, "v0")
    with pytest.raises(StoreError, match="pruned"):
        request_rollback(store, 1, "v1")
    with pytest.raises(StoreError, match="never finished"):
        request_rollback(store, 1, "v2")
    assert store.jobs.listing() == []
    assert request_rollback(store, 1, "v3").payload == {"rollback": "v3"}


def test_cleaning_waits_until_nobody_submits() -> None:
    project = Project(id=1, created_at=NOW)
    assert is_quiet(project, 1, NOW)
    project.hinted_at = ago(2)
    assert not is_quiet(project, 1, NOW)
    assert is_quiet(project, 9, NOW)
    project.hinted_at = ago(6)
    assert is_quiet(project, 1, NOW)


def test_cleaning_waits_for_the_round_that_a_vote_will_start() -> None:
    project = Project(id=1, created_at=NOW, hints=1, hinted_at=ago(30))
    assert not is_quiet(project, BACKLOG - 1, NOW)
    assert is_quiet(project, BACKLOG, NOW)
    project.hints = 0
    assert is_quiet(project, BACKLOG - 1, NOW)


def test_messages_are_json_and_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    got: list[int] = []
    transport = Transport(settings_of(tmp_path), got.append)
    transport.send(7)
    assert transport.waiting() == 1
    data = transport._huey.storage.dequeue()
    assert json.loads(data)[1].endswith("look_at")
    assert isinstance(JsonSerializer().deserialize(data), Message)
    with pytest.raises(ValueError):  # noqa: PT011  whatever the reader says of it
        JsonSerializer().deserialize(__import__("pickle").dumps({"a": 1}))


def test_a_wrong_queue_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="GALAXYLOOP_QUEUE_URL"):
        Transport(settings_of(tmp_path, queue_url="amqp://x"), print)


WORKER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from stand_ins import settings_of
from ml_backend import worker

class Work:
    def __init__(self, store): self.store = store
    def __call__(self, job, progress):
        log = Path(sys.argv[1]) / "done.txt"
        for step in range(int(job.payload.get("steps", 0))):
            progress(0.1, f"step {step}")
            time.sleep(0.05)
        with log.open("a") as file: file.write(f"{job.id}\\n")
        return "done"

worker.JobWork = Work
print("started", flush=True)
worker.run_worker(settings_of(Path(sys.argv[1])))
print("ended", flush=True)
"""


def worker_process(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert "started" in process.stdout.readline()
    return process


def wait_for(what: Callable[[], Any], seconds: float = 40) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
    return found


def test_worker_processes_share_work_survive_a_kill_and_end_cleanly(tmp_path: Path) -> None:
    store = open_store(settings_of(tmp_path))
    first, second = worker_process(tmp_path), worker_process(tmp_path)
    try:
        wait_for(lambda: len(store.jobs.workers()) == 2)
        jobs = [store.jobs.enqueue("round", project, {"steps": 2}).id for project in range(1, 7)]
        wait_for(lambda: all(store.jobs.get(job).state == "done" for job in jobs))  # type: ignore[union-attr]
        done = (tmp_path / "done.txt").read_text().split()
        assert sorted(map(int, done)) == jobs, "each job is done exactly once"

        # A long job of another kind is at work beside it all the time.
        beside = store.jobs.enqueue("tune", 1, {"steps": 400}).id
        wait_for(lambda: store.jobs.get(beside).state == "running")  # type: ignore[union-attr]
        long = store.jobs.enqueue("round", 1, {"steps": 60}).id
        owner = wait_for(lambda: store.jobs.get(long).worker)  # type: ignore[union-attr]
        killed, left = (first, second) if f":{first.pid}:" in owner else (second, first)
        killed.send_signal(signal.SIGKILL)
        wait_for(lambda: store.jobs.get(long).worker not in (None, owner), 10)  # type: ignore[union-attr]
        row = store.jobs.get(long)
        assert row is not None
        assert row.attempts == 2
        assert f":{left.pid}:" in str(row.worker)

        left.send_signal(signal.SIGTERM)
        assert left.wait(20) == 0
        assert left.stdout is not None
        assert "ended" in left.stdout.read()
        row = store.jobs.get(long)
        assert row is not None
        assert row.state == "queued", "the job at work was put back"
        assert [w.name for w in store.jobs.workers() if f":{left.pid}:" in w.name] == []
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
        store.close()
