"""The table of jobs: one worker per job, one running job per project, none forgotten."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from stand_ins import settings_of

from ml_backend.store.database import Store, open_store
from ml_backend.store.jobs import MAX_ATTEMPTS, STALE_AFTER, made_here, worker_name
from ml_backend.store.tables import Job


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(settings_of(tmp_path))
    yield opened
    opened.close()


def silence(store: Store, job_id: int, seconds: float = STALE_AFTER + 1) -> None:
    with store.session() as session:
        then = datetime.now(UTC) - timedelta(seconds=seconds)
        session.execute(update(Job).where(Job.id == job_id).values(heartbeat_at=then))


def test_a_job_lives_from_queued_to_done(store: Store) -> None:
    job = store.jobs.enqueue("round", 1, {"full": True})
    assert (job.state, job.payload) == ("queued", {"full": True})
    assert store.jobs.claim(job.id, "me")
    assert store.jobs.heartbeat(job.id, "me", 0.25, "Training")
    seen = store.jobs.get(job.id)
    assert seen is not None
    assert (seen.state, seen.progress, seen.message, seen.attempts) == (
        "running", 0.25, "Training", 1
    )  # fmt: skip
    assert store.jobs.finish(job.id, "me", "Published.")
    seen = store.jobs.get(job.id)
    assert seen is not None
    assert (seen.state, seen.progress, seen.message) == ("done", 1.0, "Published.")
    assert seen.finished_at is not None
    assert not store.jobs.claim(job.id, "me")


def test_equal_wishes_coalesce_while_queued(store: Store) -> None:
    one = store.jobs.enqueue("round", 1, {"full": True})
    two = store.jobs.enqueue("round", 1, {"force": True})
    assert one.id == two.id
    assert two.payload == {"full": True, "force": True}
    assert store.jobs.enqueue("clean", 1).id != one.id
    assert store.jobs.enqueue("round", 2).id != one.id
    store.jobs.claim(one.id, "me")
    assert store.jobs.enqueue("round", 1).id != one.id


def test_one_running_job_per_project(store: Store) -> None:
    one = store.jobs.enqueue("round", 1)
    assert store.jobs.claim(one.id, "me")
    two, other = store.jobs.enqueue("round", 1), store.jobs.enqueue("round", 2)
    assert not store.jobs.claim(two.id, "you")
    assert store.jobs.claim(other.id, "you")
    store.jobs.finish(one.id, "me")
    assert store.jobs.claim(two.id, "you")


def test_only_one_of_many_processes_gets_a_job(store: Store) -> None:
    jobs = [store.jobs.enqueue("round", project).id for project in range(1, 11)]
    settings = store.settings
    store.close()
    readers = []
    for _ in range(4):
        reading, writing = os.pipe()
        if os.fork() == 0:
            try:
                mine = open_store(settings)
                got = [job for job in jobs if mine.jobs.claim(job, worker_name())]
                os.write(writing, (",".join(map(str, got)) + ";").encode())
            finally:
                os._exit(0)
        os.close(writing)
        readers.append(reading)
    told = "".join(os.read(reading, 1000).decode() for reading in readers)
    for _ in readers:
        os.wait()
    claimed = [int(job) for part in told.split(";") for job in part.split(",") if job]
    assert told.count(";") == 4
    assert sorted(claimed) == jobs


def test_threads_neither_lose_nor_double_a_job(store: Store) -> None:
    job = store.jobs.enqueue("round", 1).id
    got: list[bool] = []
    threads = [
        threading.Thread(target=lambda name=str(n): got.append(store.jobs.claim(job, name)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 1


def test_a_silent_job_is_taken_up_again_and_its_former_worker_is_told(store: Store) -> None:
    job = store.jobs.enqueue("round", 1).id
    store.jobs.claim(job, "first")
    assert store.jobs.abandoned() == []
    assert not store.jobs.claim(job, "second")
    silence(store, job)
    assert [found.id for found in store.jobs.abandoned()] == [job]
    assert store.jobs.claim(job, "second")
    assert not store.jobs.heartbeat(job, "first")
    assert not store.jobs.finish(job, "first")
    assert not store.jobs.fail(job, "first", "no")
    assert store.jobs.finish(job, "second")


def test_a_silent_job_does_not_block_its_project(store: Store) -> None:
    job = store.jobs.enqueue("round", 1).id
    store.jobs.claim(job, "gone")
    silence(store, job)
    assert store.jobs.claim(store.jobs.enqueue("round", 1).id, "me")


def test_a_job_that_kills_its_workers_is_given_up(store: Store) -> None:
    job = store.jobs.enqueue("round", 1).id
    for attempt in range(MAX_ATTEMPTS):
        assert store.jobs.give_up() == []
        assert store.jobs.claim(job, f"worker {attempt}")
        silence(store, job)
    assert [found.id for found in store.jobs.give_up()] == [job]
    seen = store.jobs.get(job)
    assert seen is not None
    assert seen.state == "failed"
    assert seen.problem is not None
    assert "died 5 times" in seen.problem


def test_a_released_job_is_as_if_not_begun(store: Store) -> None:
    job = store.jobs.enqueue("round", 1).id
    store.jobs.claim(job, "me")
    assert store.jobs.release(job, "me")
    seen = store.jobs.get(job)
    assert seen is not None
    assert (seen.state, seen.attempts, seen.worker) == ("queued", 0, None)


def test_listing_is_newest_first_and_old_jobs_are_forgotten(store: Store) -> None:
    for n in range(6):
        job = store.jobs.enqueue("round", n % 2).id
        if n < 5:
            store.jobs.claim(job, "me")
            store.jobs.finish(job, "me")
    ids = [job.id for job in store.jobs.listing()]
    assert ids == sorted(ids, reverse=True)
    assert len(store.jobs.listing(project_id=1)) == 3
    assert store.jobs.prune(keep=2) == 3
    assert [job.id for job in store.jobs.listing()] == ids[:3]
    assert [job.id for job in store.jobs.queued()] == ids[:1]


def test_workers_give_signs_of_life(store: Store) -> None:
    name = worker_name()
    assert made_here(name)
    assert not made_here("elsewhere:1:abc")
    store.jobs.sign(name)
    store.jobs.sign(name)
    assert [worker.name for worker in store.jobs.workers()] == [name]
    assert store.jobs.workers(seen_within=-1) == []
    store.jobs.sign_off(name)
    assert store.jobs.workers() == []


def test_a_long_job_runs_beside_the_others_of_its_project(store: Store) -> None:
    tune, round_, clean = (store.jobs.enqueue(kind, 1) for kind in ("tune", "round", "clean"))
    assert store.jobs.claim(tune.id, "me")
    assert store.jobs.claim(round_.id, "me")
    assert not store.jobs.claim(clean.id, "other"), "one at a time otherwise"
    again = store.jobs.enqueue("tune", 1)
    assert not store.jobs.claim(again.id, "other")
    assert store.jobs.finish(tune.id, "me")
    assert store.jobs.claim(again.id, "other")


def test_a_cancelled_job_stops_and_stays_so(store: Store) -> None:
    queued, running = store.jobs.enqueue("tune", 1), store.jobs.enqueue("tune", 2)
    store.jobs.claim(running.id, "me")
    for job in (queued, running):
        assert store.jobs.cancel(job.id)
        seen = store.jobs.get(job.id)
        assert seen is not None
        assert (seen.state, seen.problem) == ("failed", "It was cancelled.")
        assert not store.jobs.cancel(job.id)
        assert not store.jobs.claim(job.id, "other")
    assert not store.jobs.heartbeat(running.id, "me"), "its worker is told"
    assert not store.jobs.release(running.id, "me")
    assert not store.jobs.cancel(999)
