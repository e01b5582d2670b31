"""The trial of a tuned LVM: is it better on labelled galaxies that tuning did not see?

Whatever tuning saw with its labels looks better in the tuned LVM's embeddings than it will ever
look again, also to a head that never saw it. So a fifth of the labelled galaxies is kept from
tuning, and only such galaxies are judged on, on both sides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml_backend.loop.acquisition import audit_order
from ml_backend.loop.consensus import Consensus
from ml_backend.loop.gate import GateDecision, compare
from ml_backend.loop.training import TrainedHeads, Unseen
from models.metrics import quality

WITHHELD = 0.2
"""Share of the labelled galaxies that tuning never sees."""

GAIN = 1.0
"""Standard errors by which a tuned LVM must be better: it costs encoding everything once more."""


def withheld(task_ids: ArrayLike, seed: int, share: float = WITHHELD) -> NDArray[np.bool_]:
    """Choose the labelled galaxies that are kept from tuning: the first in the audit arm's order.

    So the galaxies that no model chose come first, and with more labels mostly the same ones are
    kept.

    Parameters
    ----------
    task_ids : int [n]
        The labelled galaxies.
    seed : int
        That of the audit arm.
    share : float
        In (0, 1).

    Returns
    -------
    bool [n]
    """
    ids = np.asarray(task_ids, np.int64)
    kept = np.zeros(len(ids), np.bool_)
    kept[audit_order(ids, seed)[: round(share * len(ids))]] = True
    return kept


def without(
    consensus: Mapping[str, Consensus], task_ids: NDArray[np.int64]
) -> dict[str, Consensus]:
    """Return the votes without those on some tasks (that an LVM was tuned on)."""
    return {
        name: votes.rows(~np.isin(votes.task_ids, task_ids)) for name, votes in consensus.items()
    }


def quality_without(
    trained: TrainedHeads, task_ids: NDArray[np.int64]
) -> dict[str, dict[str, float | None]]:
    """Return the figures of heads by control, measured without some tasks."""
    if not len(task_ids):
        return {name: dict(figures) for name, figures in trained.quality.items()}
    found = {}
    for name, votes in without(
        {n: c.consensus for n, c in trained.controls.items()}, task_ids
    ).items():
        unseen = trained.controls[name].unseen
        told = unseen.probabilities[np.isin(unseen.task_ids, votes.task_ids)]
        found[name] = (
            quality(told, votes.targets, votes.weights, not votes.multiple) if len(votes) else {}
        )
    return found


def judge(
    current: Mapping[str, Unseen],
    tuned: Mapping[str, Unseen],
    consensus: Mapping[str, Consensus],
    audit: Collection[int] = (),
) -> GateDecision:
    """Decide whether the tuned LVM replaces the current one.

    The gate's rule, and more: the tuned side must be better by a standard error, since with many
    equally good LVMs half would be "better".

    Parameters
    ----------
    current, tuned : mapping of control to Unseen
        Out-of-fold predictions of heads trained on the same votes, on either LVM's embeddings.
    consensus : mapping of control to Consensus
        Votes on galaxies that tuning did not see (see `without`).
    audit : collection of int
        As for the gate.
    """
    decision = compare(current, tuned, consensus, audit)
    whole = decision.figures.get("all")
    if not decision.promote:
        return decision
    if whole is None:
        reason = "Not promoted: too few labelled galaxies were kept from tuning to judge it on."
        return GateDecision(False, reason, decision.figures)
    if whole["difference"] < -GAIN * whole["standard_error"]:
        return decision
    told = decision.reason.removeprefix("Promoted: ")
    reason = f"Not promoted, tuning gained less than a standard error: {told}"
    return GateDecision(False, reason, decision.figures)
