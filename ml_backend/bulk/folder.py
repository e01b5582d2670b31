"""Image files below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ml_backend.bulk.items import IMAGE_SUFFIXES, Item, Source, SourceError, ids_of_paths
from ml_backend.bulk.items import split_suffix as split
from models.pictures import picture_format


def read_folder(folder: Path) -> Source:
    """List the images below a folder, sorted by path; hidden files and folders are left out.

    Files of other names are taken where their first bytes are those of an image.

    Raises
    ------
    SourceError
        There is none.
    """
    paths: list[str] = []
    others = 0
    for path in _files(folder):
        if _is_image(folder, path):
            paths.append(path)
        else:
            others += 1
    if not paths:
        held = f"; its {others} files are of other kinds" if others else ""
        raise SourceError(
            f"The folder {folder} holds no image{held}. JPEG, PNG, WebP, TIFF and FITS files are "
            "read, also in folders below it."
        )
    paths.sort()
    notes: list[str] = []
    if others:
        notes.append(f"{others} files that are no images are left out.")
    ids = ids_of_paths(paths, notes)
    items = [Item(name, str(folder / path)) for name, path in zip(ids, paths, strict=True)]
    return Source(items, notes)


def _files(folder: Path) -> Iterator[str]:
    """Paths relative to the folder, links followed, each real folder once."""
    seen: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        raise SourceError(f"The folder {error.filename} cannot be read: {error.strerror}.")

    for base, folders, files in os.walk(folder, followlinks=True, onerror=unreadable):
        place = os.stat(base)
        if (place.st_dev, place.st_ino) in seen:
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        folders[:] = sorted(n for n in folders if not n.startswith(".") and not _ours(n))
        relative = PurePosixPath(Path(base).relative_to(folder))
        for name in files:
            if not name.startswith("."):
                yield str(relative / name)


def _ours(name: str) -> bool:
    """Whether a folder holds the progress of a bulk encoding."""
    return name.endswith(".partial")


def _is_image(folder: Path, path: str) -> bool:
    suffix = split(path)[1].lower()
    if suffix.startswith(IMAGE_SUFFIXES) or suffix == ".fz":
        return True
    try:
        if not os.path.isfile(folder / path):
            return False  # opening a named pipe would wait for its writer
        with open(folder / path, "rb") as file:
            start = file.read(16)
    except OSError:
        return False
    return picture_format(start) is not None or start.startswith(b"SIMPLE  =")
