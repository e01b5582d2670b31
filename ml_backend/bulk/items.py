"""What there is to encode: ids and addresses, in the order of the source."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ml_backend.errors import GalaxyLoopError

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff"),
    *(".fits", ".fit", ".fts"),
)
PACKED = (".gz", ".fz")
MOST_ID = 200
"""Characters of an id; one long id would widen the array of all."""

_SCHEME = re.compile(r"(?:([a-z][a-z0-9+.-]*)://|(file|data):)", re.IGNORECASE)


class SourceError(GalaxyLoopError):
    """A folder or catalogue cannot be encoded as it is."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image to encode.

    Attributes
    ----------
    id : str
        Its name in the result.
    address : str
        Path of a file, or http(s) address.
    problem : str
        Why it cannot be tried; empty: it can.
    """

    id: str
    address: str
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """A folder or a catalogue, as it was found.

    Attributes
    ----------
    items : list of Item
        In the source's order.
    notes : list of str
        What a person should know about how it was understood.
    """

    items: list[Item]
    notes: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        """Hash of all ids and addresses, in order."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(f"{item.id}\0{item.address}\0{item.problem}\n".encode(errors="replace"))
        return digest.hexdigest()


def scheme_of(address: str) -> str:
    """Return the scheme of a web address in small letters; "" for the path of a file."""
    match = _SCHEME.match(address)
    return (match[1] or match[2]).lower() if match else ""


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file name: "a.v2.fits.gz" gives "a.v2" and ".fits.gz"."""
    path = PurePosixPath(name)
    packed = path.suffix if path.suffix.lower() in PACKED else ""
    inner = PurePosixPath(name.removesuffix(packed))
    if packed and inner.suffix.lower() not in IMAGE_SUFFIXES:
        return name.removesuffix(packed), packed
    return name.removesuffix(inner.suffix + packed), inner.suffix + packed


def ids_of_paths(paths: Sequence[str], notes: list[str]) -> list[str]:
    """Name files by their stems; those that would share a name by more of their paths.

    Parameters
    ----------
    paths : sequence of str
        Relative, with "/".
    notes : list of str
        A sentence is added where stems are not enough.
    """
    bare = [split_suffix(path)[0] for path in paths]
    stems = [PurePosixPath(path).name for path in bare]
    seen_stems, seen_bare = Counter(stems), Counter(bare)
    ids = []
    longer = 0
    for path, without, stem in zip(paths, bare, stems, strict=True):
        if seen_stems[stem] == 1:
            ids.append(stem)
            continue
        longer += 1
        ids.append(without if seen_bare[without] == 1 else path)
    if longer:
        example = next(name for name, stem in zip(ids, stems, strict=True) if name != stem)
        notes.append(
            f"{longer} files share their name with another, so their ids are paths, "
            f"e.g. {example!r}."
        )
    return ids


def listed(values: Iterable[str], most: int = 5) -> str:
    """Return the first few values, for a message."""
    shown = [value if len(value) <= 80 else value[:77] + "..." for value in values]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def source_of(path: Path, id_column: str | None = None, image_column: str | None = None) -> Source:
    """Read a folder of images, or a catalogue of them.

    Raises
    ------
    SourceError
        There is nothing to encode, or a catalogue does not tell its columns.
    """
    from ml_backend.bulk.catalogue import read_catalogue
    from ml_backend.bulk.folder import read_folder

    if path.is_dir():
        if id_column or image_column:
            raise SourceError(f"{path} is a folder; columns can be named for a catalogue only.")
        return read_folder(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist. Name a folder of images, or a catalogue.")
    return read_catalogue(path, id_column, image_column)
