"""The doctor's view of a project with a crowd."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml_backend.connection.crowd_checks import crowd_trouble
from ml_backend.connection.findings import Trouble
from ml_backend.settings import load_settings
from ml_backend.store.crowd_tables import Gold, Verdict
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Task

WELL = {"id": 1, "skip_queue": "REQUEUE_FOR_OTHERS", "overlap_cohort_percentage": 100}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(load_settings(_env_file=None, model_dir=tmp_path))
    made.projects.save(1, "Crowd", "")
    yield made
    made.close()


def test_all_is_well_without_votes_or_a_store(store: Store) -> None:
    crowd_trouble(WELL, store)
    crowd_trouble({"id": 1}, None)


@pytest.mark.parametrize("mode", ["IGNORE_SKIPPED", "REQUEUE_FOR_ME"])
def test_skips_that_take_places_are_told(mode: str) -> None:
    with pytest.raises(Trouble, match=mode):
        crowd_trouble({**WELL, "skip_queue": mode}, None)


def test_a_changed_cohort_is_told() -> None:
    with pytest.raises(Trouble, match="overlap_cohort_percentage"):
        crowd_trouble({**WELL, "overlap_cohort_percentage": 50}, None)


def test_galaxies_that_are_done_but_served_are_counted_and_golds_are_not(store: Store) -> None:
    now = datetime.now(UTC)
    with store.session() as session:
        for number, labeled in ((1, False), (2, True), (3, False)):
            session.add(Task(id=number, project_id=1, is_labeled=labeled, overlap=3, annotations=2))
            session.add(
                Verdict(task_id=number, project_id=1, state="retired", gain=0.0, changed_at=now)
            )
        session.add(Gold(project_id=1, task_id=3, control="shape", source="file", created_at=now))
    with pytest.raises(Trouble, match="still serves 1 galaxies"):
        crowd_trouble(WELL, store)
