"""JPEG, PNG, WebP and TIFF files to images."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models.galaxy_image import RGB, GalaxyImage, ImageError, ImageLimits, flux_image

PNG = b"\x89PNG\r\n\x1a\n"
# Compressions of which the decoder cannot write more than the strip or tile it was given room for.
_TIFF_COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate"}


def picture_format(data: bytes) -> str | None:
    """Tell "JPEG", "PNG", "WEBP" or "TIFF" by the first bytes; None for anything else."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(PNG):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "TIFF"
    return None


def read_picture(data: bytes, name: str, limits: ImageLimits) -> GalaxyImage:
    """Read a picture of format `name` (from `picture_format`).

    8-bit files give "rgb8" (grey is repeated, transparent parts are black, the EXIF orientation
    is applied, only the first frame is read); 16-bit and float files give "flux".

    Raises
    ------
    ImageError
        If the file is broken, too large, or of a kind that is not read.
    """
    if name == "PNG" and data[24:25] == b"\x10":
        return _read_deep_png(data, limits)
    if name == "TIFF":
        deep = _read_deep_tiff(data, limits)
        if deep is not None:
            return deep
    try:
        with Image.open(io.BytesIO(data), formats=(name,)) as picture:
            limits.check_shape(*picture.size)
            ImageOps.exif_transpose(picture, in_place=True)
            pixels = np.asarray(_on_black(picture))
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(
            f"The {name} has far more than the {limits.max_pixels:,} pixels that are read. "
            "Cut out the galaxy or bin the image."
        ) from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything on broken bytes
        raise ImageError(f"The {name} is broken or cut short: {_reason(error)}.") from None
    # One pass over the bytes: in other orders this costs more than decoding a JPEG.
    planes = np.moveaxis(pixels, -1, 0).astype(np.float32, order="C")
    return GalaxyImage(planes, "rgb8", RGB)


def _on_black(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        ground = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        return Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _read_deep_png(data: bytes, limits: ImageLimits) -> GalaxyImage:
    limits.check_shape(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    try:
        values = np.asarray(imagecodecs.png_decode(data))
    except Exception as error:  # noqa: BLE001 - decoders raise anything on broken bytes
        raise ImageError(f"The PNG is broken or cut short: {_reason(error)}.") from None
    return _deep(values[..., None] if values.ndim == 2 else values)


def _read_deep_tiff(data: bytes, limits: ImageLimits) -> GalaxyImage | None:
    """Read a 16-bit, 32-bit or float TIFF; None for 8 bits, which need no care for depth."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            axes, shape, dtype = series.axes, series.shape, series.dtype
            compressions = {int(series.keyframe.compression)}
            if dtype is None or dtype.itemsize == 1:
                page: Any = file.pages[0]
                limits.check_shape(page.imagewidth, page.imagelength)
                return None
            height, width = shape[axes.index("Y")], shape[axes.index("X")]
            limits.check_shape(width, height, int(np.prod(shape)) // max(1, width * height))
            unknown = compressions - set(_TIFF_COMPRESSIONS)
            if unknown:
                raise ImageError(
                    f"The TIFF is compressed by method {min(unknown)}, which is not read; "
                    "save it uncompressed, or with LZW or deflate."
                )
            _check_strips(series, limits)
            values = series.asarray(maxworkers=1)
            if values.shape != shape:
                raise ImageError("The TIFF is cut short: pixels are missing.")
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise anything on broken bytes
        raise ImageError(f"The TIFF is broken or cut short: {_reason(error)}.") from None
    others = [index for index, axis in enumerate(axes) if axis not in "YX"]
    values = np.transpose(values, [axes.index("Y"), axes.index("X"), *others])
    return _deep(values.reshape(height, width, -1), colour=axes.endswith("S") or axes[:1] == "S")


def _check_strips(series: Any, limits: ImageLimits) -> None:
    """Refuse strips and tiles that claim more room than the image, before any is unpacked."""
    for page in series:
        if page is None:
            raise ImageError("The TIFF is broken: a page of its image is missing.")
        pieces = len(page.dataoffsets)
        rows = page.keyframe.chunks
        if pieces == 0 or int(np.prod(rows)) > 4 * limits.max_pixels:
            raise ImageError("The TIFF is broken: its strips or tiles do not fit its size.")


def _deep(values: NDArray[np.generic], colour: bool = True) -> GalaxyImage:
    """Image of values [H, W, samples]; a second or fourth sample of a picture is transparency."""
    samples = values.shape[-1]
    if colour and samples in (2, 4) and values.dtype.kind == "u":
        samples -= 1
    bands: tuple[str, ...]
    if samples == 1:
        bands = ("grey",)
    elif colour and samples == 3:
        bands = RGB
    else:
        bands = tuple(str(index + 1) for index in range(samples))
    return flux_image(np.moveaxis(values[..., :samples], -1, 0), bands)


def _reason(error: BaseException) -> str:
    """First line of a decoder's message, short, without a full stop."""
    text = str(error).strip().split("\n")[0][:160].rstrip(". ")
    return text or type(error).__name__
