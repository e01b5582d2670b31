"""HDF5 files to images: a single image, or one of many stamps."""

from __future__ import annotations

import io
import math
import warnings
from typing import Any, Literal

import h5py
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from models.fits_bands import band_names
from models.fits_coordinates import coordinates
from models.frame import FLUX_BANDS
from models.galaxy_image import MAX_BANDS, RGB, GalaxyImage, ImageError, ImageLimits, flux_image
from models.hdf5_guards import check_chunks, check_dataset, datasets
from models.stamp_file import DATASET, PIXEL_SCALE

HDF5 = b"\x89HDF\r\n\x1a\n"
_PREFERRED = (DATASET, "image", "data")
_CHUNK_BYTES = 256 * 2**20


def read_hdf5(data: bytes, limits: ImageLimits, extension: int | str | None = None) -> GalaxyImage:
    """Read one image from an HDF5 file.

    The data set is the one called `images`, `image` or `data`, else the only one that can hold an
    image. It is a plane, a cube of bands on any axis, or a stack of either, ``[n, bands, H, W]``
    (also ``[n, H, W, bands]`` and ``[n, H, W]`` with n above 16), of which `extension` chooses one.
    Bytes with three bands are a picture in red, green, blue; everything else is flux. Attributes of
    the data set, or else of the file, say more, as FITS cards would: ``bands`` ("grz"),
    ``pixel_scale`` (arcsec), ``unit``, ``origin`` ("lower": the first row is at the bottom, the
    default of flux; "upper": at the top, the default of pictures), ``header`` (a FITS header as
    text, with coordinates; of a single image). Float ``images`` ``[n, 3, side, side]`` without
    attributes are taken for stamps of the Legacy Surveys (Stein et al. 2021, arXiv 2110.13151): g,
    r, z, nanomaggies, 0.262 arcseconds per pixel.

    Parameters
    ----------
    data : bytes
        The file.
    limits : ImageLimits
        Checked on the shape before any pixel is read.
    extension : int or str, optional
        Number of the stamp (from 0), name of the data set, or both: ``"group/images/17"``.

    Raises
    ------
    ImageError
        There is no image, it cannot be told which is meant, it lies in another file, or the file
        is broken.
    """
    try:
        with warnings.catch_warnings(), h5py.File(io.BytesIO(data), "r") as file:
            warnings.simplefilter("ignore")
            dataset, row = _choose(file, extension)
            return _image(file, dataset, row, data, limits)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 - h5py raises anything on broken bytes
        reason = str(error).strip().split("\n")[0][:160].rstrip(". ") or type(error).__name__
        raise ImageError(f"The HDF5 file is broken or cut short: {reason}.") from None


def stamps_of(file: h5py.File) -> tuple[int | str | None, ...]:
    """Numbers of the stamps, or names of the data sets; ``(None,)`` for a single image.

    Raises
    ------
    ImageError
        There is no data set that could be an image.
    """
    able = _able(file)
    named = [name for name in _PREFERRED if name in able]
    if not named and len(able) > 1:
        return tuple(able)
    shape = able[(named or list(able))[0]].shape
    return tuple(range(shape[0])) if _stacked(shape) and shape[0] != 1 else (None,)


def _able(file: h5py.File) -> dict[str, h5py.Dataset]:
    able = {
        str(item.name).strip("/"): item
        for item in datasets(file)
        if item.dtype.kind in "biuf" and item.shape and 2 <= item.ndim <= 4
    }
    if not able:
        raise ImageError("The HDF5 file holds no data set of numbers that could be an image.")
    return able


