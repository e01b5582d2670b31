"""Random views of galaxy stamps that leave unchanged what the sky leaves unchanged.

A galaxy has no upright and no mirror side, sits near the centre, is seen through some atmosphere
with some noise, and its picture is stretched by someone. Its colour is physics, so hues stay.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

ZOOM = (0.8, 1.25)
SHIFT = 0.05
BLUR_SIGMA = 1.2
NOISE_SIGMA = 0.04
BRIGHTNESS = 0.3
SATURATION = (0.7, 1.2)


def random_views(canvases: Tensor, size: int, crop: float, generator: Generator) -> Tensor:
    """Draw one view of each stamp: any rotation, mirrored or not, zoom, shift, seeing, noise.

    Parameters
    ----------
    canvases : Tensor
        uint8 `[n, h, h, 3]`, the galaxy near the centre.
    size : int
        Side of the views, pixels.
    crop : float
        Side of an unzoomed view as a fraction of the canvas, in (0, 1].
    generator : torch.Generator
        The only source of randomness.

    Returns
    -------
    Tensor
        float32 `[n, 3, size, size]` in [0, 1].
    """
    n, height = len(canvases), canvases.shape[1]
    images = canvases.permute(0, 3, 1, 2).float() / 255

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator) * (high - low) + low

    zoom = crop * torch.exp(uniform(math.log(1 / ZOOM[1]), math.log(1 / ZOOM[0])))
    # Average pixels first where a view has far fewer than the canvas, or sampling would alias.
    if crop * height >= 1.8 * size and height % 2 == 0:
        images = F.avg_pool2d(images, 2)
    angle = uniform(0, 2 * math.pi)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    matrix = torch.stack(
        [
            torch.stack([cos * mirror, -sin, uniform(-SHIFT, SHIFT)], dim=1),
            torch.stack([sin * mirror, cos, uniform(-SHIFT, SHIFT)], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(matrix, [n, 3, size, size], align_corners=False)
    views = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)

    scale = size / 128
    chosen = torch.rand(n, generator=generator) < 0.5
    sigmas = BLUR_SIGMA * scale * torch.rand(n, generator=generator)
    if chosen.any():
        views[chosen] = _blur(views[chosen], sigmas[chosen])
    grey = views.mean(1, keepdim=True)
    views = grey + uniform(*SATURATION, 1, 1, 1) * (views - grey)
    views = views * torch.exp(uniform(-BRIGHTNESS, BRIGHTNESS, 1, 1, 1))
    sigma = NOISE_SIGMA * uniform(0, 1, 1, 1, 1) ** 2
    views = views + sigma * torch.randn(views.shape, generator=generator)
    return views.clamp(0, 1)


def _blur(images: Tensor, sigmas: Tensor) -> Tensor:
    """Blur each image with a Gaussian of its own sigma, pixels (at most 2)."""
    n, bands, size, _ = images.shape
    x = torch.arange(-4, 5, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / sigmas.clamp(min=0.05)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(bands, 0)
    flat = images.reshape(1, n * bands, size, size)
    flat = F.conv2d(flat, kernel[:, None, None, :], padding=(0, 4), groups=n * bands)
    flat = F.conv2d(flat, kernel[:, None, :, None], padding=(4, 0), groups=n * bands)
    return flat.view(n, bands, size, size)
