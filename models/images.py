"""Files to images, to pictures, to what the LVM sees: the one place to import from."""

from __future__ import annotations

import hashlib

from models.fits_images import read_fits
from models.galaxy_image import GalaxyImage, ImageError, ImageLimits
from models.hdf5_images import HDF5, read_hdf5
from models.image_facts import FACTS, image_facts
from models.image_listing import image_extensions
from models.looks import LOOKS, draw
from models.pictures import picture_format, read_picture
from models.preprocessing import Preprocessing, to_tensor
from models.rendering import encode_png, to_rgb8

__all__ = [
    "FACTS",
    "LOOKS",
    "GalaxyImage",
    "ImageError",
    "ImageLimits",
    "Preprocessing",
    "content_hash",
    "draw",
    "encode_png",
    "image_extensions",
    "image_facts",
    "read_image",
    "to_rgb8",
    "to_tensor",
]

# What arrives instead of an image, by its first bytes, and what to do about it.
_IMPOSTORS = (
    (b"version https://git-lfs", "a git-LFS pointer, not the file itself; run git lfs pull"),
    (b"\x00\x05\x16\x07", "a macOS side file (AppleDouble), not an image; take the file beside it"),
    (b"<!doctype html", "a web page, often an error or a login; open its address in a browser"),
    (b"<html", "a web page, often an error or a login; open its address in a browser"),
    (b"<?xml", "an XML document"),
    (b"<svg", "an SVG drawing"),
    (b"{", "JSON text, often an error of the server"),
    (b"GIF8", "a GIF; save it as PNG"),
    (b"BM", "a BMP; save it as PNG"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive; unpack it"),
    (b"BZh", "packed with bzip2; unpack it"),
    (b"\xfd7zXZ", "packed with xz; unpack it"),
    (b"\x1f\x9d", "packed with compress; unpack it"),
    (b"\x89HDF", "an HDF5 file whose first bytes are damaged; copy it again"),
    (b"\x93NUMPY", "a numpy array; save it as FITS"),
)


def content_hash(data: bytes, extension: int | str | None = None) -> str:
    """Return the SHA-256 of a file's bytes (and of the extension chosen), 64 hexadecimal digits."""
    digest = hashlib.sha256(data)
    if extension is not None:
        digest.update(f"\0extension={extension}".encode())
    return digest.hexdigest()


def read_image(
    data: bytes, limits: ImageLimits | None = None, extension: int | str | None = None
) -> GalaxyImage:
    """Read an image file; what it is is decided by its content, never by its name.

    JPEG, PNG (8 and 16 bit), WebP, TIFF (8, 16, 32 bit, float), FITS (plain, .gz, .fz) and HDF5
    are read. Sizes are checked on the header, before anything is decoded.

    Parameters
    ----------
    data : bytes
        The whole file.
    limits : ImageLimits, optional
        What a file may cost; by default 64 MiB and 64 million pixels.
    extension : int or str, optional
        Extension of a FITS file, or stamp of an HDF5 file; see `read_fits` and `read_hdf5` for
        the default.

    Returns
    -------
    GalaxyImage

    Raises
    ------
    ImageError
        If the file is not an image that is read, is broken, or is too large; the message is a
        sentence that says which.
    """
    limits = limits or ImageLimits()
    limits.check_bytes(len(data))
    if data.startswith((b"SIMPLE  =", b"\x1f\x8b")):
        return read_fits(data, limits, extension)
    if data.startswith(HDF5):
        return read_hdf5(data, limits, extension)
    name = picture_format(data)
    if name is None:
        raise ImageError(_not_an_image(data))
    if extension is not None:
        raise ImageError(f"The file is a {name}; only FITS and HDF5 files have extensions.")
    return read_picture(data, name, limits)


def _not_an_image(data: bytes) -> str:
    start = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for signature, meaning in _IMPOSTORS:
        if data.startswith(signature) or (
            signature.isascii() and signature.islower() and start.startswith(signature)
        ):
            return f"The file is not an image: it is {meaning}."
    if start.startswith((b"{", b"<")):
        return "The file is not an image: it is text, often an error of the server."
    return (
        "The file is not an image that is read (JPEG, PNG, WebP, TIFF, FITS, HDF5); "
        f"it begins with {data[:8]!r}."
    )
