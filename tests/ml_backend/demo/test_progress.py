from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml_backend.demo import progress
from ml_backend.demo.progress import Landed, LoopProgress
from ml_backend.errors import DemoError
from ml_backend.settings import Settings
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Version

PROJECT = 4


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(Settings(MODEL_DIR=tmp_path, GALAXYLOOP_DATABASE_URL=""))
    opened.projects.save(PROJECT, "Test")
    yield opened
    opened.close()


def add(store: Store, number: int, votes: int, state: str, problem: str | None = None) -> str:
    name = f"galaxyloop-p{PROJECT}-v{number}"
    with store.session() as session:
        session.add(
            Version(
                name=name, project_id=PROJECT, number=number, kind="trained", state=state,
                created_at=datetime.now(UTC), votes=votes, seconds=1.5, problem=problem,
            )
        )  # fmt: skip
    if state == "published":
        store.projects.save(PROJECT, champion=name)
    return name


def loop(store: Store, patience: float = 60.0) -> LoopProgress:
    return LoopProgress(store, PROJECT, lambda: None, patience)


def test_nothing_has_landed_before_a_version_is_published(store: Store) -> None:
    assert loop(store).landed(0) is None
    add(store, 1, 0, "building")
    assert loop(store).landed(0) is None


def test_a_published_version_has_landed_for_its_votes_and_no_more(store: Store) -> None:
    name = add(store, 1, 10, "published")
    assert loop(store).landed(10) == Landed(10, name, 1.5)
    assert loop(store).landed(11) is None


def test_a_refused_version_has_landed_once_the_champion_is_ranked_anew(store: Store) -> None:
    champion = add(store, 1, 10, "published")
    add(store, 2, 20, "rejected", "It was worse.")
    job = store.jobs.enqueue("round", PROJECT)
    assert loop(store).landed(20) is None
    store.jobs.claim(job.id, "worker")
    store.jobs.finish(job.id, "worker")
    assert loop(store).landed(20) == Landed(20, champion, 1.5, "It was worse.")


def test_waiting_ends_with_an_error_that_says_the_last_word(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOOK_EVERY", 0.01)
    with pytest.raises(DemoError, match="No job was queued"):
        loop(store, patience=0.05).wait(3)
    job = store.jobs.enqueue("round", PROJECT)
    store.jobs.claim(job.id, "worker")
    store.jobs.fail(job.id, "worker", "Label Studio is down.")
    with pytest.raises(DemoError, match=r"failed: Label Studio is down\."):
        loop(store, patience=0.05).wait(3)


def test_waiting_ends_when_a_child_has_ended(store: Store) -> None:
    def dead() -> None:
        raise DemoError("The worker ended by itself.")

    with pytest.raises(DemoError, match="The worker ended"):
        LoopProgress(store, PROJECT, dead).wait(1)


def test_a_round_is_asked_for_where_none_begins(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(progress, "NUDGE_AFTER", 0.02)
    with pytest.raises(DemoError):
        loop(store, patience=0.2).wait(3)
    before = store.projects.get(PROJECT)
    assert before is not None
    assert before.training_requested_at is None
    with pytest.raises(DemoError):
        loop(store, patience=0.2).wait(3, nudge=True)
    after = store.projects.get(PROJECT)
    assert after is not None
    assert after.training_requested_at is not None
