"""Training stamps: real ones from folders and simulated ones, kept as uint8 in memory maps."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from models.images import ImageError, read_image, to_rgb8
from models.morphometry import measure
from models.simulation import KINDS, simulate

CANVAS = 176
# Share of a real stamp's shorter side that a canvas shows.
CANVAS_CROP = 0.7
# Left out at each side when a canvas is measured, pixels.
MARGIN = 16
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".fits", ".fit", ".fts", ".fz", ".gz")
)
# Half-light radii of simulated galaxies, as fractions of a canvas.
EXTENT = (0.05, 0.17)
# What the truth term asks of an embedding; logarithms where ranges span decades.
LOGARITHMIC = ("half_light_radius", "axis_ratio", "flux_red", "snr")
LINEAR = (
    "sersic_n", "bulge_fraction", "arms", "pitch", "arm_strength", "bar_strength",
    "ring_strength", "dust", "separation", "flux_ratio",
)  # fmt: skip
PARAMETERS = (*LOGARITHMIC, *LINEAR, "blue_to_red")


@dataclass(frozen=True)
class RealStamps:
    """Real canvases and what was measured on them.

    Attributes
    ----------
    canvases : uint8 [n, CANVAS, CANVAS, 3]
    measurements : float32 [n, FEATURES]
        Of `models.morphometry`, standardised over the set, within 4 sigma.
    """

    canvases: NDArray[np.uint8]
    measurements: NDArray[np.float32]


@dataclass(frozen=True)
class SimulatedStamps:
    """Simulated canvases and what is known of them.

    Attributes
    ----------
    canvases : uint8 [n, CANVAS, CANVAS, 3]
    kinds : int64 [n]
        Index into `KINDS`.
    parameters : float32 [n, len(PARAMETERS)]
        Standardised over the set.
    """

    canvases: NDArray[np.uint8]
    kinds: NDArray[np.int64]
    parameters: NDArray[np.float32]


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


def canvas(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut the central square out of an image `[h, w, 3]` and bring it to the canvas size."""
    height, width = rgb.shape[:2]
    half = CANVAS_CROP * min(height, width) / 2
    box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
    resized = Image.fromarray(rgb).resize((CANVAS, CANVAS), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)


def central_views(canvases: NDArray[np.uint8], size: int, crop: float) -> Tensor:
    """Return what an LVM with this size and crop sees of canvases, float32 `[n, 3, size, size]`."""
    side = round(CANVAS * crop / CANVAS_CROP)
    first = (CANVAS - side) // 2
    cut = canvases[:, first : first + side, first : first + side]
    images = torch.from_numpy(np.ascontiguousarray(cut)).permute(0, 3, 1, 2).float() / 255
    return interpolate(images, (size, size), mode="bilinear", antialias=True)


def real_stamps(
    folders: Sequence[str | Path], cache: Path, report: Callable[[str], None]
) -> RealStamps:
    """Read and measure all images below some folders (again only if the list changed).

    Parameters
    ----------
    folders : sequence of paths
        Searched with all that is below them.
    cache : Path
        Folder for the memory map.
    report : callable
        Told how far we are, and which files were left out and why.

    Returns
    -------
    RealStamps
        The canvases are a memory map in `cache`.

    Raises
    ------
    ValueError
        A folder does not exist, or none of the files is an image.
    """
    files = image_files(folders)
    listing = "\n".join(f"{path} {path.stat().st_size}" for path in files)
    path = cache / f"stamps-{hashlib.sha256(listing.encode()).hexdigest()[:16]}.npy"
    if not path.exists():
        _write(path, len(files), _read_canvases(files, report))
    canvases: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    if not len(canvases):
        raise ValueError(f"No image can be read below {', '.join(map(str, folders))}.")
    measured = path.with_suffix(".measured.npy")
    if not measured.exists():
        report(f"measuring {len(canvases)} stamps")
        rows = np.stack([measure(item[MARGIN:-MARGIN, MARGIN:-MARGIN]) for item in canvases])
        with open(measured.with_suffix(".partial"), "wb") as file:
            np.save(file, rows)
        os.replace(measured.with_suffix(".partial"), measured)
    return RealStamps(canvases, standardised(np.load(measured, allow_pickle=False)))


def standardised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring columns to mean 0 and standard deviation 1, and outliers to 4."""
    mean, spread = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    # A column that never changes stays 0; its rounding must not be blown up.
    spread = np.where(spread > 1e-5 * np.maximum(np.abs(mean), 1), spread, np.inf)
    return np.clip((rows - mean) / spread, -4, 4).astype(np.float32)


def _read_canvases(files: list[Path], report: Callable[[str], None]) -> Iterator[NDArray[np.uint8]]:
    for index, path in enumerate(files):
        try:
            yield canvas(to_rgb8(read_image(path.read_bytes())))
        except (ImageError, OSError) as error:
            report(f"{path} is left out: {error}")
        if index % 1000 == 999:
            report(f"{index + 1} of {len(files)} images read")


def _write(path: Path, most: int, canvases: Iterator[NDArray[np.uint8]]) -> int:
    """Write canvases to a memory map that appears under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, count = path.with_suffix(".partial"), 0
    shape = (CANVAS, CANVAS, 3)
    whole = open_memmap(partial, mode="w+", dtype=np.uint8, shape=(most, *shape))
    for item in canvases:
        whole[count] = item
        count += 1
    whole.flush()
    if count < most:
        kept = open_memmap(
            path.with_suffix(".kept"), mode="w+", dtype=np.uint8, shape=(count, *shape)
        )
        for row in range(count):
            kept[row] = whole[row]
        kept.flush()
        os.replace(path.with_suffix(".kept"), partial)
    os.replace(partial, path)
    return count


def simulated_stamps(
    count: int, seed: int, cache: Path, report: Callable[[str], None]
) -> SimulatedStamps:
    """Simulate galaxies on canvases (again only if count or seed changed)."""
    path = cache / f"simulated-{seed}-{count}.npy"
    truth = path.with_suffix(".truth.npz")
    if not (path.exists() and truth.exists()):
        kinds: list[int] = []
        rows: list[list[float]] = []
        _write(path, count, _simulate(count, seed, kinds, rows, report))
        with open(truth, "wb") as file:
            np.savez(file, kinds=np.array(kinds), parameters=np.array(rows, dtype=np.float32))
    with np.load(truth, allow_pickle=False) as arrays:
        parameters = arrays["parameters"].astype(np.float32)
        found = arrays["kinds"].astype(np.int64)
    canvases: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return SimulatedStamps(canvases, found, standardised(parameters))


def _simulate(
    count: int, seed: int, kinds: list[int], rows: list[list[float]], report: Callable[[str], None]
) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    for index in range(count):
        galaxy = simulate(rng, None, CANVAS, None, EXTENT)
        kinds.append(KINDS.index(galaxy.kind))
        rows.append(truth_of(galaxy.parameters))
        yield galaxy.rgb
        if index % 1000 == 999:
            report(f"{index + 1} of {count} galaxies simulated")


def truth_of(parameters: dict[str, float]) -> list[float]:
    """Numbers of `PARAMETERS` for one simulated galaxy."""
    logs = [float(np.log(max(parameters[name], 1e-3))) for name in LOGARITHMIC]
    colour = float(np.log(max(parameters["flux_blue"], 1e-3) / max(parameters["flux_red"], 1e-3)))
    return [*logs, *(parameters[name] for name in LINEAR), colour]
