"""Acquisition: which galaxies people should see next, and in which order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml_backend.loop.diversity import directions, representatives
from ml_backend.loop.uncertainty import STRATEGIES, head_uncertainty, ranked_batch
from ml_backend.store.rows import StoredRows, Table, table_of
from models.heads.base import Head

Rows = NDArray[np.int64]
Singles = NDArray[np.float32]

__all__ = [
    "STRATEGIES",
    "Ranking",
    "audit_order",
    "cold_start",
    "combined_uncertainty",
    "interleave",
    "rank",
]

# Each pick costs a pass over the candidates, and their similarities are a table of its square.
CANDIDATES = 2500
# modAL's ranked batch measures all distances anew for each pick.
RANKED_CANDIDATES = 600
# With few votes a head's doubt says little, so coverage counts as much as doubt at this many,
# and up to it all rows are candidates; then half stay, and fewer once the heads know where they
# are weak. Measured, see docs/label-efficiency.md.
_COVERAGE_VOTES = 30
_WIDEST_SHARE = 0.5
_SHARPENING_VOTES = 100
_INTEREST_POWER = 2


@dataclass(frozen=True)
class Ranking:
    """The beginning of a queue.

    Attributes
    ----------
    order : int64 [k]
        Rows of the embeddings, the one to be seen first in front; none twice.
    uncertainty : float32 [k]
        In [0, 1], of those rows: what the strategy computed (see `combined_uncertainty`).
    """

    order: Rows
    uncertainty: Singles

    def __len__(self) -> int:
        return len(self.order)


def rank(
    embeddings: ArrayLike | StoredRows,
    heads: Mapping[str, Head],
    strategy: str,
    k: int,
    rng: np.random.Generator,
    *,
    committees: Mapping[str, Sequence[Head]] | None = None,
    labelled: ArrayLike | None = None,
    excluded: ArrayLike | None = None,
    diversity: bool = True,
    further: Mapping[str, Singles] | None = None,
) -> Ranking:
    """Choose and order the k rows that teach the heads most.

    Each control's uncertainty comes from modAL. The most doubtful rows are the candidates;
    with `diversity` they are ordered so that each stands for many doubtful ones and none is
    a near-duplicate of a labelled one or of one before it (see `representatives`). The
    interest of a candidate goes from even (coverage) to its uncertainty squared as votes come
    in, because early heads do not know what they do not know: with n labelled rows coverage
    has the share 30 / (30 + n). Up to 30 all rows are candidates, then the most doubtful
    30 / n, but half up to 200 and 100 / n beyond. Of more than 2,500 candidates a sample is
    taken; rows beyond the candidates follow by uncertainty.

    Parameters
    ----------
    embeddings : [n, d]
        Of all tasks of the project. float16, memory maps and `StoredRows` are read in blocks.
    heads : mapping of control to Head
        Empty: `cold_start` is what is left.
    strategy : str
        One of `STRATEGIES`.
    k : int
        How many, >= 0.
    rng : numpy.random.Generator
    committees : mapping of control to heads, optional
        Needed by ``vote_entropy`` and ``consensus_entropy``.
    labelled : int [l], optional
        Rows with votes: not ranked, and their neighbourhoods count as known.
    excluded : int [e], optional
        Rows that may not be ranked for another reason.
    diversity : bool
        False: by uncertainty alone.
    further : mapping of plan to float32 [n], optional
        The doubts of heads that are not lists of choices, over all rows (see `doubts`).

    Returns
    -------
    Ranking
        Of min(k, rows left) rows.
    """
    table, free, known = _pool(embeddings, labelled, excluded)
    if strategy not in STRATEGIES:
        raise ValueError(f"Unknown strategy {strategy!r}; known are {', '.join(STRATEGIES)}.")
    if not heads and not further:
        return cold_start(table, k, rng, labelled=labelled, excluded=excluded)
    count = min(k, len(free))
    if count <= 0:
        return Ranking(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
    doubt = combined_uncertainty(table, heads, strategy, committees, further)
    if not diversity and strategy != "ranked_batch":
        best = _largest(doubt[free], count)
        return Ranking(free[best], doubt[free[best]])

    chosen = free[_candidates(doubt[free], len(known), strategy, rng)]
    space = directions(table)
    points = space.apply(table[chosen]).astype(np.float32)
    taken = space.apply(table[known]).astype(np.float32)
    if strategy == "ranked_batch":
        order = ranked_batch(points, doubt[chosen], count, taken)
    else:
        even = np.float32(_COVERAGE_VOTES / (_COVERAGE_VOTES + len(known)))
        interest = even + (1 - even) * doubt[chosen] ** _INTEREST_POWER
        order, _ = representatives(points, count, interest=interest, taken=taken)
    front = chosen[order]
    rest = free[~np.isin(free, front)]
    back = rest[_largest(doubt[rest], count - len(front))]
    rows = np.concatenate([front, back])
    return Ranking(rows, doubt[rows])


def cold_start(
    embeddings: ArrayLike | StoredRows,
    k: int,
    rng: np.random.Generator,
    *,
    labelled: ArrayLike | None = None,
    excluded: ArrayLike | None = None,
) -> Ranking:
    """Choose and order k rows that stand for all, before anything has been learnt.

    Parameters
    ----------
    embeddings, k, rng, labelled, excluded
        As in `rank`.

    Returns
    -------
    Ranking
        Typical rows first; the uncertainty is 1 throughout.
    """
    table, free, known = _pool(embeddings, labelled, excluded)
    count = min(k, len(free))
    sample = free
    most = max(CANDIDATES, count)
    if len(free) > most:
        sample = np.sort(rng.choice(free, most, replace=False))
    if count <= 0:
        return Ranking(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
    space = directions(table)
    points = space.apply(table[sample]).astype(np.float32)
    taken = space.apply(table[known]).astype(np.float32)
    order, _ = representatives(points, count, taken=taken)
    return Ranking(sample[order], np.ones(len(order), dtype=np.float32))


def combined_uncertainty(
    embeddings: ArrayLike | StoredRows,
    heads: Mapping[str, Head],
    strategy: str,
    committees: Mapping[str, Sequence[Head]] | None = None,
    further: Mapping[str, Singles] | None = None,
) -> Singles:
    """Score every row by all controls together; at least one head or doubt is given.

    One control: its own uncertainty. Several: the mean, over the controls, of the share of
    rows that are less doubtful, because the uncertainties of unlike questions have no common
    scale.

    Returns
    -------
    float32 [n]
        In [0, 1]; larger is more doubtful.
    """
    table = table_of(embeddings)
    each = [
        head_uncertainty(head, table, strategy, (committees or {}).get(name, ()))
        for name, head in heads.items()
    ]
    each += list((further or {}).values())
    if len(each) == 1:
        return each[0]
    shares = np.zeros(len(table), dtype=np.float32)
    for scores in each:
        _, place, rows = np.unique(scores, return_inverse=True, return_counts=True)
        below = np.cumsum(rows) - rows
        shares += (below / max(len(table) - 1, 1)).astype(np.float32)[np.ravel(place)]
    return shares / np.float32(len(each))


def audit_order(task_ids: ArrayLike, seed: int) -> Rows:
    """Order tasks by a seeded hash of their number: at random, but the same in every round.

    Parameters
    ----------
    task_ids : int [n]
    seed : int

    Returns
    -------
    int64 [n]
        Positions in `task_ids`. A task added later does not change the order of the others.
    """
    ids = np.asarray(task_ids, dtype=np.int64).ravel()
    keys = [hashlib.blake2b(f"{seed}:{int(task)}".encode(), digest_size=8).digest() for task in ids]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__), dtype=np.int64)


def interleave(
    active: ArrayLike, audit: ArrayLike, fraction: float
) -> tuple[Rows, NDArray[np.bool_]]:
    """Mix the audit arm evenly into the active order.

    Parameters
    ----------
    active, audit : int [a], [b]
        Tasks or rows in order. One that is in both is served where it comes first.
    fraction : float
        Share of the audit arm, in [0, 1].

    Returns
    -------
    order : int64 [c]
        As long as `active` (or `audit`, if fraction is 1), as far as there are enough.
    is_audit : bool [c]
        Which of them were drawn at random.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"The audit fraction must be in [0, 1], not {fraction}.")
    first = [int(row) for row in np.asarray(active, dtype=np.int64).ravel()]
    second = [int(row) for row in np.asarray(audit, dtype=np.int64).ravel()]
    length = len(second) if fraction == 1 else len(first)
    # Ends first, so that the next of each arm is popped from the back.
    arms = {False: first[::-1], True: second[::-1] if fraction > 0 else []}
    order: dict[int, bool] = {}
    while len(order) < length and any(arms.values()):
        # Half a place ahead keeps the audit from the very front and its share even.
        due = int((len(order) + 1) * fraction + 0.5) > sum(order.values())
        arm = due if arms[due] else not due
        order.setdefault(arms[arm].pop(), arm)
    rows = np.fromiter(order, dtype=np.int64, count=len(order))
    return rows, np.fromiter(order.values(), dtype=bool, count=len(order))


