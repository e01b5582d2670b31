"""Peers: what others said of the same galaxies, against which a person's answers are held."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_backend.loop.people_votes import PeopleVotes

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Peers:
    """Answers beside those of others, one row for each answer that has others.

    Attributes
    ----------
    row : int64 [m]
        Into the votes.
    others : float64 [m]
        Other people's answers to the same control of the same task.
    same : float64 [m]
        Share of these that said the same, in [0, 1].
    """

    row: Ids
    others: Doubles
    same: Doubles
    _own: Ids
    _item: Ids
    _cell_item: Ids
    _cell_start: Ids
    _cell_answer: Ids
    _cell_count: Doubles

    def share_of(self, answer: int, mine: npt.NDArray[np.bool_]) -> Doubles:
        """Share of the others that gave one answer, for the rows of one who gave it or not.

        Parameters
        ----------
        answer : int
        mine : bool [m]
            Rows of one person.
        """
        rows = np.flatnonzero(mine)
        counts = np.zeros(len(self._cell_start) - 1)
        cells = self._cell_answer == answer
        counts[self._cell_item[cells]] = self._cell_count[cells]
        own = self._own[rows] == answer
        return np.asarray((counts[self._item[rows]] - own) / self.others[rows])

    def majority(self) -> npt.NDArray[np.int8]:
        """Whether most of the others said the same, [m].

        1 where more than half of two or more others said the same, 0 where more than half said
        one other thing, -1 where they are too few or split.
        """
        cells = np.arange(len(self._cell_count))
        order = np.lexsort((-self._cell_count, self._cell_item))
        first = order[self._cell_start[:-1]] if len(cells) else cells
        # The most frequent answer but the row's own one.
        best = first[self._item]
        mine = self._cell_answer[best] == self._own
        place = (self._cell_start[:-1] + 1)[self._item]
        has = place < self._cell_start[1:][self._item]
        second = order[np.minimum(place, max(len(cells) - 1, 0))]
        rival = np.where(mine, second, best)
        count = np.where(mine & ~has, 0.0, self._cell_count[rival]) if len(cells) else self.same
        found = np.full(len(self.row), -1, np.int8)
        told = self.others >= 2
        found[told & (count > 0.5 * self.others)] = 0
        found[told & (self.same > 0.5)] = 1
        return found

    def chance(self, votes: PeopleVotes, persons: int) -> Doubles:
        """How often each person would agree with others by chance, [p]; NaN without others.

        As of Cohen's kappa: the person's own shares of answers times those of the others who
        answered the same.
        """
        who, own = votes.person[self.row], votes.answer[self.row]
        sizes = self._cell_start[self._item + 1] - self._cell_start[self._item]
        times = np.repeat(np.arange(len(self.row)), sizes)
        offset = np.arange(len(times)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        cell = self._cell_start[self._item][times] + offset
        said = self._cell_answer[cell]
        weight = (self._cell_count[cell] - (said == own[times])) / self.others[times]
        k = len(votes.answers)
        theirs_key, at = np.unique(who[times] * k + said, return_inverse=True)
        theirs = np.bincount(at, weight)
        mine_key, mine = np.unique(who * k + own, return_counts=True)
        total = np.bincount(who, minlength=persons).astype(np.float64)
        place = np.searchsorted(mine_key, theirs_key).clip(0, max(len(mine_key) - 1, 0))
        both = mine_key[place] == theirs_key if len(mine_key) else np.zeros(0, np.bool_)
        by = theirs_key[both] // k
        shares = theirs[both] / total[by] * mine[place[both]] / total[by]
        found = np.bincount(by, shares, minlength=persons).astype(np.float64)
        found[total == 0] = np.nan
        return found


def peers_of(votes: PeopleVotes, of: npt.NDArray[np.bool_] | None = None) -> Peers:
    """Hold each answer beside the others' on the same task and control.

    Parameters
    ----------
    votes : PeopleVotes
    of : bool [v], optional
        Only these answers; by default all that count.
    """
    taken = votes.counted if of is None else votes.counted & of
    rows = np.flatnonzero(taken)
    # Of several answers of one person the latest counts.
    keys = np.stack([votes.task[rows], votes.control[rows], votes.person[rows]])
    order = np.lexsort((votes.annotation[rows], *keys[::-1]))
    rows, keys = rows[order], keys[:, order]
    last = np.ones(len(rows), np.bool_)
    if len(rows):
        last[:-1] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    rows, keys = rows[last], keys[:, last]
    new = np.ones(len(rows), np.bool_)
    if len(rows):
        new[1:] = (keys[:2, 1:] != keys[:2, :-1]).any(axis=0)
    item = np.cumsum(new) - 1
    k = max(len(votes.answers), 1)
    cell_key, cell, count = np.unique(
        item * k + votes.answer[rows], return_inverse=True, return_counts=True
    )
    people = np.bincount(item) if len(item) else np.zeros(0, np.int64)
    has = people[item] > 1 if len(item) else np.zeros(0, np.bool_)
    others = (people[item[has]] - 1).astype(np.float64)
    return Peers(
        rows[has],
        others,
        (count[cell[has]] - 1) / others,
        votes.answer[rows[has]],
        item[has],
        cell_key // k,
        np.searchsorted(cell_key // k, np.arange(len(people) + 1)),
        cell_key % k,
        count.astype(np.float64),
    )


@dataclass(frozen=True)
class PeerKappa:
    """Kappa of each person against all others who answered the same; NaN where none did.

    Attributes
    ----------
    value, error : float64 [p]
        The error is that of a share of independent answers, divided by what chance leaves.
    items : int64 [p]
        Answers that have others.
    agreed : float64 [p]
        Share of the others' answers that were the same.
    """

    value: Doubles
    error: Doubles
    items: Ids
    agreed: Doubles


def peer_kappa(votes: PeopleVotes, peers: Peers) -> PeerKappa:
    """Compute each person's kappa against the others."""
    p = len(votes.persons)
    who = votes.person[peers.row]
    items = np.bincount(who, minlength=p)
    chance = peers.chance(votes, p)
    with np.errstate(invalid="ignore", divide="ignore"):
        agreed = np.bincount(who, peers.same, minlength=p) / items
        left = np.where(chance < 1 - 1e-12, 1 - chance, np.nan)
        value = (agreed - chance) / left
        error = np.sqrt(agreed * (1 - agreed) / items) / left
    return PeerKappa(value, error, items, agreed)


def wilson(hits: float, count: float, z: float = 1.96) -> tuple[float, float] | None:
    """Return Wilson's interval (1927, J. Am. Stat. Assoc. 22, 209) of a share; None of nothing."""
    if count <= 0:
        return None
    share = hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count)
    half *= math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)
