"""Restoration in the contract's suite: people reject what is lost in noise."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from head_case import HeadCase

from models.answers import Labels
from models.galaxy_image import GalaxyImage
from models.heads.restoration import RestorationHead
from models.lvm import LVM, LVMConfig
from models.opinions import Opinions
from models.preprocessing import Preprocessing
from models.scenes import Scene

_SIDE = 32


@cache
def lvm() -> LVM:
    """A small LVM with random weights."""
    torch.manual_seed(0)
    return LVM(
        LVMConfig(
            image_size=32, window=4, width=8, depths=(1, 1), heads=(1, 2), decoder=False,
            pooling=("mean1",), preprocessing=Preprocessing(kind="rgb8", size=32, crop=0.5),
        )
    )  # fmt: skip


def data(n: int, seed: int) -> tuple[list[Scene], list[Opinions]]:
    """Blobs in weak and in strong noise; three people accept the first and reject the others."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((_SIDE, _SIDE)) - _SIDE / 2
    scenes, opinions = [], []
    for _ in range(n):
        noisy = bool(rng.integers(2))
        width = rng.uniform(2, 4)
        light = 150 * np.exp(-0.5 * (x**2 + (y / rng.uniform(0.5, 1)) ** 2) / width**2)
        noise = rng.uniform(30, 50) if noisy else rng.uniform(3, 6)
        pixels = light + 40 + rng.normal(0, noise, (3, _SIDE, _SIDE))
        picture = np.clip(np.round(pixels), 0, 255).astype(np.float32)
        image = GalaxyImage(picture, "rgb8", ("red", "green", "blue"))
        scenes.append(Scene.of(image, lvm()))
        verdict = Labels(("reject" if noisy else "accept",))
        opinions.append(Opinions.of(*[[verdict]] * 3, size=(_SIDE, _SIDE)))
    return scenes, opinions


CASES = [HeadCase("restoration", lambda: RestorationHead(tune_steps=3), data)]
