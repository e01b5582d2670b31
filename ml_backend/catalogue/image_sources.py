"""Where a galaxy's image comes from: named by the catalogue, cut out here, or by a server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ml_backend.bulk.items import scheme_of, split_suffix
from ml_backend.catalogue.cutout_address import Template
from ml_backend.catalogue.cutout_server import CutoutServer
from ml_backend.catalogue.cutouts import Cutter, source_in
from ml_backend.catalogue.galaxies import Galaxy
from ml_backend.catalogue.positions import Position
from ml_backend.errors import FetchError
from ml_backend.labelstudio.files import read_file

_NOT_SHOWN = (".tif", ".fits", ".fit", ".fts")


@dataclass(frozen=True)
class Found:
    """An image of a galaxy.

    Attributes
    ----------
    data : bytes
        The file; empty where people see it at `address` without us.
    source : str
        Where it is from, for the task.
    address : str
    """

    data: bytes
    source: str
    address: str = ""


class ImageSource(Protocol):
    """What brings images; `facts` says what they depend on."""

    facts: dict[str, Any]
    keeps: bool
    """Whether the files are worth keeping: they cost time to get again."""
    lanes: int
    """Images that may be asked for at once."""

    suffix: str
    """Of files that are kept."""

    def find(self, galaxy: Galaxy) -> Found:
        """Return the image; a `FetchError` says why there is none."""
        ...

    def origin(self, galaxy: Galaxy, data: bytes) -> str:
        """Say where a kept file is from."""
        ...

    def doubt(self, galaxy: Galaxy) -> str:
        """Say, without reading any image, why there will be none; "": nothing is known."""
        ...

    def close(self) -> None:
        """Give back what is held; threads that wait for images give up."""
        ...


class NamedImages:
    """Images that the catalogue names, or a folder holds.

    Parameters
    ----------
    max_bytes : int
        Largest file.
    """

    keeps, lanes, suffix = False, 1, ""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.facts: dict[str, Any] = {"images": "named"}

    def find(self, galaxy: Galaxy) -> Found:
        """Read a file; an http(s) address stays one, for Label Studio and the backend to read."""
        reason = self.doubt(galaxy)
        if reason:
            raise FetchError(reason)
        if scheme_of(galaxy.address):
            return Found(b"", galaxy.address, galaxy.address)
        path = Path(os.path.realpath(galaxy.address))
        data, _ = read_file(path, galaxy.address, self._max_bytes)
        return Found(data, path.name)

    def origin(self, galaxy: Galaxy, data: bytes) -> str:
        """Name the file."""
        return Path(galaxy.address).name

    def doubt(self, galaxy: Galaxy) -> str:
        """Refuse addresses that no browser shows."""
        scheme = scheme_of(galaxy.address)
        if scheme and scheme not in ("http", "https"):
            return f"Images are not read from {scheme}: addresses; use http(s) or paths."
        if scheme:
            suffix = split_suffix(galaxy.address.split("?")[0])[1].lower()
            if suffix.startswith(_NOT_SHOWN) or suffix.endswith((".fz", ".gz")):
                return "Browsers show neither FITS nor TIFF; fetch it with --cutouts instead."
        return ""

    def close(self) -> None:
        """Hold nothing."""


class LocalCutouts:
    """Cut-outs of survey images on this machine."""

    keeps, lanes, suffix = True, 1, ".fits"

    def __init__(self, cutter: Cutter, facts: dict[str, Any]) -> None:
        self._cutter = cutter
        self.facts = {"images": "survey images", **facts}

    def find(self, galaxy: Galaxy) -> Found:
        """Cut the galaxy out."""
        cutout = self._cutter.cut(_position(galaxy))
        return Found(cutout.data, cutout.source)

    def origin(self, galaxy: Galaxy, data: bytes) -> str:
        """Read it from the header."""
        return source_in(data)

    def doubt(self, galaxy: Galaxy) -> str:
        """Look at the headers."""
        covered = self._cutter.covered(_position(galaxy))
        return "" if covered else "No survey image covers it."

    def close(self) -> None:
        """Close the files."""
        self._cutter.close()


class ServedCutouts:
    """Cut-outs of a survey's server."""

    keeps, lanes = True, 4

    def __init__(self, server: CutoutServer, template: Template, facts: dict[str, Any]) -> None:
        self._server, self._template = server, template
        self.suffix = split_suffix(template.parts.path)[1] or ".fits"
        self.facts = {"images": template.text, **facts}

    def find(self, galaxy: Galaxy) -> Found:
        """Fetch the cut-out."""
        data, address = self._server.cut(_position(galaxy), galaxy.id)
        return Found(data, address)

    def origin(self, galaxy: Galaxy, data: bytes) -> str:
        """Make its address."""
        return self._template.address(_position(galaxy), galaxy.id)

    def doubt(self, galaxy: Galaxy) -> str:
        """Nothing is known before the server is asked."""
        return ""

    def close(self) -> None:
        """Stop asking."""
        self._server.stop()


def _position(galaxy: Galaxy) -> Position:
    if galaxy.position is None:
        raise FetchError("It has no position.")
    return galaxy.position
