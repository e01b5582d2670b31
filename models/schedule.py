"""How long and how to pre-train."""

from __future__ import annotations

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
        Steps of the decoder afterwards (0: none).
    batch : int
        Real stamps per step (each in two views); half as many simulated ones are added.
    rate : float
        Peak learning rate: reached after 5 % of the steps, held, and left for 0 over the last fifth
        (so that a longer training differs from a shorter one by its hold only).
    weight_decay, temperature : float
        Of AdamW, and of the contrast.
    contrast_weight, measured_weight, truth_weight : float
        Of the three terms.
    simulated : int
        Number of simulated galaxies.
    seed : int
        Of every random choice.
    project : bool
        Whether the trained LVM gets a projection onto measurements and truth at the end.
    save_every : int
        Steps between checkpoints.
    bfloat16 : bool
        Run the encoder in bfloat16 (faster where the processor has it; the weights stay float32).
    """

    sizes: tuple[tuple[int, int], ...] = ((64, 2000), (128, 500))
    decoder_steps: int = 500
    batch: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.05
    temperature: float = 0.2
    contrast_weight: float = 0.5
    measured_weight: float = 4.0
    truth_weight: float = 1.0
    simulated: int = 5000
    seed: int = 0
    project: bool = True
    save_every: int = 200
    bfloat16: bool = False

    @property
    def encoder_steps(self) -> int:
        """Steps of all sizes together."""
        return sum(steps for _, steps in self.sizes)

    def size_at(self, step: int) -> int:
        """Side of the images at an encoder step."""
        for size, steps in self.sizes:
            if step < steps:
                return size
            step -= steps
        return self.sizes[-1][0]
