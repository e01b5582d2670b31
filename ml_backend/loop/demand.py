"""Demand: which tasks of a pool want a vote, and what one is worth.

A first vote, one more vote and none at all are compared on one scale: wrong answers that a click
is expected to spare (`models.crowd.value`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import func, select

from ml_backend.loop.crowd_views import View
from ml_backend.loop.pool import Pool
from ml_backend.loop.settling import OPEN, Settled
from ml_backend.store.crowd_tables import Wish
from ml_backend.store.database import Store
from ml_backend.store.tables import Version, Vote
from models.crowd.value import first_vote_gain, learning_gain
from models.heads.base import Head

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CHECKED_VOTES = 10
"""Votes of a person beside another's, below which little is known of the person."""

CHECKING = 0.25
"""Share of the places for second votes while somebody is little known."""


@dataclass(frozen=True)
class Demand:
    """What is wanted of each task of a pool.

    Attributes
    ----------
    wanted : bool [n]
        A vote on the task is wanted.
    gain : float64 [n]
        Of tasks with votes: wrong answers that one more is expected to spare; else 0.
    crowded : bool
        Several people are asked about a galaxy where that is worth it.
    pinned, postponed : int64 [m]
        Rows that a manager wants first or last.
    views : dict of str to View
        What is thought of the answered tasks, by control.
    learning : float
        Wrong answers of the model that a label of an average task spares elsewhere.
    checking : float
        Share of the places that is kept for second votes, so that people can be told apart.
    """

    wanted: Bools
    gain: Doubles
    crowded: bool = False
    pinned: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    postponed: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    views: dict[str, View] = field(default_factory=dict)
    learning: float = 0.0
    checking: float = 0.0


def plain_demand(pool: Pool) -> Demand:
    """Return the demand of a project without a crowd: what Label Studio still serves."""
    return Demand(pool.is_open, np.zeros(len(pool.task_ids)))


def demand_of(store: Store, project_id: int, pool: Pool, settled: Settled, crowded: bool) -> Demand:
    """Return what a project's tasks want, after they have been judged.

    In a crowded project a task is wanted as its verdict says, whether or not Label Studio serves
    it now; else what Label Studio serves is wanted. A task that waits for an expert is not.
    """
    with store.reading() as session:
        wishes = session.execute(
            select(Wish.task_id, Wish.kind).where(Wish.project_id == project_id)
        ).all()
    named = {
        kind: np.flatnonzero(
            np.isin(pool.task_ids, [wish.task_id for wish in wishes if wish.kind == kind])
        )
        for kind in ("pin", "postpone", "expert")
    }
    gain = np.zeros(len(pool.task_ids))
    wanted = pool.is_open.copy()
    learning = 0.0
    if crowded:
        # What Label Studio has closed without an answer (a skip where skips are ignored) is wanted.
        wanted[:] = True
        rows, inside = pool.rows_of(settled.task_ids)
        wanted[rows[inside]] = settled.states[inside] == OPEN
        gain[rows[inside]] = settled.gains[inside]
        learning = _learning(store, project_id, pool)
    checking = _checking(store, project_id, settled) if crowded else 0.0
    wanted[named["expert"]] = False
    return Demand(
        wanted,
        gain,
        crowded,
        named["pin"][wanted[named["pin"]]],
        named["postpone"][wanted[named["postpone"]]],
        dict(settled.views),
        learning,
        checking,
    )


def first_gains(demand: Demand, heads: Mapping[str, Head], pool: Pool, rows: Ids) -> Doubles:
    """Return what a first vote on each of some tasks is worth, float64 [m].

    Parameters
    ----------
    demand : Demand
    heads : mapping of control to Head
        What predicts; a control without one is taken to be as common labels are.
    pool : Pool
    rows : int64 [m]
        Rows of the pool without a vote.
    """
    total = np.zeros(len(rows))
    if not len(rows):
        return total
    for name, view in demand.views.items():
        head = heads.get(name)
        said = None
        if head is not None and head.labels == view.labels:
            said = np.asarray(head.predict(np.asarray(pool.embeddings[rows], np.float32)))
        for number, part in enumerate(view.parts):
            word = None
            if said is not None:
                word = said if not view.multiple else _either(said[:, number])
            told = np.array([part.crowd.update([], [], None if word is None else word[at])
                             for at in range(len(rows))])  # fmt: skip
            total += first_vote_gain(told, part.crowd.typical, demand.learning)
    return total


