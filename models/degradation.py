"""Degradation: what blur, noise, bad pixels and neighbours make of a clean image.

Used to make pairs from which restoration is learned, and to measure it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

from models.profiles import moffat_psf
from models.restoration_filters import transfer_of

_BETAS = (2.5, 3.0, 3.5, 4.5)
USUAL_BETA = 3.0
"""Slope of the Moffat PSF that is assumed where only a width is known."""


@dataclass(frozen=True)
class Degradations:
    """How strongly clean stamps are degraded.

    Attributes
    ----------
    noise : (float, float)
        Range of the added noise as a share of a stamp's brightest part, log-uniform.
    fwhm : (float, float)
        Range of the PSF's width in pixels.
    sharp, masked, neighbours, smooth : float
        Shares in [0, 1] of the stamps that are not blurred; that get bad pixels; that get a
        neighbour, whose light is masked; whose noise is correlated between pixels.
    """

    noise: tuple[float, float] = (0.01, 0.25)
    fwhm: tuple[float, float] = (1.5, 6.0)
    sharp: float = 0.35
    masked: float = 0.2
    neighbours: float = 0.1
    smooth: float = 0.15


@dataclass(frozen=True)
class Pairs:
    """Degraded stamps and what they should become.

    Attributes
    ----------
    clean, observed : float32 tensors [n, 3, h, w]
        In the same unit.
    bad : bool tensor [n, 3, h, w]
        Masked pixels; bands that are not there are masked everywhere, and 0.
    psf : float32 tensor [n, p, p]
        The PSF that the restoration is told of, unit sum.
    fwhm : float32 tensor [n]
        Its width in pixels; 0 where nothing was blurred.
    """

    clean: Tensor
    observed: Tensor
    bad: Tensor
    psf: Tensor
    fwhm: Tensor


class PsfBank:
    """Moffat PSFs of many widths and slopes, all on one grid.

    Parameters
    ----------
    fwhm : (float, float)
        Smallest and largest width, pixels.
    """

    def __init__(self, fwhm: tuple[float, float]) -> None:
        self.widths = np.exp(np.linspace(np.log(fwhm[0]), np.log(fwhm[1]), 24))
        side = len(moffat_psf(self.widths[-1]))
        self._psfs = torch.stack(
            [
                torch.stack([centred(moffat_psf(width, beta), side) for beta in _BETAS])
                for width in self.widths
            ]
        )
        point = torch.zeros(1, side, side)
        point[0, side // 2, side // 2] = 1
        self.point = point[0]

    def draw(self, n: int, sharp: float, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw n PSFs: what blurs [n, p, p], what is known of it [n, p, p], its FWHM [n]."""
        width = torch.randint(len(self.widths), (n,), generator=generator)
        beta = torch.randint(len(_BETAS), (n,), generator=generator)
        told = torch.rand(n, generator=generator) < 0.5
        true = self._psfs[width, beta].clone()
        known = torch.where(told[:, None, None], true, self._psfs[width, _BETAS.index(USUAL_BETA)])
        fwhm = torch.from_numpy(self.widths)[width].float()
        keep = torch.rand(n, generator=generator) < sharp
        true[keep], known[keep], fwhm[keep] = self.point, self.point, 0.0
        return true, known, fwhm


def centred(psf: NDArray[np.floating], side: int) -> Tensor:
    """Put a PSF of odd sides into the middle of a square [side, side] of unit sum."""
    out = torch.zeros(side, side)
    half_y, half_x = min(len(psf), side) // 2, min(psf.shape[1], side) // 2
    y, x = len(psf) // 2, psf.shape[1] // 2
    part = psf[y - half_y : y + half_y + 1, x - half_x : x + half_x + 1]
    middle = side // 2
    out[middle - half_y : middle + half_y + 1, middle - half_x : middle + half_x + 1] = (
        torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32))
    )
    return out / out.sum()


