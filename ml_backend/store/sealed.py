"""Sealed files: what can be computed from the rows again, mapped from disk while it is whole.

A sealed file is a header (what it is, of how many rows, a tag and a CRC-32 over everything) and
a payload. One that is missing, torn, damaged or of other rows reads as None; its owner then
computes it anew, so that none is ever waited for on the disk.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_MAGIC = b"GLXSEAL1"
_HEADER = struct.Struct("<8s8sQ16s20xI")  # magic, kind, rows, tag, room, checksum: 64 bytes

Payload = npt.NDArray[np.uint8]


def write_sealed(
    path: Path, kind: bytes, rows: int, parts: Sequence[npt.NDArray[Any]], tag: bytes = b""
) -> bool:
    """Write a sealed file, whole or not at all.

    Parameters
    ----------
    path : Path
    kind : bytes
        What it holds; at most 8 bytes.
    rows : int
        Of how many rows.
    parts : sequence of array
        The payload, one after the other.
    tag : bytes
        At most 16 bytes that a reader must name, too.

    Returns
    -------
    bool
        False where the disk is full or the folder may not be written.
    """
    data = [np.ascontiguousarray(part).reshape(-1).view(np.uint8).data for part in parts]
    header = _HEADER.pack(_MAGIC, kind, rows, tag, 0)
    header = _HEADER.pack(_MAGIC, kind, rows, tag, _checksum([memoryview(header), *data]))
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with open(draft, "wb") as file:
            file.writelines([header, *data])
        os.replace(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        return False
    return True


def read_sealed(path: Path, kind: bytes, rows: int, tag: bytes = b"") -> Payload | None:
    """Return the payload of a sealed file, mapped, or None where it cannot be used.

    Parameters
    ----------
    path : Path
    kind, rows, tag
        What it must have been written with.
    """
    try:
        whole = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError):  # missing, not a file, empty
        return None
    if len(whole) < _HEADER.size:
        return None
    found = _HEADER.unpack(whole[: _HEADER.size].tobytes())
    expected = _HEADER.pack(_MAGIC, kind, rows, tag, 0)
    payload = whole[_HEADER.size :]
    if found[:4] != _HEADER.unpack(expected)[:4]:
        return None
    return payload if _checksum([memoryview(expected), payload.data]) == found[4] else None


def _checksum(parts: Sequence[memoryview]) -> int:
    found = 0
    for part in parts:
        found = zlib.crc32(part, found)
    return found
