"""HDF5 files of stamps, far larger than memory: `images` `[n, 3, side, side]`.

The layout is that of Stein et al. 2021 (arXiv 2110.13151): float values are linear flux in g, r, z
(nanomaggies); bytes are pictures in red, green, blue. Stamps are visited in an order that is random
and yet kind to disks: whole stretches of the file are shuffled, some of them are held together, and
the stamps of these are shuffled. HDF5's own chunk cache keeps what such a group needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from models.frame import FLUX_BANDS
from models.galaxy_image import RGB, GalaxyImage, ImageError, flux_image

T = TypeVar("T")

DATASET = "images"
SIDES = (32, 2048)
PIXEL_SCALE = 0.262
# Stamps that are read in one stretch where the file does not say, and what a group may weigh.
STRETCH = 32
GROUP_BYTES = 128 << 20


class StampFile:
    """The stamps of one HDF5 file, read one by one.

    It may be handed to another process: the file is opened by the one that reads.

    Parameters
    ----------
    path : path
        The file.

    Raises
    ------
    ValueError
        It is no HDF5 file, is torn, or holds no `images` of the right shape and type; the message
        says which.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._opened: tuple[int, Any] | None = None
        images = self._images()
        shape = tuple(int(n) for n in images.shape)
        if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
            raise ValueError(
                f"{path}: {DATASET} has the shape {list(shape)}; it must be [n, 3, side, side] "
                "(bands g, r, z or red, green, blue before rows and columns)."
            )
        if not SIDES[0] <= shape[2] <= SIDES[1]:
            raise ValueError(
                f"{path}: its stamps have {shape[2]} pixels a side; {SIDES[0]} to {SIDES[1]} "
                "can be used."
            )
        if images.dtype != np.uint8 and images.dtype.kind != "f":
            raise ValueError(
                f"{path}: {DATASET} holds {images.dtype}; store linear flux as float32 "
                "or pictures as uint8."
            )
        if not shape[0]:
            raise ValueError(f"{path}: {DATASET} is empty.")
        self.count, self.side = shape[0], shape[2]
        stretch = images.chunks[0] if images.chunks else STRETCH
        weight = 3 * self.side**2 * images.dtype.itemsize
        self.order = ShuffledRows(self.count, stretch, max(GROUP_BYTES // weight, 2 * stretch))
        self.flux = images.dtype != np.uint8
        stat = self.path.stat()
        self.fingerprint = f"{self.path.resolve()} {stat.st_size} {stat.st_mtime_ns} {list(shape)}"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def image(self, row: int) -> GalaxyImage:
        """Read one stamp.

        Raises
        ------
        ImageError
            A band of it has no finite value.
        ValueError
            The file cannot be read at this place.
        """
        try:
            values = self._images()[row]
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"{self.path}: stamp {row} cannot be read ({error}); the file is torn. "
                "Copy it again, or leave it out of --data."
            ) from None
        if self.flux:
            return flux_image(values, FLUX_BANDS, PIXEL_SCALE, None, "nanomaggy")
        return GalaxyImage(values.astype(np.float32), "rgb8", RGB)

    def usable(self, row: int, draw: Callable[[GalaxyImage], T], tries: int = 1000) -> T:
        """Read and draw this stamp or, where that cannot be done, the next one that can.

        Parameters
        ----------
        row : int
            Where to begin.
        draw : callable
            Makes something of the image; its `ImageError` passes the stamp over.
        tries : int
            Stamps to look at.

        Raises
        ------
        ValueError
            None of them is usable.
        """
        fault = ""
        for step in range(min(tries, self.count)):
            at = (row + step) % self.count
            try:
                return draw(self.image(at))
            except ImageError as error:
                fault = fault or f"stamp {at}: {error}"
        raise ValueError(f"{self.path} has no usable stamp near row {row}; {fault}")

    def _images(self) -> Any:
        """Return the data set, opened by this very process (HDF5 must not be shared by a fork)."""
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                file = h5py.File(self.path, "r", rdcc_nbytes=GROUP_BYTES, rdcc_nslots=100_003)
                names = sorted(file)
                images = file[DATASET] if DATASET in names else None
            except (OSError, KeyError, RuntimeError) as error:
                raise ValueError(f"{self.path} cannot be read as HDF5: {error}.") from None
            if not isinstance(images, h5py.Dataset):
                listed = ", ".join(names[:8]) or "nothing"
                raise ValueError(f"{self.path} holds no data set {DATASET}; it holds {listed}.")
            self._opened = (os.getpid(), images)
        return self._opened[1]


class ShuffledRows:
    """An endless stream of row numbers in which every place can be computed.

    Parameters
    ----------
    count : int
        Rows of the file; each comes once per epoch.
    stretch : int
        Neighbouring rows that stay together on their way from the disk.
    group : int
        Rows among which is shuffled: at least two stretches.
    """

    def __init__(self, count: int, stretch: int, group: int) -> None:
        self.count, self.stretch = count, stretch
        self.group = max(group // stretch, 2) * stretch
        self._order: tuple[tuple[int, int], NDArray[np.int64]] | None = None

    def rows(self, seed: int, first: int, count: int) -> NDArray[np.int64]:
        """Return rows at the places `first` to `first + count` of the stream, no row twice.

        Raises
        ------
        ValueError
            More rows are wanted than there are.
        """
        if count > self.count:
            raise ValueError(f"{count} different stamps are wanted of {self.count}.")
        found: list[int] = []
        seen: set[int] = set()
        place = first
        while len(found) < count:
            epoch, within = divmod(place, self.count)
            group, offset = divmod(within, self.group)
            rows = self._group(seed, epoch, group)[offset:]
            place += len(rows)
            for row in rows.tolist():
                if row not in seen and len(found) < count:
                    seen.add(row)
                    found.append(row)
        return np.array(found, dtype=np.int64)

    def _group(self, seed: int, epoch: int, group: int) -> NDArray[np.int64]:
        order = self._stretches(seed, epoch)
        each = self.group // self.stretch
        starts = order[group * each : (group + 1) * each] * self.stretch
        rows = starts[:, None] + np.arange(self.stretch)
        within: NDArray[np.int64] = rows[rows < self.count]
        return np.random.default_rng((seed, epoch, group)).permutation(within)

    def _stretches(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Order of the stretches in an epoch; kept, since a large file has millions."""
        if self._order is None or self._order[0] != (seed, epoch):
            last = -(-self.count // self.stretch) - 1
            # The last one may be short; put last, it leaves all groups but the last one full.
            order: NDArray[np.int64] = np.append(
                np.random.default_rng((seed, epoch)).permutation(last), last
            )
            self._order = ((seed, epoch), order)
        return self._order[1]
