"""What a click is worth: wrong answers that one more vote is expected to spare, for each galaxy.

One scale for all that a queue may serve: a first vote, one more vote, and nothing (0, against the
price of a click), in the spirit of ActiveLab (Goh & Mueller 2023, arXiv:2301.11856) and of SWAP
(Marshall et al. 2016, MNRAS 455, 1171). The answer of a galaxy is its most probable label, so it
is wrong with probability 1 - max p. One vote seldom turns an answer round, hence has no value of
its own where three have some; so m votes are looked at together and their gain is divided by m,
with the best m (the KG(*) rule of Frazier & Chick, in Frazier & Powell 2010, "Paradoxes in
learning and the marginal value of information", Decision Analysis 7, 378).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations_with_replacement
from math import comb, lgamma

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]

LOOK_AHEAD = 5
"""Votes that are looked at together."""

# Products for one galaxy: 5 votes on 5 labels, 3 on 10, 1 on 54. With more votes or labels it is
# only told apart whether a vote is for the leader, for its rival or for another.
_MOST_PRODUCTS = 3000
_BLOCK = 8192
_EASE_LEVELS = 10


def vote_gain(
    posterior: ArrayLike,
    typical: ArrayLike,
    *,
    difficulty: ArrayLike | None = None,
    look_ahead: int = LOOK_AHEAD,
) -> Doubles:
    """Expected number of wrong answers spared per click by asking one more person.

    Parameters
    ----------
    posterior : [n, k]
        What is thought of each galaxy now; rows sum to 1.
    typical : [k, k]
        How a typical person answers: row c, column l is the chance of the answer l where c is
        true; rows sum to 1.
    difficulty : [n] in [0, 1], optional
        Part of the answers to this galaxy that is a guess (any label alike) instead of `typical`.
        Rounded to tenths.
    look_ahead : int
        Votes looked at together, >= 1.

    Returns
    -------
    float64 [n]
        In [0, 1 - max p]: ``max over m <= look_ahead of (E[max p after m votes] - max p) / m``.
        Exact up to 5 labels (for 5 votes), beyond it a lower bound: the better of fewer votes,
        and of the two likeliest labels with votes for the one, the other or neither.

    Raises
    ------
    ValueError
        If shapes do not agree or these are no probabilities.
    """
    p = probabilities(posterior, "posterior")
    confusion = _confusion(typical, p.shape[1])
    if look_ahead < 1:
        raise ValueError(f"look_ahead must be 1 or more, not {look_ahead}.")
    k = p.shape[1]
    if difficulty is None:
        return _gain(p, confusion, look_ahead)
    hard = np.asarray(difficulty, dtype=np.float64)
    if hard.shape != (len(p),) or not ((hard >= 0) & (hard <= 1)).all():
        raise ValueError(f"difficulty must be {len(p)} numbers in [0, 1], one for each galaxy.")
    gains = np.zeros(len(p))
    level = np.rint(hard * _EASE_LEVELS).astype(np.int64)
    for step in np.unique(level):
        rows = level == step
        guess = step / _EASE_LEVELS
        gains[rows] = _gain(p[rows], (1 - guess) * confusion + guess / k, look_ahead)
    return gains


def first_vote_gain(
    predicted: ArrayLike,
    typical: ArrayLike,
    learning: float,
    *,
    difficulty: ArrayLike | None = None,
    look_ahead: int = LOOK_AHEAD,
) -> Doubles:
    """Expected number of wrong answers spared by a first vote, on the scale of `vote_gain`.

    A galaxy that nobody has seen has the model's answer. A vote may correct it, and teaches the
    model, which answers for all the others.

    Parameters
    ----------
    predicted : [m, k]
        What the model says of the galaxies without a vote: calibrated, and bounded as the one
        witness that it is.
    typical, difficulty, look_ahead
        As for `vote_gain`.
    learning : float
        Wrong answers of the model that a label of an average galaxy of these spares elsewhere,
        >= 0; see `learning_gain`. Shared out in proportion to 1 - max p: a galaxy that the model
        knows teaches it nothing.

    Returns
    -------
    float64 [m]
    """
    if not (np.isfinite(learning) and learning >= 0):
        raise ValueError(f"learning must be a finite number, 0 or more, not {learning}.")
    own = vote_gain(predicted, typical, difficulty=difficulty, look_ahead=look_ahead)
    doubt = 1 - probabilities(predicted, "predicted").max(axis=1, initial=0)
    mean = doubt.mean() if len(doubt) else 0.0
    share = doubt / mean if mean > 1e-12 else np.zeros(len(doubt))
    return own + learning * share


def learning_gain(labels: ArrayLike, errors: ArrayLike, remaining: float) -> float:
    """Wrong answers of the model that one more label spares in the galaxies without one.

    Parameters
    ----------
    labels : [t]
        Numbers of labels that the model was trained with, >= 1.
    errors : [t] in [0, 1]
        Share of its answers that were wrong on galaxies that it had not seen.
    remaining : float
        Galaxies that the model answers for, >= 0.

    Returns
    -------
    float
        ``b / n * remaining`` from the least squares fit ``error = a - b log n``, n being the
        largest of `labels`; 0 where the error does not fall, or with fewer than two different
        numbers of labels.

    Notes
    -----
    Errors of classifiers fall as a power of the number of labels (Hestness et al. 2017,
    arXiv:1712.00409); over a few doublings a logarithm cannot be told from it and needs no guess
    of where it ends.
    """
    n = np.asarray(labels, dtype=np.float64)
    e = np.asarray(errors, dtype=np.float64)
    if n.ndim != 1 or n.shape != e.shape:
        raise ValueError(f"Lengths differ: labels {n.shape}, errors {e.shape}.")
    if not (np.isfinite(n).all() and (n >= 1).all() and ((e >= 0) & (e <= 1)).all()):
        raise ValueError("labels must be numbers from 1 on, and errors shares in [0, 1].")
    if not (np.isfinite(remaining) and remaining >= 0):
        raise ValueError(f"remaining must be a finite number, 0 or more, not {remaining}.")
    if len(np.unique(n)) < 2:
        return 0.0
    x = np.log(n) - np.log(n).mean()
    fall = -float(x @ e) / float(x @ x)
    return max(fall, 0.0) / float(n.max()) * float(remaining)


def probabilities(rows: ArrayLike, name: str) -> Doubles:
    """Return rows ``[n, k]`` of probabilities as float64, exactly of sum 1.

    Raises
    ------
    ValueError
        If they are no probabilities (rounding of 0.001 is forgiven).
    """
    p = np.asarray(rows, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] < 1:
        raise ValueError(f"{name} must be a table [galaxies, labels], not of shape {p.shape}.")
    sums = p.sum(axis=1)
    good = (p >= -1e-9).all(axis=1) & (np.abs(sums - 1) <= 1e-3)
    if not good.all():
        bad = int(np.flatnonzero(~good)[0])
        raise ValueError(
            f"Row {bad} of {name} are no probabilities (they must be 0 or more and sum to 1): "
            f"{p[bad][:10].tolist()}."
        )
    return np.clip(p, 0, None) / np.clip(p, 0, None).sum(axis=1, keepdims=True)


def _confusion(typical: ArrayLike, k: int) -> Doubles:
    confusion = probabilities(typical, "typical")
    if confusion.shape != (k, k):
        raise ValueError(
            f"typical must be [{k}, {k}] as there are {k} labels, not of shape {confusion.shape}."
        )
    return confusion


def _gain(p: Doubles, confusion: Doubles, look_ahead: int) -> Doubles:
    k = p.shape[1]
    if k == 1 or len(p) == 0:
        return np.zeros(len(p))
    depth = look_ahead
    while (comb(k + depth, k) - 1) * k > _MOST_PRODUCTS:
        depth -= 1
    gains = _best_rate(p, _tables(confusion, depth))
    if depth == look_ahead:
        return gains
    lead = np.argpartition(p, k - 2, axis=1)[:, -2:]
    two = np.take_along_axis(p, lead, axis=1)
    pair = lead[:, 0] * k + lead[:, 1]
    order = np.argsort(pair, kind="stable")
    starts = np.flatnonzero(np.diff(pair[order], prepend=-1))
    for rows in np.split(order, starts[1:]):
        votes = confusion[lead[rows[0]]]
        told = votes[:, lead[rows[0]]]
        merged = np.column_stack([told, np.clip(1 - told.sum(axis=1), 0, 1)])
        bound = _best_rate(two[rows], _tables(merged, look_ahead))
        gains[rows] = np.maximum(gains[rows], bound)
    return gains


def _tables(chances: Doubles, look_ahead: int) -> list[Doubles]:
    """For m = 1, 2...: the chance ``[outcomes, c]`` of each outcome of m votes where c is true."""
    # log(1e-300) to the power 1 leaves nothing of a product, and 0 times it is 0.
    logs = np.log(np.maximum(chances, 1e-300))
    tables = []
    for votes in range(1, look_ahead + 1):
        counts, ways = _outcomes(chances.shape[1], votes)
        tables.append(np.exp(ways[:, None] + counts @ logs.T))
    return tables


@lru_cache(maxsize=64)
def _outcomes(labels: int, votes: int) -> tuple[NDArray[np.int64], Doubles]:
    """Counts ``[outcomes, labels]`` of so many votes; log of the number of ways to each."""
    drawn = list(combinations_with_replacement(range(labels), votes))
    counts = np.array([np.bincount(row, minlength=labels) for row in drawn], dtype=np.int64)
    ways = [lgamma(votes + 1) - sum(lgamma(c + 1) for c in row) for row in counts.tolist()]
    return counts, np.array(ways)


def _best_rate(p: Doubles, tables: list[Doubles]) -> Doubles:
    """Best over m of the expected rise of max p by m votes, per vote."""
    best = np.zeros(len(p))
    for start in range(0, len(p), _BLOCK):
        block = np.ascontiguousarray(p[start : start + _BLOCK].T)
        now = block.max(axis=0)
        likeliest, product = np.empty_like(now), np.empty_like(now)
        for votes, table in enumerate(tables, start=1):
            # The sum over outcomes of max(p L): Bayes' denominators cancel.
            after = np.zeros_like(now)
            for chances in table.tolist():
                np.multiply(block[0], chances[0], out=likeliest)
                for label, chance in enumerate(chances[1:], start=1):
                    np.multiply(block[label], chance, out=product)
                    np.maximum(likeliest, product, out=likeliest)
                after += likeliest
            rate = (after - now) / votes
            # Sums that should cancel leave dust of 1e-16, which would order the queue.
            rate[rate < 1e-12] = 0.0
            np.maximum(best[start : start + _BLOCK], rate, out=best[start : start + _BLOCK])
    return best
