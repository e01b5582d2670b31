"""The network that restores: a small residual U-Net that corrects a Wiener filter."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PLANES = 3
"""Bands that are restored together; a band that is not there counts as masked everywhere."""
_SOFT, _BRIGHT = 3.0, 20.0
_SHARPEST = 6.0


@dataclass(frozen=True)
class RestorationShape:
    """Size of the network.

    Attributes
    ----------
    width : int
        Channels at half the resolution; twice as many at a quarter and an eighth.
    depth : int
        Residual blocks at a quarter of the resolution.
    """

    width: int = 30
    depth: int = 1

    def __post_init__(self) -> None:
        if not (4 <= self.width <= 256 and 1 <= self.depth <= 16):
            raise ValueError(f"A width of 4 to 256 and a depth of 1 to 16, not {asdict(self)}.")


class RestorationNetwork(nn.Module):
    """From degraded planes and their classical restoration to a better one and its deviation.

    Works on half the resolution, four pixels side by side in the channels (FFDNet: Zhang, Zuo &
    Zhang 2018, IEEE TIP 27, 4608), which quarters the time. There is no normalisation between the
    layers: brightness is measured in sigma of the noise and must stay so.

    Parameters
    ----------
    shape : RestorationShape
    """

    def __init__(self, shape: RestorationShape | None = None) -> None:
        super().__init__()
        self.shape = shape or RestorationShape()
        width = self.shape.width
        self.first = nn.Conv2d(PLANES * 5 * 4 + 1, width, 3, padding=1)
        self.fine_in = _Block(width)
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.middle = nn.Sequential(*[_Block(2 * width) for _ in range(self.shape.depth)])
        self.deeper = nn.Conv2d(2 * width, 2 * width, 2, stride=2)
        self.deepest = _Block(2 * width)
        self.rise = nn.ConvTranspose2d(2 * width, 2 * width, 2, stride=2)
        self.middle_out = _Block(2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.fine_out = _Block(width)
        self.last = nn.Conv2d(width, PLANES * 2 * 4, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(
        self, planes: Tensor, wiener: Tensor, tikhonov: Tensor, bad: Tensor, fwhm: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Restore planes; all in sigma of the noise, without sky.

        Parameters
        ----------
        planes, wiener, tikhonov : float32 tensors [n, 3, h, w]
            As measured, masked pixels filled; and `models.restoration_filters.deconvolved` of it.
        bad : bool tensor [n, 3, h, w]
            Masked pixels.
        fwhm : float32 tensor [n]
            Of the PSF that is to be undone, in pixels; 0 for none.

        Returns
        -------
        restored : float32 tensor [n, 3, h, w]
        log_deviation : float32 tensor [n, 3, h, w]
            Natural logarithm of the standard deviation of its error.
        """
        h, w = planes.shape[-2:]
        right, below = -w % 16, -h % 16
        inputs = torch.cat(
            [
                torch.asinh(planes / _SOFT),
                torch.asinh(wiener / _SOFT),
                torch.asinh(tikhonov / _SOFT),
                wiener / _BRIGHT,
                bad.float(),
            ],
            dim=1,
        )
        inputs = F.pixel_unshuffle(_padded(inputs, right, below), 2)
        blur = (fwhm / _SHARPEST)[:, None, None, None].expand(-1, 1, *inputs.shape[-2:])
        x = torch.cat([inputs, blur], dim=1).contiguous(memory_format=torch.channels_last)
        fine = self.fine_in(self.first(x))
        middle = self.middle(self.down(fine))
        deep = self.rise(self.deepest(self.deeper(middle)))
        middle = self.middle_out(middle + deep)
        out = self.last(self.fine_out(fine + self.up(middle)))
        out = F.pixel_shuffle(out.float(), 2)[..., :h, :w]
        size = _brightness(wiener)
        return wiener + size * out[:, :PLANES], torch.log(size) + out[:, PLANES:].clamp(-9, 9)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(width, width, 3, padding=1)
        self.two = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.two.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.two(F.relu(self.one(x))))


def _brightness(planes: Tensor) -> Tensor:
    """By how much errors grow with the light around a pixel: 1 on the sky."""
    near = F.avg_pool2d(planes, 3, stride=1, padding=1, count_include_pad=False)
    return torch.sqrt(1 + (near / _BRIGHT) ** 2)


def _padded(planes: Tensor, right: int, below: int) -> Tensor:
    if not right and not below:
        return planes
    mode = "reflect" if right < planes.shape[-1] and below < planes.shape[-2] else "replicate"
    return F.pad(planes, (0, right, 0, below), mode=mode)
