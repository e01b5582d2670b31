"""Ways to spend votes on galaxies, from the plainest to ours, on the same simulated people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from crowdkit.aggregation import DawidSkene
from numpy.typing import NDArray

from crowding.galaxy_zoo import CrowdQuestion, Floats, Ints, SimulatedCrowd, Votes
from ml_backend.loop.acquisition import cold_start
from ml_backend.loop.consensus import Consensus
from ml_backend.loop.training import train
from models.crowd.choices import ChoiceCrowd
from models.crowd.retirement import RetirementRule, judge
from models.crowd.value import first_vote_gain, learning_gain, vote_gain

CONTROL = "answer"
FIRST_ROUND = 50
"""Votes of a round, or an eighth of those cast where that is more: later ones change less."""

MOST_VOTES = 12
"""Votes per galaxy after which the arms that choose are cut off."""


@dataclass(frozen=True)
class Moment:
    """What an arm would answer after so many votes.

    Attributes
    ----------
    votes : float
        Per galaxy.
    said : float64 [n, k]
        Probability of each answer; of a majority vote the fractions.
    states : str [n] or None
        Of `models.crowd.retirement.STATES`, where the arm retires galaxies.
    """

    votes: float
    said: Floats
    states: NDArray[np.str_] | None = None


_RULE = RetirementRule(most_people=40)

Arm = Callable[[CrowdQuestion, NDArray[np.float16], SimulatedCrowd, int, Floats], list[Moment]]
"""(question, embeddings [n, d], people, seed, votes per galaxy at which to look) -> moments."""


def _at_random(crowd: SimulatedCrowd, seed: int, most: float) -> Votes:
    """As many votes on each galaxy, in a random order within each time round."""
    votes, rng = Votes.none(crowd, seed), np.random.default_rng([seed, 2])
    while votes.per_task.min() < most:
        votes.ask(rng.permutation(len(crowd.said)))
    return votes


def majority(
    question: CrowdQuestion,
    embeddings: NDArray[np.float16],
    crowd: SimulatedCrowd,
    seed: int,
    moments: Floats,
) -> list[Moment]:
    """As many votes on each galaxy, and what most say; ties are broken at random."""
    n, k = question.fractions.shape
    votes, dice = _at_random(crowd, seed, moments[-1]), np.random.default_rng([seed, 3])
    found = []
    for moment in moments:
        counts = votes.first(round(moment * n)).counts
        # Too small to matter but between equals.
        counts = counts + 1e-6 * dice.random((n, k))
        found.append(Moment(float(moment), counts / counts.sum(axis=1, keepdims=True)))
    return found


def dawid_skene(
    question: CrowdQuestion,
    embeddings: NDArray[np.float16],
    crowd: SimulatedCrowd,
    seed: int,
    moments: Floats,
) -> list[Moment]:
    """As many votes on each galaxy, and crowd-kit's Dawid-Skene."""
    n, k = question.fractions.shape
    votes = _at_random(crowd, seed, moments[-1])
    found = []
    for moment in moments:
        some = votes.first(round(moment * n))
        frame = pd.DataFrame({"task": some.tasks, "worker": some.people, "label": some.labels})
        table = DawidSkene(n_iter=100).fit_predict_proba(frame)
        said = np.full((n, k), 0.0)
        said[np.ix_(table.index.to_numpy(), table.columns.to_numpy())] = table.to_numpy()
        unseen = said.sum(axis=1) < 0.5
        said[unseen] = said[~unseen].mean(axis=0)
        found.append(Moment(float(moment), said))
    return found


def swap(
    question: CrowdQuestion,
    embeddings: NDArray[np.float16],
    crowd: SimulatedCrowd,
    seed: int,
    moments: Floats,
) -> list[Moment]:
    """Random galaxies that are not retired; posterior and people updated vote by vote.

    In the spirit of SWAP (Marshall et al. 2016), without its training images: a vote moves its
    galaxy's posterior by its person's confusion matrix, and the matrix by that posterior. Retired
    at 0.95, without a way back.
    """
    n, k = question.fractions.shape
    votes, rng = Votes.none(crowd, seed), np.random.default_rng([seed, 2])
    start = np.full((k, k), 0.25 / max(k - 1, 1))
    np.fill_diagonal(start, 0.75)
    counts = np.repeat(4 * start[None], len(crowd.skill), axis=0)
    said = np.full((n, k), 1 / k)
    retired = np.zeros(n, dtype=bool)
    found: list[Moment] = []
    for moment in moments:
        while len(votes) < round(moment * n) and not retired.all():
            open_ = np.flatnonzero(~retired)
            number = min(FIRST_ROUND, round(moment * n) - len(votes), len(open_))
            votes.ask(rng.permutation(open_)[:number])
            for row in range(len(votes) - number, len(votes)):
                galaxy, person, label = votes.tasks[row], votes.people[row], votes.labels[row]
                chance = counts[person, :, label] / counts[person].sum(axis=1)
                said[galaxy] *= chance
                said[galaxy] /= said[galaxy].sum()
                counts[person, :, label] += said[galaxy]
            retired = said.max(axis=1) >= 0.95
        states = np.where(retired, "retired", "open")
        found.append(Moment(len(votes) / n, said.copy(), states))
    return found


