"""The gate: a challenger replaces the champion only if it is not worse on unseen votes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml_backend.loop.consensus import Consensus
from ml_backend.loop.training import Unseen
from models.metrics import log_losses, quality

LEAST_AUDITED = 30
# One standard error refuses an equally good challenger one time in six, and more often against a
# champion whose folds were lucky: on real galaxies it kept old heads for four rounds on end.
TOLERANCE = 2.0
LEAST_COMPARED = 5


@dataclass(frozen=True)
class GateDecision:
    """Whether the challenger is promoted.

    Attributes
    ----------
    promote : bool
    reason : str
        In words, with the figures.
    figures : dict
        Json-able: ``all`` and (where compared) ``audit``, each with ``rows``,
        ``champion_log_loss``, ``challenger_log_loss``, ``difference`` and
        ``standard_error`` in nats; ``controls`` with the quality of both by control.
    """

    promote: bool
    reason: str
    figures: dict[str, Any] = field(default_factory=dict)


def compare(
    champion: Mapping[str, Unseen],
    challenger: Mapping[str, Unseen],
    consensus: Mapping[str, Consensus],
    audit: Collection[int] = (),
) -> GateDecision:
    """Decide on the votes that neither version saw.

    The challenger is promoted unless its mean log loss is larger than the champion's by more
    than two standard errors of the paired difference, on all tasks that both can be judged on
    or, once 30 of them are labelled, on the audit arm alone. Several controls: the rows of
    all are taken together, and the standard error is taken over tasks.

    Parameters
    ----------
    champion, challenger : mapping of control to Unseen
        Predictions by models that never saw the task; an empty champion: none yet.
    consensus : mapping of control to Consensus
        The votes.
    audit : collection of int
        Numbers of the tasks that were served at random.

    Returns
    -------
    GateDecision
    """
    if not challenger:
        return GateDecision(False, "Not promoted: there is no vote to train on.")
    if not champion:
        return GateDecision(True, "Promoted: it is the first version.")
    notes, pairs, controls = [], [], {}
    for name, votes in consensus.items():
        if name not in challenger:
            continue
        if name not in champion:
            notes.append(f"'{name}' is new")
            continue
        pair = _paired(champion[name], challenger[name], votes)
        if pair is None:
            notes.append(f"the labels of '{name}' have changed and fewer than two are common")
            continue
        if champion[name].labels != challenger[name].labels:
            notes.append(f"the labels of '{name}' have changed, common ones compared")
        pairs.append(pair)
        controls[name] = {
            "champion": quality(pair.champion, pair.targets, pair.weights, not votes.multiple),
            "challenger": quality(pair.challenger, pair.targets, pair.weights, not votes.multiple),
        }
    note = f" ({'; '.join(notes)})" if notes else ""
    tasks = np.concatenate([p.task_ids for p in pairs]) if pairs else np.zeros(0, dtype=np.int64)
    distinct = len(np.unique(tasks))
    figures: dict[str, Any] = {"controls": controls}
    if distinct < LEAST_COMPARED:
        return GateDecision(
            True, f"Promoted: only {distinct} labelled galaxies can be compared{note}.", figures
        )
    whole = figures["all"] = _difference(pairs, np.ones(len(tasks), dtype=bool))
    of_audit = np.isin(tasks, np.fromiter(audit, dtype=np.int64, count=len(audit)))
    arms = [("all unseen votes", whole)]
    if len(np.unique(tasks[of_audit])) >= LEAST_AUDITED:
        figures["audit"] = _difference(pairs, of_audit)
        arms.append(("the audit arm", figures["audit"]))
    said = "; ".join(f"on {where} {_words(figure)}" for where, figure in arms)
    worse = [
        where
        for where, figure in arms
        if figure["difference"] > TOLERANCE * figure["standard_error"]
    ]
    if worse:
        return GateDecision(
            False, f"Not promoted, worse on {' and '.join(worse)}: {said}{note}.", figures
        )
    return GateDecision(True, f"Promoted: {said}{note}.", figures)


@dataclass(frozen=True)
class _Pair:
    task_ids: NDArray[np.int64]
    champion: NDArray[np.float64]
    challenger: NDArray[np.float64]
    targets: NDArray[np.float64]
    weights: NDArray[np.float64]
    losses: NDArray[np.float64]


def _paired(champion: Unseen, challenger: Unseen, votes: Consensus) -> _Pair | None:
    labels = [
        label for label in votes.labels if label in champion.labels and label in challenger.labels
    ]
    if len(labels) < (1 if votes.multiple else 2):
        return None
    old = {int(task): row for row, task in enumerate(champion.task_ids)}
    new = {int(task): row for row, task in enumerate(challenger.task_ids)}
    both = [row for row, t in enumerate(votes.task_ids) if int(t) in old and int(t) in new]
    ids = votes.task_ids[both]
    columns = [votes.labels.index(label) for label in labels]
    targets = votes.targets[both][:, columns].astype(np.float64)
    weights = votes.weights[both].astype(np.float64)
    sides = []
    for side, place in ((champion, old), (challenger, new)):
        rows = [place[int(task)] for task in ids]
        chosen = [side.labels.index(label) for label in labels]
        sides.append(side.probabilities[rows][:, chosen].astype(np.float64))
    if not votes.multiple:
        # Votes for labels that one side does not know say nothing about the comparison.
        weights = weights * targets.sum(axis=1)
        known = weights > 0
        ids, targets, weights = ids[known], targets[known], weights[known]
        targets = targets / targets.sum(axis=1, keepdims=True)
        sides = [p[known] / np.maximum(p[known].sum(axis=1, keepdims=True), 1e-12) for p in sides]
    losses = np.stack([log_losses(p, targets, not votes.multiple) for p in sides], axis=1)
    return _Pair(ids, sides[0], sides[1], targets, weights, losses.reshape(-1, 2))


def _difference(pairs: list[_Pair], kept: NDArray[np.bool_]) -> dict[str, float]:
    tasks = np.concatenate([p.task_ids for p in pairs])[kept]
    losses = np.concatenate([p.losses for p in pairs])[kept]
    weights = np.concatenate([p.weights for p in pairs])[kept]
    difference = losses[:, 1] - losses[:, 0]
    mean = float(np.average(difference, weights=weights))
    # Answers to several controls of one galaxy are not independent: one residual per task.
    _, group = np.unique(tasks, return_inverse=True)
    residual = np.bincount(np.ravel(group), weights=weights * (difference - mean))
    n = len(residual)
    error = float(np.sqrt(np.sum(residual**2) * n / max(n - 1, 1)) / weights.sum())
    return {
        "rows": float(len(difference)),
        "champion_log_loss": float(np.average(losses[:, 0], weights=weights)),
        "challenger_log_loss": float(np.average(losses[:, 1], weights=weights)),
        "difference": mean,
        "standard_error": error,
    }


def _words(figure: dict[str, float]) -> str:
    return (
        f"({figure['rows']:.0f} answers) log loss {figure['challenger_log_loss']:.3f} against the "
        f"champion's {figure['champion_log_loss']:.3f}, difference {figure['difference']:+.3f} "
        f"± {figure['standard_error']:.3f}"
    )
