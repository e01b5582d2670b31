"""Stamps for restoration: real ones, split by name into training and held-out, and simulated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from astropy.io import fits
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.restoration_filters import noise_of
from models.simulation import simulate

PICTURES = (".jpg", ".jpeg", ".png")
HELD_OUT = 4
"""One stamp in so many is held out; single-band galaxies (fewer) one in three."""
_SINGLES_HELD_OUT = 3


@dataclass(frozen=True)
class StampSet:
    """Stamps of one kind.

    Attributes
    ----------
    name : str
    training, held_out : tuple of float32 [bands, h, w]
        Linear or picture values without sky.
    """

    name: str
    training: tuple[NDArray[np.float32], ...]
    held_out: tuple[NDArray[np.float32], ...]


def is_held_out(name: str, one_in: int = HELD_OUT) -> bool:
    """Whether a stamp is kept from training, told by the SHA-256 of its name."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % one_in == 0


def picture_stamps(folder: Path, name: str, side: int = 96, most: int | None = None) -> StampSet:
    """Read the pictures of a folder, two by two pixels merged, which hides the noise of the JPEG.

    Parameters
    ----------
    folder : Path
        Searched with its sub-folders.
    name : str
        Of the set.
    side : int
        Of the stamps after merging, pixels; smaller pictures are left out.
    most : int, optional
        Pictures read at most, in the order of their names.
    """
    parts: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    for path in paths[:most]:
        with Image.open(path) as opened:
            if min(opened.size) < 2 * side:
                continue
            left, top = (opened.width - 2 * side) // 2, (opened.height - 2 * side) // 2
            part = opened.convert("RGB").crop((left, top, left + 2 * side, top + 2 * side))
        pixels = np.asarray(part, dtype=np.float32).transpose(2, 0, 1)
        merged = pixels.reshape(3, side, 2, side, 2).mean(axis=(2, 4))
        parts[is_held_out(path.stem)].append(merged)
    return StampSet(name, tuple(parts[0]), tuple(parts[1]))


def cube_stamps(folder: Path, name: str, side: int = 96) -> StampSet:
    """Read FITS cubes [3, h, w] of measured values: the central part, less its sky."""
    parts: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    for place, path in enumerate(sorted(folder.glob("*.fits"))):
        cube = np.asarray(fits.getdata(path), dtype=np.float32)
        if cube.ndim != 3 or len(cube) != 3 or min(cube.shape[1:]) < side:
            continue
        cube = cube - np.median(cube, axis=(1, 2), keepdims=True)
        top, left = (cube.shape[1] - side) // 2, (cube.shape[2] - side) // 2
        # Few files: every other one, for a hash may take all or none.
        parts[place % 2].append(cube[:, top : top + side, left : left + side].copy())
    return StampSet(name, tuple(parts[0]), tuple(parts[1]))


def single_band_stamps(path: Path, name: str) -> StampSet:
    """Read the galaxies of a FITS file with one per extension, sky already subtracted."""
    parts: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    with fits.open(path) as opened:
        for place, hdu in enumerate(opened):
            if hdu.data is None or hdu.data.ndim != 2:
                continue
            plane = np.asarray(hdu.data, dtype=np.float32)[None]
            parts[place % _SINGLES_HELD_OUT == 0].append(plane)
    return StampSet(name, tuple(parts[0]), tuple(parts[1]))


def simulated_scenes(count: int, seed: int, side: int = 96) -> Tensor:
    """Simulate galaxies without noise: float32 [count, 3, side, side], linear flux."""
    rng = np.random.default_rng(seed)
    return torch.stack(
        [
            torch.from_numpy(simulate(rng, size=side, extent=(0.05, 0.14)).scene)
            for _ in range(count)
        ]
    )


class Sampler:
    """Draws training crops from sets of stamps, turned and mirrored.

    Parameters
    ----------
    sets : sequence of sequences of float32 [bands, h, w]
        One or three bands; a band that a stamp has not is NaN in the crops.
    shares : sequence of float
        How often each set is drawn from.
    side : int
        Of the crops, pixels; smaller stamps are mirrored at their edges.
    """

    def __init__(
        self, sets: Sequence[Sequence[NDArray[np.float32]]], shares: Sequence[float], side: int
    ) -> None:
        used = [(rows, share) for rows, share in zip(sets, shares, strict=True) if len(rows)]
        if not used:
            raise ValueError("There is no stamp to train on; name folders that hold some.")
        self._sets = [rows for rows, _ in used]
        weights = np.array([share for _, share in used], dtype=np.float64)
        self._shares = weights / weights.sum()
        self._side = side

    def draw(self, n: int, rng: np.random.Generator) -> Tensor:
        """Draw crops: float32 [n, 3, side, side]."""
        out = torch.full((n, 3, self._side, self._side), torch.nan)
        for row in range(n):
            rows = self._sets[int(rng.choice(len(self._sets), p=self._shares))]
            crop = self._crop(rows[int(rng.integers(len(rows)))], rng)
            out[row, : len(crop)] = torch.from_numpy(crop)
        return out

    def _crop(self, stamp: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        side = self._side
        short = [max(0, side - length) for length in stamp.shape[1:]]
        if any(short):
            pads = [(0, 0), *((extra // 2, extra - extra // 2) for extra in short)]
            stamp = np.pad(stamp, pads, mode="symmetric")
        # Around the middle, where the galaxy is.
        tops = [length - side for length in stamp.shape[1:]]
        top, left = (int(rng.integers(spare // 4, spare - spare // 4 + 1)) for spare in tops)
        crop = stamp[:, top : top + side, left : left + side]
        crop = np.rot90(crop, int(rng.integers(4)), axes=(1, 2))
        if rng.random() < 0.5:
            crop = crop[:, :, ::-1]
        return np.ascontiguousarray(crop)


def signal_to_noise(stamp: NDArray[np.float32]) -> float:
    """Brightest part of a stamp over its own noise."""
    planes = torch.from_numpy(np.ascontiguousarray(stamp))[None]
    peak = F.avg_pool2d(planes, 3, stride=1).amax((2, 3))
    return float((peak[..., None, None] / noise_of(planes)).amax())
