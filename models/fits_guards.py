"""What is checked on a FITS file before it may cost time or memory."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from astropy.io import fits

from models.galaxy_image import MAX_BANDS, ImageError, ImageLimits

MAX_EXTENSIONS = 1000


def unpack(data: bytes, most: int) -> bytes:
    """Unpack gzip, giving up as soon as there is more than `most` bytes."""
    parts: list[bytes] = []
    total = 0
    rest = data
    try:
        while rest[:2] == b"\x1f\x8b":
            member = zlib.decompressobj(31)
            parts.append(member.decompress(rest, most - total + 1))
            total += len(parts[-1])
            if total > most:
                raise ImageError(f"The gzip file unpacks to more than {most:,} bytes.")
            if not member.eof:
                raise ImageError("The gzip file is cut short.")
            rest = member.unused_data
    except zlib.error as error:
        raise ImageError(f"The gzip file is broken: {error}.") from None
    return b"".join(parts)


def load_headers(file: fits.HDUList) -> None:
    """Read the headers one by one, so that a file of nothing but headers is refused early."""
    for index in range(MAX_EXTENSIONS + 1):
        try:
            file[index]
        except IndexError:
            return
    raise ImageError(f"The FITS file has more than the {MAX_EXTENSIONS} extensions that are read.")


def shape_of(hdu: Any) -> tuple[int, ...]:
    """Shape in numpy order as the header states it, of the image and not of its compression."""
    header = hdu.header
    count = int(header.get("NAXIS", 0))
    return tuple(int(header.get(f"NAXIS{axis}", 0)) for axis in range(count, 0, -1))


def check_complete(hdu: Any, data: bytes) -> None:
    """Refuse an extension whose header promises more bytes than the file has."""
    place = hdu.fileinfo()
    start, stated = int(place["datLoc"]), int(getattr(hdu, "size", 0) or 0)
    if isinstance(hdu, fits.CompImageHDU):
        header = hdu._bintable.header
        stated = int(header["NAXIS1"]) * int(header["NAXIS2"]) + int(header.get("PCOUNT", 0))
    if start + stated > len(data):
        raise ImageError(
            f"The FITS file is cut short: its header promises {start + stated:,} bytes and it "
            f"has {len(data):,}."
        )


def check_tiles(hdu: Any, data: bytes, limits: ImageLimits) -> None:
    """Refuse tile compression that would unpack to more than the image, before unpacking it."""
    if not isinstance(hdu, fits.CompImageHDU):
        return
    header = hdu._bintable.header
    tile = [int(length) for length in hdu.tile_shape]
    if any(length < 1 for length in tile) or int(np.prod(tile)) > MAX_BANDS * limits.max_pixels:
        raise ImageError(f"The compressed FITS image has tiles of {tile} pixels; it is broken.")
    tiles = int(np.prod([-(-whole // part) for whole, part in zip(hdu.shape, tile, strict=True)]))
    if int(header["NAXIS2"]) != tiles:
        raise ImageError(
            f"The compressed FITS image needs {tiles} tiles and has {header['NAXIS2']}."
        )
    start = int(hdu._bintable.fileinfo()["datLoc"])
    rows = np.frombuffer(data, hdu._bintable.columns.dtype.newbyteorder(">"), tiles, start)
    heap = start + int(header.get("THEAP", int(header["NAXIS1"]) * tiles))
    most = 8 * int(np.prod(tile)) + 65536
    for column in hdu._bintable.columns:
        width = {"B": 1, "I": 2, "J": 4}.get(_element(column.format), 0)
        if not width:
            continue
        descriptors = rows[column.name].astype(np.int64).reshape(-1, 2)
        if (descriptors < 0).any() or int(descriptors[:, 0].sum()) * width > len(data):
            raise ImageError("The compressed FITS image is broken: its tiles overlap.")
        gzipped = column.name == "GZIP_COMPRESSED_DATA" or "GZIP" in str(header["ZCMPTYPE"])
        for length, offset in descriptors if gzipped else ():
            packed = data[heap + offset : heap + offset + length * width]
            if packed and len(zlib.decompressobj(47).decompress(packed, most + 1)) > most:
                raise ImageError("A tile of the compressed FITS image unpacks beyond its size.")


def _element(form: str) -> str:
    """Element type of a variable-length column ("1PB(1234)" gives "B"), else ""."""
    for kind in ("P", "Q"):
        before, found, after = str(form).partition(kind)
        if found and before in ("", "1"):
            return after[:1]
    return ""
