"""Doubts: how doubtful the heads of plans are about the tasks of a pool."""

from __future__ import annotations

import time
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
"""Longest time that a round spends on fetching them, and again on judging them."""

_AT_ONCE = 16


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
        found[plan.name] = pool.scored(head.uncertainty)
    if dense and scenes is not None:
        found |= _dense(dense, pool, scenes, rng)
    return found


def _dense(
    heads: Mapping[str, Head], pool: Pool, scenes: SceneSource, rng: np.random.Generator
) -> dict[str, npt.NDArray[np.float32]]:
    closed = np.flatnonzero(~pool.is_open)
    voted = np.flatnonzero(pool.is_voted)
    chosen = cold_start(pool.embeddings, CANDIDATES, rng, labelled=voted, excluded=closed).order
    end = time.monotonic() + 2 * SECONDS
    looked_at, got = scenes.scenes(pool.task_ids[chosen], seconds=SECONDS)
    rows = chosen[got]
    found: dict[str, npt.NDArray[np.float32]] = {}
    for name in heads:
        found[name] = np.zeros(len(pool.task_ids), np.float32)
    # A few at a time, all heads in turn: what the time suffices for was judged by every one.
    for start in range(0, len(rows), _AT_ONCE):
        if start and time.monotonic() > end:
            break
        part = slice(start, start + _AT_ONCE)
        for name, head in heads.items():
            # Even the least doubtful one that was looked at comes before those that were not.
            doubt = np.maximum(head.uncertainty(looked_at[part]), np.float32(1e-6))
            found[name][rows[part]] = doubt
    return found
