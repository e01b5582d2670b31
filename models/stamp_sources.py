"""Where real training stamps come from: folders of images, and HDF5 files of stamps."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.canvases import measured, read_canvases, write_canvases
from models.frame import Canvas, Frame
from models.images import ImageError, read_image
from models.measurements import measure_all
from models.stamp_file import StampFile

SIMULATED = "simulated"
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".fits", ".fit", ".fts", ".fz", ".gz")
)
# Stamps of an HDF5 file that are kept as canvases: measurements are standardised over them.
SAMPLE = 4096
Report = Callable[[str], None]


@dataclass(frozen=True)
class SourceName:
    """A source as it was named, and its weight in the mixture.

    Attributes
    ----------
    name : str
        A folder, an HDF5 file, or "simulated".
    weight : float
        Above 0 (simulated: or 0).
    """

    name: str
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> SourceName:
        """Read ``SOURCE`` or ``SOURCE:weight``.

        Raises
        ------
        ValueError
            The weight is no number above 0, or no such source exists.
        """
        name, colon, tail = text.rpartition(":")
        if not colon or Path(text).exists():
            return cls(_existing(text))
        try:
            weight = float(tail)
        except ValueError:
            return cls(_existing(text))
        none = weight == 0 and name == SIMULATED
        if not none and not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"The weight in {text!r} must be a number above 0.")
        return cls(_existing(name), weight)


def _existing(name: str) -> str:
    if name != SIMULATED and not (name and Path(name).exists()):
        raise ValueError(
            f"There is no folder or file {name!r}; name a folder of images, an HDF5 file of "
            f"stamps, or {SIMULATED}."
        )
    return name


class Source(Protocol):
    """Real stamps that can be drawn from again and again.

    Attributes
    ----------
    sample_path : Path
        Canvases that stand for the source; of a folder all of them.
    sample_measured : float32 [m, MEASUREMENTS]
        What was measured on these.
    fingerprint : str
        Changes when the stamps do.
    """

    sample_path: Path
    fingerprint: str

    @property
    def sample_measured(self) -> NDArray[np.float32]: ...

    def __len__(self) -> int: ...

    def rows(self, seed: int, step: int, first: int, count: int) -> NDArray[np.int64]:
        """Different rows for a step before which `first` were drawn."""
        ...

    def read(self, row: int, measuring: bool) -> tuple[Canvas, NDArray[np.float32] | None]:
        """Canvas of a row and, if wanted, what is measured on it."""
        ...


class CanvasSource:
    """Stamps that lie on the disk as canvases, all of them measured.

    Parameters
    ----------
    path : Path
        Of the canvases.
    frame : Frame
        What a canvas is.
    report : callable
        Told how far we are.
    """

    def __init__(self, path: Path, frame: Frame, report: Report) -> None:
        self.sample_path = path
        self.fingerprint = path.stem
        self.sample_measured = measured(path, frame, report)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "canvases"}

    @cached_property
    def canvases(self) -> Canvas:
        """The memory map, opened by the process that reads."""
        return read_canvases(self.sample_path)

    def __len__(self) -> int:
        return len(self.sample_measured)

    def rows(self, seed: int, step: int, first: int, count: int) -> NDArray[np.int64]:
        """Draw different rows at random, anew for every step."""
        rng = np.random.default_rng((seed, step))
        return rng.choice(len(self), count, replace=False)

    def read(self, row: int, measuring: bool) -> tuple[Canvas, NDArray[np.float32] | None]:
        """Canvas of a row and what was measured on it."""
        return self.canvases[row], self.sample_measured[row]


class FileSource:
    """Stamps of an HDF5 file, made into canvases when they are drawn.

    Parameters
    ----------
    file : StampFile
        The stamps.
    frame : Frame
        What a canvas is.
    cache : Path
        Folder for a sample of canvases.
    report : callable
        Told how far we are.
    """

    def __init__(self, file: StampFile, frame: Frame, cache: Path, report: Report) -> None:
        self.file, self.frame, self.fingerprint = file, frame, file.fingerprint
        if not file.flux and frame.preprocessing.kind == "flux":
            raise ValueError(f"{file.path} holds pictures (uint8), but this LVM wants flux.")
        self.sample_path = cache / f"sample-{_digest(file.fingerprint, frame)}.npy"
        if not self.sample_path.exists():
            count = min(SAMPLE, len(self))
            report(f"reading {count} of the {len(self)} stamps of {file.path}")
            rows = file.order.rows(0, 0, count)
            canvases = (self.read(int(row), False)[0] for row in sorted(rows))
            write_canvases(self.sample_path, count, canvases, frame)
        self.sample_measured = measured(self.sample_path, frame, report)

    def __len__(self) -> int:
        return self.file.count

    def rows(self, seed: int, step: int, first: int, count: int) -> NDArray[np.int64]:
        """Go on in the file's shuffled order."""
        return self.file.order.rows(seed, first, count)

    def read(self, row: int, measuring: bool) -> tuple[Canvas, NDArray[np.float32] | None]:
        """Canvas of a row (or the next usable one) and, if wanted, its measurements."""
        canvas = self.file.usable(row, self.frame.draw)
        if not measuring:
            return canvas, None
        return canvas, measure_all(self.frame.measured_part(canvas)[None])[0]


def folder_source(folder: str | Path, frame: Frame, cache: Path, report: Report) -> CanvasSource:
    """Read and measure all images below a folder (again only if the list changed).

    Raises
    ------
    ValueError
        None of the files is an image that can be used.
    """
    files = image_files([folder])
    listing = "\n".join(f"{path} {path.stat().st_size}" for path in files)
    path = cache / f"stamps-{_digest(listing, frame)}.npy"
    if not path.exists():
        write_canvases(path, len(files), _read(files, frame, report), frame)
    if not len(read_canvases(path)):
        raise ValueError(f"No image can be read below {folder}.")
    return CanvasSource(path, frame, report)


def image_files(folders: Sequence[str | Path]) -> list[Path]:
    """List the files below the folders that may be images, by suffix, sorted.

    Raises
    ------
    ValueError
        A folder does not exist.
    """
    files: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ValueError(f"There is no folder {folder}; name one that holds images.")
        found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        files.extend(sorted(path for path in found if path.is_file()))
    return files


def real_source(name: str, frame: Frame, cache: Path, report: Report) -> Source:
    """Open a folder of images or an HDF5 file of stamps.

    Raises
    ------
    ValueError
        It holds nothing to train on; the message says why.
    """
    if Path(name).is_dir():
        return folder_source(name, frame, cache, report)
    return FileSource(StampFile(name), frame, cache, report)


def _read(files: list[Path], frame: Frame, report: Report) -> Iterator[Canvas]:
    for index, path in enumerate(files):
        try:
            yield frame.draw(read_image(path.read_bytes()))
        except (ImageError, OSError) as error:
            report(f"{path} is left out: {error}")
        if index % 1000 == 999:
            report(f"{index + 1} of {len(files)} images read")


def _digest(text: str, frame: Frame) -> str:
    return hashlib.sha256(f"{text}\n{frame.identity}".encode()).hexdigest()[:16]
