"""The population of people: what a newcomer is expected to answer, and how much people differ.

A person's answers to galaxies of one truth j are drawn from a Dirichlet-multinomial around row j
of the population's confusion matrix, ``typical``; ``strength`` j says how alike people are. Both
are learned from all people at once by the fixed-point steps of Minka (2000), "Estimating a
Dirichlet distribution", so that few votes of a person lean on everybody's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

Floats = NDArray[np.float64]

# What is believed before any vote: as if FIRST_PEOPLE people had been seen, right RIGHT of the
# time, wrong answers spread evenly. It says which label is which, and fades with real people.
FIRST_PEOPLE = 4.0
RIGHT = 0.75
# People differ as if each had shown this many answers per truth already: a gamma prior of shape
# 2 and this mean, which leaves the choice to the data. Below LEAST a row would forget the others.
STRENGTH = 10.0
LEAST, MOST = 1.0, 200.0


@dataclass(frozen=True)
class Population:
    """What people answer on the whole.

    Attributes
    ----------
    typical : float64 [k, k]
        Rows: truth, columns: answer; rows sum to 1.
    strength : float64 [k]
        By truth: answers of their own that weigh as much as the population's row.
    """

    typical: Floats
    strength: Floats

    @classmethod
    def before_votes(cls, k: int) -> Population:
        """Return what is believed of people nobody has seen."""
        return cls(_first(k), np.full(k, STRENGTH))

    @property
    def prior(self) -> Floats:
        """Parameters of the Dirichlet of each row [k, k]."""
        return self.strength[:, None] * self.typical

    def learned(self, counts: Floats, steps: int = 2) -> Population:
        """Return the population after some steps towards the counts of its people.

        Parameters
        ----------
        counts : float64 [p, k, k]
            Answers of each person; rows truth.
        steps : int
        """
        k = len(self.strength)
        typical, strength = self.typical, self.strength
        first = FIRST_PEOPLE * _first(k)
        totals = counts.sum(axis=2)
        for _ in range(steps):
            prior = strength[:, None] * typical
            above = (digamma(counts + prior) - digamma(prior)).sum(axis=0)
            typical = prior * above + first
            typical = typical / typical.sum(axis=1, keepdims=True)
            prior = strength[:, None] * typical
            above = (typical * (digamma(counts + prior) - digamma(prior))).sum(axis=(0, 2))
            below = (digamma(totals + strength) - digamma(strength)).sum(axis=0)
            # The gamma prior adds (shape - 1) / strength above and shape / mean below.
            strength = strength * (above + 1 / strength) / (below + 2 / STRENGTH)
            strength = strength.clip(LEAST, MOST)
        return Population(typical, strength)


def _first(k: int) -> Floats:
    if k == 1:
        return np.ones((1, 1))
    return np.full((k, k), (1 - RIGHT) / (k - 1)) + np.eye(k) * (RIGHT - (1 - RIGHT) / (k - 1))
