"""Classical filters that a restoration starts from: noise, masked pixels, Wiener and Tikhonov.

The network (`models.restoration_network`) corrects what these give, so it need not learn to undo a
PSF: Sureau, Lechat & Starck 2020 (A&A 641, A67) call the pair "Tikhonet".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = 16
"""Pixels by which planes are mirrored at their edges before a Fourier transform."""
SMOOTHNESS = 0.03
"""Weight of the gradients in the Tikhonov filter, where pixels have a noise of 1."""
RINGS = 24
FLUX_ERROR = 0.02
"""Share by which the network alone is trusted with a galaxy's flux."""
_FLOOR = 1e-3
_LEAST_POWER = 1e-3
# The third of absolute values of a unit normal that is smallest lies below this.
_QUANTILE, _OF_NORMAL = 1 / 3, 0.4307


@dataclass(frozen=True)
class Deconvolved:
    """What the filters made of planes whose pixels have a noise of 1.

    Attributes
    ----------
    wiener : float32 tensor [n, b, h, w]
        The smoothest guess: every frequency is weighted by its share of signal.
    tikhonov : float32 tensor [n, b, h, w]
        A sharper one, with more noise.
    """

    wiener: Tensor
    tikhonov: Tensor


def noise_of(planes: Tensor, good: Tensor | None = None) -> Tensor:
    """Estimate the noise of each plane.

    Low quantiles of absolute second differences (after Immerkaer 1996, CVIU 64, 300) hardly see
    galaxies, but not all of a noise that is correlated between neighbours; differences over two
    pixels do, and are believed up to twice the first.

    Parameters
    ----------
    planes : float32 tensor [n, b, h, w]
        h and w at least 4.
    good : bool tensor [n, b, h, w], optional
        Pixels to be used.

    Returns
    -------
    float32 tensor [n, b, 1, 1]
        Above 0; planes without any noise get 1e-3 of their largest departure from the median.
    """
    least = _second_differences(planes, good, 1)
    most = _second_differences(planes, good, 2) if min(planes.shape[2:]) > 8 else least
    middle = planes.flatten(2).median(2).values
    used = planes if good is None else torch.where(good, planes, middle[..., None, None])
    departure = (used.flatten(2) - middle[..., None]).abs().amax(2)
    noise = torch.minimum(torch.maximum(least, most), 2 * least)
    floor = torch.clamp(_FLOOR * departure, min=1e-30)
    return torch.maximum(noise, floor)[..., None, None]


def _second_differences(planes: Tensor, good: Tensor | None, step: int) -> Tensor:
    """Noise from differences over `step` pixels, [n, b]; 0 where no pixel is left."""
    n, b, h, w = planes.shape
    kernel = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]) / 6
    flat = planes.reshape(n * b, 1, h, w)
    found = F.conv2d(flat, kernel[None, None], dilation=step).abs().reshape(n, b, -1)
    if good is not None:
        reach = torch.ones(1, 1, 3, 3)
        bad = F.conv2d((~good).reshape(n * b, 1, h, w).float(), reach, dilation=step)
        found = torch.where(bad.reshape(n, b, -1) > 0, torch.nan, found)
    return found.nanquantile(_QUANTILE, dim=2).nan_to_num(0.0) / _OF_NORMAL


def filled(planes: Tensor, bad: Tensor) -> Tensor:
    """Fill pixels from their neighbours, by normalised convolution of growing width.

    Parameters
    ----------
    planes : float32 tensor [n, b, h, w]
    bad : bool tensor [n, b, h, w]
        What is filled; a plane that is all bad becomes 0.
    """
    n, b, h, w = planes.shape
    flat, hidden = planes.reshape(n * b, 1, h, w), bad.reshape(n * b, 1, h, w)
    torn = hidden.flatten(1).any(1)
    if not torn.any():
        return planes
    found = flat.clone()
    found[torn] = _from_neighbours(flat[torn], hidden[torn])
    return found.reshape(n, b, h, w)


def deconvolved(planes: Tensor, psf: Tensor | None) -> Deconvolved:
    """Deconvolve planes whose pixels have a noise of 1.

    Parameters
    ----------
    planes : float32 tensor [n, b, h, w]
        Without sky, masked pixels filled.
    psf : float32 tensor [n, p, p] or None
        Centred PSF of unit sum and odd side for each image; None: no blur.

    Returns
    -------
    Deconvolved
    """
    h, w = planes.shape[-2:]
    edge = min(EDGE, h - 1, w - 1)
    padded = F.pad(planes, (edge,) * 4, mode="reflect")
    tall, wide = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded)
    squared = frequencies(tall, wide)
    if psf is None:
        transfer = torch.ones(1, 1, *squared.shape, dtype=spectrum.dtype)
    else:
        transfer = transfer_of(psf, (tall, wide))[:, None]
    power = transfer.abs() ** 2
    share = _share_of_signal(spectrum, power[:, 0], squared, tall * wide)
    back = transfer.conj() * share / power.clamp(min=_LEAST_POWER)
    wiener = torch.fft.irfft2(spectrum * back, s=(tall, wide))
    sharp = transfer.conj() / (power + SMOOTHNESS * squared)
    tikhonov = torch.fft.irfft2(spectrum * sharp, s=(tall, wide))
    inside = (..., slice(edge, edge + h), slice(edge, edge + w))
    return Deconvolved(wiener[inside], tikhonov[inside])


