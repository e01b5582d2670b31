"""Simulated galaxies: the truth that comes with them must be true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammainc

from models.profiles import (
    deposit,
    edge_on_disc,
    elliptical_radius,
    moffat_psf,
    render,
    rotate,
    sersic,
    sersic_b,
    spiral_pattern,
)
from models.simulation import KINDS, LOOKS, SimulatedGalaxy, simulate


def one(kind: str, seed: int = 0, **options: object) -> SimulatedGalaxy:
    return simulate(np.random.default_rng([seed, KINDS.index(kind)]), kind, **options)


# --- profiles


@pytest.mark.parametrize("n", [0.5, 1.0, 2.5, 4.0, 6.0])
def test_half_of_the_light_is_within_the_effective_radius(n: float) -> None:
    assert gammainc(2 * n, sersic_b(n)) == pytest.approx(0.5, abs=2e-4)


@pytest.mark.parametrize(("n", "ratio"), [(1.0, 1.0), (1.0, 0.4), (4.0, 0.7), (2.5, 0.3)])
def test_drawn_flux_and_half_light_radius(n: float, ratio: float) -> None:
    size, radius, angle = 501, 12.0, 0.6
    image = render(
        lambda dx, dy: sersic(elliptical_radius(dx, dy, ratio, angle), radius, n, ratio),
        size,
        250.2,
        249.7,
    )
    # What lies beyond the frame is known: the incomplete gamma function is the growth curve.
    edge = 250.0 if ratio == 1.0 else 240.0
    seen = float(gammainc(2 * n, sersic_b(n) * (edge / radius) ** (1 / n)))
    assert seen - 0.02 < image.sum() < 1.01
    rows, columns = np.indices(image.shape)
    within = elliptical_radius(columns - 250.2, rows - 249.7, ratio, angle) < radius
    assert image[within].sum() == pytest.approx(0.5, abs=0.02)


def test_edge_on_disc_has_unit_flux_and_its_scale_height() -> None:
    image = render(lambda x, y: edge_on_disc(*rotate(x, y, 0.0), 20.0, 4.0), 401, 200, 200)
    assert image.sum() == pytest.approx(1.0, abs=0.01)
    column = image[:, 230]
    assert column[204] / column[200] == pytest.approx(1 / np.cosh(1.0) ** 2, rel=0.05)


@pytest.mark.parametrize("arms", [2, 3, 4])
def test_arms_are_as_many_as_stated_and_keep_the_flux(arms: int) -> None:
    azimuth = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    ring = spiral_pattern(np.full(720, 10.0), azimuth, arms, 0.3, 3.0, 1, 0.4, 5.0)
    assert ring.mean() == pytest.approx(1.0, rel=1e-3)
    peaks = (ring > np.roll(ring, 1)) & (ring > np.roll(ring, -1))
    assert peaks.sum() == arms


@pytest.mark.parametrize("handedness", [-1, 1])
def test_pitch_and_handedness(handedness: int) -> None:
    azimuth = np.linspace(0, 2 * np.pi, 36_000, endpoint=False)
    pitch = np.radians(20.0)
    angles = []
    for radius in (10.0, 11.0):
        ring = spiral_pattern(
            np.full(azimuth.size, radius), azimuth, 2, pitch, 3.0, handedness, 0.5, 10.0
        )
        half = ring[: azimuth.size // 2]
        angles.append(azimuth[half.argmax()])
    turned = angles[1] - angles[0]
    assert np.sign(turned) == handedness
    assert np.tan(pitch) == pytest.approx(np.log(1.1) / abs(turned), rel=0.01)


@pytest.mark.parametrize("fwhm", [1.6, 2.5, 4.0])
def test_psf_has_unit_sum_and_its_width(fwhm: float) -> None:
    psf = moffat_psf(fwhm, 3.0)
    assert psf.sum() == pytest.approx(1.0)
    middle = psf[psf.shape[0] // 2]
    fine = np.interp(np.arange(0, psf.shape[0] - 1, 0.01), np.arange(psf.shape[0]), middle)
    assert (fine > fine.max() / 2).sum() * 0.01 == pytest.approx(fwhm, rel=0.12)


def test_deposited_points_keep_flux_and_centroid() -> None:
    image = deposit(np.array([10.3]), np.array([20.8]), np.array([5.0]), 40)
    rows, columns = np.indices(image.shape)
    assert image.sum() == pytest.approx(5.0)
    assert (image * columns).sum() / 5 == pytest.approx(10.3)
    assert (image * rows).sum() / 5 == pytest.approx(20.8)
    assert deposit(np.array([-5.0]), np.array([99.0]), np.array([1.0]), 40).sum() == 0.0


# --- galaxies


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(KINDS), st.sampled_from(LOOKS))
def test_truth_is_consistent(seed: int, kind: str, look: str) -> None:
    galaxy = simulate(np.random.default_rng(seed), kind, 96, look)
    truth = galaxy.parameters
    assert galaxy.kind == kind
    assert galaxy.rgb.shape == galaxy.clean.shape == (96, 96, 3)
    assert galaxy.rgb.dtype == galaxy.clean.dtype == np.uint8
    assert galaxy.mask.shape == (96, 96)
    assert galaxy.flux.shape == (3, 96, 96)
    assert np.isfinite(galaxy.flux).all()
    assert all(np.isfinite(value) for value in truth.values())
    x0, y0, x1, y1 = (int(edge) for edge in galaxy.box)
    assert 0 <= x0 < x1 <= 96
    assert 0 <= y0 < y1 <= 96
    outside = galaxy.mask.copy()
    outside[y0:y1, x0:x1] = False
    assert not outside.any()
    assert galaxy.mask[y0].any()
    assert galaxy.mask[y1 - 1].any()
    assert galaxy.mask[:, x0].any()
    assert galaxy.mask[:, x1 - 1].any()
    assert galaxy.mask[round(truth["y"]), round(truth["x"])]
    assert 0 < truth["half_light_radius"] < 48
    assert 0 < truth["axis_ratio"] <= 1
    assert 0 <= truth["position_angle"] < 180
    assert truth["snr"] > 0
    assert (truth["arms"] > 0) == (kind == "spiral") == (truth["handedness"] != 0)
    assert (truth["separation"] > 0) == (kind == "merger")


def test_every_image_has_the_same_parameters() -> None:
    names = {frozenset(one(kind).parameters) for kind in KINDS}
    assert len(names) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_galaxy(kind: str) -> None:
    first, again, other = one(kind, 5), one(kind, 5), one(kind, 6)
    np.testing.assert_array_equal(first.rgb, again.rgb)
    assert first.parameters == again.parameters
    assert (first.rgb != other.rgb).any()


@pytest.mark.parametrize("kind", ["elliptical", "edge_on"])
def test_position_angle_and_axis_ratio_are_seen_in_the_light(kind: str) -> None:
    """Second moments of the mask follow the stated ellipse."""
    differences = []
    for seed in range(12):
        galaxy = one(kind, seed, extent=(0.1, 0.1))
        if galaxy.parameters["axis_ratio"] > 0.7:
            continue
        rows, columns = np.nonzero(galaxy.mask)
        covariance = np.cov(np.stack([columns, rows]))
        _, vectors = np.linalg.eigh(covariance)
        seen = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180
        difference = abs(seen - galaxy.parameters["position_angle"])
        differences.append(min(difference, 180 - difference))
    assert len(differences) > 3
    assert np.median(differences) < 6


def test_half_light_radius_of_ellipticals_is_near_the_one_asked_for() -> None:
    radii = [one("elliptical", seed, extent=(0.06, 0.06)).parameters for seed in range(10)]
    ratio = [truth["half_light_radius"] / (0.06 * 128) for truth in radii]
    # The frame cuts the wings off, which makes it smaller, never larger.
    assert 0.6 < np.median(ratio) < 1.1


def test_noise_is_what_the_units_say() -> None:
    """Where nothing is, the r band scatters by one."""
    scatter = []
    for seed in range(8):
        galaxy = one("elliptical", seed, extent=(0.05, 0.05))
        edge = galaxy.flux[1][~galaxy.mask]
        middle = np.median(edge)
        scatter.append(1.4826 * np.median(np.abs(edge - middle)))
    assert np.median(scatter) == pytest.approx(1.0, abs=0.12)


def test_clean_is_the_scene_without_noise() -> None:
    galaxy = one("spiral", 3)
    difference = galaxy.rgb.astype(int) - galaxy.clean.astype(int)
    assert 0.5 < difference.std() < 25
    assert abs(np.median(difference)) < 5
    rough = np.abs(np.diff(galaxy.rgb[~galaxy.mask].astype(int), axis=0)).mean()
    smooth = np.abs(np.diff(galaxy.clean[~galaxy.mask].astype(int), axis=0)).mean()
    assert smooth < rough


def test_kinds_differ_in_colour_and_shape_as_they_should() -> None:
    def mean(kind: str, name: str) -> float:
        return float(np.mean([one(kind, seed).parameters[name] for seed in range(12)]))

    def colour(kind: str) -> float:
        return mean(kind, "flux_blue") / mean(kind, "flux_red")

    assert colour("spiral") > colour("elliptical")
    assert mean("edge_on", "axis_ratio") < mean("elliptical", "axis_ratio")


@pytest.mark.parametrize("size", [32, 128, 300])
def test_sizes(size: int) -> None:
    assert one("merger", size=size).rgb.shape == (size, size, 3)


def test_what_cannot_be_simulated_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no kind of galaxy called 'lens'"):
        simulate(rng, "lens")
    with pytest.raises(ValueError, match="no look called"):
        simulate(rng, look="hubble")
    with pytest.raises(ValueError, match="32 to 1024"):
        simulate(rng, size=8)
    with pytest.raises(ValueError, match="extent"):
        simulate(rng, extent=(0.2, 0.1))
