"""The order of a queue that looks for objects of interest."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def interest_order(
    probability: ArrayLike, doubt: ArrayLike, explore: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Order a queue that shows what is probably of interest, and learns on the way.

    Parameters
    ----------
    probability : [n]
        Of being of interest.
    doubt : [n]
        How much an answer would teach, larger is more (uncertainty, or with diversity).
    explore : float
        Share of the places that go by `doubt`, in [0, 1]: 0 only exploits, 1 only explores. They
        are spread evenly over the queue.
    rng : numpy.random.Generator
        Breaks ties, and decides where in the queue the first place for doubt is.

    Returns
    -------
    int64 [n]
        Every row once, the one to be seen first in front.

    Raises
    ------
    ValueError
        If lengths differ, a value is not finite, or `explore` is out of range.
    """
    p, u = np.asarray(probability, np.float64), np.asarray(doubt, np.float64)
    if p.ndim != 1 or p.shape != u.shape:
        raise ValueError(f"Probabilities {p.shape} and doubts {u.shape} must be of one length.")
    if not (np.isfinite(p).all() and np.isfinite(u).all()):
        raise ValueError("Probabilities and doubts must be finite.")
    if not 0 <= explore <= 1:
        raise ValueError(f"The share that explores must be in [0, 1], not {explore}.")
    n = len(p)
    chance = rng.permutation(n)
    likely, doubtful = (np.lexsort((chance, -values)) for values in (p, u))
    # Place i is for doubt where the running share passes a whole number.
    running = np.floor(np.arange(n + 1) * explore + rng.random())
    turns = np.diff(running) > 0
    taken_rows = np.zeros(n, dtype=np.bool_)
    order = np.empty(n, dtype=np.int64)
    ahead = [0, 0]
    for place in range(n):
        by_doubt = int(turns[place])
        ranking = doubtful if by_doubt else likely
        while taken_rows[ranking[ahead[by_doubt]]]:
            ahead[by_doubt] += 1
        order[place] = ranking[ahead[by_doubt]]
        taken_rows[order[place]] = True
    return order
