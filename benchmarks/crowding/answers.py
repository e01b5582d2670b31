"""Real people's answers with the truth: four public benchmarks (Zheng et al. 2017)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NAMES = ("bluebird_binary", "dog_4class", "face_sentiment_4class", "product_pairs_binary")

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Votes of people, and the truth.

    Attributes
    ----------
    name : str
    tasks, people, labels : int64 [v]
    shape : (int, int, int)
        Numbers of tasks n, people p and labels k.
    truth : int64 [n]
    """

    name: str
    tasks: Ints
    people: Ints
    labels: Ints
    shape: tuple[int, int, int]
    truth: Ints

    @property
    def most(self) -> int:
        """Votes of the task that has most."""
        return int(np.bincount(self.tasks).max())

    def drawn(self, votes: int, rng: np.random.Generator) -> Answers:
        """Return at most so many votes of each task, drawn at random."""
        order = rng.permutation(len(self.tasks))
        order = order[np.argsort(self.tasks[order], kind="stable")]
        tasks = self.tasks[order]
        place = np.arange(len(tasks)) - np.searchsorted(tasks, tasks)
        return self._votes(order[place < votes])

    def parts(self, share: float, rng: np.random.Generator) -> Answers:
        """Return the answers of a share of the people to a share of the tasks, at random."""
        n, p, k = self.shape
        people = np.sort(rng.permutation(p)[: round(p * share)])
        tasks = np.sort(rng.permutation(n)[: round(n * share)])
        kept = np.isin(self.people, people) & np.isin(self.tasks, tasks)
        tasks = np.unique(self.tasks[kept])
        return Answers(
            self.name,
            np.searchsorted(tasks, self.tasks[kept]),
            np.searchsorted(people, self.people[kept]),
            self.labels[kept],
            (len(tasks), len(people), k),
            self.truth[tasks],
        )

    def _votes(self, rows: Ints) -> Answers:
        return Answers(
            self.name,
            self.tasks[rows],
            self.people[rows],
            self.labels[rows],
            self.shape,
            self.truth,
        )


def read_answers(data: Path, name: str) -> Answers:
    """Read one of the benchmarks `NAMES` below the folder of data."""
    folder = data / "crowd_labels" / name
    with (folder / "answer.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (folder / "truth.csv").open(newline="", encoding="utf-8") as file:
        truth = {row["question"]: row["truth"] for row in csv.DictReader(file)}
    tasks, people = sorted(truth), sorted({row["worker"] for row in rows})
    labels = sorted({row["answer"] for row in rows} | set(truth.values()))
    places = [{v: i for i, v in enumerate(values)} for values in (tasks, people, labels)]
    rows = [row for row in rows if row["question"] in truth]

    def column(name: str, place: dict[str, int]) -> Ints:
        return np.array([place[row[name]] for row in rows], np.int64)

    return Answers(
        name,
        column("question", places[0]),
        column("worker", places[1]),
        column("answer", places[2]),
        (len(tasks), len(people), len(labels)),
        np.array([places[2][truth[task]] for task in tasks], np.int64),
    )
