"""Simulated stamps with their truth, and what brings measurements to one scale."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.canvases import read_canvases, write_canvases
from models.frame import CANVAS_CROP, Canvas, Frame, central_views
from models.simulation import KINDS, simulate

__all__ = [
    "PARAMETERS",
    "SimulatedStamps",
    "Standard",
    "central_views",
    "simulated_stamps",
    "truth_of",
]

# Half-light radii of simulated galaxies, as fractions of a canvas of the usual crop.
EXTENT = (0.045, 0.22)
# What the truth term asks of an embedding; logarithms where ranges span decades.
LOGARITHMIC = ("half_light_radius", "axis_ratio", "flux_red", "snr")
LINEAR = (
    "sersic_n", "bulge_fraction", "arms", "pitch", "arm_strength", "bar_strength",
    "ring_strength", "dust", "separation", "flux_ratio",
)  # fmt: skip
PARAMETERS = (*LOGARITHMIC, *LINEAR, "blue_to_red")


@dataclass(frozen=True)
class SimulatedStamps:
    """Simulated canvases and what is known of them.

    Attributes
    ----------
    canvases : uint8 or float32 [n, side, side, 3]
    kinds : int64 [n]
        Index into `KINDS`.
    parameters : float32 [n, len(PARAMETERS)]
        Standardised over the set.
    """

    canvases: Canvas
    kinds: NDArray[np.int64]
    parameters: NDArray[np.float32]


@dataclass(frozen=True)
class Standard:
    """What brings columns to mean 0 and standard deviation 1.

    Attributes
    ----------
    mean, variance : float64 [k]
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float32]) -> Standard:
        """Take mean and variance of rows `[n, k]`."""
        return cls(rows.mean(axis=0, dtype=np.float64), rows.var(axis=0, dtype=np.float64))

    @classmethod
    def mixed(cls, parts: list[Standard], shares: list[float]) -> Standard:
        """Mean and variance of a mixture of sets, with shares that sum to 1."""
        mean = sum(share * part.mean for share, part in zip(shares, parts, strict=True))
        variance = sum(
            share * (part.variance + (part.mean - mean) ** 2)
            for share, part in zip(shares, parts, strict=True)
        )
        return cls(np.asarray(mean), np.asarray(variance))

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardise rows `[n, k]`, and bring outliers to 4."""
        spread = np.sqrt(self.variance)
        # A column that never changes stays 0; its rounding must not be blown up.
        spread = np.where(spread > 1e-5 * np.maximum(np.abs(self.mean), 1), spread, np.inf)
        return np.clip((rows - self.mean) / spread, -4, 4).astype(np.float32)


def simulated_stamps(
    count: int, seed: int, cache: Path, report: Callable[[str], None],
    frame: Frame, noise: float = 1.0,
) -> SimulatedStamps:  # fmt: skip
    """Simulate galaxies on canvases (again only if what decides them changed).

    Parameters
    ----------
    count, seed : int
        How many, and of the random numbers.
    cache : Path
        Folder for the memory map.
    report : callable
        Told how far we are.
    frame : Frame
        What a canvas is.
    noise : float
        The sky's noise on real canvases; only for an LVM for linear flux.
    """
    if not count:
        nothing = np.zeros((0, len(PARAMETERS)), dtype=np.float32)
        none: Canvas = np.zeros((0, frame.side, frame.side, 3), dtype=np.uint8)
        return SimulatedStamps(none, np.zeros(0, dtype=np.int64), nothing)
    sky = "" if frame.preprocessing.kind == "rgb8" else f"-{noise:.6g}"
    name = hashlib.sha256(f"{frame.identity}{sky}".encode()).hexdigest()[:8]
    path = cache / f"simulated-{seed}-{count}-{name}.npy"
    truth = path.with_suffix(".truth.npz")
    if not (path.exists() and truth.exists()):
        kinds: list[int] = []
        rows: list[list[float]] = []
        write_canvases(
            path, count, _simulate(count, seed, kinds, rows, report, frame, noise), frame
        )
        partial = truth.with_suffix(".partial")
        with open(partial, "wb") as file:
            np.savez(file, kinds=np.array(kinds), parameters=np.array(rows, dtype=np.float32))
        os.replace(partial, truth)
    with np.load(truth, allow_pickle=False) as arrays:
        parameters = arrays["parameters"].astype(np.float32)
        found = arrays["kinds"].astype(np.int64)
    return SimulatedStamps(read_canvases(path), found, Standard.of(parameters).apply(parameters))


def _simulate(
    count: int, seed: int, kinds: list[int], rows: list[list[float]],
    report: Callable[[str], None], frame: Frame, noise: float,
) -> Iterator[Canvas]:  # fmt: skip
    rng = np.random.default_rng(seed)
    scale = CANVAS_CROP / frame.crop
    extent = (EXTENT[0] * scale, EXTENT[1] * scale)
    look = None if frame.preprocessing.kind == "rgb8" else "legacy"
    for index in range(count):
        galaxy = simulate(rng, None, frame.side, look, extent)
        kinds.append(KINDS.index(galaxy.kind))
        rows.append(truth_of(galaxy.parameters))
        yield frame.draw_simulated(galaxy.rgb, galaxy.flux, noise)
        if index % 1000 == 999:
            report(f"{index + 1} of {count} galaxies simulated")


def truth_of(parameters: dict[str, float]) -> list[float]:
    """Numbers of `PARAMETERS` for one simulated galaxy."""
    logs = [float(np.log(max(parameters[name], 1e-3))) for name in LOGARITHMIC]
    colour = float(np.log(max(parameters["flux_blue"], 1e-3) / max(parameters["flux_red"], 1e-3)))
    return [*logs, *(parameters[name] for name in LINEAR), colour]
