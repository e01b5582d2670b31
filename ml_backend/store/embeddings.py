"""Embeddings on disk, found by the content hash of their image, one folder per LVM.

The files are those of :mod:`ml_backend.store.shards`; which of them count, and who may write, is
told by :mod:`ml_backend.store.generations`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ml_backend.errors import StoreError
from ml_backend.store.compaction import CompactionReport, Rewriting, Wanted
from ml_backend.store.generations import Generations
from ml_backend.store.hashindex import Keys, Places, keys_of
from ml_backend.store.rows import StoredRows
from ml_backend.store.shards import Mask, Rows, Shards

if TYPE_CHECKING:
    from ml_backend.store.neighbours import Metric, Neighbours

__all__ = ["SHARD_ROWS", "CompactionReport", "EmbeddingStore", "Mask", "Rows", "StoredRows"]

SHARD_ROWS = 1 << 17


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
        Rows per file, where the folder is new.

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
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", lvm_identity) or lvm_identity in (".", ".."):
            raise StoreError(f"No embeddings can be kept for the LVM {lvm_identity!r}.")
        self.folder = folder / lvm_identity
        self._generations = Generations(self.folder, dimension, shard_rows)
        self.dimension = self._generations.dimension
        self._search_lock = threading.Lock()
        self._neighbours: Neighbours | None = None

    def __len__(self) -> int:
        return len(self._generations.current())

    def __contains__(self, content_hash: str) -> bool:
        return bool(self.contains([content_hash])[0])

    def contains(self, hashes: Sequence[str]) -> Mask:
        """Tell which content hashes (SHA-256, hex) have an embedding: bool [m]."""
        keys = keys_of(hashes)
        return self._generations.reading(lambda: self._find(keys)[1] >= 0)

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

        Raises
        ------
        StoreError
            The files cannot be read.
        """

        keys = keys_of(hashes)

        def read() -> tuple[Rows, Mask]:
            shards, places = self._find(keys)
            found = places >= 0
            rows = np.zeros((len(hashes), self.dimension), np.float16)
            rows[found] = shards.take(places[found])
            return rows, found

        return self._generations.reading(read)

    def view(self, hashes: Sequence[str]) -> tuple[StoredRows, Mask]:
        """Return the embeddings of images as a table that stays on disk.

        Parameters
        ----------
        hashes : sequence of str
            Content hashes (SHA-256, hex).

        Returns
        -------
        rows : StoredRows [number found, d]
            Of the images that are kept, in the order asked for. It stays as it is while others
            add or compact.
        found : bool [m]

        Raises
        ------
        StoreError
            The files cannot be read.
        """

        keys = keys_of(hashes)

        def read() -> tuple[StoredRows, Mask]:
            shards, places = self._find(keys)
            shards.pin()
            return StoredRows(shards, places[places >= 0]), places >= 0

        return self._generations.reading(read)

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
        keys = keys_of(hashes)
        with self._generations.writing() as shards:
            new = shards.find(keys) < 0
            _, first = np.unique(keys, axis=0, return_index=True)
            chosen = np.intersect1d(np.flatnonzero(new), first)
            shards.append(keys[chosen], half[chosen])
        return len(chosen)

    def nearest(
        self, query: str | npt.ArrayLike, count: int, metric: Metric = "euclidean"
    ) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Return the images whose embeddings are nearest to one.

        Distances are measured in standardised space: each of the d numbers is centred and
        divided by its spread over the store.

        Parameters
        ----------
        query : str or float [d]
            An embedding, or the content hash of an image that is kept (left out of the answer).
        count : int
        metric : str
            ``euclidean``, or ``cosine``: 1 - the cosine of the angle.

        Returns
        -------
        hashes : list of str
            At most `count`, nearest first. Rows whose checksum is wrong are left out.
        distances : float32

        Raises
        ------
        ValueError
            The hash is not kept, the embedding is not finite or of another length, or there is
            no such metric.
        StoreError
            The files cannot be read.
        """
        from ml_backend.store.neighbours import METRICS, Neighbours  # torch

        if metric not in METRICS:
            raise ValueError(f"Unknown metric {metric!r}; known are {', '.join(METRICS)}.")
        if isinstance(query, str):
            rows, found = self.get([query])
            if not found[0]:
                raise ValueError(f"There is no embedding of the image {query}.")
            vector, left_out = rows[0].astype(np.float32), keys_of([query])[0].tobytes()
        else:
            vector, left_out = np.asarray(query, np.float32), None
        if vector.shape != (self.dimension,) or not np.isfinite(vector).all():
            raise ValueError(f"Expected an embedding of {self.dimension} finite numbers.")

        def read() -> tuple[list[str], npt.NDArray[np.float32]]:
            with self._search_lock:
                shards = self._generations.current()
                shards.refresh()
                if self._neighbours is None or self._neighbours.shards is not shards:
                    self._neighbours = Neighbours(shards)
                return self._neighbours.search(vector, count, metric, left_out)

        return self._generations.reading(read)

    def verify(self) -> int:
        """Compare every row with its checksum (reads everything); return how many are broken."""

        def read() -> int:
            shards, broken = self._generations.current(), 0
            shards.refresh()
            for shard, count in enumerate(list(shards.counts)):
                for start, stop in shards.blocks(shard, count):
                    broken += int((~shards.sound(shard, start, stop)).sum())
            return broken

        return self._generations.reading(read)

    def compact(
        self, wanted: Wanted | None = None, progress: Callable[[float], None] = lambda share: None
    ) -> CompactionReport:
        """Drop broken rows, and those that nobody wants; readers and writers go on meanwhile.

        Rows that are added during the compaction are kept. Shards that lose nothing are not
        written again.

        Parameters
        ----------
        wanted : callable, optional
            Tells which content hashes, uint8 [m, 32], are wanted: bool [m]. All, if left out.
        progress : callable
            Called with the share done; may raise to stop, and nothing is changed then.

        Raises
        ------
        StoreError
            The disk is full or fails, or another compaction is at work; nothing is changed then.
        """
        with self._generations.succession() as (old, new, follow):
            rewriting = Rewriting(old, new, wanted, progress)
            rewriting.take_finished()
            with self._generations.writing():
                old.refresh()
                rewriting.take_rest()
                if rewriting.report.dropped:
                    follow()
        return rewriting.report

    def close(self) -> None:
        """Let go of the mapped files."""
        self._generations.close()
        with self._search_lock:
            self._neighbours = None

    def _find(self, keys: Keys) -> tuple[Shards, Places]:
        shards = self._generations.current()
        places = shards.find(keys)
        if (places < 0).any() and shards.refresh():
            places = shards.find(keys)
        return shards, places
