"""The crowd's answer to a choice: Dawid-Skene with a population of people, and doubt kept honest.

The model (after Dawid and Skene 1979, with the hierarchy of Kim and Ghahramani 2012): the truth z
of a task is drawn from `prevalence`; person p answers l with chance ``confusion[p, z, l]``, whose
rows are drawn around the `typical` rows of the population (see `models.crowd.population`). Both
are found by expectation and maximisation over sparse tables, from the share of votes on. The
posterior of a task with m votes is

    posterior_j  ~  prevalence_j * (product over votes of confusion[p, j, l]) ** worth(m)

where ``worth`` (see `models.crowd.correlation`) takes back what votes on one task repeat.

Lone votes (one on a task whose answer is not known) say nothing of their person: nothing stands
beside them. They get a posterior, and do not count towards confusions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from models.crowd.anchoring import anchored
from models.crowd.correlation import fit_correlation, worth
from models.crowd.difficulty import difficulties
from models.crowd.population import Population
from models.crowd.rarity import expected_shares
from models.crowd.vote_table import VoteTable
from models.crowd.witness import bound_of, good_person, testimony, trust_in

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEPS = 200
_STILL = 1e-5
# A Dirichlet prior on the prevalence, as of this many tasks (see `models.crowd.rarity`): few votes
# tell it badly, and without the prior drive it to the extremes.
_FIRST_TASKS = 100.0
_TAIL = 0.05


@dataclass
class ChoiceCrowd:
    """What people's votes on one list of choices say, and what they say of the people.

    Attributes
    ----------
    posterior : float64 [n, k]
        Of votes and known answers alone; rows sum to 1. A known answer has 1.
    confusion : float64 [p, k, k]
        Of each person: rows truth, columns answer; rows sum to 1.
    typical : float64 [k, k]
        Of the population: what a newcomer is expected to answer.
    prevalence : float64 [k]
    difficulty : float64 [n]
        In [0, 1]; one half: people agree as their reliability lets expect; larger: less. What is
        expected of a new task where a task has no votes.
    correlation : float
        How much votes on a task repeat each other, from 0 (not) on.
    votes_of_person : float64 [p]
        Votes that say something of the person (beside another's vote or a known answer).
    trust : float
        Weight of the model as a witness, in [0, 3]; learned by `with_witness`, 1 before.
    """

    posterior: Floats
    confusion: Floats
    typical: Floats
    prevalence: Floats
    difficulty: Floats
    correlation: float
    votes_of_person: Floats
    trust: float
    _evidence: Floats
    _per_task: Floats
    _known: NDArray[np.bool_]
    _betas: tuple[Floats, Floats]
    _own: Floats
    _strength: Floats

    @classmethod
    def fit(
        cls,
        tasks: ArrayLike,
        people: ArrayLike,
        labels: ArrayLike,
        shape: tuple[int, int, int],
        *,
        gold: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> ChoiceCrowd:
        """Fit the crowd.

        Parameters
        ----------
        tasks, people, labels : int64 [v]
            Of each vote; those on a task in the order in which they were cast (which only
            `correlation` looks at).
        shape : (int, int, int)
            Numbers of tasks n, people p and labels k.
        gold : int64 [n], optional
            The known answer of each task; -1 where it is not known.
        weights : float64 [v], optional
            Share of a person's vote, in (0, 1]: below 1 where one person named several labels.

        Raises
        ------
        ValueError
            If votes or known answers lie outside `shape`.
        """
        votes = VoteTable.of(tasks, people, labels, shape, weights)
        n, _, k = votes.shape
        known, clamped = _clamps(gold, n, k)
        checked = known | (votes.per_task > 1.0 + 1e-9)
        expected = _FIRST_TASKS * expected_shares(votes.counts, clamped)
        of_known = votes.confusions(clamped)
        population = Population.before_votes(k)
        posterior = (votes.counts + 1 / k) / (votes.per_task + 1)[:, None]
        posterior[known] = clamped[known]
        evidence: Floats = np.zeros((n, k))
        prevalence: Floats = np.full(k, 1 / k)
        counts: Floats = np.zeros((votes.shape[1], k, k))
        confusion = population.confusion(counts)
        for _ in range(_STEPS):
            counts = anchored(votes.confusions(posterior * checked[:, None]), of_known)
            population = population.learned(counts)
            confusion = population.confusion(counts)
            evidence = votes.evidence(np.log(confusion))
            prevalence = (posterior.sum(axis=0) + expected) / (n + _FIRST_TASKS)
            before, posterior = posterior, _normal(np.log(prevalence) + evidence)
            posterior[known] = clamped[known]
            if n == 0 or np.abs(posterior - before).mean() < _STILL:
                break
        correlation = fit_correlation(votes, posterior, counts, population, prevalence, known)
        per_task = votes.per_task
        posterior = _normal(np.log(prevalence) + worth(per_task, correlation)[:, None] * evidence)
        posterior[known] = clamped[known]
        return cls(
            posterior,
            confusion,
            population.typical,
            prevalence,
            difficulties(votes, confusion, prevalence, clamped),
            correlation,
            votes.confusions(checked[:, None].astype(np.float64) @ np.full((1, k), 1 / k)).sum(
                axis=(1, 2)
            ),
            1.0,
            evidence,
            per_task,
            known,
            population.betas(counts),
            counts.sum(axis=2),
            population.strength[0],
        )

    def reliability(self) -> tuple[Floats, Floats, Floats]:
        """Return the chance that an answer of each person is right: mean, low, high, each [p].

        The average over truths as they occur (`prevalence`); low and high bound the central
        90 % of a Beta distribution with the mean and variance of that average.
        """
        good, bad = self._betas
        right = good / (good + bad)
        mean = right @ self.prevalence
        # A person careful with one truth is so with others: what the population tells counts once,
        # not once for each truth.
        shared = self.prevalence * (self._strength + 1)
        variance = (right * (1 - right) / (self._own + shared)) @ self.prevalence**2
        if self.confusion.shape[1] == 1:
            return np.ones_like(mean), np.ones_like(mean), np.ones_like(mean)
        size = np.maximum(mean * (1 - mean) / np.maximum(variance, 1e-12) - 1, 1e-3)
        low, high = (betaincinv(mean * size, (1 - mean) * size, q) for q in (_TAIL, 1 - _TAIL))
        return mean, low, high

    def usefulness(self) -> Floats:
        """Return how much a vote of each person tells [p], from 0 (nothing) to 1 (a good person).

        ``(r - 1/k) / (g - 1/k)``, cut to that range: r is the chance to be right averaged over
        truths alike, so that who always answers the same tells nothing however common that
        answer; g is the upper quartile of r over people.
        """
        k = len(self.prevalence)
        if k == 1 or not len(self.confusion):
            return np.ones(len(self.confusion))
        right = np.diagonal(self.confusion, axis1=1, axis2=2).mean(axis=1)
        good = good_person(right, self.votes_of_person)
        return ((right - 1 / k) / max(good - 1 / k, 1e-9)).clip(0, 1)

    def with_witness(self, probabilities: ArrayLike) -> Floats:
        """Return the posterior [n, k] with the model's prediction as one more witness.

        How far the model is trusted is learned anew from the tasks with votes, and kept in
        `trust`; the formula is in `models.crowd.witness`. Known answers stay.

        Parameters
        ----------
        probabilities : [n, k]
            Calibrated and out of fold (by a model that has not seen the task's votes); rows of
            NaN where there is none.
        """
        told = np.asarray(probabilities, np.float64)
        if told.shape != self.posterior.shape:
            raise ValueError(
                f"The model must say {self.posterior.shape} probabilities, not {told.shape}."
            )
        evidence = worth(self._per_task, self.correlation)[:, None] * self._evidence
        usable = (self._per_task > 0) & ~self._known
        self.trust = trust_in(told[usable], evidence[usable], self.prevalence, self.bound)
        word = testimony(told, self.prevalence, self.trust, self.bound)
        found = _normal(np.log(self.prevalence) + evidence + word)
        found[self._known] = self.posterior[self._known]
        return found

    def update(
        self, people: ArrayLike, labels: ArrayLike, witness: ArrayLike | None = None
    ) -> Floats:
        """Return the posterior [k] of one task with all its votes, one of them perhaps new.

        What is thought of the people stays as fitted; the next `fit` learns from the vote.

        Parameters
        ----------
        people : int [m]
            Who voted; -1, or a number not known at `fit`: a newcomer, taken as typical.
        labels : int [m]
        witness : [k], optional
            The model's calibrated prediction.
        """
        k = len(self.prevalence)
        count = np.asarray(labels).size
        votes = VoteTable.of(np.zeros(count, np.int64), np.arange(count), labels, (1, count, k))
        who = np.asarray(people, np.int64).reshape(-1)
        if len(who) != count:
            raise ValueError("Votes need as many people as labels.")
        seen = (who >= 0) & (who < len(self.confusion))
        chances = np.repeat(self.typical[None], len(who), axis=0)
        chances[seen] = self.confusion[who[seen]]
        total = np.log(chances[np.arange(count), :, votes.labels]).sum(axis=0)
        z = np.log(self.prevalence) + worth(np.array(float(count)), self.correlation) * total
        if witness is not None:
            told = np.asarray(witness, np.float64).reshape(1, k)
            z = z + testimony(told, self.prevalence, self.trust, self.bound)[0]
        return _normal(z[None])[0]

    def worth(self, votes: ArrayLike) -> Floats:
        """Return by what the evidence of so many votes on a task counts, in (0, 1]."""
        return worth(np.asarray(votes, np.float64), self.correlation)

    @cached_property
    def bound(self) -> float:
        """The most that the model's word moves the odds of two labels (nats)."""
        return bound_of(self.reliability()[0], self.votes_of_person, len(self.prevalence))


def _clamps(gold: ArrayLike | None, n: int, k: int) -> tuple[NDArray[np.bool_], Floats]:
    answers = np.full(n, -1) if gold is None else np.asarray(gold)
    if answers.size == 0:
        answers = answers.astype(np.int64)
    if answers.shape != (n,) or answers.dtype.kind not in "iu":
        raise ValueError(f"Known answers are one whole number a task, {n} in all.")
    if n and (answers.min() < -1 or answers.max() >= k):
        raise ValueError(f"Known answers lie between -1 (not known) and {k - 1}.")
    known = answers >= 0
    clamped = np.zeros((n, k))
    clamped[known, answers[known]] = 1.0
    return known, clamped


def _normal(z: Floats) -> Floats:
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(z / z.sum(axis=1, keepdims=True))
