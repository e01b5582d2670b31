"""Kept tallies say what a recount says, whatever happens to votes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session
from stand_ins import settings_of

from ml_backend.store.dashboard_tables import VoteTally
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Vote
from ml_backend.store.vote_tallies import are_whole, count_anew, tallied

NOW = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
TASKS = 12

Told = dict[tuple[int, str, bool], tuple[int, int, float, int]]


def told(session: Session, project_id: int = 1) -> Told:
    """What the tallies hold, in a form to compare."""
    rows = session.scalars(select(VoteTally).where(VoteTally.project_id == project_id))
    return {
        (row.annotator, row.day, row.skipped): (
            row.votes, row.annotations, round(row.seconds, 6), row.timed,
        )
        for row in rows
    }  # fmt: skip


def by_hand(session: Session, project_id: int = 1) -> Told:
    """The same, counted vote by vote."""
    found: dict[tuple[int, str, bool], list[Vote]] = {}
    for vote in session.scalars(select(Vote).where(Vote.project_id == project_id)):
        day = vote.created_at.date().isoformat() if vote.created_at else ""
        found.setdefault((vote.annotator or 0, day, vote.skipped), []).append(vote)
    return {
        key: (
            len(votes),
            len({vote.annotation_id for vote in votes}),
            round(sum(vote.lead_time or 0.0 for vote in votes), 6),
            sum(vote.lead_time is not None for vote in votes),
        )
        for key, votes in found.items()
    }


def alike(one: Told, other: Told) -> bool:
    """The same counts, and the same seconds but for rounding."""
    return one.keys() == other.keys() and all(
        one[key] == pytest.approx(other[key], abs=2e-6) for key in one
    )


def anything(rng: np.random.Generator, number: int) -> list[Vote]:
    """One annotation: an answer to one or two controls, or a skip."""
    skipped = rng.random() < 0.2
    controls = [""] if skipped else ["shape", "ring"][: int(rng.integers(1, 3))]
    person = int(rng.integers(0, 4)) or None
    at = None if rng.random() < 0.1 else NOW + timedelta(hours=float(rng.integers(0, 60)))
    lead = None if rng.random() < 0.2 else float(rng.lognormal())
    return [
        Vote(annotation_id=number, control=control, project_id=1, annotator=person, labels=[],
             task_id=int(rng.integers(1, TASKS)), skipped=skipped, created_at=at, lead_time=lead)
        for control in controls
    ]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(settings_of(tmp_path))
    for project in (1, 2):
        store.projects.save(project, "Any", "<View/>")
    return store


@pytest.mark.parametrize("seed", range(5))
def test_tallies_stay_what_a_recount_says(store: Store, seed: int) -> None:
    rng, number = np.random.default_rng(seed), 0
    for _ in range(40):
        with store.session() as session:
            tasks = sorted({int(task) for task in rng.integers(1, TASKS, 5)})
            with tallied(session, 1, tasks):
                for _ in range(int(rng.integers(0, 6))):
                    number += 1
                    for vote in anything(rng, number):
                        vote.task_id = tasks[number % len(tasks)]
                        session.add(vote)
                session.flush()
                there = session.scalars(select(Vote).where(Vote.task_id.in_(tasks))).all()
                for vote in there:
                    if rng.random() < 0.2:
                        session.delete(vote)
                    elif rng.random() < 0.3:
                        vote.annotator = int(rng.integers(1, 4))
                        vote.lead_time = float(rng.lognormal())
                        vote.created_at = NOW + timedelta(days=int(rng.integers(0, 3)))
        with store.reading() as session:
            kept = told(session)
            assert alike(kept, by_hand(session))
            assert are_whole(session, 1)
    assert number > 40
    assert len(kept) > 3
    with store.session() as session:
        count_anew(session, 1)
    with store.reading() as session:
        assert alike(kept, told(session))


def test_an_error_inside_changes_neither(store: Store) -> None:
    rng = np.random.default_rng(0)

    def half_done() -> None:
        with store.session() as session, tallied(session, 1, list(range(TASKS))):
            session.add_all(anything(rng, 1))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half_done()
    with store.reading() as session:
        assert told(session) == by_hand(session) == {}


def test_votes_that_came_otherwise_are_noticed_and_counted(store: Store) -> None:
    rng = np.random.default_rng(1)
    with store.session() as session:
        for number in range(30):
            session.add_all(anything(rng, number))
    with store.reading() as session:
        assert not are_whole(session, 1)
        assert are_whole(session, 2)
    before = store.projects.counts(1)
    with store.session() as session:
        count_anew(session, 1)
        assert alike(told(session), by_hand(session))
    after = store.projects.counts(1)
    assert before == after
    assert after["votes"] > after["annotations"] > 10
    assert after["annotators"] == 3
    with store.session() as session:
        session.execute(delete(Vote).where(Vote.annotation_id < 5))
    with store.reading() as session:
        assert not are_whole(session, 1)


def test_a_vote_may_move_to_another_person_in_bulk(store: Store) -> None:
    rng = np.random.default_rng(2)
    with store.session() as session, tallied(session, 1, list(range(TASKS))):
        for number in range(20):
            session.add_all(anything(rng, number))
    with store.session() as session, tallied(session, 1, list(range(TASKS))):
        session.execute(update(Vote).values(annotator=9))
    with store.reading() as session:
        assert {who for who, _, _ in told(session)} == {9}
        assert alike(told(session), by_hand(session))
