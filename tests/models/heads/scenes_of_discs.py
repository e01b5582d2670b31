"""Small scenes of round and flat discs on a dark sky, and an LVM that sees them in a moment."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from models.answers import Box, Ellipse, Point, Shape
from models.galaxy_image import GalaxyImage
from models.lvm import LVM, LVMConfig
from models.opinions import Opinions
from models.preprocessing import Preprocessing
from models.scenes import Scene

LABELS = ("round", "flat")


@cache
def lvm(width: int = 8) -> LVM:
    torch.manual_seed(0)
    return LVM(
        LVMConfig(
            image_size=32,
            window=4,
            width=width,
            depths=(1, 1),
            heads=(1, 2),
            blocks="convolution",
            decoder=False,
            pooling=("mean0", "mean1", "std1"),
            preprocessing=Preprocessing(kind="rgb8", size=32, crop=0.5),
        )
    )


def discs(
    n: int, seed: int, shape: str = "box", side: int = 96, labels: tuple[str, ...] = LABELS
) -> tuple[list[Scene], list[Opinions]]:
    """n scenes with up to three discs each; round ones are red, flat ones blue."""
    rng = np.random.default_rng(seed)
    scenes, opinions = [], []
    for _ in range(n):
        light = rng.normal(12, 3, (side, side, 3))
        marks: list[Shape] = []
        for _ in range(int(rng.integers(1, 4))):
            flat = int(rng.integers(2))
            major, angle = rng.uniform(6, 13), rng.uniform(0, np.pi)
            x, y = rng.uniform(14, side - 14, 2)
            if any(np.hypot(x - m.x, y - m.y) < 26 for m in marks if isinstance(m, Ellipse)):
                continue
            label = labels[flat % len(labels)]
            one = Ellipse(x, y, major, major * (0.4 if flat else 0.9), np.degrees(angle) % 180)
            rows, columns = np.mgrid[:side, :side] + 0.5
            along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
            across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
            inside = (along / one.radius_x) ** 2 + (across / one.radius_y) ** 2
            colour = np.array([60, 90, 160] if flat else [170, 90, 50])
            light += np.clip(1.3 - inside, 0, 1)[..., None] * colour
            marks.append(Ellipse(*vars_of(one), label=label))
        pixels = light.clip(0, 255).astype(np.float32).round().transpose(2, 0, 1)
        image = GalaxyImage(pixels, "rgb8", ("red", "green", "blue"))
        scenes.append(Scene.of(image, lvm()))
        drawn = [as_shape(mark, shape) for mark in marks if isinstance(mark, Ellipse)]
        opinions.append(Opinions.of(drawn, size=(side, side)))
    return scenes, opinions


def vars_of(ellipse: Ellipse) -> tuple[float, float, float, float, float]:
    e = ellipse
    return e.x, e.y, e.radius_x, e.radius_y, e.rotation


def as_shape(ellipse: Ellipse, shape: str) -> Shape:
    """The ellipse, the upright box around it, or its centre."""
    if shape == "ellipse":
        return ellipse
    if shape == "point":
        return Point(ellipse.x, ellipse.y, label=ellipse.label)
    turn = np.radians(ellipse.rotation)
    across = np.hypot(ellipse.radius_x * np.cos(turn), ellipse.radius_y * np.sin(turn))
    down = np.hypot(ellipse.radius_x * np.sin(turn), ellipse.radius_y * np.cos(turn))
    return Box(ellipse.x - across, ellipse.y - down, 2 * across, 2 * down, label=ellipse.label)
