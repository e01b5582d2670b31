"""Label Studio's run lengths of brush masks: a stream of bits, coded as bytes.

The format is that of @thi.ng/rle-pack: 32 bits number of values, 5 bits word size - 1, four times 4
bits the sizes of lengths - 1; then items of 1 bit (1: one value repeated, 0: values as they are),
2 bits which size, the length - 1, and the value or values. Values are the four channels of each
pixel of the image, row by row; a pixel belongs to the mask by its fourth, the opacity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CHANNELS = 4
_SIZES = (3, 4, 8, 16)
_WORD = 8
_HEADER = 32 + 5 + 4 * len(_SIZES)
_LONGEST = 1 << _SIZES[-1]
_BLOCK = 1 << 16

Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]


class RleError(ValueError):
    """A stream of run lengths cannot be read; the message says why."""


def opaque(opacity: Bytes) -> Bools:
    """Return the pixels of a mask: at least half as opaque as the most opaque one.

    Strokes have soft edges in the editor; half is where the stroke covers half of the pixel.
    Masks of two values only are taken exactly.
    """
    most = int(opacity.max(initial=0))
    return np.asarray((opacity >= (most + 1) // 2) & (opacity > 0))


def mask_to_rle(mask: Bools) -> list[int]:
    """Encode a mask [H, W] as Label Studio keeps it."""
    values = np.where(np.asarray(mask, dtype=np.bool_).ravel(), 255, 0).astype(np.uint8)
    starts = _run_starts(values)
    lengths = np.diff(np.append(starts, len(values))) * CHANNELS
    return _encoded(values[starts], lengths, CHANNELS * len(values))


def encode_rle(values: Bytes) -> list[int]:
    """Encode values [n], n > 0, to the same bytes as ``label_studio_sdk.converter.brush``."""
    starts = _run_starts(values)
    return _encoded(values[starts], np.diff(np.append(starts, len(values))), len(values))


def rle_to_mask(rle: object, height: int, width: int) -> Bools:
    """Decode a mask [height, width]; memory is that of the mask, whatever the stream claims.

    Raises
    ------
    RleError
        It is no list of bytes, is not for an image of that size, or ends early.
    """
    expected = CHANNELS * height * width
    if isinstance(rle, Sequence) and len(rle) > 64 + 2 * expected:
        raise RleError(f"it has {len(rle)} bytes, too many for {width} x {height} pixels")
    items = _items(_bytes(rle), expected)
    ends = np.minimum(np.cumsum(items.lengths), expected)
    # The value at CHANNELS * pixel + 3 lies before an end where the whole pixel does.
    pixels = ends // CHANNELS
    return opaque(np.repeat(items.values, np.diff(pixels, prepend=0))).reshape(height, width)


def decode_rle(rle: object, limit: int) -> Bytes:
    """Decode the values [n].

    Raises
    ------
    RleError
        It is no list of bytes, claims more than `limit` values, or ends early.
    """
    data = _bytes(rle)
    claimed = int.from_bytes(data[:4], "big")
    if claimed > limit:
        raise RleError(f"it claims {claimed} values; at most {limit} are read")
    items = _items(data, claimed)
    return np.repeat(items.values, items.lengths)[:claimed]


def _run_starts(values: Bytes) -> NDArray[np.int64]:
    if not len(values):
        raise RleError("there are no values to encode")
    return np.flatnonzero(np.append(True, values[1:] != values[:-1]))


def _encoded(values: Bytes, lengths: NDArray[np.int64], total: int) -> list[int]:
    if total >= 1 << 32:
        raise RleError(f"{total} values do not fit into a stream")
    sizes = np.array(_SIZES)
    which = np.searchsorted([8, 16, 256], lengths)
    parts = -(-lengths // _LONGEST)
    run = np.repeat(np.arange(len(lengths)), parts)
    last = np.cumsum(parts) - 1
    part = np.full(len(run), _LONGEST, dtype=np.int64)
    part[last] = lengths - (parts - 1) * _LONGEST
    size = sizes[which[run]]
    repeated = (lengths[run] > 1).astype(np.int64)
    head = (repeated << 2) | which[run]
    word = (((head << size) | (part - 1)) << _WORD) | values[run]
    bits = 3 + size + _WORD
    place = np.arange(bits.sum()) - np.repeat(np.cumsum(bits) - bits, bits)
    stream = (np.repeat(word, bits) >> (np.repeat(bits, bits) - 1 - place)) & 1
    start = total
    for size_, width in ((_WORD - 1, 5), *((length - 1, 4) for length in _SIZES)):
        start = (start << width) | size_
    header = [(start >> (_HEADER - 1 - bit)) & 1 for bit in range(_HEADER)]
    packed = np.packbits(np.concatenate([np.array(header, np.uint8), stream.astype(np.uint8)]))
    # Like the SDK, whose padding is a whole byte where nothing had to be padded.
    extra = [0] if (_HEADER + len(stream)) % 8 == 0 else []
    return [*packed.tolist(), *extra]


class _Items(NamedTuple):
    values: Bytes
    lengths: NDArray[np.int64]


def _bytes(rle: object) -> bytes:
    if isinstance(rle, bytes | bytearray):
        return bytes(rle)
    if not isinstance(rle, list):
        raise RleError("it is no list of numbers")
    try:
        data = bytes(rle)
    except (TypeError, ValueError, OverflowError):
        raise RleError("it holds something that is no whole number from 0 to 255") from None
    return data


def _items(data: bytes, expected: int) -> _Items:
    """Runs that together are at least `expected` values long."""
    if len(data) * 8 < _HEADER:
        raise RleError(f"it ends within its header ({len(data)} bytes)")
    header = int.from_bytes(data[:7], "big") >> (56 - _HEADER)
    count = header >> 21
    if count != expected:
        raise RleError(f"it is for {count} values, the image has {expected}")
    if (header >> 16 & 31) + 1 != _WORD:
        raise RleError(f"its values have {(header >> 16 & 31) + 1} bits, not {_WORD}")
    sizes = np.array([(header >> shift & 15) + 1 for shift in (12, 8, 4, 0)], dtype=np.int64)
    padded = np.frombuffer(data + bytes(5), dtype=np.uint8).astype(np.int64)
    window = padded[:-4] << 32
    for offset in range(1, 5):
        window |= padded[offset : len(padded) - 4 + offset] << (32 - 8 * offset)

    def read(position: NDArray[np.int64], bits: NDArray[np.int64] | int) -> NDArray[np.int64]:
        word = window[position >> 3] >> (40 - (position & 7) - bits)
        return np.asarray(word & ((1 << bits) - 1))

    end, position, done = 8 * len(data), _HEADER, 0
    starts: list[NDArray[np.int64]] = []
    lengths: list[NDArray[np.int64]] = []
    while done < expected:
        if position >= end:
            raise RleError(f"it ends after {done} of {expected} values")
        # An item could start at every bit: where would it end? Then only the true ones follow.
        block = np.arange(position, min(position + _BLOCK, end))
        head = read(block, 3)
        size = sizes[head & 3]
        length = read(block + 3, size) + 1
        after = (3 + size + np.where(head & 4, 1, length) * _WORD + np.arange(len(block))).tolist()
        found, here, stop = [], 0, len(block)
        while here < stop:
            found.append(here)
            here = after[here]
        starts.append(block[found])
        lengths.append(length[found])
        done += int(lengths[-1].sum())
        position += here
    start, length = np.concatenate(starts), np.concatenate(lengths)
    needed = int(np.searchsorted(np.cumsum(length), expected)) + 1
    start, length = start[:needed], length[:needed]
    length[-1] -= length.sum() - expected
    head = read(start, 3)
    first = start + 3 + sizes[head & 3]
    repeated = (head & 4) > 0
    words = np.where(repeated, 1, length)
    if int((first + words * _WORD).max()) > end:
        raise RleError("it ends within its last values")
    nth = np.arange(words.sum()) - np.repeat(np.cumsum(words) - words, words)
    values = read(np.repeat(first, words) + nth * _WORD, _WORD).astype(np.uint8)
    return _Items(values, np.repeat(np.where(repeated, length, 1), words))
