"""A million votes: how long they take to bring together, and one more."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from crowding.aggregators import of_crowd_kit, right
from crowding.answers import Answers
from ml_backend.loop.consensus import CastVote, consensus
from models.crowd.choices import ChoiceCrowd

VOTES, TASKS, PEOPLE, LABELS = 1_000_000, 100_000, 5_000, 4
SOONER = 1_000


def simulated(seed: int) -> Answers:
    """Draw votes of people whose chance to be right is drawn from Beta(6, 2.5)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, LABELS, TASKS)
    skill = rng.beta(6, 2.5, PEOPLE)
    # A few do most of the work, as in Galaxy Zoo.
    diligence = rng.lognormal(0, 1, PEOPLE)
    tasks = np.repeat(np.arange(TASKS), VOTES // TASKS)
    people = rng.choice(PEOPLE, VOTES, p=diligence / diligence.sum())
    hit = rng.random(VOTES) < skill[people]
    other = (truth[tasks] + rng.integers(1, LABELS, VOTES)) % LABELS
    labels = np.where(hit, truth[tasks], other)
    return Answers("simulated", tasks, people, labels, (TASKS, PEOPLE, LABELS), truth)


def report(data: Path, seed: int) -> None:
    """Print the table."""
    votes = simulated(seed)
    start = time.perf_counter()
    crowd = ChoiceCrowd.fit(votes.tasks, votes.people, votes.labels, votes.shape)
    seconds = time.perf_counter() - start
    print(f"{VOTES} votes, {TASKS} tasks, {PEOPLE} people, {LABELS} labels; one thread")
    share = right(crowd.posterior, votes.truth).mean()
    print(f"ours: {seconds:.1f} s (wanted < 30), {share:.4f} right")
    names = tuple("abcd")
    cast = [
        CastVote(task, f"person {person}", "shape", (names[label],))
        for task, person, label in zip(
            votes.tasks.tolist(), votes.people.tolist(), votes.labels.tolist(), strict=True
        )
    ]
    start = time.perf_counter()
    consensus(cast, [SimpleNamespace(name="shape", labels=names, multiple=False)])
    print(f"ours, from votes by name to what heads learn from: {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    theirs = of_crowd_kit("DawidSkene")(votes)
    other = time.perf_counter() - start
    print(
        f"crowd-kit's Dawid-Skene: {other:.1f} s, {right(theirs, votes.truth).mean():.4f} right; "
        f"{other / seconds:.1f} times ours"
    )
    times = []
    for task in range(SOONER):
        mine = slice(10 * task, 10 * task + 10)
        start = time.perf_counter()
        crowd.update(votes.people[mine], votes.labels[mine], crowd.posterior[task])
        times.append(1e3 * (time.perf_counter() - start))
    print(
        f"one new vote on a task of ten: {np.median(times):.2f} ms, 99 % below "
        f"{np.quantile(times, 0.99):.2f} ms (wanted < 10)"
    )
