"""FITS files to images: extensions, cubes of bands, compression, and what can be wrong."""

from __future__ import annotations

import io
import warnings
import zlib
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from models.galaxy_image import MAX_BANDS, GalaxyImage, ImageError, ImageLimits, flux_image

UNPACKED = 4
MAX_EXTENSIONS = 1000
_PREFERRED = ("SCI", "IMAGE")
_COMPANIONS = (
    *("WHT", "WEIGHT", "IVAR", "INVVAR", "VAR", "VARIANCE", "ERR", "ERROR", "UNCERT", "SIGMA"),
    *("DQ", "MASK", "MSK", "FLAGS", "PSF", "MODEL", "SEGMAP", "CTX", "EXP"),
)
_FILTERS = frozenset("ugrizyUBVRIJHKYGZ")


def read_fits(data: bytes, limits: ImageLimits, extension: int | str | None = None) -> GalaxyImage:
    """Read one image, or one cube of bands, from a FITS file that may be gzipped.

    Without `extension` it is the first extension called SCI or IMAGE, else the first that holds
    an image and is not named as a weight, error or mask; planes of one single value are passed
    over if another follows. A file whose extensions are images of
    one shape, each named as a filter (g, r, z...), gives them all as bands.

    Scaled integers (BSCALE, BZERO), BLANK, byte orders and tile compression (.fz) are resolved.

    Parameters
    ----------
    data : bytes
        The file.
    limits : ImageLimits
        Checked on the header before any pixel is read.
    extension : int or str or None
        Number (0 is the primary one) or name of the extension.

    Raises
    ------
    ImageError
        If there is no image, the file is cut short or broken, or an axis of bands cannot be told.
    """
    if data[:2] == b"\x1f\x8b":
        data = _unpack(data, UNPACKED * limits.max_bytes)
        if not data.startswith(b"SIMPLE"):
            raise ImageError("The gzip file holds no FITS file; only FITS is read from gzip.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fits.open(io.BytesIO(data), memmap=False) as file:
                return _read(file, data, limits, extension)
        except ImageError:
            raise
        except Exception as error:  # noqa: BLE001 - astropy raises anything on broken bytes
            reason = str(error).strip().split("\n")[0][:160].rstrip(". ") or type(error).__name__
            raise ImageError(f"The FITS file is broken or cut short: {reason}.") from None


def _unpack(data: bytes, most: int) -> bytes:
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


def _read(
    file: fits.HDUList, data: bytes, limits: ImageLimits, extension: int | str | None
) -> GalaxyImage:
    _load_headers(file)
    primary = file[0].header
    if extension is not None:
        try:
            chosen = file[extension]
        except (KeyError, IndexError):
            names = ", ".join(f"{i} {hdu.name}".strip() for i, hdu in enumerate(file))
            raise ImageError(
                f"The FITS file has no extension {extension!r}; it has: {names}."
            ) from None
        if not _is_image(chosen):
            raise ImageError(f"The FITS extension {extension!r} holds no image.")
        return _image(chosen, primary, data, limits)
    images = [hdu for hdu in file if _is_image(hdu)]
    if not images:
        held = sorted({type(hdu).__name__.removesuffix("HDU") for hdu in file[1:]})
        raise ImageError(
            "The FITS file holds no image"
            + (f", only extensions of the kind {', '.join(held)}." if held else ".")
        )
    if len(images) > 1 and all(_name(hdu) in _FILTERS for hdu in images):
        return _stack(images, primary, data, limits)
    preferred = [hdu for hdu in images if hdu.name.upper() in _PREFERRED]
    plain = [hdu for hdu in images if hdu.name.upper() not in _COMPANIONS]
    candidates = preferred or plain or images
    for hdu in candidates:
        image = _image(hdu, primary, data, limits)
        # GALFIT and others begin with an empty plane.
        if image.pixels.min() < image.pixels.max():
            return image
    return _image(candidates[0], primary, data, limits)


def _load_headers(file: fits.HDUList) -> None:
    """Read the headers one by one, so that a file of nothing but headers is refused early."""
    for index in range(MAX_EXTENSIONS + 1):
        try:
            file[index]
        except IndexError:
            return
    raise ImageError(f"The FITS file has more than the {MAX_EXTENSIONS} extensions that are read.")


def _is_image(hdu: Any) -> bool:
    return bool(hdu.is_image) and len(_shape(hdu)) >= 2


def _name(hdu: Any) -> str:
    return str(hdu.header.get("EXTNAME", "")).strip()


def _shape(hdu: Any) -> tuple[int, ...]:
    """Shape in numpy order as the header states it, of the image and not of its compression."""
    header = hdu.header
    count = int(header.get("NAXIS", 0))
    return tuple(int(header.get(f"NAXIS{axis}", 0)) for axis in range(count, 0, -1))


def _stack(images: list[Any], primary: Any, data: bytes, limits: ImageLimits) -> GalaxyImage:
    if len({_shape(hdu) for hdu in images}) != 1:
        raise ImageError("The FITS extensions are bands by name but differ in shape.")
    if len(images) > MAX_BANDS:
        raise ImageError(f"The FITS file has {len(images)} bands; at most {MAX_BANDS} are read.")
    height, width = _flat_shape(images[0])[-2:]
    limits.check_shape(width, height, len(images))
    parts = [_image(hdu, primary, data, limits) for hdu in images]
    if any(part.pixels.shape[0] != 1 for part in parts):
        raise ImageError("The FITS extensions are bands by name but hold cubes themselves.")
    first = parts[0]
    names = tuple(_name(hdu) for hdu in images)
    if "G" in names or "Z" in names:
        # Many writers put names in capitals; only the Sloan filters have a g and a z.
        names = tuple(name.lower() for name in names)
    return GalaxyImage(
        np.concatenate([part.pixels for part in parts]),
        "flux",
        names,
        first.pixel_scale,
        first.wcs,
        first.unit,
        sum(part.missing for part in parts),
        "lower",
    )


def _flat_shape(hdu: Any) -> tuple[int, ...]:
    """Shape without the leading axes of length one that radio and spectral cubes carry."""
    shape = _shape(hdu)
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _image(hdu: Any, primary: Any, data: bytes, limits: ImageLimits) -> GalaxyImage:
    shape = _flat_shape(hdu)
    if len(shape) > 3:
        raise ImageError(f"The FITS image has {len(shape)} axes {shape}; two or three are read.")
    named = _band_names(hdu.header, primary)
    axis = _band_axis(hdu.header, shape, len(named)) if len(shape) == 3 else None
    if axis is None:
        height, width, count = *shape, 1
    else:
        count = shape[axis]
        height, width = (length for place, length in enumerate(shape) if place != axis)
    limits.check_shape(width, height, count)
    _check_complete(hdu, data)
    _check_tiles(hdu, data, limits)
    values: NDArray[np.generic] = np.asarray(hdu.data).reshape(shape)
    values = values[None] if axis is None else np.moveaxis(values, axis, 0)
    bands = named if len(named) == count else tuple(str(index + 1) for index in range(count))
    unit = hdu.header.get("BUNIT") or primary.get("BUNIT")
    wcs, scale = _coordinates(hdu.header)
    return flux_image(values, bands, scale, wcs, str(unit).strip() if unit else None, "lower")


def _band_names(header: Any, primary: Any) -> tuple[str, ...]:
    """Names from BANDS, BAND0..., BAND or FILTER..., of the extension or else the primary one."""
    for cards in (header, primary):
        bands = str(cards.get("BANDS", "")).strip()
        if bands:
            parts = bands.replace(",", " ").split()
            return tuple(parts) if len(parts) > 1 else tuple(bands)
        numbered = [str(cards[f"BAND{i}"]).strip() for i in range(MAX_BANDS) if f"BAND{i}" in cards]
        if numbered:
            return tuple(numbered)
        for key in ("BAND", "FILTER", "FILTER1", "FILTER2"):
            words = str(cards.get(key, "")).split()
            if words and not words[0].upper().startswith("CLEAR"):
                return (words[0],)
    return ()


def _band_axis(header: Any, shape: tuple[int, ...], named: int) -> int:
    """Tell which of three axes holds the bands, or say that it cannot be told."""
    small = [axis for axis in range(3) if shape[axis] <= MAX_BANDS]
    if not small:
        raise ImageError(
            f"The FITS cube {shape} has no axis of at most {MAX_BANDS} that could hold bands; "
            "save one band, or one plane."
        )
    if str(header.get("CTYPE1", "")).startswith("RA") and 0 in small:
        return 0
    if len(small) == 1:
        return small[0]
    fitting = [axis for axis in small if shape[axis] == named]
    if len(fitting) == 1:
        return fitting[0]
    raise ImageError(
        f"The FITS cube {shape} does not tell which axis holds its bands; "
        "name them in the header (BANDS = 'grz')."
    )


def _check_complete(hdu: Any, data: bytes) -> None:
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


def _check_tiles(hdu: Any, data: bytes, limits: ImageLimits) -> None:
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


def _coordinates(header: Any) -> tuple[WCS | None, float | None]:
    """Celestial WCS and its mean pixel scale in arcseconds; None where there is none."""
    try:
        wcs = WCS(header, naxis=2)
        if not wcs.has_celestial:
            return None, None
        scale = float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600.0
    except Exception:  # noqa: BLE001 - a broken WCS must not cost the image
        return None, None
    return (wcs, scale) if np.isfinite(scale) and scale > 0 else (wcs, None)
