"""Scenes: pixels as people see them, and feature maps that lie where they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.galaxy_image import GalaxyImage, ImageError, flux_image
from models.lvm import LVM, LVMConfig
from models.preprocessing import Preprocessing, to_tensor, whole_tensor
from models.rendering import to_rgb8
from models.scenes import LONGEST_SIDE, Scene


def lvm(kind: str = "rgb8", **config: object) -> LVM:
    torch.manual_seed(0)
    values = {
        "image_size": 32,
        "window": 4,
        "width": 8,
        "depths": (1, 1),
        "heads": (1, 2),
        "decoder": False,
        "pooling": ("mean1",),
        "preprocessing": Preprocessing(kind=kind, size=32, crop=0.5),
    }
    return LVM(LVMConfig(**(values | config)))


def picture(width: int = 90, height: int = 70, seed: int = 0) -> GalaxyImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, height, width))
    return GalaxyImage(pixels.astype(np.float32), "rgb8", ("red", "green", "blue"))


@pytest.mark.parametrize("blocks", ["convolution", "attention"])
def test_maps_cover_an_image_of_any_size(blocks: str) -> None:
    scene = Scene.of(picture(), lvm(blocks=blocks))
    assert scene.size == (90, 70)
    assert scene.strides == (4, 8)
    for level, stride in zip(scene.pyramid, scene.strides, strict=True):
        assert level.shape[2] * stride >= 90 > (level.shape[2] - 32 // stride) * stride
        assert level.shape[1] * stride >= 70
        assert torch.isfinite(level).all()


def test_maps_lie_where_the_image_is() -> None:
    """Something bright must show in the cells that cover it, and in no far ones."""
    network = lvm(blocks="convolution")
    dark = GalaxyImage(np.zeros((3, 128, 128), np.float32), "rgb8", ("red", "green", "blue"))
    spot = dark.pixels.copy()
    spot[:, 40:44, 84:88] = 255
    changed = Scene.of(replace(dark, pixels=spot), network).pyramid[0]
    change = (changed - Scene.of(dark, network).pyramid[0]).abs().sum(0)
    row, column = np.unravel_index(int(change.argmax()), change.shape)
    assert abs(row - 10) <= 1
    assert abs(column - 21) <= 1
    assert change[:, :10].max() == 0


def test_large_images_are_reduced() -> None:
    scene = Scene.of(picture(3000, 1500), lvm(blocks="convolution"))
    assert scene.size == (3000, 1500)
    assert tuple(scene.inputs.shape) == (3, LONGEST_SIDE // 2, LONGEST_SIDE)
    assert scene.scale == pytest.approx((3000 / 1024, 1500 / 512))


def test_fits_is_seen_as_people_see_it() -> None:
    values = np.random.default_rng(0).normal(size=(3, 40, 50)).astype(np.float32)
    values[:, 3, 7] = 500
    image = flux_image(values, ("g", "r", "z"), pixel_scale=0.262, origin="lower")
    scene = Scene.of(image, lvm("flux", blocks="convolution"))
    assert np.array_equal(scene.pixels, to_rgb8(image))
    assert scene.flux is not None
    assert scene.flux[0, 40 - 1 - 3, 7] == 500
    assert np.unravel_index(int(scene.inputs[0].argmax()), (40, 50)) == (36, 7)


def test_an_image_that_the_lvm_cannot_see_is_refused() -> None:
    with pytest.raises(ImageError, match="8-bit picture"):
        Scene.of(picture(), lvm("flux", blocks="convolution"))


def test_a_crop_shows_that_part() -> None:
    image = picture(64, 64)
    scene = Scene.of(image, lvm(blocks="convolution"))
    part = scene.crop((16, 8, 48, 40), 32)
    np.testing.assert_allclose(part, image.pixels[:, 8:40, 16:48] / 255, atol=1e-5)
    halved = scene.crop((0, 0, 64, 64), 32)
    means = image.pixels.reshape(3, 32, 2, 32, 2).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(halved, means, atol=0.02)
    beyond = scene.crop((-64, 0, 0, 64), 64)
    assert torch.equal(beyond[:, :, 0], beyond[:, :, 30])


def test_the_whole_image_is_what_a_full_crop_is() -> None:
    image = picture(32, 32)
    preprocessing = Preprocessing(kind="rgb8", size=32, crop=1.0)
    assert torch.equal(whole_tensor(image, preprocessing), to_tensor(image, preprocessing))
