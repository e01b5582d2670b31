"""Random views of linear flux: turned, mirrored, shifted, smeared, noisier, brighter or fainter.

The counterpart of `models/augmentation.py` for values that are no picture: nothing is clipped, and
all bands of a stamp share one factor, so colours stay.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from models.augmentation import BLUR_SIGMA, BRIGHTNESS, SHIFT, ZOOM

# Gaussian noise is added up to this share of the noise that a band has.
NOISE = 1.0


def flux_views(canvases: Tensor, size: int, crop: float, generator: Generator) -> Tensor:
    """Draw one view of each stamp.

    Parameters
    ----------
    canvases : Tensor
        float32 `[n, h, h, 3]`, linear flux, the galaxy near the centre.
    size : int
        Side of the views, pixels.
    crop : float
        Side of an unzoomed view as a fraction of the canvas, in (0, 1].
    generator : torch.Generator
        The only source of randomness.

    Returns
    -------
    Tensor
        float32 `[n, 3, size, size]`, in the unit of the canvases.
    """
    n, height = len(canvases), canvases.shape[1]
    images = canvases.permute(0, 3, 1, 2).float()

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator) * (high - low) + low

    noise = sky_noise(images)
    # Average pixels first where a view has far fewer than the canvas, or sampling would alias.
    if crop * height >= 1.8 * size and height % 2 == 0:
        images = F.avg_pool2d(images, 2)
    zoom = crop * torch.exp(uniform(math.log(1 / ZOOM[1]), math.log(1 / ZOOM[0])))
    angle = uniform(0, 2 * math.pi)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    rows = [
        torch.stack([cos * mirror, -sin, uniform(-SHIFT, SHIFT)], dim=1),
        torch.stack([sin * mirror, cos, uniform(-SHIFT, SHIFT)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), [n, 3, size, size], align_corners=False)
    views = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    views = smeared(views, BLUR_SIGMA * size / 128 * uniform(0, 1))
    views = views * torch.exp(uniform(-BRIGHTNESS, BRIGHTNESS, 1, 1, 1))
    sigma = NOISE * noise * uniform(0, 1, 1, 1, 1) ** 2
    return views + sigma * torch.randn(views.shape, generator=generator)


def sky_noise(images: Tensor) -> Tensor:
    """Noise of every band `[n, 3, 1, 1]`, from differences of neighbouring pixels.

    The median of absolute differences does not see galaxies, which cover few pixels or are smooth.
    """
    differences = (images[..., 1:] - images[..., :-1]).abs().flatten(2)
    return (1.4826 / math.sqrt(2) * differences.median(2).values)[..., None, None]


def smeared(images: Tensor, sigmas: Tensor) -> Tensor:
    """Convolve each image with a round Gaussian PSF of its own sigma, in pixels; flux is kept."""
    n, bands, size, _ = images.shape
    offsets = torch.arange(-4, 5, dtype=torch.float32)
    line = torch.exp(-0.5 * (offsets / sigmas.clamp(min=0.05)[:, None]) ** 2)
    kernel = line[:, :, None] * line[:, None, :]
    kernel = (kernel / kernel.sum((1, 2), keepdim=True)).repeat_interleave(bands, 0)
    padded = F.pad(images, (4, 4, 4, 4), mode="reflect").reshape(1, n * bands, size + 8, size + 8)
    return F.conv2d(padded, kernel[:, None], groups=n * bands).view(n, bands, size, size)
