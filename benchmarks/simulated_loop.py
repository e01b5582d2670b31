"""The loop as the service runs it, without Label Studio: rank, label, train, round by round."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_backend.loop.acquisition import audit_order, cold_start, interleave, rank
from ml_backend.loop.consensus import Consensus
from ml_backend.loop.training import train
from ml_backend.settings import Settings
from models.heads.base import Head
from models.prior import SimulationPrior
from models.sunet import LVMError

CONTROL = "shape"

Rows = NDArray[np.int64]


def _default(name: str) -> int | float | str:
    value = Settings.model_fields[name].default
    assert isinstance(value, int | float | str)
    return value


@dataclass(frozen=True)
class LoopOptions:
    """How galaxies are chosen; the defaults are those of the service's settings.

    Parameters
    ----------
    active : bool
        False: in the audit arm's random order alone.
    strategy : str
        One of `ml_backend.loop.acquisition.STRATEGIES`.
    per_round : int
        Votes after which the heads are trained and the queue is ranked again.
    top_k : int
        Length of the queue.
    audit_fraction : float
        Share of the queue that is drawn at random.
    diversity : bool
        Spread the doubtful ones over the embeddings.
    """

    active: bool = True
    strategy: str = str(_default("strategy"))
    per_round: int = int(_default("votes_per_round"))
    top_k: int = int(_default("top_k"))
    audit_fraction: float = float(_default("audit_fraction"))
    diversity: bool = True


@dataclass(frozen=True)
class People:
    """What is asked, and what is answered.

    Attributes
    ----------
    labels : tuple of str [k]
    said : int64 [n]
        For each galaxy of the pool, the index of the label that it gets when it is asked for.
    """

    labels: tuple[str, ...]
    said: Rows

    def votes(self, rows: Rows) -> Consensus:
        """One vote for each of these galaxies."""
        asked = np.sort(rows)
        targets = np.eye(len(self.labels), dtype=np.float32)[self.said[asked]]
        weights = np.ones(len(asked), dtype=np.float32)
        return Consensus(self.labels, False, asked, targets, weights)


def label_galaxies(
    points: NDArray[np.float16],
    people: People,
    numbers: list[int],
    options: LoopOptions,
    seed: int,
    prior: Head | None,
) -> Iterator[tuple[Rows, Head]]:
    """Label the pool; give what the service would have learned after each of some numbers.

    Parameters
    ----------
    points : [n, d]
        Embeddings of the pool.
    people : People
    numbers : list of int
        Numbers of labels, rising, each in [1, n]. One between two rounds costs a training of its
        own and changes nothing in what is asked next.
    options : LoopOptions
    seed : int
    prior : Head or None
        What is known before the first vote.

    Yields
    ------
    (int64 [m], Head)
        The galaxies labelled so far, in the order in which they were, and the head trained on
        them.
    """
    ids = np.arange(len(points))

    def trained(rows: Rows) -> tuple[dict[str, Head], dict[str, tuple[Head, ...]]]:
        priors = None if prior is None else {CONTROL: prior}
        made = train({CONTROL: people.votes(rows)}, ids, points, priors=priors, seed=seed)
        return made.heads, made.committees

    at_random = audit_order(ids, seed)
    if not options.active:
        for number in numbers:
            yield at_random[:number], trained(at_random[:number])[0][CONTROL]
        return
    labelled = np.zeros(0, dtype=np.int64)
    heads: dict[str, Head] = {}
    committees: dict[str, tuple[Head, ...]] = {}
    waiting = list(numbers)
    while waiting:
        rng = np.random.default_rng([seed, len(labelled)])
        if not heads:
            ranking = cold_start(points, options.top_k, rng)
        else:
            ranking = rank(
                points,
                heads,
                options.strategy,
                options.top_k,
                rng,
                committees=committees,
                labelled=labelled,
                diversity=options.diversity,
            )
        free = at_random[~np.isin(at_random, labelled)]
        queue, _ = interleave(ranking.order, free, options.audit_fraction)
        asked = np.append(labelled, queue[: options.per_round])
        while waiting and waiting[0] < len(asked):
            rows = asked[: waiting.pop(0)]
            yield rows, trained(rows)[0][CONTROL]
        labelled = asked
        if not waiting:
            break
        heads, committees = trained(labelled)
        if waiting[0] == len(labelled):
            waiting.pop(0)
            yield labelled, heads[CONTROL]


def prior_of(labels: tuple[str, ...], folder: Path) -> Head | None:
    """Return the head of simulated galaxies, where the LVM brings some and they fit."""
    try:
        return SimulationPrior.from_pretrained(folder).head_for(labels)
    except LVMError as error:
        print(f"Without a prior: {error}", file=sys.stderr)
        return None
