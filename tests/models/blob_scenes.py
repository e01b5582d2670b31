"""Scenes of Gaussian galaxies with known truth, quickly made."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from models.answers import Number
from models.galaxy_image import flux_image
from models.lvm import LVM, LVMConfig
from models.opinions import Opinions
from models.preprocessing import Preprocessing
from models.scenes import Scene

SIDE = 32


@lru_cache(maxsize=1)
def small_lvm() -> LVM:
    """An LVM that encodes in a millisecond."""
    torch.manual_seed(0)
    return LVM(
        LVMConfig(
            image_size=32,
            window=4,
            width=8,
            depths=(1, 1),
            heads=(1, 2),
            decoder=False,
            pooling=("mean1",),
            preprocessing=Preprocessing(kind="rgb8", size=32, crop=1.0),
        )
    )


def blobs(n: int, seed: int) -> tuple[list[Scene], np.ndarray]:
    """Gaussian galaxies over noise, and their truth [n, 4]: magnitude, sigma, ratio, angle."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    scenes, truth = [], []
    for _ in range(n):
        magnitude, sigma = rng.uniform(-9, -6), rng.uniform(2, 4)
        ratio, angle = rng.uniform(0.3, 0.9), rng.uniform(0, 180)
        turn = np.radians(angle)
        along = columns * np.cos(turn) + rows * np.sin(turn)
        across = (rows * np.cos(turn) - columns * np.sin(turn)) / ratio
        light = np.exp(-0.5 * (along**2 + across**2) / sigma**2)
        light *= 10 ** (-0.4 * magnitude) / light.sum()
        flux = light + rng.normal(0, 1, (1, SIDE, SIDE))
        scenes.append(Scene.of(flux_image(flux.astype(np.float32), ("r",)), small_lvm()))
        truth.append((magnitude, sigma, ratio, angle))
    return scenes, np.array(truth).reshape(n, 4)


def opinions(values: np.ndarray) -> list[Opinions]:
    """One person's number for each image."""
    return [Opinions.of([Number(float(value))]) for value in values]
