"""People of known skill who vote on tasks of known truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Voting:
    """Votes, the truth behind them, and the chance of each person to be right."""

    tasks: Ints
    people: Ints
    labels: Ints
    shape: tuple[int, int, int]
    truth: Ints
    skill: NDArray[np.float64]

    @property
    def votes(self) -> tuple[Ints, Ints, Ints, tuple[int, int, int]]:
        return self.tasks, self.people, self.labels, self.shape


def voting(
    seed: int,
    tasks: int = 300,
    people: int = 30,
    labels: int = 3,
    each: int = 5,
    skill: NDArray[np.float64] | None = None,
) -> Voting:
    """Let `each` different people vote on every task; the wrong answers are alike likely."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, tasks)
    chance = rng.beta(6, 2.5, people) if skill is None else np.asarray(skill, float)
    who = np.concatenate([rng.permutation(people)[:each] for _ in range(tasks)])
    which = np.repeat(np.arange(tasks), each)
    wrong = (truth[which] + rng.integers(1, labels, len(which))) % labels
    said = np.where(rng.random(len(which)) < chance[who], truth[which], wrong)
    return Voting(which, who, said, (tasks, people, labels), truth, chance)


def right(posterior: NDArray[np.float64], truth: Ints) -> float:
    return float((posterior.argmax(axis=1) == truth).mean())


def majority(votes: Voting) -> NDArray[np.float64]:
    n, _, k = votes.shape
    return np.bincount(votes.tasks * k + votes.labels, minlength=n * k).reshape(n, k) / 1.0
