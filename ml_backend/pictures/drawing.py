"""Images drawn for people when they are asked for, once."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ml_backend.errors import FetchError
from ml_backend.pictures.addresses import Wanted, extension_of
from ml_backend.pictures.cache import PictureCache

EDITION = 1
"""Raised when the same image is drawn differently, so that kept pictures are drawn anew."""


class Source(Protocol):
    """Where images come from (`ml_backend.labelstudio.images.ImageFetcher`)."""

    def fetch(self, address: str) -> bytes:
        """Read a file; raises `FetchError`."""
        ...

    def stamp(self, address: str) -> str:
        """Return something that changes with a file at hand; "" where that cannot be told."""
        ...


class PictureError(FetchError):
    """The file was read, but no picture can be drawn of it."""


@dataclass(frozen=True)
class Drawn:
    """A picture.

    Attributes
    ----------
    png : bytes
    key : str
        Changes when the picture does.
    """

    png: bytes
    key: str


class PictureMaker:
    """Fetches, draws and keeps pictures.

    One image is drawn at a time: the process has one processor, and a large image its memory.

    Parameters
    ----------
    source : Source
        Decides which addresses may be read.
    cache : PictureCache
    max_bytes, max_pixels : int
        Limits on images.
    """

    def __init__(
        self, source: Source, cache: PictureCache, max_bytes: int, max_pixels: int
    ) -> None:
        self._source = source
        self._cache = cache
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._drawing = threading.Lock()

    def kept(self, wanted: Wanted) -> Drawn | None:
        """Return a picture that was drawn before, or None.

        Raises
        ------
        FetchError
            The address may not be read (any more).
        """
        key = self._key(wanted)
        png = self._cache.get(key)
        return None if png is None else Drawn(png, key)

    def picture(self, wanted: Wanted) -> Drawn:
        """Return a picture, drawn now where it is not kept.

        Raises
        ------
        FetchError
            The address may not be read, leads nowhere, or the file is too large or too slow.
        PictureError
            What it leads to is no image, is broken, or has no such band.
        """
        key = self._key(wanted)
        data = self._source.fetch(wanted.source)
        # Importing torch takes seconds, in which /health must answer already.
        from models.images import ImageError, ImageLimits, draw, encode_png, read_image

        with self._drawing:
            png = self._cache.get(key)
            if png is None:
                try:
                    limits = ImageLimits(self._max_bytes, self._max_pixels)
                    image = read_image(data, limits, extension_of(wanted.source))
                    png = encode_png(draw(image, wanted.look, wanted.band))
                except ImageError as error:
                    raise PictureError(str(error)) from None
                self._cache.put(key, png)
        return Drawn(png, key)

    def _key(self, wanted: Wanted) -> str:
        parts = (wanted.source, self._source.stamp(wanted.source), wanted.look, wanted.band or "")
        text = "\0".join((str(EDITION), *parts))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def expired(wanted: Wanted, now: Callable[[], float] = time.time) -> bool:
    """Tell whether an address is shown no more."""
    return wanted.until is not None and now() > wanted.until
