"""What an image is, once it has been read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

MAX_BANDS = 16
RGB = ("red", "green", "blue")


class ImageError(ValueError):
    """An image cannot be used; the message is a sentence that names the fault."""


@dataclass(frozen=True)
class ImageLimits:
    """What a file may cost before it is refused.

    Attributes
    ----------
    max_bytes : int
        Largest file; a gzipped FITS may unpack to four times as much.
    max_pixels : int
        Most pixels, width times height, as stated by the file's own header.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 64_000_000

    def check_bytes(self, size: int) -> None:
        """Raise `ImageError` if a file of `size` bytes is empty or too large."""
        if size == 0:
            raise ImageError("The file is empty (0 bytes).")
        if size > self.max_bytes:
            raise ImageError(f"The file has {size:,} bytes; at most {self.max_bytes:,} are read.")

    def check_shape(self, width: int, height: int, bands: int = 1) -> None:
        """Raise `ImageError` if an image of this shape, not yet decoded, is empty or too large."""
        if width < 1 or height < 1 or bands < 1:
            raise ImageError(f"The image has no pixels: its header says {width} x {height}.")
        if width * height > self.max_pixels:
            raise ImageError(
                f"The image has {width:,} x {height:,} pixels; at most {self.max_pixels:,} "
                "are read. Cut out the galaxy or bin the image."
            )
        if bands > MAX_BANDS:
            raise ImageError(f"The image has {bands:,} bands; at most {MAX_BANDS} are read.")


@dataclass(frozen=True)
class GalaxyImage:
    """An image in memory.

    Attributes
    ----------
    pixels : float32 [bands, H, W]
        All finite. For "rgb8" 0 to 255 in red, green, blue. For "flux" as in the file, linear, in
        `unit`. Rows are in the order of the file.
    kind : {"rgb8", "flux"}
        A picture made for the eye, or measured (also 16-bit and float) values.
    bands : tuple of str
        Names, as many as bands; "1", "2"... where the file names none.
    pixel_scale : float or None
        Arcseconds per pixel.
    wcs : astropy.wcs.WCS or None
        Celestial coordinates, where the header has them.
    unit : str or None
        Unit of the pixels as the header states it.
    missing : int
        Number of values that were not finite or without weight; they hold the median of their band.
    origin : {"upper", "lower"}
        Where the first row belongs: at the top (pictures) or at the bottom (FITS).
    weight : float32 [1 or bands, H, W], or None
        Weight map of the file (inverse variance, exposure): finite, 0 where there is no data.
    flagged : bool [1 or bands, H, W], or None
        Pixels that the file's mask marks by any bit. Their values are as measured.
    notes : tuple of str
        Sentences on what of the file could not be used although the image could.
    """

    pixels: NDArray[np.float32]
    kind: Literal["rgb8", "flux"]
    bands: tuple[str, ...]
    pixel_scale: float | None = None
    wcs: WCS | None = None
    unit: str | None = None
    missing: int = 0
    origin: Literal["upper", "lower"] = "upper"
    weight: NDArray[np.float32] | None = None
    flagged: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.dtype != np.float32:
            raise ValueError(
                "pixels must be float32 [bands, H, W], not "
                f"{self.pixels.dtype} of shape {self.pixels.shape}."
            )
        if len(self.bands) != self.pixels.shape[0]:
            raise ValueError(f"{self.pixels.shape[0]} bands need as many names, not {self.bands}.")
        if self.kind == "rgb8" and self.bands != RGB:
            raise ValueError(f"An rgb8 image has the bands {RGB}, not {self.bands}.")
        for plane in (self.weight, self.flagged):
            if plane is not None and (
                plane.shape[1:] != self.pixels.shape[1:]
                or plane.shape[0] not in (1, len(self.bands))
            ):
                raise ValueError(f"A plane of {plane.shape} does not fit {self.pixels.shape}.")


def flux_image(
    values: NDArray[np.generic],
    bands: tuple[str, ...],
    pixel_scale: float | None = None,
    wcs: WCS | None = None,
    unit: str | None = None,
    origin: Literal["upper", "lower"] = "upper",
    weight: NDArray[np.float32] | None = None,
    flagged: NDArray[np.bool_] | None = None,
    notes: tuple[str, ...] = (),
) -> GalaxyImage:
    """Make an image of measured values [bands, H, W]; fill and count those not finite.

    Pixels whose weight is 0 count as not finite, unless that leaves a band without any.

    Raises
    ------
    ImageError
        If the values are complex or a band has no finite value.
    """
    if values.dtype.kind not in "biuf":
        raise ImageError(f"The pixels are of type {values.dtype}; only real numbers are read.")
    with np.errstate(over="ignore"):
        pixels = values.astype(np.float32)
    missing = 0
    for index, (name, band) in enumerate(zip(bands, pixels, strict=True)):
        bad = ~np.isfinite(band)
        if bad.all():
            raise ImageError(f"Band {name} has no finite value: every pixel is NaN or infinite.")
        if weight is not None:
            weightless = bad | (weight[min(index, len(weight) - 1)] == 0)
            if weightless.all():
                notes = (*notes, f"The weight of band {name} is 0 everywhere and is not used.")
            else:
                bad = weightless
        count = int(bad.sum())
        if count:
            band[bad] = np.median(band[~bad])
            missing += count
    pixels = np.ascontiguousarray(pixels)
    return GalaxyImage(
        pixels, "flux", bands, pixel_scale, wcs, unit, missing, origin, weight, flagged, notes
    )