def _candidates(doubt: Singles, votes: int, strategy: str, rng: np.random.Generator) -> Rows:
    """Return the positions of what diversity chooses from."""
    if strategy == "ranked_batch":
        return _largest(doubt, RANKED_CANDIDATES)
    few = max(votes, 1)
    share = max(min(1, _COVERAGE_VOTES / few), min(_WIDEST_SHARE, _SHARPENING_VOTES / few))
    best = _largest(doubt, int(np.ceil(share * len(doubt))))
    return best if len(best) <= CANDIDATES else rng.choice(best, CANDIDATES, replace=False)


def _largest(scores: Singles, count: int) -> Rows:
    """Return the positions of the `count` largest scores, in falling order."""
    count = max(0, min(count, len(scores)))
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    best = np.argpartition(-scores, count - 1)[:count] if count < len(scores) else None
    rows = np.arange(len(scores)) if best is None else best
    return np.asarray(rows[np.lexsort((rows, -scores[rows]))], dtype=np.int64)


def _pool(
    embeddings: ArrayLike | StoredRows, labelled: ArrayLike | None, excluded: ArrayLike | None
) -> tuple[Table, Rows, Rows]:
    table = table_of(embeddings)
    if table.ndim != 2:
        raise ValueError(f"Embeddings must be a table [n, d], not {list(table.shape)}.")
    free = np.ones(len(table), dtype=bool)
    known = np.unique(np.asarray([] if labelled is None else labelled, dtype=np.int64))
    for rows in (known, np.asarray([] if excluded is None else excluded, dtype=np.int64)):
        if len(rows) and (rows.min() < 0 or rows.max() >= len(table)):
            raise ValueError(f"Rows must be in [0, {len(table)}): {rows.min()}..{rows.max()}.")
        free[rows] = False
    return table, np.flatnonzero(free), known
