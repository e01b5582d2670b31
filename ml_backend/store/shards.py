"""Shards: the files of one generation of an embedding store.

A shard is two files that only grow: ``N.rows`` holds the float16 rows, ``N.keys`` one record per
row (the image's SHA-256 and a CRC-32 over hash and row). Rows are on disk before their keys, so a
key always has its row. Only the last shard grows; the others are done, and ``N.index`` (a sealed
file) tells where their keys stand, so that nothing of them is read before it is wanted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.store.hashindex import HashIndex, Keys, Places, Segment, prefixes_of

RECORD = np.dtype([("key", np.uint8, 32), ("crc", "<u4")])
SPACE = "space"
"""File of what all rows together say (see :mod:`ml_backend.store.neighbours`)."""

_TAIL = 1024  # rows at the end of the last shard whose checksums are looked at on opening
_BLOCK = 4096
_KINDS = ("rows", "norms", "index", "keys")  # keys last: a shard is there when they are

Rows = npt.NDArray[np.float16]
Mask = npt.NDArray[np.bool_]


class Shards:
    """The shards in one folder.

    A row's place is ``shard * shard_rows + row``; places do not change. Safe for threads;
    `append` and `adopt` are for the one writer.

    Parameters
    ----------
    folder : Path
    dimension : int
    shard_rows : int
        Most rows per shard.

    Attributes
    ----------
    counts : list of int
        Rows per shard.
    """

    def __init__(self, folder: Path, dimension: int, shard_rows: int) -> None:
        self.folder = folder
        self.dimension = dimension
        self.shard_rows = shard_rows
        self.counts: list[int] = []
        self._lock = threading.RLock()
        self._maps: dict[tuple[int, str], npt.NDArray[Any]] = {}
        self._segments: dict[int, Segment] = {}
        self._growing = HashIndex()  # of the last shard
        self.refresh()

    def __len__(self) -> int:
        return sum(self.counts)

    def path(self, shard: int, what: str) -> Path:
        """Return the path of a file of a shard."""
        return self.folder / f"{shard:05d}.{what}"

    def refresh(self) -> bool:
        """Take in what is new on disk; tell whether anything was."""
        grown = False
        with self._lock:
            shard = max(len(self.counts) - 1, 0)
            while self.path(shard, "keys").exists():
                # Looked at before the sizes: once there is a next shard, this one is done.
                last = not self.path(shard + 1, "keys").exists()
                known = self.counts[shard] if shard < len(self.counts) else 0
                count = self._count(shard, known, last)
                if shard == len(self.counts):
                    self.counts.append(known)
                    self._growing = HashIndex()
                self.counts[shard] = count
                grown |= count > known
                if last:
                    if count < self.shard_rows:
                        # What an earlier look left out: keys that came since.
                        self._growing.extend(self.records(shard, len(self._growing), count)["key"])
                    break
                self._growing = HashIndex()
                shard += 1
        return grown

    def find(self, keys: Keys) -> Places:
        """Return the place of each key [m], -1 where it is not there."""
        prefixes = prefixes_of(keys)
        order = np.argsort(prefixes, kind="stable")
        prefixes, keys = prefixes[order], keys[order]
        found = np.full(len(keys), -1, np.int64)
        open_: Places = np.arange(len(keys))
        with self._lock:
            for shard, count in enumerate(self.counts):
                if not len(open_):
                    break
                if shard == len(self.counts) - 1 and count < self.shard_rows:
                    inside = self._growing.find(prefixes[open_], keys[open_])
                else:
                    stored = self._map(shard, "keys", count)["key"]
                    inside = self._segment(shard).find(prefixes[open_], keys[open_], stored)
                here = inside >= 0
                found[open_[here]] = shard * self.shard_rows + inside[here]
                open_ = open_[~here]
        back = np.empty(len(found), np.int64)
        back[order] = found
        return back

    def take(self, places: Places) -> Rows:
        """Read the rows at places [m]: float16 [m, d]."""
        if not len(places):
            return np.zeros((0, self.dimension), np.float16)
        if (np.diff(places) == 1).all() and places[0] // self.shard_rows == (
            places[-1] // self.shard_rows
        ):  # neighbours on disk: one read
            shard, row = divmod(int(places[0]), self.shard_rows)
            return np.array(self.rows(shard, row + len(places))[row : row + len(places)])
        rows = np.empty((len(places), self.dimension), np.float16)
        shards = places // self.shard_rows
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            inside = places[here] % self.shard_rows
            rows[here] = self.rows(int(shard), int(inside.max()) + 1)[inside]
        return rows

    def records_at(self, places: Places) -> npt.NDArray[np.void]:
        """Read the records at places [m]."""
        found = np.empty(len(places), RECORD)
        for at, place in enumerate(places):
            shard, row = divmod(int(place), self.shard_rows)
            found[at] = self._map(shard, "keys", row + 1)[row]
        return found

    def rows(self, shard: int, count: int | None = None) -> Rows:
        """Return all rows of a shard (or the first `count` or more), mapped."""
        mapped = self._map(shard, "rows", self.counts[shard] if count is None else count)
        return mapped[: self.counts[shard]] if count is None else mapped

    def pin(self) -> None:
        """Map all rows now: they stay readable when the files are deleted."""
        for shard in range(len(self.counts)):
            self.rows(shard)

    def records(self, shard: int, start: int, stop: int) -> npt.NDArray[np.void]:
        """Read the records of rows `start` to `stop` of a shard."""
        path, size = self.path(shard, "keys"), RECORD.itemsize
        found = np.fromfile(path, RECORD, max(stop - start, 0), offset=start * size)
        if len(found) < stop - start:
            raise OSError(f"{path.name} is shorter than it was")
        return found

    def sound(self, shard: int, start: int, stop: int) -> Mask:
        """Compare rows with their checksums: bool [stop - start]."""
        records = self.records(shard, start, stop)
        found = checksums(records["key"], self.rows(shard, stop)[start:stop])
        return np.asarray(found == records["crc"], np.bool_)

    def blocks(self, shard: int, count: int) -> Iterator[tuple[int, int]]:
        """Cut the first `count` rows of a shard into spans of a few MiB."""
        for start in range(0, count, _BLOCK):
            yield start, min(start + _BLOCK, count)

    def append(self, keys: Keys, rows: Rows, fresh: bool = False) -> None:
        """Write rows behind the last one; `fresh`: into a new shard.

        Raises
        ------
        OSError
            The disk is full or fails; what was kept before is as it was.
        """
        done = 0
        while done < len(keys):
            shard = max(len(self.counts) - 1, 0)
            count = self.counts[shard] if self.counts else 0
            if count >= self.shard_rows or (fresh and self.counts):
                shard, count = shard + 1, 0
            fresh = False
            batch = slice(done, done + self.shard_rows - count)
            records = np.empty(len(keys[batch]), RECORD)
            records["key"] = keys[batch]
            records["crc"] = checksums(keys[batch], rows[batch])
            row_bytes = 2 * self.dimension
            try:
                _append_at(self.path(shard, "rows"), count * row_bytes, rows[batch].tobytes())
                _append_at(self.path(shard, "keys"), count * RECORD.itemsize, records.tobytes())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self.path(shard, "rows"), count * row_bytes)
                    os.truncate(self.path(shard, "keys"), count * RECORD.itemsize)
                raise
            done += len(records)
            self.refresh()
            if self.counts[shard] == self.shard_rows:
                self._segment(shard)

    def adopt(self, other: Shards, shard: int) -> None:
        """Take a shard of another folder over as the next one, sharing its files.

        Raises
        ------
        OSError
            The disk is full or fails.
        """
        number = len(self.counts)
        for what in _KINDS:
            self._share(other.path(shard, what), self.path(number, what))
        self.refresh()

    def share(self, other: Shards, name: str) -> None:
        """Take a sealed file of another folder over, if it is there."""
        self._share(other.folder / name, self.folder / name)

    def close(self) -> None:
        """Let go of the mapped files."""
        with self._lock:
            self._maps.clear()
            self._segments.clear()

    def _share(self, source: Path, target: Path) -> None:
        """Give a file a second name, or copy it where the file system knows no second names."""
        if not source.exists():
            return
        try:
            os.link(source, target)
        except OSError:
            with open(source, "rb") as old, open(target, "xb") as new:
                shutil.copyfileobj(old, new, 1 << 20)
                new.flush()
                os.fsync(new.fileno())

    def _count(self, shard: int, known: int, last: bool) -> int:
        """Return how many rows of a shard are whole; a torn end of the last one does not count."""
        rows, keys = self.path(shard, "rows"), self.path(shard, "keys")
        whole = min(
            keys.stat().st_size // RECORD.itemsize,
            (rows.stat().st_size if rows.exists() else 0) // (2 * self.dimension),
            self.shard_rows,
        )
        if whole <= known:
            return known
        if not last or (
            whole == self.shard_rows and Segment.read(self.path(shard, "index"), whole)
        ):
            return whole
        start = max(known, whole - _TAIL)
        # What follows the last sound row was torn; a broken one before it is damage, and costs
        # the others nothing.
        sound = np.flatnonzero(self.sound(shard, start, whole))
        return start + int(sound[-1]) + 1 if len(sound) else start

    def _segment(self, shard: int) -> Segment:
        """Return the index of a shard that is done, made anew where its file is not usable."""
        with self._lock:
            segment, count = self._segments.get(shard), self.counts[shard]
            if segment is None or len(segment.places) != count:
                path = self.path(shard, "index")
                segment = Segment.read(path, count)
                if segment is None:
                    segment = Segment.of(self.records(shard, 0, count)["key"])
                    segment.write(path)
                self._segments[shard] = segment
            return segment

    def _map(self, shard: int, what: str, count: int) -> npt.NDArray[Any]:
        """Return the first `count` (or more) rows or records of a shard, mapped."""
        with self._lock:
            mapped = self._maps.get((shard, what))
            if mapped is None or len(mapped) < count:
                path = self.path(shard, what)
                size = 2 * self.dimension if what == "rows" else RECORD.itemsize
                # Mapped to its end, so that a growing shard is seldom mapped again. Private
                # ("c"), because torch takes no read-only memory; nothing is ever written there.
                count = max(count, min(path.stat().st_size // size, self.shard_rows))
                shape = (count, self.dimension) if what == "rows" else (count,)
                kind = np.dtype(np.float16) if what == "rows" else RECORD
                mapped = np.memmap(path, kind, "c", shape=shape) if count else np.empty(shape, kind)
                self._maps[shard, what] = mapped
            return mapped


def checksums(keys: Keys, rows: Rows) -> npt.NDArray[np.uint32]:
    """Return a CRC-32 over each key and its row: uint32 [m]."""
    data = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), 2 * rows.shape[1])
    pairs = zip(np.ascontiguousarray(keys), data, strict=True)
    found = (zlib.crc32(row.data, zlib.crc32(key.data)) for key, row in pairs)
    return np.fromiter(found, np.uint32, len(rows))


def _append_at(path: Path, offset: int, data: bytes) -> None:
    """Cut the file at `offset` (a torn end goes), write there, and wait for the disk."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    with os.fdopen(handle, "r+b") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
