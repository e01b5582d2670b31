"""Reading Label Studio again and again keeps the tallies what a recount says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select
from stand_ins import SHAPE_CONFIG, StandIn, settings_of, sky

from ml_backend.loop import votes as reconciling
from ml_backend.loop.votes import reconcile
from ml_backend.store.dashboard_tables import VoteTally
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Vote


def compared(store: Store) -> tuple[dict[tuple[int, str, bool], tuple[int, int]], ...]:
    """Tallies as kept, and counted vote by vote: rows, annotations."""
    with store.reading() as session:
        kept = {
            (row.annotator, row.day, row.skipped): (row.votes, row.annotations)
            for row in session.scalars(select(VoteTally))
        }
        found: dict[tuple[int, str, bool], list[int]] = {}
        for vote in session.scalars(select(Vote)):
            day = vote.created_at.date().isoformat() if vote.created_at else ""
            key = (vote.annotator or 0, day, vote.skipped)
            found.setdefault(key, []).append(vote.annotation_id)
    return kept, {key: (len(ids), len(set(ids))) for key, ids in found.items()}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_history_of_answers(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    studio = StandIn(tmp_path / "label-studio.json")
    store = open_store(settings_of(tmp_path / "data"))
    studio.add_project(1)
    tasks = studio.add_tasks(1, sky(12))
    store.projects.save(1, "Galaxies", SHAPE_CONFIG)
    anew = []
    real = reconciling.count_anew
    monkeypatch.setattr(reconciling, "count_anew", lambda *told: anew.append(1) or real(*told))
    given: list[int] = []
    for number in range(25):
        for _ in range(int(rng.integers(1, 5))):
            what = rng.random()
            if what < 0.6 or not given:
                task, person = tasks[rng.integers(len(tasks))], int(rng.integers(1, 4))
                skip = bool(rng.random() < 0.2)
                given.append(studio.annotate(task, "Spiral", person=person, skip=skip))
            elif what < 0.8:
                studio.delete_annotation(given.pop(int(rng.integers(len(given)))))
            else:
                studio.edit(given[rng.integers(len(given))], "Merger")
        report = reconcile(studio, store, 1)
        assert report.full == (number == 0)
        kept, by_hand = compared(store)
        assert kept == by_hand
    assert sum(votes for votes, _ in kept.values()) >= 10
    # All but the first reading moved the tallies by what had changed.
    assert anew == [1]
    studio.remove_task(tasks[0])
    reconcile(studio, store, 1)
    kept, by_hand = compared(store)
    assert kept == by_hand
    store.close()
