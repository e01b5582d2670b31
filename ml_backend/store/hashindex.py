"""Where each content hash stands: sorted 64-bit prefixes in numpy, 48 bytes per row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint8]
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


class HashIndex:
    """Sorted prefixes with the place of each key; new keys go to a small second array.

    Two keys may share a prefix, so the whole key is always compared.
    """

    def __init__(self) -> None:
        self._main: _Segment = _empty()
        self._recent: _Segment = _empty()
        self._keys: Keys = np.empty((0, 24), np.uint8)
        self._places: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def extend(self, keys: Keys, first_place: int) -> None:
        """Add keys [m, 32] that stand at `first_place`, `first_place` + 1, ..."""
        count = len(keys)
        self._reserve(self._count + count)
        slots = np.arange(self._count, self._count + count)
        self._keys[slots] = keys[:, 8:]
        self._places[slots] = first_place + np.arange(count)
        self._count += count
        self._recent = _merged(self._recent, (_prefixes(keys), slots))
        if len(self._recent[0]) > max(_RECENT, len(self._main[0]) // 20):
            self._main = _merged(self._main, self._recent)
            self._recent = _empty()

    def find(self, keys: Keys) -> npt.NDArray[np.int64]:
        """Return the place of each key [m], -1 where it is not there."""
        found = np.full(len(keys), -1, np.int64)
        prefixes = _prefixes(keys)
        for order, slots in (self._main, self._recent):
            if not len(order):
                continue
            at = np.searchsorted(order, prefixes)
            open_ = np.flatnonzero((found < 0) & (at < len(order)))
            while len(open_):
                open_ = open_[order[at[open_]] == prefixes[open_]]
                slot = slots[at[open_]]
                same = (self._keys[slot] == keys[open_, 8:]).all(axis=1)
                found[open_[same]] = self._places[slot[same]]
                open_ = open_[~same]
                at[open_] += 1
                open_ = open_[at[open_] < len(order)]
        return found

    def _reserve(self, count: int) -> None:
        room = len(self._places)
        if count <= room:
            return
        size = max(count, room + room // 2, 1024)
        self._keys = np.concatenate([self._keys, np.empty((size - room, 24), np.uint8)])
        self._places = np.concatenate([self._places, np.empty(size - room, np.int64)])


_Segment = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]


def _empty() -> _Segment:
    return np.empty(0, np.uint64), np.empty(0, np.int64)


def _merged(one: _Segment, other: _Segment) -> _Segment:
    prefixes = np.concatenate([one[0], other[0]])
    order = np.argsort(prefixes, kind="stable")
    return prefixes[order], np.concatenate([one[1], other[1]])[order]


def _prefixes(keys: Keys) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(keys[:, :8]).view(np.uint64).reshape(-1)


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdefABCDEF" for letter in text)
