"""Ordering: the pool's best tasks in the order in which people should see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.labelstudio.config import LabelConfig
from ml_backend.loop.acquisition import Ranking as Rank
from ml_backend.loop.acquisition import audit_order, cold_start, interleave, rank
from ml_backend.loop.demand import Demand, first_gains, merged, plain_demand
from ml_backend.loop.doubts import doubts
from ml_backend.loop.golds import mix_golds
from ml_backend.loop.plans import head_plans, learned_controls
from ml_backend.loop.pool import Pool
from ml_backend.loop.queue_scores import BLIND_ARMS, ranked_score
from ml_backend.loop.scene_source import SceneSource
from ml_backend.loop.suggestions import suggested
from ml_backend.store.tables import Ranking
from models.heads.base import Head
from models.heads.interest import InterestHead
from models.heads.interest_order import interest_order


@dataclass(frozen=True)
class OrderOptions:
    """How a project wants its queue."""

    strategy: str
    diversity: bool
    audit_fraction: float
    top_k: int
    seed: int
    explore: float = 0.25
    gold_fraction: float = 0.0
    blind_audit: bool = True


@dataclass(frozen=True)
class Order:
    """The queue of one version.

    Attributes
    ----------
    predictions : list of dict
        For Label Studio: ``task``, ``result`` and ``score``, ascending; the first is served first.
    rows : list of Ranking
        The same for our store.
    """

    predictions: list[dict[str, Any]]
    rows: list[Ranking]


def make_order(
    version: str,
    pool: Pool,
    config: LabelConfig,
    heads: Mapping[str, Head],
    committees: Mapping[str, Sequence[Head]],
    options: OrderOptions,
    cold: bool = False,
    scenes: SceneSource | None = None,
    demand: Demand | None = None,
    golds: npt.ArrayLike = (),
) -> Order:
    """Rank the open tasks of a pool and predict for them.

    Tasks that nobody has answered come first: the active arm by `options.strategy` (by coverage
    where `cold`, or without heads), with the audit arm drawn from all of them and mixed in.
    Answered tasks that Label Studio still serves (more votes are wanted) fill what is left of
    the `top_k` places, by number; in a crowd they compete with the others by what one more vote
    is worth (see `demand`). What a manager has pinned is first, what is postponed last. Galaxies
    with a known answer are mixed in at their own rate and stand nowhere else.

    Parameters
    ----------
    version : str
    pool : Pool
    config : LabelConfig
    heads : mapping of control to Head
        Heads that fit `config`.
    committees : mapping of control to heads
        For the committee strategies; may lack controls.
    options : OrderOptions
    cold : bool
        Nothing has been learned from votes yet.
    scenes : SceneSource, optional
        Without one, heads that see scenes say nothing.
    demand : Demand, optional
        Which tasks want a vote, and what one is worth; by default what Label Studio serves.
    golds : int [g]
        Tasks with a known answer, the first ones first; those outside of the pool are passed over.
    """
    demand = demand or plain_demand(pool)
    rng = np.random.default_rng([options.seed, pool.votes])
    asked = demand.wanted.copy()
    asked[demand.postponed] = False
    known = _gold_rows(pool, golds, options)
    asked[known] = False
    closed = np.flatnonzero(~asked)
    voted = np.flatnonzero(pool.is_voted)
    plans = head_plans(config)
    choices = {c.name: heads[c.name] for c in learned_controls(config) if c.name in heads}
    if cold or not heads:
        ranking = cold_start(pool.embeddings, options.top_k, rng, labelled=voted, excluded=closed)
    else:
        ranking = rank(
            pool.embeddings,
            choices,
            options.strategy,
            options.top_k,
            rng,
            committees=committees,
            labelled=voted,
            excluded=closed,
            diversity=options.diversity,
            further=doubts(plans, heads, pool, scenes, rng),
        )
    free = np.flatnonzero(asked & ~pool.is_voted)
    wanted = None if cold else _interest(heads, pool, free)
    if wanted is not None:
        ranking = _mixed(ranking, free, wanted, options, rng)
    at_random = free[audit_order(pool.task_ids[free], options.seed)]
    again = np.flatnonzero(asked & pool.is_voted)
    queue, drawn = _joined(ranking.order, again, at_random, demand, choices, pool, options)
    doubt = dict(zip(ranking.order.tolist(), ranking.uncertainty.tolist(), strict=True))

    arms = [
        "audit" if audit else "cold" if (cold or not heads) and not pool.is_voted[row] else "active"
        for row, audit in zip(queue, drawn, strict=True)
    ]
    places, arms = _as_wished(queue, arms, demand, options.top_k)
    places, arms = _with_golds(places, arms, known, options, rng)
    rows = np.asarray(pool.embeddings[places])
    tasks = pool.task_ids[places]
    look = None if scenes is None else lambda some: scenes.scenes(tasks[some])
    said = suggested(config, heads, rows, look)
    predictions, kept = [], []
    for place, (row, arm, suggestion) in enumerate(zip(places, arms, said, strict=True)):
        task_id, score = int(pool.task_ids[row]), ranked_score(place, len(places))
        blind = options.blind_audit and arm in BLIND_ARMS
        result = [] if blind else suggestion.result
        predictions.append({"task": task_id, "result": result, "score": score})
        kept.append(
            Ranking(
                version=version,
                task_id=task_id,
                place=place,
                score=score,
                uncertainty=doubt.get(row),
                arm=arm,
                answers=_held_back(suggestion.answers) if blind else suggestion.answers,
            )
        )
    return Order(predictions, kept)


def _joined(
    ranked: npt.NDArray[np.int64],
    again: npt.NDArray[np.int64],
    at_random: npt.NDArray[np.int64],
    demand: Demand,
    heads: Mapping[str, Head],
    pool: Pool,
    options: OrderOptions,
) -> tuple[list[int], list[bool]]:
    """Join first votes, further votes and the audit arm; say which the audit arm has drawn.

    In a crowd, first and further votes compete by what a click is worth; else further ones fill
    what is left of the places. The audit arm takes its share of first votes alone, since it
    measures on tasks that nobody has answered.
    """
    if not demand.crowded:
        order, drawn = interleave(ranked, at_random, options.audit_fraction)
        again = again[: max(options.top_k - len(order), 0)]
        return [*order.tolist(), *again.tolist()], [*drawn.tolist(), *[False] * len(again)]
    best = again[np.argsort(-demand.gain[again], kind="stable")]
    worth = first_gains(demand, heads, pool, ranked)
    both = merged(ranked, worth, best, demand.gain[best], options.top_k, demand.checking)
    firsts = np.array([row for row, more in both if not more], np.int64)
    order, drawn = interleave(firsts, at_random, options.audit_fraction)
    turn = iter(zip(order.tolist(), drawn.tolist(), strict=True))
    queue: list[tuple[int, bool]] = []
    for row, more in both:
        following = (row, False) if more else next(turn, None)
        if following is not None:
            queue.append(following)
    queue += turn
    return [row for row, _ in queue], [bool(audit) for _, audit in queue]


def _as_wished(
    rows: Sequence[int], arms: Sequence[str], demand: Demand, places: int
) -> tuple[list[int], list[str]]:
    """Put what a manager has pinned first, and what is postponed last.

    A pinned task is no random one any more, whichever arm had drawn it.
    """
    pinned = demand.pinned.tolist()
    first, last = set(pinned), set(demand.postponed.tolist())
    kept = [pair for pair in zip(rows, arms, strict=True) if pair[0] not in first | last]
    kept = kept[: max(places - len(pinned), 0)] if pinned else kept
    room = max(places - len(pinned) - len(kept), 0)
    whole = [(row, "active") for row in pinned] + kept
    whole += [(row, "active") for row in demand.postponed.tolist()[:room] if row not in first]
    return [row for row, _ in whole], [arm for _, arm in whole]


def _gold_rows(pool: Pool, golds: npt.ArrayLike, options: OrderOptions) -> npt.NDArray[np.int64]:
    tasks = np.asarray(golds, np.int64)
    if options.gold_fraction <= 0:
        tasks = tasks[:0]
    rows, inside = pool.rows_of(tasks)
    return rows[inside]


def _with_golds(
    rows: list[int],
    arms: list[str],
    golds: npt.NDArray[np.int64],
    options: OrderOptions,
    rng: np.random.Generator,
) -> tuple[list[int], list[str]]:
    """Mix golds in; what a manager has pinned stays where it is, also where it is a gold."""
    if not len(golds):
        return rows, arms
    there = set(rows)
    left = [row for row in golds.tolist() if row not in there]
    places, is_gold = mix_golds(rows, left, options.gold_fraction, rng)
    turn = iter(arms)
    mixed = ["gold" if known else next(turn) for known in is_gold]
    return places[: options.top_k], mixed[: options.top_k]


def _held_back(answers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {**told, "blind": True} for name, told in answers.items()}


def _interest(
    heads: Mapping[str, Head], pool: Pool, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64] | None:
    """How probably rows of the pool are of interest; None where nobody asks for that."""
    head = next((head for head in heads.values() if isinstance(head, InterestHead)), None)
    return None if head is None else pool.scored(head.interest, rows)


def _mixed(
    ranking: Rank,
    free: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.float64],
    options: OrderOptions,
    rng: np.random.Generator,
) -> Rank:
    """Put what is probably of interest in front, and what teaches most in between."""
    doubt = np.zeros(len(free))
    place = np.searchsorted(free, ranking.order)
    doubt[place] = 1 - np.arange(len(place)) / max(len(place), 1)
    order = interest_order(wanted, doubt, options.explore, rng)[: options.top_k]
    told = np.zeros(len(free), np.float32)
    told[place] = ranking.uncertainty
    return Rank(free[order], told[order])
