"""Windows: square views of an image, anywhere, of any size and turn, and the way back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.answers import Box

# More samples per result cost time and change nothing that is seen.
_FINEST = 4


@dataclass(frozen=True)
class Window:
    """A square view; all in pixels of the image (see `models.answers`).

    Attributes
    ----------
    x, y : float
        Its centre.
    side : float
        Its side, above 0.
    turn : float
        Direction of its lower edge from +x, in degrees, clockwise on the screen.
    mirrored : bool
        Whether its right is the left of what it sees (before turning).
    """

    x: float
    y: float
    side: float
    turn: float = 0.0
    mirrored: bool = False

    @classmethod
    def around(cls, box: Box, factor: float, least: float = 8.0) -> Window:
        """Return the upright window around a box, `factor` times its longer upright side."""
        left, top, right, bottom = box.bounds
        side = max(right - left, bottom - top, least)
        return cls((left + right) / 2, (top + bottom) / 2, side * factor)

    def sample(self, values: Tensor, size: int, scale: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """Resample what the window sees to a square; beyond its edges the image is repeated.

        Parameters
        ----------
        values : tensor [c, h, w]
            An image or mask, of any type.
        size : int
            Side of the result, in samples.
        scale : (float, float)
            Pixels of the image per pixel of `values`, along x and y.

        Returns
        -------
        float32 tensor [c, size, size]
            Each sample the mean of a few where pixels are merged, so that nothing aliases.
        """
        height, width = values.shape[-2:]
        merged = self.side / max(min(scale), 1e-6) / size
        finer = max(1, min(_FINEST, math.ceil(merged - 0.25)))
        steps = (torch.arange(size * finer, dtype=torch.float32) + 0.5) / (size * finer) - 0.5
        down, right = torch.meshgrid(steps * self.side, steps * self.side, indexing="ij")
        x, y = self._seen(right, down)
        x, y = x / scale[0], y / scale[1]
        # Only the part that is seen is turned into float32.
        left, top = (max(0, math.floor(float(low.min())) - 1) for low in (x, y))
        left, top = min(left, width - 1), min(top, height - 1)
        end_x = min(width, max(left + 1, math.ceil(float(x.max())) + 1))
        end_y = min(height, max(top + 1, math.ceil(float(y.max())) + 1))
        part = values[:, top:end_y, left:end_x].float()
        grid = torch.stack(
            ((x - left) / part.shape[2] * 2 - 1, (y - top) / part.shape[1] * 2 - 1), dim=-1
        )
        seen = F.grid_sample(part[None], grid[None], "bilinear", "border", align_corners=False)
        return F.avg_pool2d(seen, finer)[0] if finer > 1 else seen[0]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the image lies in the window, as fractions of its side."""
        turn = math.radians(self.turn)
        dx, dy = (x - self.x) / self.side, (y - self.y) / self.side
        right = dx * math.cos(turn) + dy * math.sin(turn)
        down = dy * math.cos(turn) - dx * math.sin(turn)
        return 0.5 + (-right if self.mirrored else right), 0.5 + down

    def paste(self, seen: Tensor, height: int, width: int) -> tuple[Tensor, tuple[int, int]]:
        """Resample maps of an upright window to the image's pixels.

        Parameters
        ----------
        seen : float tensor [c, size, size]
        height, width : int
            Of the image.

        Returns
        -------
        float32 tensor [c, h, w], (int, int)
            The maps over the pixels of the image whose centres the window holds, and row and
            column of the first; h or w is 0 if the window lies beside the image.
        """
        half = self.side / 2
        left, top = max(0, round(self.x - half)), max(0, round(self.y - half))
        right, bottom = min(width, round(self.x + half)), min(height, round(self.y + half))
        h, w = max(0, bottom - top), max(0, right - left)
        if not h or not w:
            return seen.new_zeros((seen.shape[0], 0, 0)), (top, left)
        x = (torch.arange(left, right) + 0.5 - self.x) / half
        y = (torch.arange(top, bottom) + 0.5 - self.y) / half
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).float()
        at = F.grid_sample(
            seen[None].float(), grid[None], "bilinear", "border", align_corners=False
        )
        return at[0], (top, left)

    def _seen(self, right: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        turn = math.radians(self.turn)
        right = -right if self.mirrored else right
        x = self.x + right * math.cos(turn) - down * math.sin(turn)
        y = self.y + right * math.sin(turn) + down * math.cos(turn)
        return x, y
