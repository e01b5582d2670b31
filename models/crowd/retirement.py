"""Retirement: whether a galaxy has votes enough, and why, from what is known of it now.

`judge` looks at the present alone. A galaxy whose posterior falls, because a vote was edited or
deleted or because a person turns out to be unreliable, is open again at the next judgement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.crowd.value import probabilities

STATES = ("open", "retired", "expert")

# Why, as `_sentence` words it.
_UNSEEN, _LONE, _UNSURE, _SURE, _BACKED, _CLEAR, _SPLIT, _IDLE_CLEAR, _IDLE = range(9)
_STATE_OF = np.array([0, 0, 0, 1, 1, 1, 2, 1, 2])


@dataclass(frozen=True)
class RetirementRule:
    """When a galaxy has votes enough.

    Parameters
    ----------
    confidence : float
        Posterior of the likeliest answer from which on a galaxy is retired, in (0.5, 1).
    most_people : int
        Answers after which nobody else is asked, >= 1.
    least_people : int or None
        Answers without which no posterior is believed, >= 1. None: 2, since a posterior above
        0.95 after one answer rests on the estimate of one person's reliability alone; but 1 where
        the model, a witness who did not see that answer, agrees with `agreement` or more, and
        where `most_people` is 1.
    agreement : float
        Calibrated probability that the model must give to the same answer, in (0, 1].
    clear : float
        When votes end below `confidence`, the likeliest answer is taken where it is so many times
        as probable as the next one, else experts decide; >= 1.
    price : float
        Wrong answers that a click must be expected to spare, >= 0: below it no more votes are
        asked for. The default ends the asking where a thousand clicks would correct one answer.
    """

    confidence: float = 0.95
    most_people: int = 10
    least_people: int | None = None
    agreement: float = 0.8
    clear: float = 3.0
    price: float = 0.001

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1:
            raise ValueError(f"confidence must lie between 0.5 and 1, not {self.confidence}.")
        if self.most_people < 1:
            raise ValueError(f"most_people must be 1 or more, not {self.most_people}.")
        if self.least_people is not None and not 1 <= self.least_people <= self.most_people:
            raise ValueError(
                f"least_people must lie between 1 and most_people ({self.most_people}), not "
                f"{self.least_people}."
            )
        if not 0 < self.agreement <= 1:
            raise ValueError(f"agreement must lie between 0 and 1, not {self.agreement}.")
        if not 1 <= self.clear < np.inf:
            raise ValueError(f"clear must be a finite number, 1 or more, not {self.clear}.")
        if not 0 <= self.price < np.inf:
            raise ValueError(f"price must be a finite number, 0 or more, not {self.price}.")


@dataclass(frozen=True)
class Judgement:
    """Which galaxies have votes enough.

    Attributes
    ----------
    states : str [n]
        One of `STATES`: ``open`` (more votes are wanted), ``retired``, or ``expert`` (votes
        cannot tell).
    reasons : str [n], of Python strings
        In a sentence.
    """

    states: NDArray[np.str_]
    reasons: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.states)


def judge(
    posterior: ArrayLike,
    people: ArrayLike,
    gain: ArrayLike,
    rule: RetirementRule,
    *,
    predicted: ArrayLike | None = None,
    labels: Sequence[str] | None = None,
) -> Judgement:
    """Decide for each galaxy whether it has votes enough.

    Parameters
    ----------
    posterior : [n, k]
        What is thought of each galaxy now; rows sum to 1.
    people : int [n]
        People who answered, >= 0. Without one a galaxy is open, whatever its posterior.
    gain : [n]
        Wrong answers that one more vote is expected to spare (`models.crowd.value.vote_gain`).
    rule : RetirementRule
    predicted : [n, k], optional
        The model's calibrated word, by a model that did not see the votes; without it the model
        vouches for nothing.
    labels : k of str, optional
        Names of the answers, for the reasons.

    Raises
    ------
    ValueError
        If shapes do not agree or numbers are out of range.
    """
    p = probabilities(posterior, "posterior")
    n, k = p.shape
    votes = np.asarray(people)
    worth = np.asarray(gain, dtype=np.float64)
    if votes.shape != (n,) or not np.issubdtype(votes.dtype, np.integer) or (votes < 0).any():
        raise ValueError(f"people must be {n} whole numbers, 0 or more, one for each galaxy.")
    if worth.shape != (n,) or np.isnan(worth).any():
        raise ValueError(f"gain must be {n} numbers, one for each galaxy.")
    names = [f"answer {place + 1}" for place in range(k)] if labels is None else list(labels)
    if len(names) != k:
        raise ValueError(f"There are {k} answers in the posterior, but {len(names)} labels.")
    top = p.argmax(axis=1)
    best = np.take_along_axis(p, top[:, None], axis=1)[:, 0]
    second = np.partition(p, k - 2, axis=1)[:, k - 2] if k > 1 else np.zeros(n)
    backing: NDArray[np.float64] = np.zeros(n)
    if predicted is not None:
        word = probabilities(predicted, "predicted")
        if word.shape != p.shape:
            raise ValueError(f"predicted is {word.shape}, the posterior {p.shape}.")
        backing = np.take_along_axis(word, top[:, None], axis=1)[:, 0]

    backed = backing >= rule.agreement
    if rule.least_people is None:
        least = np.where(backed, 1, min(2, rule.most_people))
        # Said only where the model was needed.
        vouched = backed & (votes < min(2, rule.most_people))
    else:
        least, vouched = np.full(n, rule.least_people), np.zeros(n, dtype=bool)
    enough = votes >= least
    sure = best >= rule.confidence
    clear = best >= rule.clear * second
    idle = worth < rule.price
    why = np.select(
        [
            votes == 0,
            enough & sure & vouched,
            enough & sure,
            (votes >= rule.most_people) & clear,
            votes >= rule.most_people,
            ~enough & sure,
            enough & idle & clear,
            enough & idle,
        ],
        [_UNSEEN, _BACKED, _SURE, _CLEAR, _SPLIT, _LONE, _IDLE_CLEAR, _IDLE],
        _UNSURE,
    )
    states = np.array(STATES)[_STATE_OF[why]]

    # As many sentences as there are different ones, not a million.
    percents = [_percent(best), _percent(second), _percent(backing)]
    backing_shown = np.where(why == _BACKED, percents[2], 0)
    other = np.where(why == _SPLIT, _runner_up(p, top), 0)
    keys = np.column_stack([why, top, other, votes, percents[0], percents[1], backing_shown])
    distinct, place = _distinct(keys)
    reasons = np.empty(n, dtype=object)
    if n:
        sentences = [_sentence(row, names, rule) for row in distinct.tolist()]
        reasons[:] = np.array(sentences, dtype=object)[place]
    return Judgement(states, reasons)


def together(judgements: Sequence[Judgement]) -> Judgement:
    """Join what is judged of several questions about the same galaxies.

    A galaxy is open while any question is, else goes to experts if any does, else is retired; its
    reason is that of the first question that decides.

    Raises
    ------
    ValueError
        Without a judgement, or if they are of different numbers of galaxies.
    """
    if not judgements or len({len(one) for one in judgements}) > 1:
        raise ValueError("Join one judgement or more, all of the same galaxies.")
    order = {"open": 0, "expert": 1, "retired": 2}
    ranks = np.array([[order[state] for state in one.states] for one in judgements])
    first = ranks.reshape(len(judgements), -1).argmin(axis=0)
    rows = np.arange(len(first))
    states = np.stack([one.states for one in judgements])[first, rows]
    return Judgement(states, np.stack([one.reasons for one in judgements])[first, rows])


def _percent(values: NDArray[np.float64]) -> NDArray[np.int64]:
    # Downwards: 94.9 % must not be shown as the 95 % that it falls short of.
    return np.floor(values * 100 + 1e-9).astype(np.int64)


def _runner_up(p: NDArray[np.float64], top: NDArray[np.int64]) -> NDArray[np.int64]:
    others = p.copy()
    np.put_along_axis(others, top[:, None], -1.0, axis=1)
    return others.argmax(axis=1)


def _distinct(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the different rows, and for each row which of them it is."""
    distinct, place = np.unique(keys, axis=0, return_inverse=True)
    return distinct, place.reshape(-1)


