"""Pictures for people and tensors for the LVM."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.galaxy_image import RGB, flux_image
from models.images import (
    GalaxyImage,
    ImageError,
    Preprocessing,
    encode_png,
    read_image,
    to_rgb8,
    to_tensor,
)
from models.stretch import asinh_stretch, lupton_rgb, noise_units, sky_level


def flux(bands: str = "grz", size: int = 64, offset: float = 0.0) -> GalaxyImage:
    rng = np.random.default_rng(4)
    rows, columns = np.indices((size, size)) - size / 2
    blob = 200 * np.exp(-np.hypot(rows, columns) / 5)
    planes = [
        blob * (1 + index) + rng.normal(offset, 1.0, blob.shape) for index in range(len(bands))
    ]
    return flux_image(np.stack(planes), tuple(bands))


def rgb8(pixels: np.ndarray) -> GalaxyImage:
    return GalaxyImage(np.moveaxis(pixels, -1, 0).astype(np.float32), "rgb8", RGB)


# --- sky and stretches


@settings(max_examples=30, deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(0.01, 1e3), st.integers(0, 1000))
def test_sky_and_noise_are_found_under_a_galaxy(sky: float, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    band = rng.normal(sky, noise, (100, 100))
    band[40:60, 40:60] += 500 * noise
    median, sigma = sky_level(band)
    assert median == pytest.approx(sky, abs=0.1 * noise)
    assert sigma == pytest.approx(noise, rel=0.1)


def test_missing_coverage_is_not_sky() -> None:
    band = np.random.default_rng(0).normal(5.0, 2.0, (100, 100))
    band[:60] = 0.0
    median, sigma = sky_level(band)
    assert median == pytest.approx(5.0, abs=0.2)
    assert sigma == pytest.approx(2.0, rel=0.1)


def test_constant_and_empty_bands_have_no_noise() -> None:
    assert sky_level(np.full((10, 10), 3.0)) == (3.0, 0.0)
    assert sky_level(np.full((10, 10), np.nan)) == (0.0, 0.0)
    assert np.all(noise_units(np.full((1, 10, 10), 3.0)) == 0.0)


def test_asinh_is_monotonic_and_bounded() -> None:
    ramp = np.linspace(-10, 1000, 2000).reshape(1, 40, 50)
    stretched = asinh_stretch(ramp, levels=[(0.0, 1.0)])
    assert (np.diff(stretched.ravel()) >= 0).all()
    assert stretched.min() >= 0
    assert stretched.max() == 1.0
    assert asinh_stretch(np.zeros((1, 4, 4)), levels=[(0.0, 1.0)]).max() == pytest.approx(0.1)


def test_lupton_keeps_the_colour_of_bright_pixels() -> None:
    faint, bright = np.array([0.1, 0.05, 0.025]), np.array([1000.0, 500.0, 250.0])
    bands = np.stack([faint, bright], axis=1)[:, None, :]
    shown = lupton_rgb(bands)[0].astype(float)
    assert shown[1, 0] == 255
    for pixel in shown:
        assert pixel[1] / pixel[0] == pytest.approx(0.5, abs=0.02)
        assert pixel[2] / pixel[0] == pytest.approx(0.25, abs=0.02)
    with pytest.raises(ValueError, match="three bands"):
        lupton_rgb(np.zeros((4, 5, 5)))


# --- pictures


@pytest.mark.parametrize("bands", ["r", "gr", "grz", "griz", "ugrizy", "123"])
def test_any_number_of_bands_can_be_shown(bands: str) -> None:
    shown = to_rgb8(flux(bands))
    assert shown.shape == (64, 64, 3)
    assert shown.dtype == np.uint8
    assert shown[32, 32].mean() > shown[:8, :8].mean() + 60


def test_a_single_band_is_grey() -> None:
    shown = to_rgb8(flux("r"))
    assert (shown == shown[..., :1]).all()


def test_bands_are_ordered_by_wavelength_and_not_by_place() -> None:
    image = flux("grz")
    turned = flux_image(image.pixels[::-1], ("z", "r", "g"))
    np.testing.assert_array_equal(to_rgb8(image), to_rgb8(turned))
    hubble = flux_image(image.pixels, ("F160W", "F814W", "F606W"))
    other = flux_image(image.pixels[::-1], ("F606W", "F814W", "F160W"))
    np.testing.assert_array_equal(to_rgb8(hubble), to_rgb8(other))
    # The last plane is the brightest: red in grz, blue where the names say so.
    centre = to_rgb8(image)[30, 24:40].astype(int).sum(axis=0)
    swapped = to_rgb8(flux_image(image.pixels, ("z", "r", "g")))[30, 24:40].astype(int).sum(axis=0)
    assert centre[0] * swapped[2] > centre[2] * swapped[0]


def test_a_sky_that_was_not_subtracted_is_no_matter() -> None:
    plain, raised = to_rgb8(flux("r")), to_rgb8(flux("r", offset=3000.0))
    assert np.abs(plain.astype(int) - raised.astype(int)).max() <= 2


def test_the_first_row_of_a_fits_image_is_at_the_bottom() -> None:
    image = flux("r")
    lower = GalaxyImage(image.pixels, "flux", image.bands, origin="lower")
    np.testing.assert_array_equal(to_rgb8(lower), to_rgb8(image)[::-1])


def test_png_round_trip() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(rgb)))), rgb)
    np.testing.assert_array_equal(to_rgb8(read_image(encode_png(rgb))), rgb)
    for wrong in (rgb.astype(float), rgb[..., 0], rgb[..., :2]):
        with pytest.raises(ValueError, match="uint8"):
            encode_png(wrong)


# --- tensors


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 90), st.integers(5, 90), st.floats(0.2, 1.0), st.integers(8, 64))
def test_any_picture_gives_the_size_in_range(h: int, w: int, crop: float, size: int) -> None:
    rgb = np.random.default_rng(h * w).integers(0, 256, (h, w, 3), dtype=np.uint8)
    tensor = to_tensor(rgb8(rgb), Preprocessing("rgb8", size, crop))
    assert tensor.shape == (3, size, size)
    assert tensor.dtype == torch.float32
    assert tensor.min() >= -1e-6
    assert tensor.max() <= 1 + 1e-6


def test_a_crop_of_the_wanted_size_is_exact() -> None:
    image = flux(size=64)
    tensor = to_tensor(image, Preprocessing("flux", 32, 0.5, stretch="linear", gain=2.0))
    np.testing.assert_array_equal(tensor.numpy(), 2 * image.pixels[:, 16:48, 16:48])


def test_shrinking_averages_instead_of_aliasing() -> None:
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, np.arange(256) % 8 < 2] = 255
    tensor = to_tensor(rgb8(stripes), Preprocessing("rgb8", 32))
    assert torch.allclose(tensor[..., 2:-2], torch.tensor(0.25), atol=0.02)


def test_mean_and_std_come_last() -> None:
    grey = rgb8(np.full((20, 20, 3), 255, dtype=np.uint8))
    tensor = to_tensor(grey, Preprocessing("rgb8", 20, mean=(0.5, 0.0, 1.0), std=(0.5, 2.0, 1.0)))
    assert tensor[:, 3, 3].tolist() == pytest.approx([1.0, 0.5, 0.0])


def test_flux_for_a_picture_lvm_is_what_people_see() -> None:
    image = flux()
    shown = torch.from_numpy(to_rgb8(image).astype(np.float32) / 255).permute(2, 0, 1)
    assert torch.equal(to_tensor(image, Preprocessing("rgb8", 64)), shown)


def test_flux_is_refused_or_chosen_by_name_never_guessed() -> None:
    with pytest.raises(ImageError, match="wants measured flux"):
        to_tensor(rgb8(np.zeros((20, 20, 3))), Preprocessing("flux", 20))
    with pytest.raises(ImageError, match=r"has 4 bands \(g, r, i, z\)"):
        to_tensor(flux("griz"), Preprocessing("flux", 64))
    with pytest.raises(ImageError, match="no band y; it has g, r, z"):
        to_tensor(flux("grz"), Preprocessing("flux", 64, bands=("g", "r", "y")))
    linear = Preprocessing("flux", 64, bands=("z", "g", "r"), stretch="linear")
    image = flux("griz")
    np.testing.assert_array_equal(to_tensor(image, linear).numpy(), image.pixels[[3, 0, 1]])
    single = to_tensor(flux("r"), Preprocessing("flux", 64))
    assert torch.equal(single[0], single[2])


def test_asinh_input_is_within_one() -> None:
    tensor = to_tensor(flux(), Preprocessing("flux", 40, 0.6))
    assert tensor.min() >= 0
    assert tensor.max() <= 1 + 1e-6
    assert tensor[:, 20, 20].min() > 0.5


def test_preprocessing_is_kept_as_json() -> None:
    original = Preprocessing("flux", 64, 0.7, ("g", "r", "z"), "linear", 0.5)
    kept = json.loads(json.dumps(original.as_dict()))
    assert Preprocessing.from_dict(kept) == original


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "missing"),
        ({"kind": "magic"}, "kind"),
        ({"kind": "rgb8", "size": 0}, "size"),
        ({"kind": "rgb8", "size": "128"}, "cannot be used"),
        ({"kind": "rgb8", "crop": 0.0}, "crop"),
        ({"kind": "rgb8", "crop": float("nan")}, "crop"),
        ({"kind": "flux", "bands": ["g"]}, "bands"),
        ({"kind": "rgb8", "bands": ["g", "r", "z"]}, "for flux only"),
        ({"kind": "flux", "stretch": "log"}, "stretch"),
        ({"kind": "flux", "gain": 0}, "gain"),
        ({"kind": "rgb8", "std": [1, 0, 1]}, "std"),
        ({"kind": "rgb8", "mean": 3}, "cannot be used"),
        ({"kind": "rgb8", "colour": 1}, "has no colour"),
    ],
)
def test_broken_preprocessing_is_refused(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Preprocessing.from_dict(values)