def _stacked(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 or (len(shape) == 3 and min(shape) > MAX_BANDS)


def _choose(file: h5py.File, extension: int | str | None) -> tuple[h5py.Dataset, int | None]:
    able = _able(file)
    row: int | None = None
    if isinstance(extension, str):
        name = extension.strip("/")
        if name not in able:
            name, _, tail = name.rpartition("/")
            if not (tail.isascii() and tail.isdecimal()) or len(tail) > 18:
                raise ImageError(f"The HDF5 file has no image {extension!r}; it has {_some(able)}.")
            row = int(tail)
        if name and name not in able:
            raise ImageError(f"The HDF5 file has no data set {name!r}; it has {_some(able)}.")
        if name:
            return able[name], row
    elif extension is not None:
        row = extension
    named = [able[name] for name in _PREFERRED if name in able]
    if not named and len(able) > 1:
        raise ImageError(
            f"The HDF5 file holds {len(able)} data sets that could be images ({_some(able)}); "
            "name one."
        )
    return (named or list(able.values()))[0], row


def _some(able: dict[str, Any]) -> str:
    names = list(able)
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _image(
    file: h5py.File, dataset: h5py.Dataset, row: int | None, data: bytes, limits: ImageLimits
) -> GalaxyImage:
    check_dataset(dataset)
    shape = tuple(int(length) for length in dataset.shape)
    header, stated = _header(dataset, file), _stated_bands(dataset, file)
    names = stated or band_names(header)
    # Few single-band stamps look like a cube of bands, unless bands are stated.
    stacked = _stacked(shape) or (len(shape) == 3 and row is not None and len(names) in (0, 1))
    first: tuple[slice, ...] = ()
    if stacked:
        row = _row(row, shape[0])
        first, shape = (slice(row, row + 1),), shape[1:]
    elif row:
        raise ImageError(f"The HDF5 data set {dataset.name} holds a single image.")
    axis = _band_axis(shape, len(names))
    height, width = (length for place, length in enumerate(shape) if place != axis)
    count = 1 if axis is None else shape[axis]
    limits.check_shape(width, height, count)
    chosen = (*first, *(slice(0, length) for length in shape))
    check_chunks(dataset, data, chosen, _CHUNK_BYTES)
    values: NDArray[np.generic] = np.asarray(dataset[chosen]).reshape(shape)
    values = values[None] if axis is None else np.moveaxis(values, axis, 0)
    if values.dtype == np.uint8 and count == 3 and names in ((), RGB, ("r", "g", "b")):
        return GalaxyImage(np.ascontiguousarray(values, dtype=np.float32), "rgb8", RGB)
    scale = _number(dataset, file, "pixel_scale")
    unit = (_text(dataset, file, "unit") or str(header.get("BUNIT", ""))).strip() or None
    wcs: WCS | None = None
    notes: tuple[str, ...] = ()
    if not stacked:
        wcs, cards, notes = coordinates(header, (2, 1))
        scale = scale or cards
    survey = str(dataset.name) == f"/{DATASET}" and len(first) == 1 and values.dtype.kind == "f"
    if survey and axis == 0 and count == 3 and not names and scale is None and unit is None:
        names, scale, unit = FLUX_BANDS, PIXEL_SCALE, "nanomaggy"
    bands = names if len(names) == count else tuple(str(index + 1) for index in range(count))
    upper = _text(dataset, file, "origin") == "upper"
    place: Literal["upper", "lower"] = "upper" if upper else "lower"
    return flux_image(values, bands, scale, wcs, unit, place, notes=notes)


def _row(row: int | None, count: int) -> int:
    if row is None and count == 1:
        return 0
    if row is None:
        raise ImageError(
            f"The HDF5 file holds {count:,} stamps; say which (0 to {count - 1}) with #extension=."
        )
    if not 0 <= row < count:
        raise ImageError(f"The HDF5 file has no stamp {row}; it holds {count:,}, from 0 on.")
    return row


def _band_axis(shape: tuple[int, ...], named: int) -> int | None:
    if len(shape) == 2:
        return None
    small = [axis for axis in range(3) if shape[axis] <= MAX_BANDS]
    fitting = [axis for axis in small if shape[axis] == named]
    for found in (small, fitting):
        if len(found) == 1:
            return found[0]
    # Bands come first, or last as in pictures, where a stamp is as small as that.
    if small and shape[1] == shape[2] != shape[0] and 0 in small:
        return 0
    raise ImageError(
        f"The HDF5 data set {list(shape)} does not tell which axis holds its bands; "
        "name them in its attribute bands ('grz')."
    )


def _attribute(dataset: h5py.Dataset, file: h5py.File, name: str) -> Any:
    for holder in (dataset, file):
        try:
            value = holder.attrs.get(name)
        except (OSError, TypeError, ValueError):
            continue
        if value is not None:
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return None


def _text(dataset: h5py.Dataset, file: h5py.File, name: str) -> str:
    value = _attribute(dataset, file, name)
    return value if isinstance(value, str) else ""


def _number(dataset: h5py.Dataset, file: h5py.File, name: str) -> float | None:
    try:
        value = float(_attribute(dataset, file, name))
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def _stated_bands(dataset: h5py.Dataset, file: h5py.File) -> tuple[str, ...]:
    stated = _attribute(dataset, file, "bands")
    if isinstance(stated, str):
        parts = stated.replace(",", " ").split()
        return tuple(parts) if len(parts) > 1 else tuple(stated.strip())
    if isinstance(stated, np.ndarray) and stated.ndim == 1 and 0 < stated.size <= MAX_BANDS:
        return tuple(
            item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
            for item in stated.tolist()
        )
    return ()


def _header(dataset: h5py.Dataset, file: h5py.File) -> fits.Header:
    text = _text(dataset, file, "header")
    try:
        return fits.Header.fromstring(text, sep="\n" if "\n" in text else "")
    except Exception:  # noqa: BLE001 - astropy raises anything on broken cards
        return fits.Header()
