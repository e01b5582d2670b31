"""Which truth is which label: a galaxy whose votes differ must not become a label of its own.

The likelihood of Dawid and Skene can be raised by giving up a rare label: its truth comes to mean
"galaxies on which people differ", or with two labels "any galaxy", and its row says that people
answer the common labels there. On Galaxy Zoo 2 with 40 votes a galaxy, a quarter of all galaxies
so become "star or artifact", with none of the votes for it. So people are taken to be better than
that at every label, also at one that hardly any galaxy has: taken over all of them, the right
answer leads. With two labels it need not quite: about half of real people miss a label that is
hard to see (the bluebirds of ``benchmarks/crowd.py``). Known answers may say worse of people.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_OF_RIGHT = 0.5
"""Part of the right answers that any one wrong answer may have, taken over all people."""

MOST_OF_TWO = 1.5
"""The same where there are two labels: people are right 2 times in 5, or more often."""

# As many right answers to known ones weigh as much as what is taken of people without them.
_TRIED = 10.0


def anchored(counts: Floats, of_known: Floats) -> Floats:
    """Return counts in which the right label leads, taken over all people.

    Parameters
    ----------
    counts : float64 [p, k, k]
        Answers of each person; rows truth.
    of_known : float64 [p, k, k]
        The part of them on galaxies whose answer is known: where it says that people are wrong
        more often than is taken for granted, they may be.

    Returns
    -------
    float64 [p, k, k]
        Wrong answers that all people together give too often are thinned by the same factor for
        all, so that who gives more of them than others still does; each person's rows keep their
        sums.
    """
    k = counts.shape[1]
    if k < 2:
        return counts
    most = MOST_OF_TWO if k == 2 else MOST_OF_RIGHT
    seen = of_known.sum(axis=0)
    limit = np.maximum(most, (seen + most * _TRIED) / (np.diagonal(seen)[:, None] + _TRIED))
    pooled = counts.sum(axis=0)
    right = np.diagonal(pooled)
    factor = np.minimum(1.0, limit * right[:, None] / np.maximum(pooled, 1e-12))
    np.fill_diagonal(factor, 1.0)
    thinned = counts * factor
    before, after = counts.sum(axis=2, keepdims=True), thinned.sum(axis=2, keepdims=True)
    # A person whose every answer of a row would go keeps it: there is nothing to put in its place.
    scale = np.divide(before, after, out=np.zeros_like(before), where=after > 1e-9)
    return np.asarray(np.where(after > 1e-9, thinned * scale, counts))
