"""The network of the detection head: from feature maps to a map of centres and shapes.

An object is one centre, as in CenterNet (Zhou, Wang & Krähenbühl 2019, arXiv:1904.07850); what
surrounds it is told at the cells near the centre, as in FCOS (Tian et al. 2019, arXiv:1904.01355).
Levels are joined from coarse to fine, as in feature pyramids (Lin et al. 2017, arXiv:1612.03144).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

STRIDE = 4
"""Pixels of the inputs per cell of all maps of the answer."""
NUMBERS = {"box": 4, "ellipse": 5, "point": 2}
"""How many numbers tell a shape: centre and logarithms of the sides; centre and the three of
`models.agreement.ellipse_numbers`; centre."""
_TYPICAL = 40.0
"""Side in pixels at which the logarithms of sizes are 0."""
_NARROW = 0.1
"""Width of a centre's Gaussian as a share of the object's sides."""
_NEAR = 0.4
"""Cells where the Gaussian is above this tell the shape."""


@dataclass(frozen=True, eq=False)
class Objects:
    """What is to be seen in one picture, in pixels of the inputs.

    Attributes
    ----------
    numbers : float64 [m, p]
        See `NUMBERS`; sizes as logarithms of pixels.
    share : float64 [m]
        Share of the people that marked it.
    """

    numbers: NDArray[np.float64]
    share: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.numbers)

    def sides(self, shape: str) -> NDArray[np.float64]:
        """Width and height [m, 2] in pixels of the box around each; 0 for points."""
        if shape == "point":
            return np.zeros((len(self), 2))
        if shape == "box":
            return np.exp(self.numbers[:, 2:4])
        mean, e1, e2 = self.numbers[:, 2:].T
        stretch, turn = np.hypot(e1, e2), np.arctan2(e2, e1) / 2
        major, minor = np.exp(mean + stretch / 2), np.exp(mean - stretch / 2)
        wide = np.hypot(major * np.cos(turn), minor * np.sin(turn))
        high = np.hypot(major * np.sin(turn), minor * np.cos(turn))
        return 2 * np.stack([wide, high], axis=1)


class Centres(nn.Module):
    """A small decoder on frozen feature maps, with a branch of its own on the picture.

    Parameters
    ----------
    channels : sequence of int
        Of the feature maps, finest first.
    numbers : int
        How many numbers tell a shape, p.
    width, fine : int
        Channels of the coarser levels and of the finest.
    """

    def __init__(
        self, channels: Sequence[int], numbers: int, width: int = 48, fine: int = 32
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        for level, c in enumerate(channels):
            self.register_buffer(f"middle{level}", torch.zeros(c))
            self.register_buffer(f"spread{level}", torch.ones(c))
        self.register_buffer("tone", torch.tensor([0.0, 1.0]))
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.join = nn.ModuleList(_block(width, width) for _ in channels[1:])
        self.narrow = nn.Conv2d(width, fine, 1)
        self.picture = nn.Sequential(_block(3, 12, 2), _block(12, fine, 2))
        self.mix = _block(2 * fine, fine)
        self.last = _block(fine, fine)
        self.out = nn.Conv2d(fine, 1 + numbers, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        # Few cells are centres; without this the first steps unlearn all (Lin et al. 2017b).
        bias = torch.zeros(1 + numbers)
        bias[0] = -4.0
        self.out.bias = nn.Parameter(bias)

    def level_statistics(self, pyramid: Sequence[Tensor], inputs: Tensor) -> None:
        """Take over how the feature maps [n, c, h, w] and inputs of some pictures are spread."""
        for level in range(len(self.channels)):
            values = pyramid[level].float().transpose(0, 1).flatten(1)
            getattr(self, f"middle{level}").copy_(values.mean(1))
            getattr(self, f"spread{level}").copy_(values.std(1).clamp_min(1e-4))
        tone = torch.stack([inputs.mean(), inputs.std().clamp_min(1e-4)])
        self.get_buffer("tone").copy_(tone)

    def forward(self, inputs: Tensor, pyramid: Sequence[Tensor]) -> Tensor:
        """Return raw maps.

        Parameters
        ----------
        inputs : float32 [n, 3, H, W]
            What the LVM was shown.
        pyramid : Tensors [n, c, h, w]
            Feature maps, finest first; all reach as far as each other.

        Returns
        -------
        Tensor [n, 1 + p, ceil(H / 4), ceil(W / 4)]
            Log odds of a centre, and numbers of the shape: offset of the centre from the cell's in
            cells, and sizes as logarithms to a typical one.
        """
        height, width = (-(-side // STRIDE) for side in inputs.shape[-2:])
        x: Tensor | None = None
        for level in reversed(range(len(self.channels))):
            middle, spread = self.get_buffer(f"middle{level}"), self.get_buffer(f"spread{level}")
            maps = (pyramid[level] - middle[:, None, None]) / spread[:, None, None]
            side = self.lateral[level](maps)
            if x is None:
                x = side
                continue
            x = side + F.interpolate(self.join[level](x), side.shape[-2:], mode="nearest")
        assert x is not None
        tone = self.get_buffer("tone")
        extent = [-inputs.shape[-1] % STRIDE, -inputs.shape[-2] % STRIDE]
        seen = F.pad((inputs - tone[0]) / tone[1], (0, extent[0], 0, extent[1]), mode="replicate")
        own = self.picture(seen)
        x = self.narrow(x)
        # Maps may reach beyond the picture; how far, their number of cells tells.
        ratio = max(inputs.shape[-2:]) / max(x.shape[-2:])
        reach = 2 ** math.ceil(math.log2(ratio) - 1e-9)
        if reach != STRIDE:
            cells = [max(1, round(s * reach / STRIDE)) for s in x.shape[-2:]]
            x = F.interpolate(x, cells, mode="bilinear", align_corners=False)
        missing = (0, max(0, width - x.shape[-1]), 0, max(0, height - x.shape[-2]))
        x = F.pad(x, missing, mode="replicate")[..., :height, :width]
        return self.out(self.last(self.mix(torch.cat([x, own], dim=1))))


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(after, momentum=0.05),
        nn.SiLU(),
    )


def cell_centres(height: int, width: int) -> NDArray[np.float64]:
    """Centres (x, y) of cells in pixels of the inputs, [2, height, width]."""
    rows, columns = np.mgrid[:height, :width]
    return (np.stack([columns, rows]) + 0.5) * STRIDE


def raw_numbers(numbers: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the network says of shapes `numbers` [..., p] from cells at (x, y) [..., 2]."""
    raw = np.array(np.broadcast_to(numbers, (*at.shape[:-1], numbers.shape[-1])))
    raw[..., :2] = (raw[..., :2] - at) / STRIDE
    # The two components of an ellipse's stretch have no size; boxes have two sizes.
    raw[..., 2 : _sizes(raw.shape[-1])] -= math.log(_TYPICAL)
    return raw


