"""Labels saved against random order, measured: what would chance have needed for this quality?

The tasks that a random order has reached (`Pool.audited`) are a sample that no model chose. Heads
are trained on growing parts of it and judged on the rest, which gives the learning curve of random
order; the published heads are judged on the same galaxies, each by models that never saw it. Where
the curve comes to their loss is how many random labels would have been needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.loop.acquisition import audit_order
from ml_backend.loop.consensus import Consensus
from ml_backend.loop.pool import Pool
from ml_backend.loop.training import Unseen, head_class
from models.heads.base import HeadError
from models.metrics import log_losses

Floats = npt.NDArray[np.float64]

LEAST = 60
"""Random labels before anything is measured: fewer tell the two curves apart by chance only."""
MOST = 600
"""Random labels that are used at most, to bound the time."""
FOLDS = 3
"""Parts, each of which is judged by heads of the other two."""
PARTS = (0.125, 0.25, 0.5, 1.0)
"""Shares of the others that heads are trained on."""
SEEN_UNFOLDED = 0.8
"""Share of the labels that the published heads' unseen predictions come from (five folds)."""
FARTHEST = 4.0
"""Times the largest number of random labels beyond which the curve is not followed."""
GROWTH = 1.25
"""Times as many labels before it is measured again."""
_DRAWS = 300
_POWERS = np.geomspace(0.1, 2.0, 24)


def measured_again(kept: Mapping[str, Any] | None, labelled: int, random: int) -> bool:
    """Tell whether labels have grown enough since `kept` was measured."""
    if kept is None or not isinstance(kept.get("labelled"), int | float):
        return True
    before = (float(kept["labelled"]), float(kept.get("random", 0)))
    if labelled < before[0]:
        return True
    return labelled >= GROWTH * before[0] or (before[1] < LEAST <= random)


def labels_saved(pool: Pool, votes: Consensus, unseen: Unseen, seed: int = 0) -> dict[str, Any]:
    """Measure how many labels the loop has spared against random order.

    Parameters
    ----------
    pool : Pool
    votes : Consensus
        Of one list of choices.
    unseen : Unseen
        What the published heads say of labelled tasks without having seen them.
    seed : int
        That of the audit arm.

    Returns
    -------
    dict
        ``labelled``, ``random`` (labels of random order) and ``needed`` (`LEAST`); where measured
        also ``learned_from`` (labels behind the unseen predictions), ``loss`` (of the published
        heads, nats) with ``loss_error``, ``curve`` (rows of random labels, loss and its standard
        error), ``would_need`` and ``saved`` (each low, middle, high of the central 80 %, None:
        beyond the curve) and ``beyond`` (where the curve ends).
    """
    ids, mine, theirs = np.intersect1d(votes.task_ids, unseen.task_ids, return_indices=True)
    rows, inside = pool.rows_of(ids)
    audited = np.isin(ids, np.fromiter(pool.audited, np.int64, len(pool.audited))) & inside
    found: dict[str, Any] = {
        "labelled": len(votes), "random": int(audited.sum()), "needed": LEAST,
    }  # fmt: skip
    if unseen.labels != votes.labels or audited.sum() < LEAST:
        return found
    order = np.flatnonzero(audited)[audit_order(ids[audited], seed)][:MOST]
    targets = votes.targets[mine[order]].astype(np.float64)
    weights = votes.weights[mine[order]]
    exclusive = not votes.multiple
    loop = log_losses(unseen.probabilities[theirs[order]], targets, exclusive)
    embeddings = np.asarray(pool.embeddings[rows[order]], np.float32)
    step = max(1, -(-len(pool.task_ids) // 4096))
    unlabelled = np.asarray(pool.embeddings[::step], np.float32)
    sizes = np.zeros(len(PARTS))
    losses = np.zeros((len(PARTS), len(order)))
    fold = np.arange(len(order)) % FOLDS
    try:
        for part in range(FOLDS):
            others = np.flatnonzero(fold != part)
            for at, share in enumerate(PARTS):
                taken = others[: max(round(share * len(others)), 2)]
                head = head_class(votes.multiple)(votes.labels)
                head.fit(embeddings[taken], targets[taken], weights[taken],
                         pool=unlabelled, seed=seed)  # fmt: skip
                sizes[at] += len(taken) / FOLDS
                told = head.predict(embeddings[fold == part])
                losses[at, fold == part] = log_losses(told, targets[fold == part], exclusive)
    except HeadError:
        # Such a small part may have nothing to tell apart.
        return found
    return found | _compared(sizes, losses, loop, len(votes), seed)


def _compared(
    sizes: Floats, losses: Floats, loop: Floats, labelled: int, seed: int
) -> dict[str, Any]:
    """Read off the random curve [sizes, galaxies] where it comes to the loop's loss [galaxies]."""
    rng = np.random.default_rng(seed)
    n = len(loop)
    drawn = rng.multinomial(n, np.full(n, 1.0 / n), _DRAWS) / n
    means, levels = drawn @ losses.T, drawn @ loop
    reached = np.array([_reached(sizes, m, level) for m, level in zip(means, levels, strict=True)])
    would = reached / SEEN_UNFOLDED
    beyond = FARTHEST * sizes[-1] / SEEN_UNFOLDED
    ends = np.quantile(would, (0.1, 0.5, 0.9), method="inverted_cdf")
    shown = [float(value) if np.isfinite(value) else None for value in ends]
    return {
        "learned_from": SEEN_UNFOLDED * labelled,
        "loss": float(loop.mean()),
        "loss_error": float(loop.std(ddof=1) / np.sqrt(n)),
        "curve": [
            [float(size), float(row.mean()), float(row.std(ddof=1) / np.sqrt(n))]
            for size, row in zip(sizes, losses, strict=True)
        ],
        "would_need": shown,
        "saved": [None if value is None else value - labelled for value in shown],
        "beyond": float(beyond),
    }


def _reached(sizes: Floats, losses: Floats, level: float) -> float:
    """Return the size at which a power law through the losses comes to `level`; infinite: never."""
    best = (np.inf, 0.0, 0.0, 1.0)
    for power in _POWERS:
        x = (sizes / sizes[-1]) ** -power
        gap = x - x.mean()
        scale = max(float(gap @ losses / (gap @ gap)), 0.0)
        floor = float(losses.mean() - scale * x.mean())
        if floor < 0:
            floor, scale = 0.0, float(x @ losses / (x @ x))
        misfit = float(np.sum((losses - floor - scale * x) ** 2))
        if misfit < best[0]:
            best = (misfit, floor, scale, float(power))
    _, floor, scale, power = best
    if scale <= 0 or level <= floor:
        return np.inf
    times = (scale / (level - floor)) ** (1.0 / power)
    return float(times * sizes[-1]) if times <= FARTHEST else np.inf
