"""Embeddings on disk, found by the content hash of their image, one folder per LVM.

A shard is two files that only grow: ``N.rows`` holds the float16 rows, ``N.keys`` one record per
row (the image's SHA-256 and a CRC-32 over hash and row). Rows are on disk before their keys, so a
key always has its row; what a crash tore off at the end is cut by the next writer. Writers take
a file lock; readers need none.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.errors import StoreError
from ml_backend.store.hashindex import HashIndex, keys_of

SHARD_ROWS = 1 << 17
_RECORD = np.dtype([("key", np.uint8, 32), ("crc", "<u4")])
_TAIL = 1024  # rows at the end of a shard whose checksums are looked at when it is opened

Rows = npt.NDArray[np.float16]
Mask = npt.NDArray[np.bool_]


class EmbeddingStore:
    """Embeddings of one LVM, kept by content hash.

    Parameters
    ----------
    folder : Path
        Folder of all embeddings; this LVM's own folder is made inside.
    lvm_identity : str
        :attr:`models.vision_encoder.VisionEncoder.identity`.
    dimension : int, optional
        Length of an embedding; left out, the folder must be there and says it.
    shard_rows : int
        Rows per file.

    Raises
    ------
    StoreError
        The folder cannot be used, or holds embeddings of another dimension.
    """

    def __init__(
        self,
        folder: Path,
        lvm_identity: str,
        dimension: int | None = None,
        shard_rows: int = SHARD_ROWS,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", lvm_identity):
            raise StoreError(f"No embeddings can be kept for the LVM {lvm_identity!r}.")
        self.folder = folder / lvm_identity
        self._shard_rows = shard_rows
        self._thread_lock = threading.RLock()
        self._counts: list[int] = []
        self._maps: dict[int, Rows] = {}
        self._index = HashIndex()
        try:
            self.dimension = self._form(dimension)
            self._refresh()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"The embeddings in {self.folder} cannot be opened ({error}). Check the disk; if "
                "the folder is damaged, delete it: the images are then encoded again."
            ) from error

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, content_hash: str) -> bool:
        return bool(self.contains([content_hash])[0])

    def contains(self, hashes: Sequence[str]) -> Mask:
        """Tell which content hashes (SHA-256, hex) have an embedding: bool [m]."""
        return self._find(hashes) >= 0

    def get(self, hashes: Sequence[str]) -> tuple[Rows, Mask]:
        """Return the embeddings of images.

        Parameters
        ----------
        hashes : sequence of str
            Content hashes (SHA-256, hex).

        Returns
        -------
        rows : float16 [m, d]
            Zeros where none is kept.
        found : bool [m]
        """
        places = self._find(hashes)
        found = places >= 0
        rows = np.zeros((len(hashes), self.dimension), np.float16)
        shards = places // self._shard_rows
        for shard in np.unique(shards[found]):
            here = np.flatnonzero(found & (shards == shard))
            inside = places[here] % self._shard_rows
            rows[here] = self._rows(int(shard), int(inside.max()) + 1)[inside]
        return rows, found

    def add(self, hashes: Sequence[str], rows: npt.ArrayLike) -> int:
        """Keep embeddings; those whose hash is there already are left out.

        Parameters
        ----------
        hashes : sequence of str
        rows : float [m, d]
            Finite; kept as float16 (larger magnitudes than 65504 are clipped).

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        StoreError
            The disk is full or fails; what was kept before stays usable.
        ValueError
            The rows are not finite or of another shape.
        """
        values = np.asarray(rows, dtype=np.float32)
        if values.shape != (len(hashes), self.dimension):
            raise ValueError(f"Expected rows of shape {(len(hashes), self.dimension)}.")
        if not np.isfinite(values).all():
            raise ValueError("An embedding holds NaN or infinity.")
        half = np.clip(values, -65504, 65504).astype(np.float16)
        with self._writer():
            self._refresh()
            keys = keys_of(hashes)
            new = self._index.find(keys) < 0
            _, first = np.unique(keys, axis=0, return_index=True)
            chosen = np.intersect1d(np.flatnonzero(new), first)
            self._append(keys[chosen], half[chosen])
            self._refresh()
        return len(chosen)

    def verify(self) -> int:
        """Compare every row with its checksum (reads everything); return how many are broken."""
        broken = 0
        with self._thread_lock:
            for shard, count in enumerate(self._counts):
                for start in range(0, count, _TAIL):
                    stop = min(start + _TAIL, count)
                    broken += int((~self._sound(shard, start, stop)).sum())
        return broken

    def close(self) -> None:
        """Let go of the mapped files."""
        with self._thread_lock:
            self._maps.clear()

    def _find(self, hashes: Sequence[str]) -> npt.NDArray[np.int64]:
        keys = keys_of(hashes)
        with self._thread_lock:
            places = self._index.find(keys)
            if (places < 0).any() and self._refresh():
                places = self._index.find(keys)
        return places

    def _form(self, dimension: int | None) -> int:
        """Read what the folder holds, writing it first where it is new."""
        path = self.folder / "form.json"
        if dimension is not None and not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            form = {"dimension": dimension, "shard_rows": self._shard_rows, "dtype": "float16"}
            draft = path.with_name(f".form.{os.getpid()}.{threading.get_ident()}")
            draft.write_text(json.dumps(form))
            os.replace(draft, path)
        kept = json.loads(path.read_text())
        found = int(kept["dimension"])
        self._shard_rows = int(kept["shard_rows"])
        if found != (dimension or found) or kept["dtype"] != "float16":
            raise StoreError(
                f"{self.folder} holds embeddings of {found} numbers, but the LVM makes "
                f"{dimension}. Delete the folder: the images are then encoded again."
            )
        return found

    def _path(self, shard: int, what: str) -> Path:
        return self.folder / f"{shard:05d}.{what}"

    @contextlib.contextmanager
    def _writer(self) -> Iterator[None]:
        try:
            with self._thread_lock, open(self.folder / "lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise StoreError(
                f"Embeddings cannot be written to {self.folder} ({error.strerror}). "
                "Free disk space or check the disk; what was kept before is still usable."
            ) from error

    def _append(self, keys: npt.NDArray[np.uint8], rows: Rows) -> None:
        done = 0
        while done < len(keys):
            shard = max(len(self._counts) - 1, 0)
            count = self._counts[shard] if self._counts else 0
            if count >= self._shard_rows:
                shard, count = shard + 1, 0
            batch = slice(done, done + self._shard_rows - count)
            records = np.empty(len(keys[batch]), _RECORD)
            records["key"] = keys[batch]
            records["crc"] = checksums(keys[batch], rows[batch])
            row_bytes = 2 * self.dimension
            try:
                _append_at(self._path(shard, "rows"), count * row_bytes, rows[batch].tobytes())
                _append_at(self._path(shard, "keys"), count * _RECORD.itemsize, records.tobytes())
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self._path(shard, "rows"), count * row_bytes)
                    os.truncate(self._path(shard, "keys"), count * _RECORD.itemsize)
                raise
            done += len(records)
            self._refresh()

    def _refresh(self) -> bool:
        """Take in what is new on disk; tell whether anything was."""
        grown = False
        with self._thread_lock:
            shard = max(len(self._counts) - 1, 0)
            while self._path(shard, "keys").exists():
                known = self._counts[shard] if shard < len(self._counts) else 0
                count = self._sound_count(shard, known)
                if count > known:
                    keys = self._records(shard, known, count)["key"]
                    self._index.extend(keys, first_place=shard * self._shard_rows + known)
                    grown = True
                if shard < len(self._counts):
                    self._counts[shard] = count
                else:
                    self._counts.append(count)
                if count < self._shard_rows:
                    break
                shard += 1
        return grown

    def _sound_count(self, shard: int, known: int) -> int:
        """Return how many rows of a shard are whole; a torn end does not count."""
        rows, keys = self._path(shard, "rows"), self._path(shard, "keys")
        whole = min(
            keys.stat().st_size // _RECORD.itemsize,
            (rows.stat().st_size if rows.exists() else 0) // (2 * self.dimension),
            self._shard_rows,
        )
        if whole <= known:
            return known
        start = max(known, whole - _TAIL)
        sound = self._sound(shard, start, whole)
        torn = np.flatnonzero(~sound)
        return start + int(torn[0]) if len(torn) else whole

    def _sound(self, shard: int, start: int, stop: int) -> Mask:
        records = self._records(shard, start, stop)
        found = checksums(records["key"], self._rows(shard, stop)[start:stop])
        return np.asarray(found == records["crc"], np.bool_)

    def _records(self, shard: int, start: int, stop: int) -> npt.NDArray[np.void]:
        size = _RECORD.itemsize
        return np.fromfile(self._path(shard, "keys"), _RECORD, stop - start, offset=start * size)

    def _rows(self, shard: int, count: int) -> Rows:
        """Return the first `count` (or more) rows of a shard, mapped."""
        with self._thread_lock:
            mapped = self._maps.get(shard)
            if mapped is None or len(mapped) < count:
                shape = (count, self.dimension)
                mapped = np.memmap(self._path(shard, "rows"), np.float16, "r", shape=shape)
                self._maps[shard] = mapped
            return mapped


def checksums(keys: npt.NDArray[np.uint8], rows: Rows) -> npt.NDArray[np.uint32]:
    """Return a CRC-32 over each key and its row: uint32 [m]."""
    data = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1)
    pairs = zip(keys, data, strict=True)
    found = (zlib.crc32(row.data, zlib.crc32(key.tobytes())) for key, row in pairs)
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
