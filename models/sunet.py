"""The SUNet, the network of the LVM, from its configuration to its decoder.

It is that of Fan et al. 2022 (arXiv 2202.14009) in the form of arXiv 2405.10890: a convolution,
patches of 4x4 pixels, four stages of Swin blocks (Liu et al. 2021, arXiv 2103.14030) with patch
merging between them, and a mirrored decoder with dual up-samplers that gives the image back.
Feature maps are channels-last, `[n, h, w, c]`.
"""

from __future__ import annotations

import math
import operator
import re
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.images import Preprocessing

# Added to the attention of two tokens that are no neighbours in the sky but share a shifted window.
# Finite on purpose: the released network uses this number, and its logits can reach it.
FOREIGN = -100.0
POOLED = re.compile(r"(mean|std)([0-9])")


class LVMError(ValueError):
    """An LVM cannot be built, read or used this way; the message says why and what to do."""


@dataclass(frozen=True)
class LVMConfig:
    """Everything that determines what an LVM computes, besides its weights.

    Parameters
    ----------
    image_size : int
        Side of the square input, pixels; a multiple of ``patch * 2 ** (stages - 1)``.
    patch : int
        Side of a patch, pixels; must be 4, the factor of the last up-sampler.
    window : int
        Side of an attention window, tokens (smaller grids are one window).
    width : int
        Channels of the first stage; every further stage has twice as many.
    blocks : str
        What the encoder's stages are made of: ``attention``, the Swin blocks of the paper, or
        ``convolution`` (`models/convolution.py`). The decoder's are Swin blocks in both.
    depths, heads : tuple of int
        Blocks and attention heads of each stage.
    mlp_ratio : int
        Hidden channels of a block's MLP, as a multiple of its channels.
    attention_scale : float or None
        Factor on q k^T; None is the usual ``1 / sqrt(channels per head)``, the released
        network has 8.
    drop_path : float
        Largest probability that a residual branch is dropped in training, in [0, 1).
    decoder : bool
        Whether the reconstructing half exists.
    pooling : tuple of str
        What makes up the embedding: ``mean<i>`` and ``std<i>`` over the tokens of stage i.
    projection : int
        Length that a last linear map brings the pooled numbers to; 0: none.
    views : int
        1, 4 or 8: the embedding is averaged over this many quarter turns and mirror images.
    preprocessing : Preprocessing
        How an image becomes the network's input.
    """

    image_size: int = 128
    patch: int = 4
    window: int = 8
    width: int = 96
    blocks: str = "attention"
    depths: tuple[int, ...] = (8, 8, 8, 8)
    heads: tuple[int, ...] = (8, 8, 8, 8)
    mlp_ratio: int = 4
    attention_scale: float | None = None
    drop_path: float = 0.1
    decoder: bool = True
    pooling: tuple[str, ...] = ("mean3",)
    projection: int = 0
    views: int = 1
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(kind="rgb8"))

    def __post_init__(self) -> None:
        stages = len(self.depths)
        checks = {
            "patch must be 4": self.patch == 4,
            "blocks must be attention or convolution": self.blocks in ("attention", "convolution"),
            "depths must name 1 to 6 stages of 1 to 64 blocks": 1 <= stages <= 6
            and all(1 <= depth <= 64 for depth in self.depths),
            "heads must name one number per stage that divides its channels": len(self.heads)
            == stages
            and all(
                head >= 1 and (self.width << i) % head == 0 for i, head in enumerate(self.heads)
            ),
            "width must be even and in 2..512": 2 <= self.width <= 512 and self.width % 2 == 0,
            "window must be in 2..32": 2 <= self.window <= 32,
            "mlp_ratio must be in 1..8": 1 <= self.mlp_ratio <= 8,
            "drop_path must be in [0, 1)": 0 <= self.drop_path < 1,
            "projection must be in 0..4096": 0 <= self.projection <= 4096,
            "views must be 1, 4 or 8": self.views in (1, 4, 8),
            "attention_scale must be positive": self.attention_scale is None
            or 0 < self.attention_scale < math.inf,
            "image_size must be at most 2048 and a multiple of patch * 2 ** (stages - 1)": 0
            < self.image_size
            <= 2048
            and self.image_size % (self.patch << max(stages - 1, 0)) == 0,
            "pooling must name mean<i> or std<i> of existing stages": len(self.pooling) > 0
            and all(
                (match := POOLED.fullmatch(name)) and int(match[2]) < stages
                for name in self.pooling
            ),
            "preprocessing.size must equal image_size": self.preprocessing.size == self.image_size,
        }
        for rule, held in checks.items():
            if not held:
                raise LVMError(f"This LVM configuration cannot be built: {rule}.")
        for grid in self.grids:
            if grid > self.window and grid % self.window:
                raise LVMError(
                    f"This LVM configuration cannot be built: a grid of {grid} tokens cannot be "
                    f"cut into windows of {self.window}; choose a window that divides it."
                )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.width << i for i in range(len(self.depths)))

    @property
    def grids(self) -> tuple[int, ...]:
        """Side of each stage's token grid."""
        return tuple((self.image_size // self.patch) >> i for i in range(len(self.depths)))

    @property
    def dimension(self) -> int:
        """Length of the embedding."""
        return self.projection or self.pooled_dimension

    @property
    def pooled_dimension(self) -> int:
        """Length of the pooled numbers before any projection."""
        return sum(self.channels[int(name[-1])] for name in self.pooling)

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values."""
        return asdict(self) | {"preprocessing": self.preprocessing.as_dict()}

    @classmethod
    def from_dict(cls, values: object) -> LVMConfig:
        """Build a configuration from plain values, as `as_dict` gives them.

        Raises
        ------
        LVMError
            A key is unknown, or a value has the wrong type or range.
        """
        if not isinstance(values, dict):
            raise LVMError("An LVM configuration must be a JSON object.")
        known = cls.__dataclass_fields__
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise LVMError(f"An LVM configuration has no field named {', '.join(unknown)}.")
        arguments = dict(values)
        try:
            if "preprocessing" in arguments:
                arguments["preprocessing"] = Preprocessing.from_dict(arguments["preprocessing"])
            for name in ("depths", "heads"):
                if name in arguments:
                    arguments[name] = tuple(operator.index(item) for item in arguments[name])
            if "pooling" in arguments:
                arguments["pooling"] = tuple(str(item) for item in arguments["pooling"])
            return cls(**arguments)
        except LVMError:
            raise
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise LVMError(
                f"An LVM configuration holds a value of the wrong type: {error}."
            ) from None


def _windows(x: Tensor, side: int) -> Tensor:
    """Cut `[n, h, w, c]` into windows `[n * windows, side * side, c]`."""
    n, h, w, c = x.shape
    x = x.view(n, h // side, side, w // side, side, c)
    return x.transpose(2, 3).reshape(-1, side * side, c)


def _unwindow(x: Tensor, side: int, grid: int) -> Tensor:
    """Put windows back together; the inverse of `_windows` for a square grid."""
    k = grid // side
    x = x.view(-1, k, k, side, side, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, grid, grid, x.shape[-1])


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scale: float | None) -> Tensor:
    """Attention `[n, heads, tokens, c]` with an added bias; at the usual scale torch's own."""
    if scale is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    # The released scale of 8 makes attention so steep that it amplifies rounding: the fused kernel
    # differs by 2e-4 from the released network, this order of operations by nothing.
    return (q * scale @ k.transpose(-2, -1) + bias).softmax(-1) @ v


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learned bias for each relative position."""

    neighbours: Tensor
    foreign: Tensor | None

    def __init__(self, config: LVMConfig, stage: int, shifted: bool) -> None:
        super().__init__()
        channels = config.channels[stage]
        self.heads = config.heads[stage]
        self.grid = config.grids[stage]
        self.side = min(config.window, self.grid)
        self.shift = self.side // 2 if shifted and self.grid > self.side else 0
        self.scale = config.attention_scale
        self.qkv = nn.Linear(channels, 3 * channels)
        self.projection = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.zeros((2 * self.side - 1) ** 2, self.heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.register_buffer("neighbours", self._relative_positions(), persistent=False)
        self.register_buffer("foreign", self._foreign_tokens(), persistent=False)

    def _relative_positions(self) -> Tensor:
        """Row of the bias table for each pair of tokens in a window, `[tokens, tokens]`."""
        axis = torch.arange(self.side)
        row, column = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
        rows = row[:, None] - row[None, :] + self.side - 1
        columns = column[:, None] - column[None, :] + self.side - 1
        return rows * (2 * self.side - 1) + columns

    def _foreign_tokens(self) -> Tensor | None:
        """What to add where a shifted window holds both ends of the image, `[windows, 1, t, t]`."""
        if not self.shift:
            return None
        # The roll moves the first `shift` rows and columns behind the last ones: three zones.
        axis = torch.arange(self.grid)
        zone = (axis >= self.grid - self.side).long() + (axis >= self.grid - self.shift).long()
        zones = _windows((3 * zone[:, None] + zone[None, :])[None, :, :, None], self.side)[..., 0]
        return torch.where(zones[:, :, None] == zones[:, None, :], 0.0, FOREIGN)[:, None]

    def forward(self, x: Tensor) -> Tensor:
        n, _, _, channels = x.shape
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        tokens = _windows(x, self.side)
        qkv = self.qkv(tokens).view(len(tokens), -1, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        bias = self.bias[self.neighbours].permute(2, 0, 1)[None]
        if self.foreign is not None:
            bias = (bias + self.foreign).repeat(n, 1, 1, 1)
        y = _attend(q, k, v, bias.to(q.dtype), self.scale)
        y = _unwindow(self.projection(y.transpose(1, 2).flatten(2)), self.side, self.grid)
        return y.roll((self.shift, self.shift), (1, 2)) if self.shift else y


class DropPath(nn.Module):
    """Drop a residual branch of whole images at random in training (stochastic depth)."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        shape = (len(x),) + (1,) * (x.dim() - 1)
        return x * torch.bernoulli(torch.full(shape, keep, device=x.device, dtype=x.dtype)) / keep


class Block(nn.Module):
    """A Swin block: windowed attention and an MLP, each behind a norm and a residual."""

    def __init__(self, config: LVMConfig, stage: int, shifted: bool, drop: float) -> None:
        super().__init__()
        channels = config.channels[stage]
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(config, stage, shifted)
        self.norm2 = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, config.mlp_ratio * channels)
        self.contract = nn.Linear(config.mlp_ratio * channels, channels)
        self.drop = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.contract(F.gelu(self.expand(self.norm2(x)))))


