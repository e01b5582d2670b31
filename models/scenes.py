"""Scenes: whole images as heads see them that answer about places, not about the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.galaxy_image import RGB, GalaxyImage
from models.preprocessing import whole_tensor
from models.rendering import to_rgb8
from models.vision_encoder import VisionEncoder

LONGEST_SIDE = 1024
"""Larger images are seen reduced to this side, in pixels."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One image at its own resolution, with the LVM that looks at it.

    All coordinates are those of `models.answers`: pixels of the image as people see it.

    Attributes
    ----------
    pixels : uint8 [H, W, 3]
        What people see.
    inputs : float32 tensor [3, h, w]
        What the LVM is shown of it: h = H and w = W unless the image is larger than
        `LONGEST_SIDE`.
    lvm : VisionEncoder
    flux : float32 [bands, H, W] or None
        Measured values in rows and columns of the picture; None for 8-bit pictures.
    pixel_scale : float or None
        Arcseconds per pixel.
    """

    pixels: NDArray[np.uint8]
    inputs: Tensor
    lvm: VisionEncoder
    flux: NDArray[np.float32] | None = None
    pixel_scale: float | None = None

    @classmethod
    def of(cls, image: GalaxyImage, lvm: VisionEncoder) -> Scene:
        """Make one of an image.

        Raises
        ------
        ImageError
            The LVM wants flux or bands that the image does not have.
        """
        pixels, seen = to_rgb8(image), image
        if lvm.preprocessing.kind == "rgb8" and image.kind == "flux":
            # Drawn once for both, which halves the time.
            seen = GalaxyImage(np.moveaxis(pixels, -1, 0).astype(np.float32), "rgb8", RGB)
        inputs = whole_tensor(seen, lvm.preprocessing)
        longest = max(inputs.shape[-2:])
        if longest > LONGEST_SIDE:
            size = [max(1, round(side * LONGEST_SIDE / longest)) for side in inputs.shape[-2:]]
            inputs = F.interpolate(inputs[None], size, mode="bilinear", antialias=True)[0]
        flux = None
        if image.kind == "flux":
            turned = image.origin == "lower"
            flux = np.ascontiguousarray(image.pixels[:, ::-1] if turned else image.pixels)
        return cls(pixels, inputs, lvm, flux, image.pixel_scale)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image, in pixels."""
        height, width = self.pixels.shape[:2]
        return width, height

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the image per pixel of `inputs`, along x and y; 1 unless it is reduced."""
        width, height = self.size
        return width / self.inputs.shape[2], height / self.inputs.shape[1]

    @property
    def bytes(self) -> int:
        """Memory that it takes, with the feature maps that are made when they are asked for."""
        flux = 0 if self.flux is None else self.flux.nbytes
        # The maps of the default network take about as much as its inputs.
        return self.pixels.nbytes + flux + 2 * self.inputs.numel() * self.inputs.element_size()

    @cached_property
    def pyramid(self) -> tuple[Tensor, ...]:
        """The LVM's feature maps, finest first, each float32 [c, h, w].

        A map's cell (row r, column c) covers `inputs` from (c, r) to (c + 1, r + 1) times its
        stride, see `strides`; the maps may reach beyond the lower right edge.
        """
        with torch.inference_mode():
            return tuple(level[0].float() for level in self.lvm.maps(self.inputs[None]))

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Pixels of `inputs` per cell, of each map."""
        longest = max(self.inputs.shape[-2:])
        # Maps reach less than one cell of the coarsest beyond the image, so powers of two are told.
        ratios = [longest / max(level.shape[-2:]) for level in self.pyramid]
        return tuple(2 ** math.ceil(math.log2(ratio) - 1e-9) for ratio in ratios)

    def crop(self, bounds: tuple[float, float, float, float], side: int) -> Tensor:
        """Return what the LVM is shown of a part, resampled to a square.

        Parameters
        ----------
        bounds : (left, top, right, bottom)
            In pixels of the image; may reach beyond its edges, where the last pixel is repeated.
        side : int
            Of the result, in pixels.

        Returns
        -------
        float32 tensor [3, side, side]
        """
        left, top, right, bottom = bounds
        width, height = self.size
        # Where pixels are merged, each sample is the mean of a few, so that nothing aliases.
        merged = max((right - left) / self.scale[0], (bottom - top) / self.scale[1]) / side
        finer = max(1, min(8, math.ceil(merged)))
        steps = (torch.arange(side * finer, dtype=torch.float32) + 0.5) / (side * finer)
        x = (left + steps * (right - left)) / width * 2 - 1
        y = (top + steps * (bottom - top)) / height * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        seen = F.grid_sample(
            self.inputs[None], grid[None], "bilinear", "border", align_corners=False
        )
        return F.avg_pool2d(seen, finer)[0] if finer > 1 else seen[0]
