"""Quick measurements: right on galaxies with known truth, and finite on everything."""

from __future__ import annotations

import time

import numpy as np
import pytest
from blob_scenes import SIDE, blobs
from hypothesis import given, settings
from hypothesis import strategies as st

from models.photometry import MEASURED, NAMES, measure_galaxy, quick_measurements
from models.simulation import simulate


def test_shape_and_brightness_of_gaussians() -> None:
    scenes, truth = blobs(20, seed=0)
    for scene, (magnitude, sigma, ratio, angle) in zip(scenes, truth, strict=True):
        found = measure_galaxy(scene)
        outline = found.outline
        assert outline.sigma == pytest.approx(sigma, rel=0.12)
        assert outline.axis_ratio == pytest.approx(ratio, abs=0.12)
        assert abs((outline.angle - angle + 90) % 180 - 90) < 4 / (1 - ratio)
        assert outline.r50 == pytest.approx(1.18 * sigma, rel=0.2)
        assert outline.x == pytest.approx(SIDE / 2, abs=0.3)
        assert outline.y == pytest.approx(SIDE / 2, abs=0.3)
        flux = float(found.numbers[NAMES.index("log_flux_light")])
        assert -2.5 * flux == pytest.approx(magnitude, abs=0.15)


def test_the_galaxy_at_a_place_is_measured() -> None:
    (first,), _ = blobs(1, seed=1)
    assert first.flux is not None
    wide = np.concatenate([np.zeros_like(first.flux), first.flux], axis=2)
    wide += np.random.default_rng(0).normal(0, 0.1, wide.shape).astype(np.float32)
    outline = measure_galaxy(wide, (SIDE * 1.5, SIDE / 2)).outline
    assert outline.x == pytest.approx(SIDE * 1.5, abs=0.5)


def test_a_neighbour_does_not_pull() -> None:
    (scene,), _ = blobs(1, seed=2)
    assert scene.flux is not None
    flux = scene.flux.copy()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    flux += 300 * np.exp(-0.5 * ((rows - 4) ** 2 + (columns - 26) ** 2) / 1.5**2)
    alone, beside = (measure_galaxy(image).outline for image in (scene.flux, flux))
    assert beside.sigma == pytest.approx(alone.sigma, rel=0.15)
    assert beside.x == pytest.approx(alone.x, abs=0.3)


def test_units_and_binning_do_not_matter() -> None:
    galaxy = simulate(np.random.default_rng(3), "elliptical", 128)
    plain = measure_galaxy(galaxy.flux)
    faint = measure_galaxy(galaxy.flux * np.float32(1e-9))
    assert faint.outline.r50 == pytest.approx(plain.outline.r50, rel=1e-3)
    for name in ("log_flux_middle", "log_flux_light", "log_noise"):
        place = NAMES.index(name)
        assert faint.numbers[place] == pytest.approx(plain.numbers[place] - 9, abs=1e-3)
    large = measure_galaxy(np.repeat(np.repeat(galaxy.flux, 4, 1), 4, 2))
    assert large.outline.r50 == pytest.approx(4 * plain.outline.r50, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["zero", "constant", "noise", "spot", "ramp", "huge", "tiny"]),
    shape=st.tuples(st.integers(8, 60), st.integers(8, 60)),
    bands=st.integers(1, 5),
)
def test_anything_gives_finite_numbers(kind: str, shape: tuple[int, int], bands: int) -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((bands, *shape), np.float32)
    if kind == "constant":
        image += 7
    elif kind == "spot":
        image[:, shape[0] // 2, shape[1] // 2] = 100
    elif kind == "ramp":
        image += np.arange(shape[1], dtype=np.float32)
    elif kind != "zero":
        factor = {"noise": 1.0, "huge": 1e18, "tiny": 1e-25}[kind]
        image = rng.normal(size=image.shape).astype(np.float32) * np.float32(factor)
    found = measure_galaxy(image)
    assert found.numbers.shape == (MEASURED,)
    assert np.isfinite(found.numbers).all()
    assert 0 < found.outline.axis_ratio <= 1
    assert found.outline.r50 > 0


def test_pictures_are_measured() -> None:
    galaxy = simulate(np.random.default_rng(4), "spiral", 128)
    assert np.isfinite(quick_measurements(galaxy.rgb)).all()
    assert np.isfinite(quick_measurements(np.full((40, 30, 3), 255, np.uint8))).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((3, 32, 32), np.nan), "NaN"),
        (np.zeros((3, 4, 32)), "8 x 8"),
        (np.zeros(5), "8 x 8"),
        (np.zeros((0, 32, 32)), "8 x 8"),
    ],
)
def test_broken_images_are_named(image: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick_measurements(image)


def test_fast_enough() -> None:
    """Ten times slower than measured still passes."""
    images = [simulate(np.random.default_rng(seed)).flux for seed in range(5)]
    quick_measurements(images[0])
    start = time.process_time()
    for image in images * 4:
        quick_measurements(image)
    assert (time.process_time() - start) / 20 < 0.02
