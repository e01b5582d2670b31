"""Suspicions: honest people are hardly ever named, and each pattern of bad faith is."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ml_backend.loop.peers import peer_kappa, peers_of, wilson
from ml_backend.loop.people_votes import PeopleVotes
from ml_backend.loop.suspicions import suspicions
from models.crowd.chance_agreement import cohen_kappa

LABELS = ('["Smooth"]', '["Spiral"]', '["Merger"]')


def crowd(
    seed: int, people: int = 60, tasks: int = 400, per_task: int = 5, shown: bool = True
) -> dict[str, np.ndarray]:
    """Honest people of unequal skill, taste and pace, as columns of `PeopleVotes`."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, tasks, p=[0.6, 0.3, 0.1])
    skill = rng.beta(8, 2, people)
    taste = rng.dirichlet([4, 3, 2], people)
    task = np.repeat(np.arange(tasks), per_task)
    person = np.concatenate([rng.choice(people, per_task, replace=False) for _ in range(tasks)])
    v = len(task)
    wrong = np.array([rng.choice(3, p=taste[p]) for p in person])
    answer = np.where(rng.random(v) < skill[person], truth[task], wrong)
    suggestion = np.where(rng.random(tasks) < 0.85, truth, rng.integers(0, 3, tasks))[task]
    same = (answer == suggestion).astype(np.int8)
    pace = np.exp(rng.normal(1.5, 0.35, people))
    hard = np.exp(rng.normal(0, 0.4, tasks))
    lead = pace[person] * hard[task] * np.exp(rng.normal(0, 0.5, v))
    at = np.zeros(v)
    for one in range(people):
        mine = person == one
        at[mine] = 1.7e9 + rng.uniform(0, 1e5) + np.cumsum(lead[mine] + 0.5)
    return {
        "person": person, "answer": answer, "task": task, "lead": lead, "at": at,
        "accepted": same if shown else np.full(v, -1, np.int8), "truth": truth[task],
    }  # fmt: skip


def votes_of(columns: dict[str, np.ndarray]) -> PeopleVotes:
    v = len(columns["task"])
    no, zeros = np.zeros(v, bool), np.zeros(v, np.int64)
    people = int(columns["person"].max()) + 1 if v else 0
    return PeopleVotes(
        tuple(f"person {one}" for one in range(people)), ("shape",), LABELS, ("v1",),
        columns["person"], zeros, columns["answer"], zeros, columns["task"], np.arange(v),
        no, no, no, columns["accepted"], columns["accepted"], columns["at"], columns["lead"],
    )  # fmt: skip


def golds_of(columns: dict[str, np.ndarray], known: int = 60) -> dict[int, tuple[int, int]]:
    found = {}
    for one in np.unique(columns["person"]).tolist():
        mine = (columns["person"] == one) & (columns["task"] < known)
        right = columns["answer"][mine] == columns["truth"][mine]
        found[one] = (int(mine.sum()), int(right.sum()))
    return found


def test_honest_people_are_hardly_ever_named() -> None:
    """Of 40 projects with 60 honest people each, at most one in a thousand people is named."""
    named = 0
    for seed in range(40):
        columns = crowd(seed)
        named += len({one.person for one in suspicions(votes_of(columns), golds_of(columns))})
    assert named <= 2, f"{named} of 2400 honest people"


@pytest.mark.parametrize("kind", ["same", "fast", "follows", "golds", "burst"])
def test_bad_faith_is_named(kind: str) -> None:
    columns = crowd(1, per_task=12 if kind == "burst" else 5)
    rng = np.random.default_rng(2)
    mine = columns["person"] == 7
    if kind == "same":
        columns["answer"][mine] = 2
    elif kind == "fast":
        columns["lead"][mine] = 0.4
    elif kind == "follows":
        # More of them: a share of 0.85 followed by all would be by chance now and then.
        columns["person"][(columns["person"] % 9) == 3] = 7
        columns["accepted"][columns["person"] == 7] = 1
    elif kind == "golds":
        mine = columns["person"] == 7
        columns["task"][mine] = np.arange(mine.sum())
        columns["answer"][mine] = (columns["truth"][mine] + rng.integers(1, 3, mine.sum())) % 3
    else:
        columns["at"][mine] = 1.7e9 + np.arange(mine.sum()) * 0.5
    found = [one for one in suspicions(votes_of(columns), golds_of(columns)) if one.kind == kind]
    assert [one.person for one in found] == ["person 7"]
    assert any(sign.isdigit() for sign in found[0].sentence)


def test_one_answer_is_no_bad_faith_where_it_is_right() -> None:
    """In a project of nearly one class everybody gives the same answer."""
    columns = crowd(3)
    columns["answer"][:] = 0
    columns["answer"][::97] = 1
    assert not [one for one in suspicions(votes_of(columns)) if one.kind == "same"]


def test_alone_or_nobody_says_nothing() -> None:
    columns = crowd(4, people=1, per_task=1)
    columns["answer"][:] = 0
    assert suspicions(votes_of(columns)) == []
    empty = {name: values[:0] for name, values in columns.items()}
    assert suspicions(votes_of(empty)) == []


def test_kappa_with_one_other_is_cohens() -> None:
    columns = crowd(5, people=2, per_task=2)
    votes = votes_of(columns)
    kappa = peer_kappa(votes, peers_of(votes))
    answers = {one: dict(zip(columns["task"][columns["person"] == one].tolist(),
                             columns["answer"][columns["person"] == one].tolist(), strict=True))
               for one in (0, 1)}  # fmt: skip
    table = np.zeros((3, 3))
    for task, answer in answers[0].items():
        table[answer, answers[1][task]] += 1
    assert kappa.value == pytest.approx([cohen_kappa(table).value] * 2)
    assert kappa.items.tolist() == [400, 400]


def test_wilsons_interval() -> None:
    # Newcombe (1998), table 1: 81 of 263 has the 95 % interval 0.2553 to 0.3662.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=2e-4)
    assert wilson(0, 0) is None


def test_a_million_answers_take_seconds() -> None:
    rng = np.random.default_rng(6)
    v = 1_000_000
    columns = {
        "person": rng.integers(0, 10_000, v), "answer": rng.integers(0, 3, v),
        "task": rng.integers(0, 200_000, v), "lead": rng.lognormal(1, 0.5, v),
        "at": 1.7e9 + rng.uniform(0, 1e7, v), "accepted": np.ones(v, np.int8),
    }  # fmt: skip
    votes = votes_of(columns)
    began = time.process_time()
    peers = peers_of(votes)
    peer_kappa(votes, peers)
    suspicions(votes, peers=peers)
    assert time.process_time() - began < 30
