"""Canvases on disk: memory maps that appear under their name only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from models.frame import Canvas, Frame
from models.measurements import MEASUREMENTS, measure_all

MEASURED_AT_ONCE = 64


def read_canvases(path: Path) -> Canvas:
    """Map canvases `[n, side, side, 3]` into memory.

    Raises
    ------
    ValueError
        The file is torn; it says to delete it.
    """
    return _load(path, "r")


def write_canvases(path: Path, most: int, canvases: Iterator[Canvas], frame: Frame) -> int:
    """Write up to `most` canvases one by one; return how many there were."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, count = path.with_suffix(".partial"), 0
    shape = (frame.side, frame.side, 3)
    whole = open_memmap(partial, mode="w+", dtype=frame.dtype, shape=(most, *shape))
    for item in canvases:
        whole[count] = item
        count += 1
    whole.flush()
    if count < most:
        kept = open_memmap(
            path.with_suffix(".kept"), mode="w+", dtype=frame.dtype, shape=(count, *shape)
        )
        for row in range(count):
            kept[row] = whole[row]
        kept.flush()
        os.replace(path.with_suffix(".kept"), partial)
    os.replace(partial, path)
    return count


def measured(path: Path, frame: Frame, report: Callable[[str], None]) -> NDArray[np.float32]:
    """Measurements `[n, MEASUREMENTS]` of the canvases in a file, kept beside it."""
    beside, canvases = path.with_suffix(".measured.npy"), read_canvases(path)
    if beside.exists():
        kept = _load(beside, None)
        # A cache of an older version may hold fewer measurements.
        if kept.shape == (len(canvases), MEASUREMENTS):
            return kept
    rows = np.zeros((len(canvases), MEASUREMENTS), dtype=np.float32)
    for first in range(0, len(rows), MEASURED_AT_ONCE):
        items = canvases[first : first + MEASURED_AT_ONCE]
        rows[first : first + len(items)] = measure_all(
            np.stack([frame.measured_part(item) for item in items])
        )
        if first % (16 * MEASURED_AT_ONCE) == 0:
            report(f"{first} of {len(rows)} stamps measured")
    partial = beside.with_suffix(".partial")
    with open(partial, "wb") as file:
        np.save(file, rows)
    os.replace(partial, beside)
    return rows


def _load(path: Path, mode: str | None) -> NDArray[np.float32]:
    try:
        found: NDArray[np.float32] = np.load(path, mmap_mode=mode, allow_pickle=False)  # type: ignore[arg-type]
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is torn ({error}); delete it, it will be made again.") from None
    return found
