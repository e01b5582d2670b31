"""Scenes of bright discs on a dim sky, with their masks."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from models.answers import Mask, Polygon
from models.galaxy_image import GalaxyImage
from models.lvm import LVM, LVMConfig
from models.opinions import Opinions
from models.outlines import outlines
from models.preprocessing import Preprocessing
from models.scenes import Scene

LABELS = ("blue", "red")


@lru_cache
def lvm() -> LVM:
    """A tiny LVM of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LVM(
            LVMConfig(
                image_size=32,
                window=4,
                width=8,
                depths=(1, 1),
                heads=(1, 2),
                blocks="convolution",
                decoder=False,
                pooling=("mean1",),
                preprocessing=Preprocessing(kind="rgb8", size=32, crop=0.5),
            )
        ).eval()


def pictures(
    n: int, seed: int, most: int = 2, side: int = 64
) -> tuple[list[Scene], list[list[Mask]]]:
    """Scenes of up to `most` discs, blue or red, and the masks of these."""
    rng = np.random.default_rng(seed)
    scenes, masks = [], []
    rows, columns = np.mgrid[:side, :side] + 0.5
    for _ in range(n):
        picture = rng.normal(12, 2, (3, side, side))
        here = []
        for at in range(rng.integers(0 if n > 1 else 1, most + 1)):
            x = rng.uniform(14, side - 14) * (1 if most == 1 else 0.5) + at * side / 2
            y = rng.uniform(14, side - 14)
            inside = (columns - x) ** 2 + (rows - y) ** 2 < rng.uniform(6, 11) ** 2
            red = bool(rng.random() < 0.5)
            picture[:, inside] += np.array([[150.0], [70.0], [30.0]])[:: 1 if red else -1]
            here.append(Mask(inside, label=LABELS[red]))
        pixels = np.clip(picture, 0, 255).round().astype(np.float32)
        image = GalaxyImage(pixels, "rgb8", ("red", "green", "blue"))
        scenes.append(Scene.of(image, lvm()))
        masks.append(here)
    return scenes, masks


def objects(n: int, seed: int) -> tuple[Any, Any]:
    """Scenes and one person's masks of the objects."""
    scenes, masks = pictures(n, seed)
    return scenes, [Opinions.of(row, size=(64, 64)) for row in masks]


def polygons(n: int, seed: int) -> tuple[Any, Any]:
    """The same as polygons."""
    scenes, masks = pictures(n, seed)
    drawn = [[Polygon.of(outlines(m.pixels)[0], label=m.label) for m in row] for row in masks]
    return scenes, [Opinions.of(row, size=(64, 64)) for row in drawn]
