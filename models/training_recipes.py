"""Named recipes of pre-training: which network, how long, with which terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from models.lvm import LVMConfig
from models.preprocessing import Preprocessing
from models.schedule import Schedule

# Stamps of Stein et al. 2021 have 152 pixels, of which the paper's network sees the central 128.
PAPER_CROP = 128 / 152
Input = Literal["picture", "flux", "asinh"]
INPUTS: tuple[Input, ...] = ("picture", "flux", "asinh")
# All sides of images are multiples of this: four stages of patches of 4 pixels.
STEP = 32


@dataclass(frozen=True)
class Recipe:
    """A network and how to train it.

    Attributes
    ----------
    config : LVMConfig
    schedule : Schedule
    """

    config: LVMConfig
    schedule: Schedule


def tiny_recipe(
    pixels: int = 96, width: int = 32, crop: float = 0.45, blocks: str = "convolution"
) -> Recipe:
    """Recipe of the default LVM: a few million parameters, on a processor.

    First the encoder, on as many simulated galaxies as real stamps, then the decoder alone, and
    last the projection.
    """
    config = LVMConfig(
        image_size=pixels,
        window=max(2, pixels // 16),
        width=width,
        blocks=blocks,
        depths=(2, 2, 2, 2),
        heads=(2, 4, 8, 8),
        pooling=("mean1", "std1", "mean2", "std2", "mean3", "std3"),
        views=4,
        preprocessing=Preprocessing(kind="rgb8", size=pixels, crop=crop),
    )
    schedule = Schedule(
        sizes=((pixels, 6000),), decoder_steps=500, batch=64, rate=1e-3, fall=0.35,
        contrast_weight=0.5, measured_weight=3.0, truth_weight=1.5,
        simulated=20_000, simulated_ratio=1.0,
    )  # fmt: skip
    return Recipe(config, schedule)


def base_recipe(
    pixels: int = 128, width: int = 96, crop: float = PAPER_CROP, blocks: str = "attention"
) -> Recipe:
    """The paper's network of 100 million parameters, for GPUs.

    Encoder and decoder learn together to reconstruct images of which half is hidden, beside the
    terms of embeddings.
    """
    config = LVMConfig(
        image_size=pixels,
        width=width,
        blocks=blocks,
        preprocessing=Preprocessing(kind="rgb8", size=pixels, crop=crop),
    )
    schedule = Schedule(
        sizes=((pixels, 100_000),), decoder_steps=0, batch=256, rate=5e-4,
        reconstruction_weight=1.0, mask_ratio=0.5, project=False, save_every=1000,
    )  # fmt: skip
    return Recipe(config, schedule)


RECIPES = {"tiny": tiny_recipe, "base": base_recipe}


def seeing(config: LVMConfig, kind: Input, gain: float = 1.0) -> LVMConfig:
    """Return the configuration for another input.

    Parameters
    ----------
    config : LVMConfig
        A recipe's.
    kind : {"picture", "flux", "asinh"}
        8-bit pictures; linear flux times a gain; or flux in units of the sky's noise, stretched.
    gain : float
        Of linear flux.
    """
    if kind == "picture":
        return config
    stretch: Literal["linear", "asinh"] = "linear" if kind == "flux" else "asinh"
    record = replace(config.preprocessing, kind="flux", stretch=stretch, gain=gain)
    return replace(config, preprocessing=record)
