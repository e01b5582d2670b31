"""Bitmasks: masks as PNG in a data URL, black where the mask is and transparent elsewhere."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ml_backend.labelstudio.rle import opaque

_PREFIX = "data:image/png;base64,"
Bools = NDArray[np.bool_]


class BitmaskError(ValueError):
    """A bitmask cannot be read; the message says why."""


def mask_to_data_url(mask: Bools) -> str:
    """Encode a mask [H, W] as the editor does."""
    pixels = np.zeros((*mask.shape, 4), dtype=np.uint8)
    pixels[..., 3] = np.where(mask, 255, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=6)
    return _PREFIX + base64.b64encode(file.getvalue()).decode("ascii")


def data_url_to_mask(url: object, height: int, width: int) -> Bools:
    """Decode a mask [height, width]; nothing is unpacked before its size is known to fit.

    Raises
    ------
    BitmaskError
        It is no PNG in a data URL, is broken, or has another size than the image.
    """
    if not isinstance(url, str) or not url.startswith(_PREFIX):
        raise BitmaskError(f"its imageDataURL does not start with {_PREFIX!r}")
    try:
        data = base64.b64decode(url[len(_PREFIX) :], validate=True)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.size != (width, height):
                raise BitmaskError(
                    f"its PNG has {picture.width} x {picture.height} pixels, the image "
                    f"{width} x {height}"
                )
            opacity = np.asarray(picture.convert("RGBA").getchannel("A"))
    except (binascii.Error, UnicodeEncodeError, UnidentifiedImageError, OSError, ValueError,
            SyntaxError, Image.DecompressionBombError) as error:  # fmt: skip
        if isinstance(error, BitmaskError):
            raise
        raise BitmaskError(f"its PNG cannot be read ({type(error).__name__})") from None
    return opaque(opacity)
