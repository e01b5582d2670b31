"""The pool of a round: which votes are a fair sample of all galaxies."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from stand_ins import SHAPE_CONFIG, settings_of

from ml_backend.labelstudio.config import parse_controls
from ml_backend.loop.acquisition import audit_order, interleave
from ml_backend.loop.pool import Pool, load_pool
from ml_backend.store.crowd_tables import Gold
from ml_backend.store.database import open_store
from ml_backend.store.tables import Task, Vote

TASKS, ROUNDS, PER_ROUND, FRACTION = 2000, 50, 20, 0.1


def loaded(folder: Path, votes: dict[int, bool]) -> Pool:
    """Return the pool of a project whose tasks have such votes (task id to: audit arm)."""
    store = open_store(settings_of(folder))
    store.projects.save(1, "Galaxies", SHAPE_CONFIG)
    hashes = [f"{number:064x}" for number in range(TASKS)]
    embeddings = store.embeddings("lvm", 4)
    embeddings.add(hashes, np.zeros((TASKS, 4), np.float32))
    with store.session() as session:
        session.add_all(
            Task(id=number + 1, project_id=1, image="x", content_hash=name)
            for number, name in enumerate(hashes)
        )
        session.add_all(
            Vote(annotation_id=task, control="shape", project_id=1, task_id=task,
                 labels=["Spiral"], audit=audit, updated_at=datetime.now(UTC))
            for task, audit in votes.items()
        )  # fmt: skip
    pool = load_pool(store, 1, parse_controls(SHAPE_CONFIG), embeddings)
    store.close()
    return pool


@pytest.mark.parametrize("truth", [1, 2, 3])
def test_the_audited_are_a_fair_sample_of_all_tasks(tmp_path: Path, truth: int) -> None:
    """The active arm takes the most doubtful tasks, round after round."""
    doubt = np.random.default_rng(truth).random(TASKS)
    ids = np.arange(1, TASKS + 1)
    seed = settings_of(tmp_path).seed
    votes: dict[int, bool] = {}
    for _ in range(ROUNDS):
        free = ids[~np.isin(ids, list(votes))]
        active = free[np.argsort(-doubt[free - 1])]
        order, drawn = interleave(active, free[audit_order(free, seed)], FRACTION)
        votes |= dict(zip(order[:PER_ROUND].tolist(), drawn[:PER_ROUND].tolist(), strict=True))
    arm = [task for task, audit in votes.items() if audit]
    audited = loaded(tmp_path, votes).audited
    assert set(arm) <= audited <= set(votes)
    assert doubt[np.array(arm) - 1].mean() < 0.42, "the arm alone is what the model left over"
    found = doubt[np.array(sorted(audited)) - 1].mean()
    assert found == pytest.approx(doubt.mean(), abs=0.045)


def test_without_an_audit_arm_nothing_is_audited(tmp_path: Path) -> None:
    assert loaded(tmp_path, dict.fromkeys(range(1, 9), False)).audited == frozenset()


def test_known_answers_are_learned_from_and_change_the_digest(tmp_path: Path) -> None:
    """Of another control, project or kind of answer they are none of ours."""
    votes = dict.fromkeys(range(1, 13), False)
    loaded(tmp_path, votes)
    config = parse_controls(SHAPE_CONFIG)
    store = open_store(settings_of(tmp_path))
    embeddings = store.embeddings("lvm", 4)
    plain = load_pool(store, 1, config, embeddings)
    label = config.controls[0].labels[-1]
    now = datetime.now(UTC)
    store.projects.save(2, "Others", SHAPE_CONFIG)
    with store.session() as session:
        session.add(Gold(project_id=2, task_id=2, control="shape", labels=[label], source="file",
                         created_at=now))  # fmt: skip
    assert load_pool(store, 1, config, embeddings).digest == plain.digest
    with store.session() as session:
        session.add(Gold(project_id=1, task_id=2, control="shape", labels=[label], source="expert",
                         annotation_id=2, created_at=now))  # fmt: skip
        session.add(Gold(project_id=1, task_id=3, control="gone", labels=["x"], source="file",
                         created_at=now))  # fmt: skip
    told = load_pool(store, 1, config, embeddings)
    assert told.digest != plain.digest
    agreed = told.consensus["shape"]
    assert agreed.targets[1].argmax() == len(agreed.labels) - 1
    np.testing.assert_array_equal(agreed.targets[0], plain.consensus["shape"].targets[0])
    np.testing.assert_array_equal(agreed.fractions, plain.consensus["shape"].fractions)
    store.close()
