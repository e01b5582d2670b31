"""The population of people: what a newcomer is expected to answer, and how much people differ.

On galaxies whose truth is j a person is right with a chance drawn from a Beta distribution around
the population's, and the person's wrong answers are spread by a Dirichlet distribution around the
population's wrong answers. How alike people are is a number of its own for either, since people
who differ much in care may well fall into the same traps. All are learned from everybody's answers
by the fixed-point steps of Minka (2000), "Estimating a Dirichlet distribution", so that few votes
of a person lean on everybody's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# What is believed before any vote: as if FIRST_PEOPLE people had been seen, right RIGHT of the
# time, wrong answers spread evenly. It says which label is which, and fades with real people.
FIRST_PEOPLE = 4.0
RIGHT = 0.75
# Before any vote people may differ as they like: a gamma prior of shape 2 and this mean on each
# strength. Below LEAST one answer would make a person perfect.
STRENGTH = 1.0
LEAST, MOST = 0.5, 200.0


@dataclass(frozen=True)
class Population:
    """What people answer on the whole.

    Attributes
    ----------
    typical : float64 [k, k]
        Rows: truth, columns: answer; rows sum to 1.
    strength : float64 [2, k]
        By truth, of being right and of the spread of wrong answers: how many answers of their
        own weigh as much as the population.
    """

    typical: Floats
    strength: Floats

    @classmethod
    def before_votes(cls, k: int) -> Population:
        """Return what is believed of people nobody has seen."""
        return cls(_first(k), np.full((2, k), STRENGTH))

    @property
    def right(self) -> Floats:
        """Chance that a newcomer is right, by truth [k]."""
        return np.diagonal(self.typical)

    @property
    def wrong(self) -> Floats:
        """How wrong answers are spread [k, k]; diagonal 0, other entries of a row sum to 1."""
        return _wrong(self.typical)

    def learned(self, counts: Floats, steps: int = 2) -> Population:
        """Return the population after some steps towards the counts of its people.

        Parameters
        ----------
        counts : float64 [p, k, k]
            Answers of each person; rows truth.
        steps : int
        """
        k = len(self.typical)
        if k == 1:
            return self
        hits, misses, errors = _parts(counts)
        right, wrong, strength = self.right, self.wrong, self.strength
        first = FIRST_PEOPLE * _first(k)
        off = ~np.eye(k, dtype=np.bool_)
        for _ in range(steps):
            pair = np.stack([hits, misses], axis=2)
            mean = np.stack([right, 1 - right], axis=1)
            mean, of_right = _step(
                pair,
                mean,
                strength[0],
                np.stack([np.diagonal(first), FIRST_PEOPLE - np.diagonal(first)], axis=1),
            )
            right = mean[:, 0]
            of_wrong = strength[1]
            if k > 2:
                split, of_wrong = _step(
                    errors[:, off].reshape(-1, k, k - 1),
                    wrong[off].reshape(k, k - 1),
                    strength[1],
                    first[off].reshape(k, k - 1),
                )
                wrong = np.zeros((k, k))
                wrong[off] = split.ravel()
            strength = np.stack([of_right, of_wrong])
        return Population(np.diag(right) + (1 - right)[:, None] * wrong, strength)

    def confusion(self, counts: Floats) -> Floats:
        """Return each person's expected confusion matrix [p, k, k] after answers `counts`."""
        k = len(self.typical)
        if k == 1:
            return np.ones_like(counts)
        _, misses, errors = _parts(counts)
        good, bad = self.betas(counts)
        right = good / (good + bad)
        spread = errors + self.strength[1][:, None] * self.wrong
        spread *= ((1 - right) / (misses + self.strength[1]))[:, :, None]
        places = np.arange(k)
        spread[:, places, places] = right
        return spread

    def betas(self, counts: Floats) -> tuple[Floats, Floats]:
        """Return the Beta distributions of being right, (a, b) each [p, k] by truth."""
        hits, misses, _ = _parts(counts)
        s = self.strength[0]
        return hits + s * self.right, misses + s * (1 - self.right)

    def without_a_vote(self, counts: Floats, people: Ints, labels: Ints, own: Floats) -> Floats:
        """Return the chances [v, k] of votes by truth, as their people's other votes tell them.

        Parameters
        ----------
        counts : float64 [p, k, k]
        people, labels : int64 [v]
        own : float64 [v, k]
            What each vote has added to the counts of its person, by truth.
        """
        k = len(self.typical)
        if k == 1:
            return np.ones_like(own)
        hits, misses, errors = _parts(counts)
        is_hit = labels[:, None] == np.arange(k)
        taken = np.where(is_hit, own, 0.0)
        good = np.maximum(hits[people] - taken, 0) + self.strength[0] * self.right
        lost = np.maximum(misses[people] - (own - taken), 0)
        bad = lost + self.strength[0] * (1 - self.right)
        right = good / (good + bad)
        spread = np.maximum(errors[people, :, labels] - own, 0)
        spread = (spread + self.strength[1] * self.wrong[:, labels].T) / (lost + self.strength[1])
        return np.where(is_hit, right, (1 - right) * spread)


def _step(counts: Floats, mean: Floats, strength: Floats, first: Floats) -> tuple[Floats, Floats]:
    """Take one step for k Dirichlet-multinomials: counts [p, k, m], mean and first [k, m]."""
    totals = counts.sum(axis=2)
    prior = strength[:, None] * mean
    above = (digamma(counts + prior) - digamma(prior)).sum(axis=0)
    mean = prior * above + first
    mean = mean / mean.sum(axis=1, keepdims=True)
    prior = strength[:, None] * mean
    above = (mean * (digamma(counts + prior) - digamma(prior))).sum(axis=(0, 2))
    below = (digamma(totals + strength) - digamma(strength)).sum(axis=0)
    # The gamma prior adds (shape - 1) / strength above and shape / mean below.
    strength = strength * (above + 1 / strength) / (below + 2 / STRENGTH)
    return mean, strength.clip(LEAST, MOST)


def _parts(counts: Floats) -> tuple[Floats, Floats, Floats]:
    """Return right answers and wrong ones [p, k] by truth, and wrong ones by answer [p, k, k]."""
    hits = np.diagonal(counts, axis1=1, axis2=2)
    errors = counts * (1 - np.eye(counts.shape[1]))
    return hits, errors.sum(axis=2), errors


def _wrong(typical: Floats) -> Floats:
    off = typical * (1 - np.eye(len(typical)))
    return np.asarray(off / np.maximum(off.sum(axis=1, keepdims=True), 1e-300))


def _first(k: int) -> Floats:
    if k == 1:
        return np.ones((1, 1))
    other = (1 - RIGHT) / (k - 1)
    return np.full((k, k), other) + np.eye(k) * (RIGHT - other)