def merged(
    first: Ids,
    first_gain: Doubles,
    again: Ids,
    again_gain: Doubles,
    places: int,
    checking: float = 0.0,
) -> list[tuple[int, bool]]:
    """Merge tasks that want a first vote with ones that want one more, by what a click is worth.

    The order of `first` (by doubt and spread) is kept: its first task stands where the most
    valuable of them would, and so on.

    Parameters
    ----------
    first : int64 [m]
        Rows in the order of the active arm.
    first_gain : float64 [m]
    again : int64 [a]
    again_gain : float64 [a]
    places : int
        How many are returned at most.
    checking : float
        Least share of further votes among the first places, however many, in [0, 1].

    Returns
    -------
    list of (row, bool)
        The second says that it is one more vote.
    """
    worth = np.concatenate([np.sort(first_gain)[::-1], again_gain])
    rows = np.concatenate([first, again])
    more = np.arange(len(rows)) >= len(first)
    # Equal values: first votes first, each kind in its order.
    order = np.argsort(-worth, kind="stable")
    queue = list(zip(rows[order].tolist(), more[order].tolist(), strict=True))
    return _with_checks(queue, checking)[:places] if checking > 0 else queue[:places]


def _with_checks(queue: Sequence[tuple[int, bool]], share: float) -> list[tuple[int, bool]]:
    """Move further votes forward where fewer than their share would come."""
    further = deque(pair for pair in queue if pair[1])
    first = deque(pair for pair in queue if not pair[1])
    place = {pair: at for at, pair in enumerate(queue)}
    found: list[tuple[int, bool]] = []
    checks = 0
    while further or first:
        due = bool(further) and checks < int(share * (len(found) + 1))
        if not first or (further and (due or place[further[0]] < place[first[0]])):
            found.append(further.popleft())
            checks += 1
        else:
            found.append(first.popleft())
    return found


def _checking(store: Store, project_id: int, settled: Settled) -> float:
    """Return the share of places for second votes: none once those who vote most are known.

    By what a click is worth alone, galaxies would get first votes for long, and nobody's
    reliability would be known when it is needed. Of a person alone nothing can be known, and
    those who come once stay strangers: it is enough that people known by `CHECKED_VOTES` gave
    half of the votes that stand beside another's.
    """
    views = list(settled.views.values())
    if not views:
        return 0.0
    if all(view.persons for view in views):
        checked = [np.max([part.crowd.votes_of_person for part in view.parts], 0) for view in views]
        known = [votes[votes >= CHECKED_VOTES].sum() >= votes.sum() / 2 for votes in checked]
        return 0.0 if all(known) else CHECKING
    with store.reading() as session:
        people = session.scalar(
            select(func.count(Vote.annotator.distinct())).where(
                Vote.project_id == project_id, ~Vote.skipped
            )
        )
    return CHECKING if (people or 0) > 1 else 0.0


def _either(share: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.column_stack([1 - share, share])


def _learning(store: Store, project_id: int, pool: Pool) -> float:
    """What a label teaches, from how the errors of the project's versions fell."""
    with store.reading() as session:
        kept = session.scalars(
            select(Version.quality)
            .where(Version.project_id == project_id, Version.kind.in_(("trained", "tuned")))
            .order_by(Version.number.desc())
            .limit(30)
        ).all()
    points: dict[str, list[tuple[float, float]]] = {}
    for quality in kept:
        for name, figures in (quality or {}).items():
            if name not in pool.consensus or not isinstance(figures, Mapping):
                continue
            hit, rows = figures.get("accuracy"), figures.get("rows")
            if isinstance(hit, float) and isinstance(rows, float) and rows >= 1:
                points.setdefault(name, []).append((rows, min(max(1 - hit, 0.0), 1.0)))
    remaining = float((~pool.is_voted).sum())
    return sum(_fall(found, remaining) for found in points.values())


def _fall(points: Sequence[tuple[float, float]], remaining: float) -> float:
    labels, errors = zip(*points, strict=True)
    return learning_gain(np.array(labels), np.array(errors), remaining)
