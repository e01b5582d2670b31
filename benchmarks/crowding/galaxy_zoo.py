"""Galaxy Zoo 2: real galaxies with the fractions of real people's votes, and people who vote so."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from labelled_sets import LabelledSet, embeddings_of
from numpy.typing import NDArray

from models.vision_encoder import VisionEncoder

FOLDER = "gz2_sdss_votes"
FULL_CROWD = 40
"""The fixed number that is compared with; these galaxies have a median of 44."""

_SMOOTH, _FEATURES, _STAR = (
    f"t01_smooth_or_features_{answer}_weighted_fraction"
    for answer in ("a01_smooth", "a02_features_or_disk", "a03_star_or_artifact")
)
_EDGE_ON, _NOT = (f"t02_edgeon_{answer}_weighted_fraction" for answer in ("a04_yes", "a05_no"))

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class CrowdQuestion:
    """A question about galaxies, and how often the real crowd gave each answer.

    Attributes
    ----------
    name : str
    labels : tuple of str [k]
    files : tuple of Path [n]
    fractions : float64 [n, k]
        Rows sum to 1. The full crowd's answer is the largest.
    """

    name: str
    labels: tuple[str, ...]
    files: tuple[Path, ...]
    fractions: Floats

    def __len__(self) -> int:
        return len(self.files)

    @property
    def truth(self) -> Ints:
        """The full crowd's answer [n]."""
        return np.asarray(self.fractions.argmax(axis=1), dtype=np.int64)

    @property
    def majority(self) -> Floats:
        """The part of the full crowd that gave it [n]."""
        return np.asarray(self.fractions.max(axis=1))

    def embeddings(self, lvm: VisionEncoder) -> NDArray[np.float16]:
        """Embeddings [n, d] of the galaxies."""
        return embeddings_of(LabelledSet(FOLDER, self.files, self.labels, self.truth), lvm)


def read_questions(root: Path) -> tuple[CrowdQuestion, CrowdQuestion]:
    """Read the first question of the tree, and what the first two say together.

    Galaxies of which two answers have the same fraction have no full crowd's answer and are left
    out of that question.
    """
    folder = root / FOLDER
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    files = tuple(folder / row["file"] for row in rows)

    def column(name: str) -> Floats:
        return np.array([float(row[name] or 0) for row in rows])

    smooth, features, star = column(_SMOOTH), column(_FEATURES), column(_STAR)
    edge_on, face_on = column(_EDGE_ON), column(_NOT)
    # Nobody was asked where nobody saw features; then both products are 0 whatever is put here.
    edge_on = edge_on / np.maximum(edge_on + face_on, 1e-12)
    return (
        _question(
            "smooth or features",
            ("smooth", "features or disk", "star or artifact"),
            files,
            np.column_stack([smooth, features, star]),
        ),
        _question(
            "shape",
            ("smooth", "edge-on disk", "features, not edge-on", "star or artifact"),
            files,
            np.column_stack([smooth, features * edge_on, features * (1 - edge_on), star]),
        ),
    )


def _question(
    name: str, labels: tuple[str, ...], files: tuple[Path, ...], counts: Floats
) -> CrowdQuestion:
    fractions = counts / counts.sum(axis=1, keepdims=True)
    two = np.sort(fractions, axis=1)[:, -2:]
    kept = np.flatnonzero(two[:, 1] - two[:, 0] > 1e-6)
    return CrowdQuestion(name, labels, tuple(files[row] for row in kept), fractions[kept])


@dataclass(frozen=True)
class SimulatedCrowd:
    """People of unequal skill and diligence, each with a way to err that stays.

    A person's vote on a galaxy is drawn, with the chance `skill`, from the real fractions of that
    galaxy, and otherwise from the person's own `habit`, whatever the galaxy. The most skilled
    person thus is one of the real crowd, not one who knows.

    Attributes
    ----------
    skill : float64 [p]
        Drawn from Beta(4, 1): a mean of 0.8, one in twenty below 0.47.
    habit : float64 [p, k]
        Drawn from the flat Dirichlet distribution.
    diligence : float64 [p]
        Relative numbers of votes; log-normal with a scatter of 1 in e, as a few people do most
        of the work in Galaxy Zoo.
    said : int64 [n, p]
        What each person says of each galaxy when asked.
    """

    skill: Floats
    habit: Floats
    diligence: Floats
    said: Ints

    @classmethod
    def of(cls, question: CrowdQuestion, seed: int, people: int = 100) -> SimulatedCrowd:
        """Draw the people and all that they would say."""
        rng = np.random.default_rng([seed, people])
        n, k = question.fractions.shape
        skill = rng.beta(4, 1, people)
        habit = rng.dirichlet(np.ones(k), people)
        diligence = rng.lognormal(0, 1, people)
        chances = (
            skill[None, :, None] * question.fractions[:, None]
            + (1 - skill)[None, :, None] * habit[None]
        )
        said = (rng.random((n, people, 1)) > chances.cumsum(axis=2)).sum(axis=2)
        return cls(skill, habit, diligence, np.minimum(said, k - 1).astype(np.int64))


@dataclass
class Votes:
    """The votes that were cast so far, one row each, in their order."""

    crowd: SimulatedCrowd
    rng: np.random.Generator
    tasks: Ints
    people: Ints
    labels: Ints

    @classmethod
    def none(cls, crowd: SimulatedCrowd, seed: int) -> Votes:
        """No vote yet."""
        empty = np.zeros(0, dtype=np.int64)
        return cls(crowd, np.random.default_rng([seed, 1]), empty, empty, empty)

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def per_task(self) -> Ints:
        """Votes on each galaxy [n]."""
        return np.bincount(self.tasks, minlength=len(self.crowd.said)).astype(np.int64)

    @property
    def counts(self) -> Ints:
        """Votes for each answer [n, k]."""
        n, k = len(self.crowd.said), self.crowd.habit.shape[1]
        flat = np.bincount(self.tasks * k + self.labels, minlength=n * k)
        return flat.reshape(n, k).astype(np.int64)

    def first(self, number: int) -> Votes:
        """The first so many votes."""
        return replace(
            self,
            tasks=self.tasks[:number],
            people=self.people[:number],
            labels=self.labels[:number],
        )

    def ask(self, galaxies: Ints) -> None:
        """One vote on each of these different galaxies, by who comes by and has not voted on it."""
        weights = np.tile(self.crowd.diligence, (len(galaxies), 1))
        place = np.full(len(self.crowd.said), -1)
        place[galaxies] = np.arange(len(galaxies))
        old = place[self.tasks] >= 0
        weights[place[self.tasks[old]], self.people[old]] = 0
        # The largest of log(w) + Gumbel noise is a draw in proportion to w.
        with np.errstate(divide="ignore"):
            keys = np.log(weights) + self.rng.gumbel(size=weights.shape)
        people = keys.argmax(axis=1)
        self.tasks = np.append(self.tasks, galaxies)
        self.people = np.append(self.people, people)
        self.labels = np.append(self.labels, self.crowd.said[galaxies, people])
