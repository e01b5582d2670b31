"""Compaction: the shards of an embedding store written anew, without what nobody needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ml_backend.store.hashindex import Keys
from ml_backend.store.shards import SPACE, Mask, Shards

Wanted = Callable[[Keys], Mask]
"""Tells which keys, uint8 [m, 32], are wanted: bool [m]."""


@dataclass
class CompactionReport:
    """What a compaction did.

    Attributes
    ----------
    rows : int
        Rows that were there.
    broken : int
        Dropped, because their checksum was wrong.
    unwanted : int
        Dropped, because nobody wants them.
    shards_written, shards_kept : int
        Shards that lost rows and were written anew; those taken over as they are.
    """

    rows: int = 0
    broken: int = 0
    unwanted: int = 0
    shards_written: int = 0
    shards_kept: int = 0

    @property
    def dropped(self) -> int:
        """How many rows were dropped."""
        return self.broken + self.unwanted


class Rewriting:
    """One generation of shards on its way into the next.

    Parameters
    ----------
    old : Shards
    new : Shards
        In an empty folder.
    wanted : callable, optional
        All rows are wanted, if left out.
    progress : callable
        Called with the share done.
    """

    def __init__(
        self, old: Shards, new: Shards, wanted: Wanted | None, progress: Callable[[float], None]
    ) -> None:
        self.report = CompactionReport()
        self._old, self._new = old, new
        self._wanted, self._progress = wanted, progress
        # Rows that come from now on are kept: whoever adds them is about to want them.
        self._known = list(old.counts)
        self._open = False  # whether the last shard of `new` is ours to go on with

    def take_finished(self) -> None:
        """Take over all shards but the last, which may be growing.

        Raises
        ------
        OSError
            The disk is full or fails.
        """
        self._new.share(self._old, SPACE)
        for shard in range(len(self._known) - 1):
            self._take(shard)
            self._progress((shard + 1) / len(self._known))

    def take_rest(self) -> None:
        """Take over what is left, and what came meanwhile; nobody may be writing.

        Raises
        ------
        OSError
            The disk is full or fails.
        """
        for shard in range(max(len(self._known) - 1, 0), len(self._old.counts)):
            self._take(shard)
        self._progress(1.0)

    def _take(self, shard: int) -> None:
        count = self._old.counts[shard]
        if not count:
            return
        keep = self._kept(shard, count)
        if keep.all():
            self._new.adopt(self._old, shard)
            self._open = False
            self.report.shards_kept += 1
            return
        self.report.shards_written += 1
        rows, keys = self._old.rows(shard, count), self._old.records(shard, 0, count)["key"]
        chosen = np.flatnonzero(keep)
        if len(chosen):
            # An adopted shard is shared with the old generation: never written behind.
            self._new.append(keys[chosen], rows[chosen], fresh=not self._open)
            self._open = True

    def _kept(self, shard: int, count: int) -> Mask:
        keep = np.empty(count, np.bool_)
        known = self._known[shard] if shard < len(self._known) else 0
        for start, stop in self._old.blocks(shard, count):
            sound = self._old.sound(shard, start, stop)
            wanted: Mask = np.ones(stop - start, np.bool_)
            if self._wanted is not None:
                wanted = np.array(self._wanted(self._old.records(shard, start, stop)["key"]))
                wanted[max(known - start, 0) :] = True
            keep[start:stop] = sound & wanted
            self.report.rows += stop - start
            self.report.broken += int((~sound).sum())
            self.report.unwanted += int((sound & ~wanted).sum())
        return keep