@dataclass(frozen=True)
class OurArm:
    """Our posterior, our choice of who gets the next vote, and our retirement.

    Parameters
    ----------
    model : bool
        Whether heads are trained on the LVM's embeddings and heard as a witness.
    choice : bool
        Whether votes go where they are worth most; else to all alike.
    rule : RetirementRule
    """

    model: bool = True
    choice: bool = True
    rule: RetirementRule = _RULE

    def __call__(
        self,
        question: CrowdQuestion,
        embeddings: NDArray[np.float16],
        crowd: SimulatedCrowd,
        seed: int,
        moments: Floats,
    ) -> list[Moment]:
        """Run the arm (see `Arm`)."""
        n = len(question)
        votes, rng = Votes.none(crowd, seed), np.random.default_rng([seed, 2])
        plain = _at_random(crowd, seed, moments[-1]) if not self.choice else None
        taught: list[tuple[int, float]] = []
        found: list[Moment] = []
        order = rng.permutation(n)
        if self.model and self.choice:
            order = cold_start(embeddings, FIRST_ROUND, rng).order
        for moment in moments:
            wanted = round(moment * n)
            while len(votes) < wanted:
                number = min(max(FIRST_ROUND, len(votes) // 8), wanted - len(votes))
                if plain is not None:
                    votes = plain.first(wanted)
                elif not len(votes):
                    votes.ask(order[:number])
                else:
                    states, gain, _ = self._look(question, embeddings, votes, seed, taught)
                    # Equals in random order, or the first galaxies would have all first votes.
                    best = np.lexsort((rng.random(n), -gain))
                    best = best[states[best] == "open"][:number]
                    if not len(best):
                        break
                    votes.ask(best)
            states, _, said = self._look(question, embeddings, votes, seed, taught)
            found.append(Moment(len(votes) / n, said, states))
        return found

    def _look(
        self,
        question: CrowdQuestion,
        embeddings: NDArray[np.float16],
        votes: Votes,
        seed: int,
        taught: list[tuple[int, float]],
    ) -> tuple[NDArray[np.str_], Floats, Floats]:
        n, k = question.fractions.shape
        shape = (n, len(votes.crowd.skill), k)
        crowd = ChoiceCrowd.fit(votes.tasks, votes.people, votes.labels, shape)
        people = votes.per_task
        seen, said, told = people > 0, crowd.posterior, None
        if self.model:
            told = _told(question, embeddings, crowd.posterior, np.flatnonzero(seen), seed)
            said = crowd.with_witness(told)
            wrong = told[seen].argmax(axis=1) != crowd.posterior[seen].argmax(axis=1)
            taught.append((int(seen.sum()), float(wrong.mean())))
        gain = vote_gain(said, crowd.typical)
        if self.model and not seen.all():
            labels, errors = (np.array(column) for column in zip(*taught, strict=True))
            learning = learning_gain(labels, errors, float((~seen).sum()))
            gain[~seen] = first_vote_gain(said[~seen], crowd.typical, learning)
        states = judge(said, people, gain, self.rule, predicted=told).states
        return states, gain, said


def _told(
    question: CrowdQuestion,
    embeddings: NDArray[np.float16],
    posterior: Floats,
    seen: Ints,
    seed: int,
) -> Floats:
    """What the head of the loop says of all galaxies; of those with votes, out of fold."""
    agreed = Consensus(
        question.labels,
        False,
        seen,
        posterior[seen].astype(np.float32),
        np.ones(len(seen), np.float32),
    )
    trained = train({CONTROL: agreed}, np.arange(len(embeddings)), embeddings, seed=seed)
    control = trained.controls[CONTROL]
    told = control.head.predict(embeddings).astype(np.float64)
    told[seen] = control.unseen.probabilities
    return np.asarray(told / told.sum(axis=1, keepdims=True))


ARMS: dict[str, Arm] = {
    "majority, all alike": majority,
    "Dawid-Skene (crowd-kit), all alike": dawid_skene,
    "SWAP-like": swap,
    "ours, all alike": OurArm(choice=False),
    "ours, without the model": OurArm(model=False),
    "ours": OurArm(),
    "ours, sure to 0.99": OurArm(rule=RetirementRule(confidence=0.99, most_people=40)),
}