def _blocks(config: LVMConfig, stage: int) -> nn.Sequential:
    """Blocks of one stage, every second one shifted; deeper ones are dropped more often."""
    before, total = sum(config.depths[:stage]), sum(config.depths)
    rates = [config.drop_path * (before + i) / max(total - 1, 1) for i in range(total - before)]
    return nn.Sequential(
        *(Block(config, stage, i % 2 == 1, rates[i]) for i in range(config.depths[stage]))
    )


class PatchMerging(nn.Module):
    """Halve the grid and double the channels: four neighbours become one token."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        quarters = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(quarters, dim=-1)))


class DualUpsample(nn.Module):
    """Enlarge the grid by pixel shuffling and by interpolation, and mix the two.

    By 2, the channels are halved; by 4, they stay.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        out = channels // 2 if factor == 2 else channels
        self.shuffle = nn.Sequential(
            nn.Conv2d(channels, out * factor**2, 1, bias=False),
            nn.PReLU(),
            nn.PixelShuffle(factor),
            nn.Conv2d(out, out, 1, bias=False),
        )
        self.interpolate = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.PReLU(),
            nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False),
            nn.Conv2d(channels, out, 1, bias=False),
        )
        self.mix = nn.Conv2d(2 * out, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        x = self.mix(torch.cat([self.shuffle(x), self.interpolate(x)], dim=1))
        return x.permute(0, 2, 3, 1)


class Encoder(nn.Module):
    """Images `[n, 3, s, s]` to the inputs and outputs of every stage."""

    def __init__(self, config: LVMConfig) -> None:
        super().__init__()
        width, stages = config.width, len(config.depths)
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.patches = nn.Conv2d(width, width, config.patch, stride=config.patch)
        self.patch_norm = nn.LayerNorm(width)
        self.stages = nn.ModuleList(_blocks(config, i) for i in range(stages))
        self.merges = nn.ModuleList(PatchMerging(config.channels[i]) for i in range(stages - 1))
        self.norm = nn.LayerNorm(config.channels[-1])
        self.exact = config.attention_scale is not None

    def _embed(self, images: Tensor) -> Tensor:
        """Convolve and cut into patches, `[n, c, h, w]`."""
        if self.exact:
            return self.patches(self.stem(images))
        # Nothing stands between the two convolutions, so they are one of 6x6 pixels: the same
        # numbers (but for rounding, which a steep attention would amplify) at a tenth of the cost.
        kernel = F.conv_transpose2d(self.patches.weight, self.stem.weight)
        assert self.patches.bias is not None
        assert self.stem.bias is not None
        bias = self.patches.bias + self.patches.weight.sum((2, 3)) @ self.stem.bias
        return F.conv2d(images, kernel, bias, stride=self.patches.stride, padding=1)

    def tokens(self, images: Tensor) -> Tensor:
        """One token per patch, `[n, h, w, width]`: what the first stage is given."""
        tokens: Tensor = self.patch_norm(self._embed(images).permute(0, 2, 3, 1))
        return tokens

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        return self.describe(self.tokens(images))

    def describe(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Inputs and outputs of the stages, finest first, for `tokens` (or some in their place)."""
        inputs, outputs = [], []
        for i, stage in enumerate(self.stages):
            inputs.append(x)
            x = stage(x)
            outputs.append(x)
            if i < len(self.merges):
                x = self.merges[i](x)
        outputs[-1] = self.norm(x)
        return inputs, outputs


class Decoder(nn.Module):
    """The bottleneck and the inputs of the encoder's stages to an image `[n, 3, s, s]`."""

    def __init__(self, config: LVMConfig) -> None:
        super().__init__()
        channels = config.channels
        coarse_to_fine = range(len(channels) - 2, -1, -1)
        self.upsamples = nn.ModuleList(DualUpsample(c, 2) for c in reversed(channels[1:]))
        self.joins = nn.ModuleList(nn.Linear(2 * channels[i], channels[i]) for i in coarse_to_fine)
        self.stages = nn.ModuleList(_blocks(config, i) for i in coarse_to_fine)
        self.norm = nn.LayerNorm(config.width)
        self.upsample = DualUpsample(config.width, config.patch)
        self.image = nn.Conv2d(config.width, 3, 1)

    def forward(self, bottleneck: Tensor, inputs: list[Tensor]) -> Tensor:
        x = bottleneck
        steps = zip(self.upsamples, self.joins, self.stages, reversed(inputs[:-1]), strict=True)
        for upsample, join, stage, skip in steps:
            x = stage(join(torch.cat([upsample(x), skip], dim=-1)))
        return self.image(self.upsample(self.norm(x)).permute(0, 3, 1, 2))


def initialise(module: nn.Module) -> None:
    """Draw the weights of a linear layer as Swin does; others keep torch's own."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
