"""Rows of the store as a table that stays on disk and is read in parts."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ml_backend.store.shards import Rows, Shards


class StoredRows:
    """Embeddings of chosen images, to be indexed by rows like an array [n, d].

    Slices, masks and lists of rows give arrays; the whole is read only where an array is asked
    for (``numpy.asarray``). What it holds in memory is 8 bytes per row.

    Parameters
    ----------
    shards : Shards
        All mapped (see `Shards.pin`), so that a compaction takes nothing away.
    places : int64 [n]
        Where the rows stand.

    Attributes
    ----------
    shape : (n, d)
    dtype : numpy.dtype
        float16.
    """

    ndim = 2
    dtype = np.dtype(np.float16)

    def __init__(self, shards: Shards, places: npt.NDArray[np.int64]) -> None:
        self._shards = shards
        self._places = places
        self.shape = (len(places), shards.dimension)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, rows: slice | npt.ArrayLike) -> Rows:
        """Read rows: float16 [m, d]."""
        chosen = rows if isinstance(rows, slice) else np.asarray(rows)
        if not isinstance(chosen, slice) and not chosen.size:
            chosen = chosen.astype(np.int64)
        places = self._places[chosen]
        if places.ndim != 1:
            raise IndexError("Rows are chosen by a slice, a mask or a list of rows.")
        return self._shards.take(places)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Read everything."""
        return self[:].astype(dtype or self.dtype, copy=False)


Table: TypeAlias = npt.NDArray[Any] | StoredRows
"""Embeddings [n, d] that can be indexed by rows."""


def table_of(embeddings: npt.ArrayLike | StoredRows) -> Table:
    """Return embeddings as they are, if they can be read in parts, else as an array."""
    return embeddings if isinstance(embeddings, StoredRows) else np.asanyarray(embeddings)
