"""What is checked on an HDF5 file before it may lead elsewhere, or cost time or memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import imagecodecs
import numpy as np

from models.galaxy_image import ImageError

MAX_OBJECTS = 1000
_DEFLATE, _SHUFFLE, _FLETCHER, _LZF = 1, 2, 3, 32000
_SLACK = 65536


def datasets(file: h5py.File) -> Iterator[h5py.Dataset]:
    """Walk through the data sets, in the order of their names.

    Links to other files are not followed, nor are soft ones, and no object is visited twice.

    Raises
    ------
    ImageError
        There are more than `MAX_OBJECTS` of them.
    """
    seen: set[tuple[int, int]] = set()
    waiting: list[h5py.Group] = [file]
    while waiting:
        group = waiting.pop()
        found = []
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            item = group[name]
            info = h5py.h5o.get_info(item.id)
            place = (int(info.fileno), int(info.addr))
            if place in seen:
                continue
            seen.add(place)
            if len(seen) > MAX_OBJECTS:
                raise ImageError(
                    f"The HDF5 file holds more than the {MAX_OBJECTS} objects that are looked at; "
                    "name the data set."
                )
            found.append(item)
        yield from (item for item in found if isinstance(item, h5py.Dataset))
        waiting += [item for item in reversed(found) if isinstance(item, h5py.Group)]


def check_dataset(dataset: h5py.Dataset) -> None:
    """Refuse data sets whose values lie in other files, or need filters of others to be read."""
    if dataset.is_virtual or dataset.external:
        raise ImageError(f"The HDF5 data set {dataset.name} takes its values from other files.")
    filters = _filters(dataset)
    known = {_DEFLATE, _SHUFFLE, _FLETCHER, _LZF}
    packed = [place for place, code in enumerate(filters) if code in (_DEFLATE, _LZF)]
    if (
        not set(filters) <= known
        or len(set(filters)) != len(filters)
        or len(packed) > 1
        or any(set(filters[place + 1 :]) - {_FLETCHER} for place in packed)
    ):
        raise ImageError(
            f"The HDF5 data set {dataset.name} is packed by a filter that is not read; "
            "save it plain, or with gzip or lzf."
        )


def check_chunks(dataset: h5py.Dataset, data: bytes, chosen: tuple[slice, ...], most: int) -> None:
    """Refuse chunks that would unpack to more than their size, before any is unpacked.

    Parameters
    ----------
    dataset : h5py.Dataset
        Passed by `check_dataset`.
    data : bytes
        The file.
    chosen : tuple of slice
        What will be read, one slice with start and stop per axis.
    most : int
        Largest chunk, bytes.

    Raises
    ------
    ImageError
        A chunk is too large, lies outside the file or unpacks beyond its size.
    """
    if dataset.chunks is None:
        return
    size = int(np.prod(dataset.chunks, dtype=object)) * dataset.dtype.itemsize
    if size > most:
        raise ImageError(
            f"The HDF5 data set {dataset.name} has chunks of {size:,} bytes; at most {most:,} "
            "are read."
        )
    filters = _filters(dataset)
    wanted: list[Any] = []

    def collect(chunk: Any) -> None:
        places = zip(chunk.chunk_offset, dataset.chunks, chosen, strict=True)
        if all(at < part.stop and at + length > part.start for at, length, part in places):
            wanted.append(chunk)

    dataset.id.chunk_iter(collect)
    for chunk in wanted:
        start = chunk.byte_offset
        if start is None or start + chunk.size > len(data) or chunk.size > size + _SLACK:
            raise ImageError(f"The HDF5 data set {dataset.name} is broken: a chunk is misplaced.")
        packed = data[start : start + chunk.size]
        for place, code in enumerate(filters):
            if not chunk.filter_mask >> place & 1 and not _fits(code, packed, size):
                raise ImageError(
                    f"A chunk of the HDF5 data set {dataset.name} is broken, or unpacks beyond "
                    "its size."
                )


def _fits(code: int, packed: bytes, size: int) -> bool:
    try:
        if code == _DEFLATE:
            return len(zlib.decompressobj().decompress(packed, size + _SLACK + 1)) <= size + _SLACK
        if code == _LZF:
            imagecodecs.lzf_decode(packed, out=size + _SLACK)
    except (zlib.error, RuntimeError, ValueError):
        return False
    return True


def _filters(dataset: h5py.Dataset) -> list[int]:
    recipe = dataset.id.get_create_plist()
    return [int(recipe.get_filter(place)[0]) for place in range(recipe.get_nfilters())]
