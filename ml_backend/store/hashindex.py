"""Where each content hash stands: sorted 64-bit prefixes, in memory or mapped from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.store.sealed import read_sealed, write_sealed

Keys = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

_KIND = b"index"
_RECENT = 4096


def keys_of(hashes: Sequence[str]) -> Keys:
    """Turn SHA-256 hex digests into uint8 [m, 32].

    Raises
    ------
    ValueError
        One of them is not a SHA-256 in hex.
    """
    try:
        data = bytes.fromhex("".join(hashes))
    except ValueError:
        data = b""
    if len(data) != 32 * len(hashes) or any(len(text) != 64 for text in hashes):
        bad = next((text for text in hashes if not _is_hash(text)), "")
        raise ValueError(f"Not a SHA-256 content hash: {bad!r}.")
    return np.frombuffer(data, np.uint8).reshape(-1, 32)


def prefixes_of(keys: Keys) -> npt.NDArray[np.uint64]:
    """Return the first 8 bytes of keys [m, 32] as numbers: uint64 [m]."""
    return np.ascontiguousarray(keys[:, :8]).view("<u8").reshape(-1)


@dataclass(frozen=True)
class Segment:
    """Sorted prefixes of keys, and where each key stands.

    Attributes
    ----------
    prefixes : uint64 [n]
        Rising.
    places : uint32 [n]
        Row of each key in the table of whole keys that `find` compares with.
    """

    prefixes: npt.NDArray[np.uint64]
    places: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, keys: Keys, first_place: int = 0) -> Segment:
        """Sort keys [n, 32] that stand at `first_place`, `first_place` + 1, ..."""
        prefixes = prefixes_of(keys)
        order = np.argsort(prefixes, kind="stable")
        return cls(prefixes[order], (order + first_place).astype(np.uint32))

    @classmethod
    def read(cls, path: Path, rows: int) -> Segment | None:
        """Map a segment of `rows` keys from its file; None if that is missing or broken."""
        payload = read_sealed(path, _KIND, rows)
        if payload is None or len(payload) != 12 * rows:
            return None
        segment = cls(payload[: 8 * rows].view("<u8"), payload[8 * rows :].view("<u4"))
        return segment if not rows or segment.places.max() < rows else None

    def write(self, path: Path) -> bool:
        """Write the segment to a file; False where that cannot be."""
        return write_sealed(path, _KIND, len(self.places), [self.prefixes, self.places])

    def merged(self, other: Segment) -> Segment:
        """Return both in one."""
        prefixes = np.concatenate([self.prefixes, other.prefixes])
        order = np.argsort(prefixes, kind="stable")
        return Segment(prefixes[order], np.concatenate([self.places, other.places])[order])

    def find(self, prefixes: npt.NDArray[np.uint64], keys: Keys, stored: Keys) -> Places:
        """Return the place of each key, -1 where it is not there.

        Two keys may share a prefix, so the whole key is always compared.

        Parameters
        ----------
        prefixes : uint64 [m]
            Of `keys`, rising (many rising ones are found much quicker than shuffled ones).
        keys : uint8 [m, 32]
        stored : uint8 [at least n, 32]
            The whole keys; read where a prefix agrees.
        """
        found = np.full(len(keys), -1, np.int64)
        if not len(self.prefixes) or not len(keys):
            return found
        open_ = self._likely(prefixes)
        at = np.full(len(keys), len(self.prefixes))
        at[open_] = np.searchsorted(self.prefixes, prefixes[open_])
        open_ = open_[at[open_] < len(self.prefixes)]
        while len(open_):
            open_ = open_[self.prefixes[at[open_]] == prefixes[open_]]
            places = self.places[at[open_]]
            same = (stored[places] == keys[open_]).all(axis=1)
            found[open_[same]] = places[same]
            open_ = open_[~same]
            at[open_] += 1
            open_ = open_[at[open_] < len(self.prefixes)]
        return found

    def _likely(self, prefixes: npt.NDArray[np.uint64]) -> Places:
        """Of many prefixes, return those that are here: the shorter list is looked up in the
        longer one."""
        if len(prefixes) <= len(self.prefixes):
            return np.arange(len(prefixes))
        change = np.zeros(len(prefixes) + 1, np.int64)
        np.add.at(change, np.searchsorted(prefixes, self.prefixes, "left"), 1)
        np.add.at(change, np.searchsorted(prefixes, self.prefixes, "right"), -1)
        return np.flatnonzero(np.cumsum(change[:-1]))


class HashIndex:
    """Places of keys that still come in; new keys go to a small second segment."""

    def __init__(self) -> None:
        self._main = Segment.of(np.empty((0, 32), np.uint8))
        self._recent = self._main
        self._keys: Keys = np.empty((0, 32), np.uint8)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, keys: Keys) -> None:
        """Add keys [m, 32]; the place of a key is the number of those before it."""
        count = self._count + len(keys)
        if count > len(self._keys):
            size = max(count, len(self._keys) + len(self._keys) // 2, 1024)
            room = np.empty((size - len(self._keys), 32), np.uint8)
            self._keys = np.concatenate([self._keys, room])
        self._keys[self._count : count] = keys
        self._recent = self._recent.merged(Segment.of(keys, self._count))
        self._count = count
        if len(self._recent.places) > max(_RECENT, len(self._main.places) // 20):
            self._main = self._main.merged(self._recent)
            self._recent = Segment.of(keys[:0])

    def find(self, prefixes: npt.NDArray[np.uint64], keys: Keys) -> Places:
        """Return the place of each key [m], -1 where it is not there (see `Segment.find`)."""
        found = self._main.find(prefixes, keys, self._keys)
        return np.maximum(found, self._recent.find(prefixes, keys, self._keys))

    def contains(self, keys: Keys) -> npt.NDArray[np.bool_]:
        """Tell which keys [m, 32], in any order, are there: bool [m]."""
        prefixes = prefixes_of(keys)
        order = np.argsort(prefixes, kind="stable")
        there = np.empty(len(keys), np.bool_)
        there[order] = self.find(prefixes[order], keys[order]) >= 0
        return there


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdefABCDEF" for letter in text)
