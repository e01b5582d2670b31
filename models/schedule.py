"""How long and how to pre-train."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """How long and how to train.

    Parameters
    ----------
    sizes : tuple of (int, int)
        Image side in pixels and number of encoder steps, one after another; the last side must be
        that of the LVM. Small images first cost a fraction.
    decoder_steps : int
        Steps of the decoder alone afterwards, the encoder held fixed (0: none).
    batch : int
        Real stamps per step (each in two views); simulated ones are added by their weight.
    parts : int
        Parts that a batch is computed in, one after another (gradient accumulation) or by several
        processes. All parts are contrasted with each other, and what is computed does not depend
        on how many processes share the parts.
    rate : float
        Peak learning rate: reached after 5 % of the steps, held, and left for 0 in the end.
    fall : float
        Share of the steps over which the rate falls to 0 in the end, in (0, 1].
    weight_decay, temperature : float
        Of AdamW, and of the contrast.
    contrast_weight, measured_weight, truth_weight, reconstruction_weight : float
        Of the terms of the encoder's loss; those of weight 0 are not computed.
    mask_ratio : float
        Share of the patches hidden from the encoder where it reconstructs, in [0, 1).
    mask_patch : int
        Side of such a patch, pixels; it divides all sizes, and is a multiple of the LVM's 4.
    simulated : int
        Number of simulated galaxies.
    simulated_ratio : float
        Simulated galaxies per real stamp of a step, where the sources name no weight for them.
    seed : int
        Of every random choice.
    project : bool
        Whether the trained LVM gets a projection (`models/projection.py`) at the end.
    save_every : int
        Steps between checkpoints.
    bfloat16 : bool
        Run the network in bfloat16 (faster where the hardware has it; the weights stay float32).

    Raises
    ------
    ValueError
        A number is out of its range; it is named.
    """

    sizes: tuple[tuple[int, int], ...] = ((64, 2000), (128, 500))
    decoder_steps: int = 500
    batch: int = 64
    parts: int = 1
    rate: float = 1e-3
    fall: float = 0.2
    weight_decay: float = 0.05
    temperature: float = 0.2
    contrast_weight: float = 0.5
    measured_weight: float = 4.0
    truth_weight: float = 1.0
    reconstruction_weight: float = 0.0
    mask_ratio: float = 0.5
    mask_patch: int = 16
    simulated: int = 5000
    simulated_ratio: float = 0.5
    seed: int = 0
    project: bool = True
    save_every: int = 200
    bfloat16: bool = False

    def __post_init__(self) -> None:
        weights = (
            self.contrast_weight, self.measured_weight, self.truth_weight,
            self.reconstruction_weight,
        )  # fmt: skip
        checks = {
            "sizes must name at least one side with its steps": len(self.sizes) > 0
            and all(side > 0 and steps > 0 for side, steps in self.sizes),
            "decoder_steps must not be negative": self.decoder_steps >= 0,
            "batch must be at least 2": self.batch >= 2,
            "parts must be at least 1 and divide the batch": self.parts >= 1
            and self.batch % max(self.parts, 1) == 0,
            "rate and temperature must be above 0": 0 < self.rate < math.inf
            and 0 < self.temperature < math.inf,
            "fall must be in (0, 1]": 0 < self.fall <= 1,
            "simulated_ratio must be above 0": 0 < self.simulated_ratio < math.inf,
            "weights must be 0 or above": all(0 <= weight < math.inf for weight in weights)
            and 0 <= self.weight_decay < math.inf,
            "one term must have a weight": any(weights),
            "mask_ratio must be in [0, 1)": 0 <= self.mask_ratio < 1,
            "mask_patch must be a multiple of 4 that divides all sizes": self.mask_patch >= 4
            and self.mask_patch % 4 == 0
            and (
                not self.reconstruction_weight
                or all(side % self.mask_patch == 0 for side, _ in self.sizes)
            ),
            "simulated and seed must not be negative": min(self.simulated, self.seed) >= 0,
            "save_every must be at least 1": self.save_every >= 1,
        }
        failed = [text for text, holds in checks.items() if not holds]
        if failed:
            raise ValueError(f"This schedule cannot be used: {'; '.join(failed)}.")

    @property
    def encoder_steps(self) -> int:
        """Steps of all sizes together."""
        return sum(steps for _, steps in self.sizes)

    @property
    def discriminates(self) -> bool:
        """Whether one of the terms that look at embeddings has a weight."""
        return any((self.contrast_weight, self.measured_weight, self.truth_weight))

    def size_at(self, step: int) -> int:
        """Side of the images at an encoder step."""
        for size, steps in self.sizes:
            if step < steps:
                return size
            step -= steps
        return self.sizes[-1][0]
