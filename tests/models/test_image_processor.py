"""What an image processor of Hugging Face does, as a preprocessing of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from encoder_folders import PROCESSOR, write_json
from image_files import encoded
from PIL import Image

from models.images import Preprocessing, read_image, to_tensor
from models.recipe import Recipe
from models.sunet import LVMError


def recipe(folder: Path, **changes: Any) -> Recipe:
    values = {k: v for k, v in (PROCESSOR | changes).items() if v is not None}
    write_json(folder / "preprocessor_config.json", values)
    return Recipe.of_folder(folder)


def smooth(height: int, width: int) -> np.ndarray:
    """A picture without small structure, so that the weights of resampling do not matter."""
    rows, columns = np.indices((height, width))
    blob = 200 * np.exp(-((rows - height / 2) ** 2 + (columns - width / 2.5) ** 2) / width**1.6)
    return np.stack([blob, blob * 0.7 + 30, blob * 0.4 + 60], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "processor",
    [
        transformers.ViTImageProcessor(size={"height": 64, "width": 64}),
        transformers.ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.8),
        transformers.ConvNextImageProcessor(size={"shortest_edge": 384}),
        transformers.BitImageProcessor(
            size={"shortest_edge": 80}, crop_size={"height": 64, "width": 64}
        ),
        transformers.ViTImageProcessor(
            size={"height": 64, "width": 64}, do_normalize=False, image_mean=None, image_std=None
        ),
        transformers.ViTImageProcessor(size={"height": 64, "width": 64}, rescale_factor=1 / 127.5),
    ],
    ids=["vit", "convnext", "convnext-large", "cropped", "not-normalised", "other-scale"],
)
def test_pictures_come_out_as_with_transformers_itself(processor: Any, tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    pixels = smooth(160, 160)
    theirs = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]
    ours = to_tensor(read_image(encoded(pixels, "png")), Recipe.of_folder(tmp_path).preprocessing)
    assert ours.shape == theirs.shape
    # The processor rounds to whole grey levels after resampling; ours does not.
    assert (ours - theirs).abs().max() < 0.04
    assert (ours - theirs).abs().mean() < 0.01
    assert torch.isfinite(ours).all()


def test_what_is_read_is_written_down_in_units_of_ours(tmp_path: Path) -> None:
    read = recipe(tmp_path, size={"shortest_edge": 80}, crop_size=60, do_center_crop=True)
    assert read.preprocessing == Preprocessing(
        kind="rgb8",
        size=60,
        crop=0.75,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    old = recipe(tmp_path, size=64, rescale_factor=None, do_rescale=None)
    assert (old.preprocessing.size, old.preprocessing.crop) == (64, 1.0)
    raw = recipe(tmp_path, do_rescale=False, image_mean=[127.5] * 3, image_std=[51.0] * 3)
    assert raw.preprocessing.mean == pytest.approx((0.5,) * 3)
    assert raw.preprocessing.std == pytest.approx((0.2,) * 3)


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({"size": None, "do_resize": None}, "size"),
        ({"do_resize": False}, "size"),
        ({"size": {"height": 64, "width": 32}}, "size"),
        ({"size": {"longest_edge": 64}}, "size"),
        ({"size": "large"}, "size"),
        ({"size": True}, "size"),
        ({"size": -64}, "size"),
        ({"do_center_crop": True}, "size"),
        ({"crop_size": 128}, "size"),
        ({"crop_pct": 7}, "size"),
        ({"image_mean": None, "do_normalize": None}, "mean, std"),
        ({"image_mean": None}, "mean, std"),
        ({"image_mean": [0.5]}, "mean, std"),
        ({"image_std": ["a", "b", "c"]}, "mean, std"),
        ({"image_std": [float("nan")] * 3}, "mean, std"),
        ({"rescale_factor": 0}, "mean, std"),
        ({"rescale_factor": "1/255"}, "mean, std"),
        ({"rescale_offset": True}, "mean, std"),
    ],
)
def test_what_is_not_said_is_asked_for(
    tmp_path: Path, changes: dict[str, Any], lacking: str
) -> None:
    with pytest.raises(LVMError, match=f"Nobody says the {lacking} of the images"):
        recipe(tmp_path, **changes)


def test_without_any_file_a_person_must_say_it(tmp_path: Path) -> None:
    with pytest.raises(LVMError, match="Nobody says the size, mean, std"):
        Recipe.of_folder(tmp_path)
    said = {"size": 64, "mean": (0.5,) * 3, "std": (0.2,) * 3, "crop": 0.5, "views": 4}
    made = Recipe.of_folder(tmp_path, said)
    assert made.preprocessing.crop == 0.5
    assert made.views == 4
    with pytest.raises(LVMError, match="Nobody says the mean, std"):
        Recipe.of_folder(tmp_path, {"size": 64})


def test_our_own_file_wins_and_a_person_wins_over_it(tmp_path: Path) -> None:
    recipe(tmp_path)
    ours = Recipe(Preprocessing("flux", 96, gain=2.0), ("mean1", "std1"), 8)
    write_json(tmp_path / "galaxyloop.json", ours.as_dict())
    assert Recipe.of_folder(tmp_path) == ours
    changed = Recipe.of_folder(tmp_path, {"size": 80, "views": 1})
    assert changed.preprocessing == Preprocessing("flux", 80, gain=2.0)
    assert (changed.pooling, changed.views) == (("mean1", "std1"), 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no JSON object"),
        ("{", "cannot be read"),
        ("{}", "lacks the entry preprocessing"),
        ({"views": 3}, "views must be"),
        ({"views": "many"}, "views must be"),
        ({"pooling": ["max3"]}, "pooling must name"),
        ({"pooling": 3}, "galaxyloop.json"),
        ({"surprise": 1}, "entry surprise"),
        ({"preprocessing": {"kind": "rgb8", "size": 64}}, "Nobody says the mean, std"),
        ({"preprocessing": {"size": 64, "mean": [0] * 3, "std": [1] * 3}}, "kind"),
        ({"preprocessing": {"size": 4, "mean": [0] * 3, "std": [1] * 3, "kind": "rgb8"}}, "size"),
        ({"preprocessing": {"size": 64, "mean": 1, "std": 2, "kind": "rgb8"}}, "galaxyloop.json"),
    ],
)
def test_a_broken_file_of_ours_is_named(tmp_path: Path, content: Any, message: str) -> None:
    if isinstance(content, dict):
        usual = Recipe(Preprocessing("rgb8", 64)).as_dict()
        content = json.dumps(usual | content)
    (tmp_path / "galaxyloop.json").write_text(content)
    with pytest.raises(LVMError, match=message):
        Recipe.of_folder(tmp_path)
