"""An encoder of residual convolutions, in the place of the Swin blocks.

Convolutions know from the first step that neighbouring pixels belong together, which attention has
to learn; with thousands of stamps instead of millions that decides (decision 0007). The blocks are
the basic ones of ResNet18 (He et al. 2016, arXiv 1512.03385).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.sunet import LVMConfig


def _convolution(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Sequential:
    """Convolve without bias, and normalise over the batch."""
    norm = nn.BatchNorm2d(outputs)
    # Only an average without momentum would need the count, and weights are floats throughout.
    norm.num_batches_tracked = None
    convolution = nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, norm)


class ResidualBlock(nn.Module):
    """Two convolutions behind a residual; the first may halve the grid."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = _convolution(inputs, outputs, 3, stride)
        self.second = _convolution(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _convolution(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class ConvolutionalEncoder(nn.Module):
    """Images `[n, 3, s, s]` to the inputs and outputs of every stage, as `models.sunet.Encoder`."""

    def __init__(self, config: LVMConfig) -> None:
        super().__init__()
        channels = config.channels
        self.stem = _convolution(3, config.width, 7, 2)
        # What halves the grid stands before a stage, as patch merging does.
        self.merges = nn.ModuleList(
            ResidualBlock(channels[i], channels[i + 1], 2) for i in range(len(channels) - 1)
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(c, c) for _ in range(depth - (i > 0))))
            for i, (c, depth) in enumerate(zip(channels, config.depths, strict=True))
        )
        for parameter in self.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def tokens(self, images: Tensor) -> Tensor:
        """One token per 4x4 pixels, `[n, h, w, width]`: what the first stage is given."""
        x = F.relu(self.stem(images.contiguous(memory_format=torch.channels_last)))
        return F.max_pool2d(x, 3, 2, 1).permute(0, 2, 3, 1)

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        return self.describe(self.tokens(images))

    def describe(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Inputs and outputs of the stages, finest first, for `tokens` (or some in their place)."""
        x = x.permute(0, 3, 1, 2)
        inputs, outputs = [], []
        for i, stage in enumerate(self.stages):
            inputs.append(x.permute(0, 2, 3, 1))
            x = stage(x)
            outputs.append(x.permute(0, 2, 3, 1))
            if i < len(self.merges):
                x = self.merges[i](x)
        return inputs, outputs