def true_numbers(raw: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Undo `raw_numbers`; sizes are kept between 1 and 10^4 pixels, stretches below e^4."""
    numbers = np.array(raw, dtype=np.float64)
    numbers[..., :2] = numbers[..., :2] * STRIDE + at
    sizes = _sizes(numbers.shape[-1])
    numbers[..., 2:sizes] = (numbers[..., 2:sizes] + math.log(_TYPICAL)).clip(0, math.log(1e4))
    numbers[..., sizes:] = numbers[..., sizes:].clip(-3, 3)
    return numbers


def _sizes(p: int) -> int:
    return 3 if p == NUMBERS["ellipse"] else 4


@dataclass(frozen=True, eq=False)
class Truth:
    """What the network should say of a batch [n, ..., h, w]; `near` weights cells for shapes."""

    heat: Tensor
    centre: Tensor
    near: Tensor
    raw: Tensor
    sides: Tensor

    @classmethod
    def of(cls, batch: Sequence[Objects], shape: str, height: int, width: int) -> Truth:
        """Draw the maps of several pictures of height x width cells."""
        n, p = len(batch), NUMBERS[shape]
        heat, centre, near = (np.zeros((n, height, width), np.float32) for _ in range(3))
        raw = np.zeros((n, p, height, width), np.float32)
        sides = np.ones((n, 2, height, width), np.float32)
        at = cell_centres(height, width)
        for i, objects in enumerate(batch):
            sizes = objects.sides(shape)
            # Small ones last, so that they keep their cells where objects lie on each other.
            for j in np.argsort(-sizes.prod(axis=1), kind="stable"):
                x, y = objects.numbers[j, :2]
                row, column = int(y // STRIDE), int(x // STRIDE)
                if not (0 <= row < height and 0 <= column < width):
                    continue
                sigma = np.maximum(_NARROW * sizes[j], 0.6 * STRIDE)
                apart = ((at - np.array([x, y])[:, None, None]) / sigma[:, None, None]) ** 2
                bell = np.exp(-0.5 * apart.sum(axis=0))
                bell[row, column] = 1.0
                share = objects.share[j]
                heat[i] = np.maximum(heat[i], share * bell)
                centre[i, row, column] = share
                told = bell > _NEAR
                near[i][told] = share * bell[told] / bell[told].sum()
                raw[i][:, told] = raw_numbers(objects.numbers[j], at[:, told].T).T
                sides[i][:, told] = np.maximum(sizes[j], 2 * STRIDE)[:, None]
        return cls(*(torch.from_numpy(a) for a in (heat, centre, near, raw, sides)))


def loss_of(said: Tensor, truth: Truth, weights: Tensor) -> Tensor:
    """Return the loss of raw maps [n, 1 + p, h, w], weights [n] of the pictures.

    Centres: the focal loss of CornerNet (Law & Deng 2018, ECCV, eq. 1), where a centre that only a
    share of the people marked counts for both. Shapes: smooth L1 of all numbers, of boxes the
    generalised IoU, too (Rezatofighi et al. 2019, CVPR).
    """
    logit, raw = said[:, 0], said[:, 1:]
    p = torch.sigmoid(logit)
    found = truth.centre * (1 - p) ** 2 * F.logsigmoid(logit)
    missed = (1 - truth.heat) ** 4 * p**2 * F.logsigmoid(-logit)
    per_picture = -(found + missed).sum((1, 2))
    ratio = STRIDE / truth.sides
    said_at, true_at = raw[:, :2] * ratio, truth.raw[:, :2] * ratio
    shapes = 2 * F.smooth_l1_loss(said_at, true_at, beta=0.1, reduction="none").sum(1)
    if raw.shape[1] > 2:
        rest = F.smooth_l1_loss(raw[:, 2:], truth.raw[:, 2:], beta=0.1, reduction="none")
        shapes = shapes + rest.sum(1)
    if raw.shape[1] == NUMBERS["box"]:
        shapes = shapes + 2 * (1 - _giou(raw, truth.raw))
    per_picture = per_picture + (truth.near * shapes).sum((1, 2))
    # By the objects of the whole batch: one in a picture of few counts as one in many.
    return (weights * per_picture).sum() / (weights * truth.centre.sum((1, 2))).sum().clamp_min(1)


def _giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of raw boxes [n, 4, h, w] told from the same cells."""

    def edges(raw: Tensor) -> tuple[Tensor, Tensor]:
        half = torch.exp(raw[:, 2:].clamp(-5, 5)) * (_TYPICAL / STRIDE / 2)
        return raw[:, :2] - half, raw[:, :2] + half

    (low_a, high_a), (low_b, high_b) = edges(a), edges(b)
    common = (torch.minimum(high_a, high_b) - torch.maximum(low_a, low_b)).clamp_min(0).prod(1)
    hull = (torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)).prod(1)
    union = (high_a - low_a).prod(1) + (high_b - low_b).prod(1) - common
    return common / union - (hull - union) / hull


def arrays_of(net: Centres) -> dict[str, NDArray[np.float32]]:
    """Return all that a network knows, by name."""
    state = {name: value for name, value in net.state_dict().items() if not _counts(name)}
    return {name: value.detach().contiguous().numpy().copy() for name, value in state.items()}


def net_of(
    channels: Sequence[int], shape: str, arrays: Mapping[str, NDArray[np.float32]]
) -> Centres:
    """Build a network, ready for use, from its `arrays_of`; a ValueError names what is wrong."""
    net = Centres(channels, NUMBERS[shape])
    for name, value in net.state_dict().items():
        if _counts(name):
            continue
        if name not in arrays:
            raise ValueError(f"it lacks {name}")
        given = arrays[name]
        if given.shape != tuple(value.shape) or given.dtype != np.float32:
            raise ValueError(
                f"{name} is {given.dtype} {list(given.shape)}, not {list(value.shape)}"
            )
        if not np.isfinite(given).all():
            raise ValueError(f"{name} holds values that are not finite")
        value.copy_(torch.from_numpy(np.array(given)))
    return net.eval().requires_grad_(False)


def _counts(name: str) -> bool:
    """Whether it is a counter of batch norms, which nothing depends on."""
    return name.endswith("num_batches_tracked")
