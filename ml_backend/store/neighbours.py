"""Nearest neighbours: one pass of matrix products over the mapped float16 rows.

With z = (x - mean) / spread, the squared distance to a query is |z|^2 - 2 z.q + |q|^2, and z.q
is x.(q / spread) less a constant. So the rows are multiplied as they lie on disk, in float16 (half
the bytes, and bytes are what the pass costs); the squared lengths |z|^2 are kept in a sealed file
per shard. Each rough distance has a bound on its error: whatever may belong to the nearest is
measured again in float32, so that the answer is that of the exact search.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from ml_backend.store.sealed import read_sealed, write_sealed
from ml_backend.store.shards import SPACE, Shards, checksums

Metric = Literal["euclidean", "cosine"]
METRICS: tuple[Metric, ...] = get_args(Metric)
Singles = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_SAMPLE = 65_536
_BLOCK = 16_384
_HALF = 2.0**-11  # relative error of a float16
_SINGLE = 2.0**-23
_LARGEST = 2.0**14  # what products are scaled to; float16 ends at 65504


class Neighbours:
    """Search over one generation of shards. Not for several threads at once.

    Parameters
    ----------
    shards : Shards
    """

    def __init__(self, shards: Shards) -> None:
        self.shards = shards
        self._lengths: dict[int, Singles] = {}
        self._space_rows = 0
        self._mean = np.zeros(shards.dimension)
        self._inverse = np.ones(shards.dimension)
        self._tag = b""
        self._product = _half_product if _half_is_exact(shards.dimension) else _single_product

    def search(
        self, query: Singles, count: int, metric: Metric, left_out: bytes | None = None
    ) -> tuple[list[str], Singles]:
        """Return the nearest rows (see `EmbeddingStore.nearest`).

        Parameters
        ----------
        query : float32 [d]
        count : int
        metric : str
        left_out : bytes, optional
            A key (32 bytes) that is not answered.
        """
        rows = len(self.shards)
        if count < 1 or not rows:
            return [], np.zeros(0, np.float32)
        self._learn_space(rows)
        aim = (query.astype(np.float64) - self._mean) * self._inverse
        wanted = count + 1
        while True:
            places = self._candidates(aim, wanted, metric)
            nearest, distances = self._measured(places, aim, wanted, metric)
            records = self.shards.records_at(nearest)
            keys = records["key"]
            good = checksums(keys, self.shards.take(nearest)) == records["crc"]
            good &= np.array([key.tobytes() != left_out for key in keys], np.bool_)
            if good.sum() >= count or len(places) < wanted:
                break
            wanted = 2 * wanted + int((~good).sum())
        chosen = np.flatnonzero(good)[:count]
        return [keys[row].tobytes().hex() for row in chosen], distances[chosen]

    def _candidates(self, aim: Doubles, count: int, metric: Metric) -> npt.NDArray[np.int64]:
        """Return the places of all rows that may be among the `count` nearest."""
        size = float(np.linalg.norm(aim))
        weight = aim * self._inverse
        offset = float(self._mean @ weight)
        lengths = [self._length(shard) for shard in range(len(self.shards.counts))]
        longest = max(float(part.max(initial=0, where=np.isfinite(part))) for part in lengths)
        # Neither products nor weights may leave the range of float16.
        largest = max(abs(offset) + size * longest, float(np.abs(weight).max()), 1e-30)
        scale = _LARGEST / largest
        rounded = torch.from_numpy(weight * scale).to(torch.float16)
        error = (rounded.double().numpy() - weight * scale) / scale
        # What rounding the query does to z.q: a constant, and a part that grows with |z|.
        offset += float(self._mean @ error)
        slip = float(np.linalg.norm(error / np.where(self._inverse > 0, self._inverse, np.inf)))
        slip += (len(aim) + 8) * _SINGLE * size
        # What float32 does to |z|, as a part of it and beside that.
        part, blur = (
            (len(aim) + 8) * _SINGLE,
            4 * _SINGLE * float(np.linalg.norm(self._mean * self._inverse)),
        )
        raw = (len(aim) + 8) * _SINGLE * float(np.linalg.norm(self._mean) * np.linalg.norm(weight))

        limits: Singles = np.full(count, np.inf, np.float32)  # the smallest upper bounds so far
        parts: list[tuple[Singles, npt.NDArray[np.int64]]] = []
        for shard, length in enumerate(lengths):
            if not len(length):
                continue
            table = torch.from_numpy(self.shards.rows(shard)[: len(length)])
            # Rows with NaN or infinity (damaged ones) may be met: they compare as false.
            said = self._product(table, rounded) / np.float32(scale)
            doubt = np.abs(said) * np.float32(_HALF)
            doubt += length * np.float32(slip)
            doubt += np.float32(raw)
            said -= np.float32(offset)
            if metric == "euclidean":
                middle = np.float32(0.5) * length * length
                doubt += middle * np.float32(2 * part) + length * np.float32(blur)
                middle -= said
            else:
                middle = np.where(length > 0, -said / length, np.float32(0))
                doubt += np.float32(size) * (length * np.float32(part) + np.float32(blur))
                doubt = np.where(length > 0, doubt / length, np.float32(size))
            # Comparisons with NaN are false: a row that is not finite is never near.
            upper, lower = middle + doubt, middle - doubt
            close = upper[upper < limits[-1]]
            both = np.concatenate([limits, close])
            limits = np.sort(np.partition(both, count - 1)[:count])
            near = np.flatnonzero(lower <= limits[-1])
            parts.append((lower[near], near + shard * self.shards.shard_rows))
        lowest = np.concatenate([part[0] for part in parts])
        places = np.concatenate([part[1] for part in parts])
        return np.asarray(places[lowest <= limits[-1]], np.int64)

    def _measured(
        self, places: npt.NDArray[np.int64], aim: Doubles, count: int, metric: Metric
    ) -> tuple[npt.NDArray[np.int64], Singles]:
        """Measure rows exactly; return the nearest places and their distances, nearest first."""
        best = np.zeros(0, np.int64)
        distances = np.zeros(0)
        for start in range(0, len(places), _BLOCK):
            here = places[start : start + _BLOCK]
            z = (self.shards.take(here).astype(np.float64) - self._mean) * self._inverse
            if metric == "euclidean":
                found = np.linalg.norm(z - aim, axis=1)
            else:
                size = np.linalg.norm(z, axis=1) * np.linalg.norm(aim)
                found = 1 - np.divide(z @ aim, size, out=np.zeros(len(z)), where=size > 0)
            finite = np.isfinite(found)
            best = np.concatenate([best, here[finite]])
            distances = np.concatenate([distances, found[finite]])
            order = np.lexsort((best, distances))[:count]
            best, distances = best[order], distances[order]
        return best, distances.astype(np.float32)

    def _learn_space(self, rows: int) -> None:
        """Take mean and spread from an even sample, anew once the store has doubled or halved.

        A space that is kept on disk is used as long, so that the kept lengths fit it.
        """
        if _fits(self._space_rows, rows):
            return
        path, d = self.shards.folder / SPACE, self.shards.dimension
        kept = read_sealed(path, b"space", d)
        if kept is not None and len(kept) == 8 + 16 * d:
            of = int(kept[:8].view("<u8")[0])
            if _fits(of, rows):
                self._use_space(of, kept[8:].view("<f8").reshape(2, d))
                return
        step, skip, parts = -(-rows // _SAMPLE), 0, []
        for shard, count in enumerate(self.shards.counts):
            parts.append(self.shards.rows(shard)[skip:count:step].astype(np.float64))
            skip = (skip - count) % step
        sample = np.concatenate(parts)
        sample = sample[np.isfinite(sample).all(axis=1)]
        space = np.zeros((2, d))
        if len(sample):
            spread = sample.std(axis=0)
            floor = 1e-6 * max(float(spread.max()), 1e-30)
            # A number that never changes says nothing about nearness.
            np.divide(1, spread, out=space[1], where=spread > floor)
            space[0] = sample.mean(axis=0)
        write_sealed(path, b"space", d, [np.array([rows], "<u8"), space.astype("<f8")])
        self._use_space(rows, space)

    def _use_space(self, rows: int, space: Doubles) -> None:
        self._space_rows, (self._mean, self._inverse) = rows, np.array(space, np.float64)
        self._tag = hashlib.sha256(np.ascontiguousarray(space).tobytes()).digest()[:16]
        self._lengths.clear()

    def _length(self, shard: int) -> Singles:
        """Return the length |z| of every row of a shard; infinity where it is not finite."""
        count = self.shards.counts[shard]
        known = self._lengths.get(shard, np.zeros(0, np.float32))
        if len(known) == count:
            return known
        path = self.shards.path(shard, "norms")
        kept = read_sealed(path, b"norms", count, self._tag)
        if kept is not None and len(kept) == 4 * count:
            found: Singles = kept.view("<f4")
        else:
            found = np.concatenate([known, self._lengths_of(shard, len(known), count)])
            if shard < len(self.shards.counts) - 1 or count == self.shards.shard_rows:
                write_sealed(path, b"norms", count, [found], self._tag)
        self._lengths[shard] = found
        return found

    def _lengths_of(self, shard: int, start: int, stop: int) -> Singles:
        table = torch.from_numpy(self.shards.rows(shard))
        mean = torch.from_numpy(self._mean).float()
        inverse = torch.from_numpy(self._inverse).float()
        found = np.empty(stop - start, np.float32)
        for first in range(start, stop, _BLOCK):
            last = min(first + _BLOCK, stop)
            z = table[first:last].float().sub_(mean).mul_(inverse)
            found[first - start : last - start] = z.norm(dim=1).numpy()
        found[~np.isfinite(found)] = np.inf
        return found


def _fits(space_rows: int, rows: int) -> bool:
    return rows < 2 * space_rows and space_rows < 2 * rows


def _half_product(table: torch.Tensor, weight: torch.Tensor) -> Singles:
    # Turned to float32 by numpy, on this thread: quicker than waiting for others.
    return torch.mv(table, weight).numpy().astype(np.float32)


def _single_product(table: torch.Tensor, weight: torch.Tensor) -> Singles:
    spans = range(0, len(table), _BLOCK)
    parts = [torch.mv(table[at : at + _BLOCK].float(), weight.float()) for at in spans]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


@lru_cache
def _half_is_exact(dimension: int) -> bool:
    """Tell whether this processor adds float16 products up in float32, as the bounds take it."""
    made = torch.Generator().manual_seed(0)
    table = torch.randn(64, dimension, generator=made).half()
    weight = torch.randn(dimension, generator=made).half()
    exact = table.double() @ weight.double()
    size = table.double().norm(dim=1) * weight.double().norm()
    bound = exact.abs() * _HALF + size * ((dimension + 8) * _SINGLE)
    return bool(((torch.mv(table, weight).double() - exact).abs() <= bound).all())
