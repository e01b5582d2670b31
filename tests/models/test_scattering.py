from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import rotate

from models.frame import Frame
from models.images import Preprocessing
from models.measurements import MEASUREMENTS, measure_all
from models.morphometry import FEATURES, measure
from models.scattering import COEFFICIENTS, SIDE, WINDOWS, scatter
from models.simulation import simulate

Pictures = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    rng = np.random.default_rng(3)
    return np.stack([simulate(rng, kind, SIDE).rgb for kind in ("spiral", "edge_on", "merger") * 4])


def waves(frequency: float, angle: float) -> Pictures:
    """One picture of a plane wave, cycles per pixel and degrees."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    direction = np.deg2rad(angle)
    phase = 2 * np.pi * frequency * (columns * np.cos(direction) + rows * np.sin(direction))
    grey = (127.5 + 100 * np.cos(phase)).astype(np.uint8)
    return np.repeat(grey[None, :, :, None], 3, axis=3)


def first_order(row: NDArray[np.float32]) -> tuple[list[float], list[float]]:
    """Mean and relative spread over orientations, of each scale in the narrowest window."""
    means, spreads, start, windows = [], [], 3 * len(WINDOWS), len(WINDOWS)
    for scale in range(4):
        means.append(float(np.exp(row[start])))
        spreads.append(float(np.exp(row[start + 3 * windows])))
        start += 2 * 3 * windows + 4 * windows * (3 - scale)
    assert start == COEFFICIENTS
    return means, spreads


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_change_nothing(pictures: Pictures, turns: int) -> None:
    turned = np.rot90(pictures, turns, (1, 2))
    np.testing.assert_allclose(scatter(turned), scatter(pictures), atol=2e-4)
    small, other = pictures[:, 8:80, 8:80], np.rot90(pictures[:, 8:80, 8:80], turns, (1, 2))
    np.testing.assert_allclose(scatter(other), scatter(small), atol=2e-4)


def test_mirrors_change_nothing(pictures: Pictures) -> None:
    np.testing.assert_allclose(scatter(pictures[:, ::-1]), scatter(pictures), atol=2e-4)
    transposed = pictures.transpose(0, 2, 1, 3)
    np.testing.assert_allclose(scatter(transposed), scatter(pictures), atol=2e-4)


def test_any_turn_changes_little_beside_what_galaxies_differ_by() -> None:
    rng = np.random.default_rng(5)
    # Turned with a margin that is cut off, so that no corner is new.
    wide = [simulate(rng, size=144, extent=(0.04, 0.08)).rgb for _ in range(12)]
    cut = slice(24, 24 + SIDE)
    turned = [rotate(item, angle, reshape=False, order=1, mode="nearest")[cut, cut]
              for angle in (0, 33) for item in wide]  # fmt: skip
    values = scatter(np.stack(turned))
    straight, oblique = values[:12], values[12:]
    spread = straight.std(axis=0)
    # The finest scale sees the noise, which turning by interpolation smears.
    moved = np.abs(straight - oblique).mean(axis=0) / spread
    assert np.median(moved) < 0.25
    coarse = slice(-18, None)
    assert np.median(moved[coarse]) < 0.1


def test_a_wave_is_seen_at_its_own_scale_and_direction() -> None:
    for scale, frequency in enumerate((0.375, 0.1875, 0.09375, 0.046875)):
        means, spreads = first_order(scatter(waves(frequency, 45))[0])
        assert int(np.argmax(means)) == scale
        assert spreads[scale] == max(spreads) > 0.4, "one of eight directions stands out"
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    assert max(first_order(scatter(noise)[0])[1][:2]) < 0.2


def test_the_second_order_tells_a_coarse_modulation_from_an_even_wave() -> None:
    even = waves(0.375, 0).astype(float) - 127.5
    rows = np.arange(SIDE)[None, :, None, None] - (SIDE - 1) / 2
    striped = even * (1 + np.cos(2 * np.pi * 0.09375 * rows)) / 2 + 127.5
    second = [
        scatter(item.astype(np.uint8))[0].reshape(-1, 3)[9:21, 1]
        for item in (even + 127.5, striped)
    ]
    # Pairs (0, 1), (0, 2), (0, 3), each parallel, crossed, and the two between.
    assert int(np.argmax(second[1] - second[0])) == 5, "crossed, two scales coarser"


def test_they_are_finite_whatever_is_shown() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    point = np.zeros_like(noise)
    point[32, 32] = 255
    hostile = np.stack([np.zeros_like(noise), np.full_like(noise, 255), noise, point])
    values = scatter(hostile)
    assert values.shape == (4, COEFFICIENTS) == (4, 153)
    assert np.isfinite(values).all()
    assert np.abs(values).max() < 20
    assert scatter(hostile[:0]).shape == (0, COEFFICIENTS)


def test_a_picture_measures_the_same_among_others(pictures: Pictures) -> None:
    alone = np.concatenate([scatter(pictures[row][None]) for row in range(5)])
    np.testing.assert_allclose(alone, scatter(pictures[:5]), atol=1e-5)


def test_measurements_are_shapes_and_textures(pictures: Pictures) -> None:
    values = measure_all(pictures[:2])
    assert values.shape == (2, MEASUREMENTS) == (2, FEATURES + COEFFICIENTS)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[1, :FEATURES], measure(pictures[1]))
    np.testing.assert_array_equal(values[:, FEATURES:], scatter(pictures[:2]))


@pytest.mark.skipif("GALAXYLOOP_DATA" not in os.environ, reason="GALAXYLOOP_DATA names no data")
def test_real_stamps_measure_the_same_when_turned() -> None:
    folder = Path(os.environ["GALAXYLOOP_DATA"]) / "sdss_unlabelled"
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jpeg", ".png"))[:12]
    frame = Frame.of(Preprocessing(kind="rgb8", size=96, crop=0.55))
    opened = [Image.open(path).convert("RGB").resize((176, 176)) for path in files]
    stamps = np.stack([np.asarray(image) for image in opened])
    shown = np.stack([frame.measured_part(stamp) for stamp in stamps])
    values = scatter(shown)
    np.testing.assert_allclose(scatter(np.rot90(shown, 1, (1, 2))), values, atol=2e-4)
    assert (values.std(axis=0) > 1e-3).all(), "every coefficient tells stamps apart"