def _sentence(row: list[int], names: Sequence[str], rule: RetirementRule) -> str:
    why, top, other, votes, best, second, backing = row
    answer = f"'{names[top]}'"
    said = f"{votes} answer" + ("" if votes == 1 else "s")
    wanted = f"{100 * rule.confidence:.4g} %"
    if why == _UNSEEN:
        return "Open: nobody has answered yet."
    if why == _LONE:
        if rule.least_people is None:
            return (
                f"Open: {answer} is {best} % sure after {said}, but one person whom the model does "
                "not back is not enough."
            )
        return (
            f"Open: {answer} is {best} % sure after {said}, but {rule.least_people} are asked for "
            "in any case."
        )
    if why == _UNSURE:
        return f"Open: {answer} is {best} % sure after {said}, {wanted} are wanted."
    if why == _SURE:
        return f"Retired: {answer} is {best} % sure after {said}, {wanted} are wanted."
    if why == _BACKED:
        return (
            f"Retired: {answer} is {best} % sure after {said}, and the model, which did not see "
            f"it, gives the same answer {backing} %."
        )
    if why == _CLEAR:
        return (
            f"Retired: {answer} is {best} % sure after {said}, which is the most; the next answer "
            f"has {second} %."
        )
    if why == _SPLIT:
        return (
            f"For experts: {said}, which is the most, leave {answer} at {best} % and "
            f"'{names[other]}' at {second} %."
        )
    few = f"fewer than one in {1 / rule.price:,.0f} further answers would correct a wrong one"
    if why == _IDLE_CLEAR:
        return f"Retired: {answer} is {best} % sure after {said}, and {few}."
    return f"For experts: {answer} is only {best} % sure after {said}, yet {few}."
