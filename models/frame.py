"""The canvas: the square of an image that training keeps, larger than what an LVM sees of it.

Views are drawn from canvases by turning, zooming and shifting, so a canvas shows a margin around
the LVM's crop wherever the image has one. How flux becomes numbers is decided by the LVM's own
preprocessing, and by nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from models.galaxy_image import GalaxyImage, flux_image
from models.preprocessing import Preprocessing, to_tensor
from models.rendering import to_rgb8

CANVAS = 176
# Share of a real stamp's shorter side that a canvas shows, if the LVM's crop leaves it a margin.
CANVAS_CROP = 0.7
# Crops above this one need the whole stamp.
LARGEST_CROP = 0.6
# Share of an image's shorter side that is measured.
MEASURED_CROP = 0.573
FLUX_BANDS = ("g", "r", "z")
# uint8 for pictures, float32 for flux.
Canvas = NDArray[Any]


def canvas_crop(crop: float) -> float:
    """Share of an image's shorter side on a canvas, for an LVM that sees the share `crop`."""
    return CANVAS_CROP if crop <= LARGEST_CROP else 1.0


@dataclass(frozen=True)
class Frame:
    """How images become canvases for one LVM.

    Attributes
    ----------
    side : int
        Of a canvas, pixels.
    preprocessing : Preprocessing
        That of the LVM.
    """

    side: int
    preprocessing: Preprocessing

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> Frame:
        """Frame for the LVM with this preprocessing.

        A crop that needs the whole stamp keeps the pixels that the LVM will see: a 152 px stamp of
        which an LVM sees the central 128 px is not resampled.

        Raises
        ------
        ValueError
            The preprocessing has a mean or a deviation of its own, which training does not apply.
        """
        if preprocessing.mean != (0.0,) * 3 or preprocessing.std != (1.0,) * 3:
            raise ValueError(
                "Pre-training takes an LVM whose preprocessing has mean 0 and std 1; "
                "put the scale into gain or softness."
            )
        if canvas_crop(preprocessing.crop) == CANVAS_CROP:
            return cls(CANVAS, preprocessing)
        return cls(
            min(max(64, round(preprocessing.size / preprocessing.crop)), 1024), preprocessing
        )

    @property
    def crop(self) -> float:
        """Share of an image's shorter side on a canvas."""
        return canvas_crop(self.preprocessing.crop)

    @property
    def view_crop(self) -> float:
        """Side of what the LVM sees, as a share of the canvas."""
        return self.preprocessing.crop / self.crop

    @property
    def identity(self) -> str:
        """Everything that decides what a canvas of an image holds; fit for a file name."""
        record = self.preprocessing
        parts = [f"{self.side}-{self.crop:g}"]
        if record.kind == "flux":
            parts += [*record.bands, record.stretch, f"{record.gain:g}"]
            parts += [f"{record.softness:g}", f"{record.bright:g}"]
        return "-".join(parts)

    @property
    def dtype(self) -> type[np.generic]:
        """Of the pixels: uint8 for pictures, float32 for flux."""
        return np.uint8 if self.preprocessing.kind == "rgb8" else np.float32

    def draw(self, image: GalaxyImage) -> Canvas:
        """Canvas `[side, side, 3]`: 0 to 255, or what the LVM's stretch makes of the flux.

        Raises
        ------
        ImageError
            The LVM wants flux and the image has none, or not in its bands.
        """
        if self.preprocessing.kind == "rgb8":
            return canvas(to_rgb8(image), self.side, self.crop)
        return self._flux(image, self.crop)

    def draw_simulated(
        self, rgb: NDArray[np.uint8], flux: NDArray[np.float32], noise: float
    ) -> Canvas:
        """Canvas of a galaxy that was simulated on one.

        Parameters
        ----------
        rgb : uint8 [side, side, 3]
        flux : float32 [3, side, side]
            In units of the sky's noise.
        noise : float
            The sky's noise on real canvases, for a linear stretch.
        """
        stretch = self.preprocessing.stretch
        if self.preprocessing.kind == "rgb8":
            return rgb
        if stretch == "linear":
            scaled = flux * np.float32(noise)
            return np.ascontiguousarray(np.moveaxis(scaled, 0, -1), dtype=np.float32)
        return self._flux(flux_image(flux, self.bands), 1.0)

    def _flux(self, image: GalaxyImage, crop: float) -> NDArray[np.float32]:
        tensor = to_tensor(image, replace(self.preprocessing, size=self.side, crop=crop))
        values: NDArray[np.float32] = tensor.permute(1, 2, 0).contiguous().numpy()
        return values

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands of a flux canvas, bluest first where the LVM names none."""
        return self.preprocessing.bands or FLUX_BANDS

    def picture(self, canvas: Canvas, stretched: bool = False) -> NDArray[np.uint8]:
        """Draw a canvas, or a view of one, `[h, w, 3]`, for the eye and for measuring.

        `stretched`: linear flux has been brought to 0 to 1 already.
        """
        if canvas.dtype == np.uint8:
            return canvas.astype(np.uint8, copy=False)
        flux = self.preprocessing.kind == "flux"
        if flux and self.preprocessing.stretch == "linear" and not stretched:
            pixels = np.ascontiguousarray(np.moveaxis(canvas, -1, 0), dtype=np.float32)
            return to_rgb8(flux_image(pixels, self.bands))
        drawn = (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)
        # Flux comes bluest first, pictures are red, green, blue.
        return np.ascontiguousarray(drawn[..., ::-1] if flux else drawn)

    def measured_part(self, canvas: Canvas) -> NDArray[np.uint8]:
        """Picture of the central part of a canvas that is measured."""
        margin = round(self.side * (1 - MEASURED_CROP / self.crop) / 2)
        return self.picture(canvas[margin : self.side - margin, margin : self.side - margin])


def canvas(
    rgb: NDArray[np.uint8], side: int = CANVAS, crop: float = CANVAS_CROP
) -> NDArray[np.uint8]:
    """Cut the central square out of an image `[h, w, 3]` and bring it to the canvas size."""
    height, width = rgb.shape[:2]
    half = crop * min(height, width) / 2
    box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
    resized = Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)


def central_views(canvases: Canvas, size: int, crop: float) -> Tensor:
    """Return what an LVM with this size and crop sees of canvases, float32 `[n, 3, size, size]`."""
    whole = canvases.shape[1]
    side = round(whole * crop / canvas_crop(crop))
    first = (whole - side) // 2
    cut = canvases[:, first : first + side, first : first + side]
    images = torch.from_numpy(np.ascontiguousarray(cut)).permute(0, 3, 1, 2).float()
    if canvases.dtype == np.uint8:
        images = images / 255
    return interpolate(images, (size, size), mode="bilinear", antialias=True)
