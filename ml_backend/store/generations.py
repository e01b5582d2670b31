"""Generations: which shards of an embedding store count, and who may write.

``form.json`` names what a folder holds and the generation of shards that counts. A compaction
writes the next generation beside it and then replaces ``form.json``, so that a reader has the one
or the other, whole. What a crash left behind belongs to no generation that counts, and is removed
later. Writers take a file lock; readers need none.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ml_backend.errors import StoreError
from ml_backend.store.shards import Shards

_MOST = 1 << 31
_TRIES = 5

_OURS = re.compile(r"(\d{5,}\.[a-z]+|space)|\.(\d{5,}\.[a-z]+|space)\.\d+\.\d+")

T = TypeVar("T")


class Generations:
    """The folder of an embedding store.

    Parameters
    ----------
    folder : Path
    dimension : int, optional
        Length of an embedding; left out, the folder must be there and says it.
    shard_rows : int
        Rows per shard, where the folder is new.

    Raises
    ------
    StoreError
        The folder cannot be used, or holds embeddings of another dimension.
    """

    def __init__(self, folder: Path, dimension: int | None, shard_rows: int) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._swept = False
        try:
            if dimension is not None and not self._form_path.exists():
                folder.mkdir(parents=True, exist_ok=True)
                self._write_form(dimension, shard_rows, generation=0)
            self.dimension = dimension or self._read_form()[0]
            self._shards = self._open()
        except (OSError, ValueError) as error:
            raise StoreError(
                f"The embeddings in {folder} cannot be opened ({error}). Check the disk; if "
                "the folder is damaged, delete it: the images are then encoded again."
            ) from error

    def current(self) -> Shards:
        """Return the shards that count, opened again after a compaction."""
        with self._lock:
            try:
                changed = self._mark() != self._opened
            except OSError:  # the folder was deleted: what is mapped can still be read
                changed = False
            if changed:
                self._shards = self._open()
            return self._shards

    def reading(self, read: Callable[[], T]) -> T:
        """Read, and once more where a compaction took the files away meanwhile."""
        for attempt in range(_TRIES):
            try:
                return read()
            except (OSError, ValueError) as error:
                if attempt == _TRIES - 1:
                    raise StoreError(
                        f"The embeddings in {self.folder} cannot be read ({error}). Check the "
                        "disk; if the folder is damaged, delete it: the images are then encoded "
                        "again."
                    ) from error
        raise AssertionError

    @contextlib.contextmanager
    def writing(self) -> Iterator[Shards]:
        """Give out the shards that count to the one writer.

        Raises
        ------
        StoreError
            The disk is full or fails; what was kept before stays usable.
        """
        if not self._swept:
            self._sweep()
        with self._locked("lock"):
            shards = self.current()
            shards.refresh()
            yield shards

    @contextlib.contextmanager
    def succession(self) -> Iterator[tuple[Shards, Shards, Callable[[], None]]]:
        """Give out the shards that count, empty ones that may follow, and what makes them follow.

        The third is to be called while `writing`. Without that call nothing changes.

        Raises
        ------
        StoreError
            The disk is full or fails, or somebody else is at it.
        """
        with self._locked("compact.lock", wait=False):
            self._remove_strays()
            old = self.current()
            old.refresh()
            _, shard_rows, number = self._read_form()
            folder = self._generation(number + 1)
            folder.mkdir()

            def follow() -> None:
                _wait_for_disk(folder)
                self._write_form(self.dimension, shard_rows, number + 1)

            try:
                yield old, Shards(folder, self.dimension, shard_rows), follow
            finally:
                self._remove_strays()

    def close(self) -> None:
        """Let go of the mapped files."""
        with self._lock:
            self._shards.close()

    @property
    def _form_path(self) -> Path:
        return self.folder / "form.json"

    def _generation(self, number: int) -> Path:
        return self.folder / f"g{number:06d}" if number else self.folder

    def _read_form(self) -> tuple[int, int, int]:
        """Return dimension, rows per shard and the generation that counts."""
        try:
            kept = json.loads(self._form_path.read_text())
        except RecursionError:
            kept = None
        if not isinstance(kept, dict) or kept.get("dtype") != "float16":
            raise ValueError("form.json names no rows of float16")
        numbers = [kept.get("dimension"), kept.get("shard_rows"), kept.get("generation", 0)]
        if any(type(number) is not int for number in numbers):
            raise ValueError("form.json holds something else than numbers")
        dimension, shard_rows, generation = numbers
        if not (0 < dimension <= _MOST and 0 < shard_rows <= _MOST and 0 <= generation <= _MOST):
            raise ValueError("form.json holds a number that cannot be")
        return dimension, shard_rows, generation

    def _write_form(self, dimension: int, shard_rows: int, generation: int) -> None:
        """Say what the folder holds; from then on it is so."""
        form = {
            "dimension": dimension,
            "shard_rows": shard_rows,
            "dtype": "float16",
            "generation": generation,
        }
        path = self._form_path
        draft = path.with_name(f".form.{os.getpid()}.{threading.get_ident()}")
        with open(draft, "w") as file:
            file.write(json.dumps(form))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        _wait_for_disk(self.folder)

    def _mark(self) -> tuple[int, int]:
        """Return what changes when another generation counts."""
        found = self._form_path.stat()
        return found.st_ino, found.st_mtime_ns

    def _open(self) -> Shards:
        """Open the generation that counts."""
        for _ in range(_TRIES):
            mark = self._mark()
            found, shard_rows, generation = self._read_form()
            if found != self.dimension:
                raise StoreError(
                    f"{self.folder} holds embeddings of {found} numbers, but the LVM makes "
                    f"{self.dimension}. Delete the folder: the images are then encoded again."
                )
            # A compaction that ends just now may take files away while they are opened.
            with contextlib.suppress(FileNotFoundError):
                shards = Shards(self._generation(generation), found, shard_rows)
                if self._mark() == mark:
                    self._opened = mark
                    return shards
        raise OSError("the folder changes all the time")

    @contextlib.contextmanager
    def _locked(self, lock: str, wait: bool = True) -> Iterator[None]:
        try:
            with open(self.folder / lock, "w") as file:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                yield
        except BlockingIOError as error:
            raise StoreError(
                f"The embeddings in {self.folder} are being compacted already. Wait for its end."
            ) from error
        except OSError as error:
            raise StoreError(
                f"Embeddings cannot be written to {self.folder} ({error.strerror or error}). "
                "Free disk space or check the disk; what was kept before is still usable."
            ) from error

    def _sweep(self) -> None:
        """Remove what a crash may have left, once, unless a compaction is at work."""
        self._swept = True
        with contextlib.suppress(StoreError), self._locked("compact.lock", wait=False):
            self._remove_strays()

    def _remove_strays(self) -> None:
        """Remove files of no generation that counts; nobody else may be compacting."""
        kept = self._generation(self._read_form()[2])
        for path in list(self.folder.iterdir()):
            if re.fullmatch(r"g\d{6,}", path.name):
                if path != kept:
                    shutil.rmtree(path, ignore_errors=True)
            elif kept != self.folder and _OURS.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _wait_for_disk(folder: Path) -> None:
    """Make sure that the names in a folder outlive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