def flux_kept(said: Tensor, filters: Deconvolved) -> Tensor:
    """Bring the light of what stands out back to what was measured, as far as noise lets us know.

    The two sums are averaged with the inverse of their variances: that of the pixels' noise, and
    `FLUX_ERROR` for the network.
    """
    smooth = F.avg_pool2d(filters.wiener, 5, 1, 2, count_include_pad=False)
    window = F.max_pool2d((smooth > 1.0).float(), 5, 1, 2)
    measured = (filters.tikhonov * window).sum((2, 3), keepdim=True)
    found = (said * window).sum((2, 3), keepdim=True)
    pixels = window.sum((2, 3), keepdim=True)
    trust = (FLUX_ERROR * found) ** 2
    missing = (measured - found) * trust / (trust + pixels).clamp(min=1e-12)
    light = said.clamp(min=0) * window
    return said + missing * light / light.sum((2, 3), keepdim=True).clamp(min=1e-6)


def transfer_of(psf: Tensor, shape: tuple[int, int]) -> Tensor:
    """Transform PSFs [n, p, p] (odd p) to transfer functions [n, h, w // 2 + 1]."""
    side = psf.shape[-1]
    tall, wide = shape
    least = min(tall, wide) - (1 - min(tall, wide) % 2)
    if side > least:
        cut = (side - least) // 2
        psf = psf[:, cut : side - cut, cut : side - cut]
        psf = psf / psf.sum((1, 2), keepdim=True)
        side = psf.shape[-1]
    canvas = torch.zeros(len(psf), tall, wide)
    canvas[:, :side, :side] = psf
    return torch.fft.rfft2(torch.roll(canvas, (-(side // 2), -(side // 2)), (1, 2)))


def radial_power(spectrum: Tensor, squared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean power in rings of frequency [n, b, RINGS], each pixel's ring, and sizes."""
    ring = (squared.sqrt() / math.sqrt(2) / math.pi * RINGS).long().clamp(max=RINGS - 1)
    power = (spectrum.abs() ** 2).flatten(2)
    counts = torch.bincount(ring.flatten(), minlength=RINGS).clamp(min=1).float()
    total = torch.zeros(*power.shape[:2], RINGS)
    total.scatter_add_(2, ring.flatten().expand_as(power), power)
    return total / counts, ring, counts


def frequencies(tall: int, wide: int) -> Tensor:
    """Squared angular frequency, radians per pixel, [tall, wide // 2 + 1]."""
    y = torch.fft.fftfreq(tall)[:, None]
    x = torch.fft.rfftfreq(wide)[None]
    return (2 * math.pi) ** 2 * (x**2 + y**2)


def _share_of_signal(spectrum: Tensor, power: Tensor, squared: Tensor, pixels: int) -> Tensor:
    """Share of each frequency's power that is not white noise of 1, in [0, 1].

    The spectrum of the scene behind the PSF is taken to fall with frequency, as those of galaxies
    do; else noise that looks like signal where the PSF leaves none would be blown up. What noise
    alone reaches once in twenty does not count as signal.
    """
    seen, ring, counts = radial_power(spectrum, squared)
    passed = torch.zeros(len(power), RINGS)
    passed.scatter_add_(1, ring.flatten().expand(len(power), -1), power.flatten(1))
    passed = (passed / counts).clamp(min=_LEAST_POWER)[:, None]
    excess = (seen / pixels - 1 - 1.65 / counts.sqrt()).clamp(min=0)
    scene = (excess / passed).cummin(2).values[..., ring]
    share = scene * power[:, None] / (scene * power[:, None] + 1)
    share[..., 0, 0] = 1.0
    return share


def _spread(planes: Tensor) -> Tensor:
    n, b, h, w = planes.shape
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    flat = planes.reshape(n * b, 1, h, w)
    flat = F.conv2d(flat, line[None, None, None], padding=(0, 2))
    flat = F.conv2d(flat, line[None, None, :, None], padding=(2, 0))
    return flat.reshape(n, b, h, w)


def _from_neighbours(planes: Tensor, bad: Tensor) -> Tensor:
    found = torch.where(bad, 0.0, planes)
    good = (~bad).float()
    known, weight, left = found, good, bad.clone()
    left[bad.flatten(1).all(1)] = False
    for _ in range(8):
        if not left.any():
            return found
        known, weight = _spread(known), _spread(weight)
        reached = left & (weight > 0.05)
        found = torch.where(reached, known / weight.clamp(min=1e-6), found)
        left &= ~reached
    mean = (planes * good).sum((2, 3), keepdim=True) / good.sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(left, mean, found)
