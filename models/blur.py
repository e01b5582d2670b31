"""How blurred an image is, told from the power of its frequencies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.restoration_filters import RINGS, frequencies, radial_power

BLURREST = 6.0
"""Widest PSF that is told, FWHM in pixels."""


class BlurEstimator(nn.Module):
    """From the radial power spectrum of an image, in units of its noise, to the FWHM of its PSF.

    Meant is the blur beyond what is usual in surveys (`models.degradation` added it in training);
    noise hides it, and then the answer tends to what is likely at that noise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(RINGS, 48), nn.GELU(), nn.Linear(48, 48), nn.GELU(), nn.Linear(48, 2)
        )

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logit that an image is blurred and, if so, its FWHM, both [n].

        Parameters
        ----------
        planes : float32 tensor [n, b, h, w]
            Without sky, in sigma of the noise; a band that is 0 everywhere is left out.
        """
        out = self.layers(spectrum_of(planes))
        return out[:, 0], BLURREST * torch.sigmoid(out[:, 1])

    def fwhm(self, planes: Tensor) -> float:
        """Width for one image [1, b, h, w], in pixels; 0 where blur is less likely than not."""
        with torch.inference_mode():
            logit, width = self(planes)
        return float(width[0]) if float(logit[0]) > 0 else 0.0


def spectrum_of(planes: Tensor) -> Tensor:
    """Logarithmic power in rings of frequency, of the band with the most: [n, `RINGS`]."""
    n, _, h, w = planes.shape
    window = torch.hann_window(h, periodic=False)[:, None] * torch.hann_window(w, periodic=False)
    power, _, _ = radial_power(torch.fft.rfft2(planes * window), frequencies(h, w))
    power = power / (window**2).sum()
    best = power.sum(2).argmax(1)
    return torch.log(power[torch.arange(n), best] + 0.05) / 3
