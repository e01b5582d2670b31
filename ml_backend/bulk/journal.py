"""What a bulk encoding has done so far: appended, checksummed, taken up again after a kill."""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ml_backend.errors import GalaxyLoopError

Stamp = tuple[int, int]
"""Bytes and time of change (ns) of the file that was encoded; zeros where it was no file."""
NO_STAMP: Stamp = (0, 0)

_MANIFEST = "manifest.json"
_RECORDS = "records.bin"
_LOCK = "lock"
_HEAD = struct.Struct("<II")  # length and CRC-32 of what follows
_META = struct.Struct("<I")  # length of the JSON part


class JournalError(GalaxyLoopError):
    """Progress cannot be kept, or belongs to something else."""


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes
    ----------
    index : int
        Its place in the source.
    row : ndarray or None
        float32 `[d]`.
    problem : str
        Why there is none.
    stamp : tuple of int
        Size and time of change of its file.
    """

    index: int
    row: npt.NDArray[np.float32] | None
    problem: str = ""
    stamp: Stamp = NO_STAMP


@dataclass
class Journal:
    """Progress in a folder beside the output; made by `open_journal`.

    Attributes
    ----------
    folder : Path
    manifest : mapping
        What it is the progress of; as it was when the work was begun.
    places : ndarray
        int64 `[n]`: where each image's row begins in the records; -1 not done, -2 failed.
    stamps : ndarray
        int64 `[n, 2]`.
    problems : dict
        Reason by index, of failed images.
    """

    folder: Path
    manifest: Mapping[str, Any]
    places: npt.NDArray[np.int64]
    stamps: npt.NDArray[np.int64]
    _lock: BinaryIO
    problems: dict[int, str] = field(default_factory=dict)
    _end: int = 0

    def __post_init__(self) -> None:
        self._file = open(self.folder / _RECORDS, "a+b")  # noqa: SIM115 - closed by close()
        self._replay()

    @property
    def begun(self) -> int:
        """Images from the start of the source that were tried."""
        untried = np.flatnonzero(self.places == -1)
        return int(untried[0]) if len(untried) else len(self.places)

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Keep what became of some images; later outcomes of an image replace earlier ones."""
        meta = {
            "done": [o.index for o in outcomes if o.row is not None],
            "failed": {str(o.index): o.problem for o in outcomes if o.row is None},
            "stamps": [o.stamp for o in outcomes if o.row is not None],
        }
        text = json.dumps(meta).encode()
        rows = b"".join(
            np.ascontiguousarray(o.row, np.float32).tobytes() for o in outcomes if o.row is not None
        )
        payload = _META.pack(len(text)) + text + rows
        self._file.write(_HEAD.pack(len(payload), zlib.crc32(payload)) + payload)
        # The operating system has it now, so a kill costs nothing; a power cut may cost the tail.
        self._file.flush()
        self._take(meta, self._end + _HEAD.size + _META.size + len(text))
        self._end += _HEAD.size + len(payload)

    def rows(self, chunk: int = 4096) -> Iterator[bytes]:
        """Yield the rows of all encoded images in the source's order, some at a time."""
        width = 4 * int(self.manifest["dimension"])
        done = self.places[self.places >= 0]
        if not len(done):
            return
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as records:
            for start in range(0, len(done), chunk):
                yield b"".join(records[p : p + width] for p in done[start : start + chunk])

    def close(self) -> None:
        """Let go of the files; what is done stays."""
        self._file.close()
        self._lock.close()

    def remove(self) -> None:
        """Let go of the files and delete them, and nothing else that may lie in the folder."""
        self.close()
        with contextlib.suppress(OSError):
            for name in (_RECORDS, _MANIFEST, _LOCK):
                (self.folder / name).unlink(missing_ok=True)
            self.folder.rmdir()

    def _replay(self) -> None:
        """Read all whole records, and cut off a last one that a crash left torn."""
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        while head := self._file.read(_HEAD.size):
            if len(head) < _HEAD.size:
                break
            length, checksum = _HEAD.unpack(head)
            payload = self._file.read(length) if length <= size else b""
            if len(payload) < length or zlib.crc32(payload) != checksum:
                break
            (text,) = _META.unpack_from(payload)
            meta = json.loads(payload[_META.size : _META.size + text])
            self._take(meta, self._end + _HEAD.size + _META.size + text)
            self._end += _HEAD.size + length
        self._file.truncate(self._end)
        self._file.seek(0, os.SEEK_END)

    def _take(self, meta: Mapping[str, Any], rows_at: int) -> None:
        width = 4 * int(self.manifest["dimension"])
        for place, index in enumerate(meta["done"]):
            self.places[index] = rows_at + place * width
            self.stamps[index] = meta["stamps"][place]
            self.problems.pop(index, None)
        for index, problem in meta["failed"].items():
            self.places[int(index)] = -2
            self.problems[int(index)] = problem


def open_journal(
    folder: Path, manifest: Mapping[str, Any], same: Sequence[str], restart: bool
) -> Journal:
    """Begin progress in a folder, or take up what is there.

    Parameters
    ----------
    folder : Path
        Made where missing.
    manifest : mapping
        What this is the progress of: ``images``, ``dimension`` and anything else, as JSON.
    same : sequence of str
        Entries of the manifest that progress must share to be taken up. The others are
        taken from it, as they were when the work was begun.
    restart : bool
        Throw away what is there.

    Raises
    ------
    JournalError
        Another process is at work, what is there belongs to something else, or it cannot be
        written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / _LOCK, "ab")  # noqa: SIM115 - kept by the journal
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise JournalError(
                f"Another process is writing {folder}. Wait for it, or give another --out."
            ) from None
        if restart:
            with contextlib.suppress(FileNotFoundError):
                os.remove(folder / _MANIFEST)
        kept = _kept(folder, lock)
        if kept is None:
            (folder / _RECORDS).write_bytes(b"")
            text = json.dumps(dict(manifest), indent=2)
            (folder / (_MANIFEST + ".new")).write_text(text, encoding="utf-8")
            os.replace(folder / (_MANIFEST + ".new"), folder / _MANIFEST)
            kept = dict(manifest)
        differing = [name for name in same if kept.get(name) != manifest[name]]
        if differing:
            lock.close()
            raise JournalError(
                f"{folder} holds progress with another {' and '.join(differing)}. Give another "
                "--out, or throw it away with --restart."
            )
        count = int(manifest["images"])
        places, stamps = np.full(count, -1, np.int64), np.zeros((count, 2), np.int64)
        return Journal(folder, kept, places, stamps, lock)
    except OSError as error:
        raise JournalError(f"{folder} cannot be written: {error.strerror}.") from None


def _kept(folder: Path, lock: BinaryIO) -> dict[str, Any] | None:
    try:
        kept = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if isinstance(kept, dict):
            return kept
    except FileNotFoundError:
        return None
    except ValueError:
        pass
    lock.close()
    raise JournalError(f"{folder / _MANIFEST} is broken. Throw the progress away with --restart.")
