"""Hidden patches: what the network must reconstruct without having seen it.

As in SimMIM (Xie et al. 2022, arXiv 2111.09886), tokens of hidden patches are replaced by one
learned token, and the whole image is asked for. The loss is the paper's (arXiv 2405.10890): the
mean absolute difference over all pixels, hidden and seen, because a restored image needs both.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn


class Masking(nn.Module):
    """The token that stands for a hidden one.

    Parameters
    ----------
    width : int
        Channels of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Replace the tokens `[n, h, w, width]` of hidden patches (bool `[n, h', w']`)."""
        repeated = enlarged(hidden, tokens.shape[1])
        return torch.where(repeated[..., None], self.token.to(tokens.dtype), tokens)


def draw_hidden(n: int, size: int, patch: int, ratio: float, generator: Generator) -> Tensor:
    """Choose patches to hide, the same number in every image.

    Parameters
    ----------
    n, size : int
        Number of images, and their side in pixels.
    patch : int
        Side of a patch, pixels; it must divide `size`.
    ratio : float
        Share of the patches that are hidden, in [0, 1), rounded to whole patches.
    generator : torch.Generator
        The only source of randomness.

    Returns
    -------
    Tensor
        bool `[n, size / patch, size / patch]`.
    """
    side = size // patch
    places = torch.rand(n, side * side, generator=generator).argsort(1)
    return (places < round(ratio * side * side)).view(n, side, side)


def enlarged(hidden: Tensor, side: int) -> Tensor:
    """Bring a mask `[n, h, w]` to `[n, side, side]`; `side` is a multiple of h."""
    factor = side // hidden.shape[1]
    return hidden.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def reconstruction_loss(images: Tensor, given: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute difference over all pixels, and over the hidden ones (0 if none is).

    Parameters
    ----------
    images, given : Tensor
        `[n, 3, s, s]`: what was to be reconstructed, and what came.
    hidden : Tensor
        bool `[n, h, w]`.
    """
    error = (given.float() - images).abs().mean(1)
    part = enlarged(hidden, images.shape[-1])
    return error.mean(), (error * part).sum().detach() / part.sum().clamp(min=1)
