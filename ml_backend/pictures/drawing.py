"""Images drawn for people when they are asked for, once."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ml_backend.errors import FetchError
from ml_backend.pictures.addresses import RESTORED, Wanted, extension_of
from ml_backend.pictures.cache import PictureCache

if TYPE_CHECKING:
    from models.images import GalaxyImage

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
    """A picture, or a restored image as FITS.

    Attributes
    ----------
    data : bytes
        The whole file.
    key : str
        Changes when the picture does.
    """

    data: bytes
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

    def kept(self, wanted: Wanted, kind: str = "png") -> Drawn | None:
        """Return a picture (or, as `kind` "fits", a restored image) made before, or None.

        Raises
        ------
        FetchError
            The address may not be read (any more).
        """
        key = self._key(wanted)
        data = self._cache.get(key, kind)
        return None if data is None else Drawn(data, key)

    def picture(self, wanted: Wanted, kind: str = "png") -> Drawn:
        """Return a picture, made now where it is not kept.

        Parameters
        ----------
        wanted : Wanted
        kind : {"png", "fits"}
            "fits": the restored image with its deviations; only of looks of `RESTORED`.

        Raises
        ------
        FetchError
            The address may not be read, leads nowhere, or the file is too large or too slow.
        PictureError
            What it leads to is no image, is broken, has no such band, or is too large to restore.
        """
        key = self._key(wanted)
        source = self._source.fetch(wanted.source)
        # Importing torch takes seconds, in which /health must answer already.
        from models.images import ImageError, ImageLimits, read_image

        with self._drawing:
            made = self._cache.get(key, kind)
            if made is None:
                try:
                    limits = ImageLimits(self._max_bytes, self._max_pixels)
                    image = read_image(source, limits, extension_of(wanted.source))
                    made = self._made(image, wanted, kind)
                except ImageError as error:
                    raise PictureError(str(error)) from None
                self._cache.put(key, made, kind)
        return Drawn(made, key)

    def thumbnail(self, wanted: Wanted, side: int) -> Drawn:
        """Return a small JPEG of an image, made now where it is not kept.

        Parameters
        ----------
        wanted : Wanted
            Restored looks are drawn as the image itself: a thumbnail is to be quick.
        side : int
            Length of the longer side in pixels; smaller images stay as they are.

        Raises
        ------
        FetchError, PictureError
            As `picture`.
        """
        if wanted.look in RESTORED:
            wanted = Wanted(wanted.source)
        key = hashlib.sha256(f"{self._key(wanted)} {side}".encode()).hexdigest()
        data = self._cache.get(key, "jpg")
        if data is None:
            source = self._source.fetch(wanted.source)
            with self._drawing:
                data = _small(source, wanted, side, self._max_bytes, self._max_pixels)
            self._cache.put(key, data, "jpg")
        return Drawn(data, key)

    def _made(self, image: GalaxyImage, wanted: Wanted, kind: str) -> bytes:
        from models.images import draw, encode_png

        if wanted.look not in RESTORED:
            return encode_png(draw(image, wanted.look, wanted.band))
        from models.restored_files import (
            draw_deviation,
            draw_restored,
            restored_fits,
            restored_image,
        )

        done, found = restored_image(image)
        if kind == "fits":
            return restored_fits(image, done, found)
        shown = draw_restored(image, done) if wanted.look == RESTORED[0] else None
        return encode_png(draw_deviation(image, found) if shown is None else shown)

    def _key(self, wanted: Wanted) -> str:
        parts = (wanted.source, self._source.stamp(wanted.source), wanted.look, wanted.band or "")
        text = "\0".join((str(EDITION), *parts))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _small(source: bytes, wanted: Wanted, side: int, max_bytes: int, max_pixels: int) -> bytes:
    from PIL import Image

    from models.images import ImageError, ImageLimits, draw, read_image

    try:
        image = read_image(source, ImageLimits(max_bytes, max_pixels), extension_of(wanted.source))
        picture = Image.fromarray(draw(image, wanted.look, wanted.band))
    except ImageError as error:
        raise PictureError(str(error)) from None
    picture.thumbnail((side, side), reducing_gap=2.0)
    made = io.BytesIO()
    picture.save(made, "JPEG", quality=82)
    return made.getvalue()


def expired(wanted: Wanted, now: Callable[[], float] = time.time) -> bool:
    """Tell whether an address is shown no more."""
    return wanted.until is not None and now() > wanted.until
