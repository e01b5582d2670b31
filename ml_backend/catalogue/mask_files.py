"""Masks as FITS files with the WCS of their galaxy: a bit per label, and numbers of objects."""

from __future__ import annotations

import os
import tempfile
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from ml_backend.catalogue.cells import clean_text
from ml_backend.catalogue.column import Names
from ml_backend.catalogue.exporting import results_meta
from ml_backend.catalogue.formats import FormatError
from ml_backend.catalogue.objects import SOURCES, MarkedObject
from ml_backend.catalogue.region_files import file_stem
from ml_backend.catalogue.results import Results
from ml_backend.labelstudio.config import BitmaskControl, BrushControl, RegionControl
from models.answers import Mask
from models.picture_frame import PictureFrame

MOST_LABELS = 32
"""Bits of the largest whole numbers that FITS images hold without a sign."""


@dataclass
class MaskReport:
    """What was written."""

    files: int = 0
    objects: int = 0


def write_masks(results: Results, folder: Path, now: datetime) -> MaskReport:
    """Write the masks of all galaxies, a file per galaxy and control that has any.

    Each file has up to two pairs of images on the pixel grid of the galaxy's file: ``PEOPLE`` and
    ``MODEL``, whose bits say which labels a pixel has (``BIT0`` ... in the header name them), and
    ``PEOPLE_ID`` and ``MODEL_ID``, which hold the number of the object (0: none) as ``object`` in
    the table of objects; where objects overlap, the later one's.

    Parameters
    ----------
    results : Results
    folder : Path
        Made if it is missing.
    now : datetime
        With its zone.

    Raises
    ------
    FormatError
        The disk fails, or a control has more labels than bits.
    """
    report, names = MaskReport(), Names()
    meta = results_meta(results, now)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for control in results.config.answered:
            if not isinstance(control, BrushControl | BitmaskControl):
                continue
            if len(control.labels) > MOST_LABELS:
                raise FormatError(
                    f"The control {control.name!r} has {len(control.labels)} labels; a mask holds "
                    f"{MOST_LABELS}."
                )
            name = names.take(control.name)
            for row in range(len(results)):
                hdus = _hdus(results, row, control, report)
                if hdus:
                    told = {"OBJECT": results.ids[row], "CONTROL": control.name, **meta}
                    primary = _primary(int(results.task_ids[row]), told)
                    _write([primary, *hdus], folder / f"{file_stem(results, row)}-{name}.fits")
                    report.files += 1
    except OSError as error:
        raise FormatError(f"{folder} cannot be written: {error.strerror or error}.") from None
    return report


def mask_hdus(
    objects: list[MarkedObject], labels: tuple[str, ...], name: str
) -> list[fits.ImageHDU]:
    """Return the bits and the numbers of one control's objects by one source.

    Parameters
    ----------
    objects : list of MarkedObject
        On one picture, not empty.
    labels : tuple of str
        Of the control, at most `MOST_LABELS`; ("",) where it has none.
    name : str
        EXTNAME of the bits.
    """
    frame = objects[0].frame
    kind = np.uint8 if len(labels) <= 8 else np.uint16 if len(labels) <= 16 else np.uint32
    bits = np.zeros((frame.height, frame.width), kind)
    numbers = np.zeros(bits.shape, np.int16 if len(objects) < 2**15 else np.int32)
    for one in objects:
        if isinstance(one.shape, Mask) and one.shape.label in labels:
            bits[one.shape.pixels] |= kind(1 << labels.index(one.shape.label))
            numbers[one.shape.pixels] = one.number
    header = _header(frame)
    for place, label in enumerate(labels):
        header[f"BIT{place}"] = _card(label) or "marked"
    return [
        fits.ImageHDU(_as_file(bits, frame), header, name=name),
        fits.ImageHDU(_as_file(numbers, frame), _header(frame), name=f"{name}_ID"),
    ]


def _hdus(
    results: Results, row: int, control: RegionControl, report: MaskReport
) -> list[fits.ImageHDU]:
    hdus: list[fits.ImageHDU] = []
    for source in SOURCES:
        found = results.objects.of(row, control.name, source)
        if found:
            hdus += mask_hdus(found, control.labels or ("",), source.upper())
            report.objects += len(found)
    return hdus


def _primary(task: int, told: dict[str, str]) -> fits.PrimaryHDU:
    made = fits.PrimaryHDU()
    for key, value in told.items():
        made.header[key] = _card(value)
    made.header["TASK"] = task
    return made


def _write(hdus: list[fits.ImageHDU | fits.PrimaryHDU], path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as place:
        draft = Path(place) / path.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fits.HDUList(hdus).writeto(draft, checksum=True)
        os.replace(draft, path)


def _card(text: str) -> str:
    return clean_text(text, 60).encode("ascii", "backslashreplace").decode()[:60]


def _header(frame: PictureFrame) -> fits.Header:
    if frame.wcs is None:
        return fits.Header()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return frame.wcs.to_header(relax=True)


def _as_file(pixels: npt.NDArray[np.generic], frame: PictureFrame) -> npt.NDArray[np.generic]:
    """Rows in the order of the file, from those of the picture."""
    return pixels[::-1].copy() if frame.first_row == "lower" else pixels
