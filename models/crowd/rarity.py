"""How common each label is thought to be, before anybody's reliability is known.

Few votes tell badly how common labels are, so a prior holds the shares near each other. Held too
near, it invents a label that hardly anybody gives: where only "no" was ever answered, half of the
galaxies might be a "yes" that all people miss, and nothing in the votes speaks against it. So a
label that a plain count of votes gives to few galaxies is thought rare from the start.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RARE = 3.0
"""A label counted less often than an even share divided by this is thought rarer than others."""

# As if so many galaxies had been counted, evenly: a label without a vote is rare, not impossible.
_FIRST = 0.5


def expected_shares(counts: Floats, known: Floats) -> Floats:
    """Return how common labels are expected to be [k]; sums to 1.

    Parameters
    ----------
    counts : float64 [n, k]
        Votes of each task for each label.
    known : float64 [n, k]
        1 at known answers, which stand for the votes of their tasks; else 0.

    Returns
    -------
    float64 [k]
        ``min(1 / k, RARE * share)``, normalised, where ``share`` is the part of the tasks to
        which most of their votes give the label (labels with as many share the task).
    """
    k = counts.shape[1]
    told = np.where(known.sum(axis=1, keepdims=True) > 0, known, counts)
    told = told[told.sum(axis=1) > 0]
    leads = told >= told.max(axis=1, keepdims=True, initial=0.0) - 1e-9
    tasks = (leads / leads.sum(axis=1, keepdims=True)).sum(axis=0)
    share = (tasks + _FIRST / k) / (len(told) + _FIRST)
    shares = np.minimum(1 / k, RARE * share)
    return np.asarray(shares / shares.sum())
