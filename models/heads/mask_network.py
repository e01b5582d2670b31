"""The network that draws the mask of one prompted object, on the LVM's maps and the pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRID = 96
"""Side of the window that an object is drawn in, in samples."""

SIGHT = 6
"""Channels of a window: three colours, the box, the point, and which of the two is given."""

_WIDTHS = (8, 24, 32, 48, 64, 64)
_COARSEST = len(_WIDTHS) - 1
_FINEST_MAP = 2


class MaskNetwork(nn.Module):
    """A U-Net whose coarser half is given the LVM's maps.

    Parameters
    ----------
    channels : sequence of int
        Channels of the LVM's maps.
    levels : sequence of int
        Which halving of the window each map is joined at: `level_of` its cells per side.
    classes : int
        How many labels are told apart.
    planes : int
        Masks that are drawn: 1 of a prompted object, or one per label.
    """

    def __init__(
        self, channels: Sequence[int], levels: Sequence[int], classes: int, planes: int = 1
    ) -> None:
        super().__init__()
        self.channels, self.levels = tuple(channels), tuple(levels)
        self.classes, self.planes = classes, planes
        joined = [0] * len(_WIDTHS)
        self.joins = nn.ModuleList()
        for count, level in zip(self.channels, self.levels, strict=True):
            self.joins.append(nn.Sequential(nn.GroupNorm(1, count), nn.Conv2d(count, 32, 1)))
            joined[level] += 32
        self.halve, self.mix = nn.ModuleList(), nn.ModuleList()
        before = SIGHT
        for level, width in enumerate(_WIDTHS):
            halved = width if level else before
            self.halve.append(nn.Conv2d(before, width, 3, 2, 1) if level else nn.Identity())
            self.mix.append(_block(halved + joined[level], width))
            before = width
        self.up = nn.ModuleList(
            _block(_WIDTHS[level] + _WIDTHS[level + 1], _WIDTHS[level])
            for level in range(_COARSEST)
        )
        self.draw = nn.Conv2d(_WIDTHS[0], planes, 1)
        told = _WIDTHS[2] + _WIDTHS[-1]
        self.quality = nn.Sequential(nn.Linear(told, 32), nn.SiLU(), nn.Linear(32, planes))
        self.label = nn.Sequential(nn.Linear(told, 32), nn.SiLU(), nn.Linear(32, classes))
        assert self.draw.bias is not None
        nn.init.constant_(self.draw.bias, -1.0)
        # A third faster on a processor.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, sight: Tensor, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Draw.

        Parameters
        ----------
        sight : float32 [n, SIGHT, g, g]
            What `sight_of` makes; g is a multiple of 32.
        maps : sequence of float32 [n, c, h, w]
            The LVM's maps of the same windows.

        Returns
        -------
        [n, planes, g, g], [n, planes], [n, classes]
            Logits of the pixels, of the IoU with the truth, and of the labels.
        """
        joined: dict[int, list[Tensor]] = {}
        for join, level, values in zip(self.joins, self.levels, maps, strict=True):
            side = sight.shape[-1] >> level
            seen = join(values)
            if seen.shape[-1] != side:
                seen = F.interpolate(seen, (side, side), mode="bilinear", antialias=True)
            joined.setdefault(level, []).append(seen)
        kept: list[Tensor] = []
        x = sight
        for level, (halve, mix) in enumerate(zip(self.halve, self.mix, strict=True)):
            x = mix(torch.cat([halve(x), *joined.get(level, [])], dim=1))
            kept.append(x)
        whole = x.mean(dim=(2, 3))
        inner = x
        for level in range(_COARSEST - 1, -1, -1):
            finer = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[level](torch.cat([kept[level], finer], dim=1))
            if level == _FINEST_MAP:
                inner = x
        logits = self.draw(x)
        # What is inside the mask tells its label and its worth.
        whole_mask = logits.detach().sigmoid().amax(1, keepdim=True)
        inside = F.avg_pool2d(whole_mask, 2**_FINEST_MAP)
        pooled = (inner * inside).sum(dim=(2, 3)) / (inside.sum(dim=(2, 3)) + 1e-3)
        told = torch.cat([pooled, whole], dim=1)
        return logits, self.quality(told), self.label(told)


def level_of(side: int, cells: int) -> int:
    """Return at which halving of the window a map of `cells` of `side` pixels is joined."""
    ratio = max(side / max(cells, 1), 1.0)
    return min(max(round(torch.tensor(ratio).log2().item()), _FINEST_MAP), _COARSEST)


def _block(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, out, 3, 1, 1, bias=False), nn.GroupNorm(4, out), nn.SiLU(inplace=True)
    )
