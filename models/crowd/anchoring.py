"""Which truth is which label: a galaxy whose votes differ must not become a label of its own.

With three labels or more, the likelihood of Dawid and Skene can be raised by giving up a rare
label: its truth comes to mean "galaxies on which people differ", and its row says that people
answer the two common labels by halves. On Galaxy Zoo 2 with 40 votes a galaxy, a quarter of all
galaxies so become "star or artifact", with none of the votes for it. Where several labels are
answered to one truth, taken over all people the right one must lead. Two labels have none to
spare, and there people may well be wrong more often than right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_OF_RIGHT = 0.5
"""Part of the right answers that any one wrong answer may have, taken over all people."""


def anchored(counts: Floats) -> Floats:
    """Return counts in which the right label leads, taken over all people.

    Parameters
    ----------
    counts : float64 [p, k, k]
        Answers of each person; rows truth.

    Returns
    -------
    float64 [p, k, k]
        Wrong answers that all people together give too often are thinned by the same factor for
        all, so that who gives more of them than others still does; each person's rows keep their
        sums.
    """
    k = counts.shape[1]
    if k < 3:
        return counts
    pooled = counts.sum(axis=0)
    right = np.diagonal(pooled)
    factor = np.minimum(1.0, MOST_OF_RIGHT * right[:, None] / np.maximum(pooled, 1e-12))
    np.fill_diagonal(factor, 1.0)
    thinned = counts * factor
    before, after = counts.sum(axis=2, keepdims=True), thinned.sum(axis=2, keepdims=True)
    # A person whose every answer of a row would go keeps it: there is nothing to put in its place.
    scale = np.divide(before, after, out=np.zeros_like(before), where=after > 1e-9)
    return np.asarray(np.where(after > 1e-9, thinned * scale, counts))
