"""Doubts: how doubtful the heads of plans are about the tasks of a pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ml_backend.loop.acquisition import cold_start
from ml_backend.loop.head_plan import HeadPlan
from ml_backend.loop.pool import Pool
from ml_backend.loop.scene_source import SceneSource
from models.heads.base import Head

CANDIDATES = 200
"""Scenes that one round looks at before it chooses; the next round looks at others."""

SECONDS = 30.0
"""Longest time that a round spends on looking at them."""

_BLOCK = 16384


def doubts(
    plans: Sequence[HeadPlan],
    heads: Mapping[str, Head],
    pool: Pool,
    scenes: SceneSource | None,
    rng: np.random.Generator,
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the doubt of each plan's head, by plan, as far as it can be looked at.

    Heads that see embeddings judge all tasks. Those that see scenes judge some that stand for all
    (`cold_start`), anew in every round; the doubt of all others is 0, so that they come after.

    Returns
    -------
    mapping of plan to float32 [n]
        In [0, 1], over the rows of the pool.
    """
    found: dict[str, npt.NDArray[np.float32]] = {}
    dense: dict[str, Head] = {}
    for plan in plans:
        head = heads.get(plan.name)
        if head is None:
            continue
        if head.sees == "scene":
            dense[plan.name] = head
            continue
        told = np.zeros(len(pool.task_ids), np.float32)
        for start in range(0, len(told), _BLOCK):
            block = np.asarray(pool.embeddings[start : start + _BLOCK], np.float32)
            told[start : start + _BLOCK] = head.uncertainty(block)
        found[plan.name] = told
    if dense and scenes is not None:
        found |= _dense(dense, pool, scenes, rng)
    return found


def _dense(
    heads: Mapping[str, Head], pool: Pool, scenes: SceneSource, rng: np.random.Generator
) -> dict[str, npt.NDArray[np.float32]]:
    closed = np.flatnonzero(~pool.is_open)
    voted = np.flatnonzero(pool.is_voted)
    chosen = cold_start(pool.embeddings, CANDIDATES, rng, labelled=voted, excluded=closed).order
    looked_at, got = scenes.scenes(pool.task_ids[chosen], seconds=SECONDS)
    rows = chosen[got]
    found: dict[str, npt.NDArray[np.float32]] = {}
    for name, head in heads.items():
        told = np.zeros(len(pool.task_ids), np.float32)
        if len(rows):
            # Even the least doubtful one that was looked at comes before those that were not.
            told[rows] = np.maximum(head.uncertainty(looked_at), np.float32(1e-6))
        found[name] = told
    return found