def blurred(images: Tensor, psf: Tensor) -> Tensor:
    """Convolve images [n, b, h, w] with PSFs [n, p, p]; edges are mirrored, flux is kept."""
    h, w = images.shape[-2:]
    edge = min(psf.shape[-1] // 2, h - 1, w - 1)
    padded = F.pad(images, (edge,) * 4, mode="reflect")
    shape = (padded.shape[-2], padded.shape[-1])
    spectrum = torch.fft.rfft2(padded) * transfer_of(psf, shape)[:, None]
    return torch.fft.irfft2(spectrum, s=shape)[..., edge : edge + h, edge : edge + w]


def degrade(
    image: NDArray[np.float32], fwhm: float, noise: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Blur one image with a Moffat PSF and add white noise.

    Parameters
    ----------
    image : float32 [b, h, w]
    fwhm : float
        Pixels; 0 for no blur.
    noise : float
        Standard deviation, in the unit of the image.
    seed : int

    Returns
    -------
    observed : float32 [b, h, w]
    psf : float64 [p, p]
        Of unit sum and odd side.
    """
    psf = moffat_psf(fwhm, USUAL_BETA) if fwhm > 0 else np.ones((1, 1))
    planes = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
    if fwhm > 0:
        planes = blurred(planes, torch.from_numpy(psf).float()[None])
    rng = np.random.default_rng(seed)
    observed = planes[0].numpy() + rng.normal(0.0, noise, image.shape)
    return observed.astype(np.float32), psf


def pairs_of(
    stamps: Tensor, how: Degradations, bank: PsfBank, generator: Generator, singles: float = 0.4
) -> Pairs:
    """Degrade clean stamps at random.

    Parameters
    ----------
    stamps : float32 tensor [n, 3, h, w]
        Clean; planes that are not finite are bands that are not there.
    how : Degradations
    bank : PsfBank
        Made for ``how.fwhm``.
    generator : torch.Generator
        The only source of randomness.
    singles : float
        Share of the stamps of which one band is left, so that single bands are learned, too.

    Returns
    -------
    Pairs
    """
    n, _, h, w = stamps.shape
    absent = ~torch.isfinite(stamps).all(dim=(2, 3))
    absent |= _left_out(n, singles, generator)
    clean = torch.where(absent[..., None, None], 0.0, stamps.nan_to_num(0.0))
    true, known, fwhm = bank.draw(n, how.sharp, generator)
    peak = peak_of(clean)
    scene, bad = _with_neighbours(clean, absent, peak, how.neighbours, generator)
    low, high = (float(np.log(limit)) for limit in how.noise)
    level = torch.exp(torch.rand(n, 1, 1, 1, generator=generator) * (high - low) + low)
    # Bands of one camera differ in depth, but not by much.
    level = level * torch.exp(0.25 * torch.randn(n, 3, 1, 1, generator=generator))
    noise = torch.randn(scene.shape, generator=generator)
    smooth = torch.rand(n, 1, 1, 1, generator=generator) < how.smooth
    noise = torch.where(smooth, _correlated(noise), noise)
    observed = blurred(scene, true) + level * peak * noise
    bad |= _bad_pixels(n, h, w, how.masked, generator)
    junk = 10 * peak * torch.rand(scene.shape, generator=generator)
    observed = torch.where(bad & ~absent[..., None, None], observed + junk, observed)
    gone = absent[..., None, None].expand_as(bad)
    return Pairs(clean, torch.where(gone, 0.0, observed), bad | gone, known, fwhm)


def peak_of(images: Tensor) -> Tensor:
    """Brightness of the brightest part of each image [n, b, h, w], over all bands: [n, 1, 1, 1].

    The third-brightest of means over 3 x 3 pixels, so that no single pixel decides.
    """
    smooth = F.avg_pool2d(images, 3, stride=1).flatten(1)
    return (
        smooth.topk(min(3, smooth.shape[1]), dim=1).values[:, -1].clamp(min=1e-12).view(-1, 1, 1, 1)
    )


def _left_out(n: int, singles: float, generator: Generator) -> Tensor:
    kept = torch.randint(3, (n, 1), generator=generator)
    draw = torch.rand(n, 1, generator=generator)
    bands = torch.arange(3)[None]
    # A few have two bands.
    pair = (draw >= singles) & (draw < 1.25 * singles)
    return ((draw < singles) & (bands != kept)) | (pair & (bands == kept))


def _with_neighbours(
    clean: Tensor, absent: Tensor, peak: Tensor, share: float, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Add another stamp's galaxy off the centre, and mask where it shines."""
    n, _, h, _ = clean.shape
    bad = torch.zeros(clean.shape, dtype=torch.bool)
    scene = clean.clone()
    for row in torch.nonzero(torch.rand(n, generator=generator) < share)[:, 0].tolist():
        other = int(torch.randint(n, (1,), generator=generator))
        angle = 6.2832 * float(torch.rand(1, generator=generator))
        far = (0.3 + 0.15 * float(torch.rand(1, generator=generator))) * h
        shift = (round(far * np.sin(angle)), round(far * np.cos(angle)))
        guest = torch.roll(clean[other].clamp(min=0), shift, (1, 2)) * (peak[row] / peak[other])
        guest = guest * (0.3 + float(torch.rand(1, generator=generator)))
        light = F.avg_pool2d(guest.amax(0, keepdim=True), 3, stride=1, padding=1)
        where = F.max_pool2d((light > 0.08 * peak[row]).float()[None], 5, 1, 2)[0] > 0
        if 0.01 < float(where.float().mean()) < 0.4:
            scene[row] += torch.where(absent[row][:, None, None], 0.0, guest * where)
            bad[row] |= where
    return scene, bad


def _bad_pixels(n: int, h: int, w: int, share: float, generator: Generator) -> Tensor:
    """Discs, columns and strewn pixels, the same in all bands."""
    bad = torch.zeros(n, 1, h, w, dtype=torch.bool)
    y, x = torch.arange(h)[:, None], torch.arange(w)[None]
    for row in torch.nonzero(torch.rand(n, generator=generator) < share)[:, 0].tolist():
        draw = torch.rand(5, generator=generator).tolist()
        kind = int(draw[0] * 3)
        if kind == 0:
            bad[row, 0] |= (y - draw[1] * h) ** 2 + (x - draw[2] * w) ** 2 < (
                1.5 + 4 * draw[3]
            ) ** 2
        elif kind == 1:
            first = int(draw[1] * (w - 2))
            bad[row, 0, :, first : first + 1 + int(2 * draw[2])] = True
        else:
            bad[row, 0] |= torch.rand(h, w, generator=generator) < 0.05 * draw[1]
    return bad


def _correlated(noise: Tensor) -> Tensor:
    smooth = F.avg_pool2d(F.pad(noise, (1, 1, 1, 1), mode="reflect"), 2, stride=1)[..., :-1, :-1]
    return 2 * smooth
