"""The part of an LVM that fine-tuning changes: the last stage, and what stands before it frozen.

What the frozen stages make of a view never changes, so it is computed once, without a graph, and
kept; an epoch then costs the last stage alone.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.convolution import ConvolutionalEncoder
from models.lvm import LVM
from models.sunet import LVMError
from models.vision_encoder import VisionEncoder, views_of

BATCH = 32


@dataclass(frozen=True)
class Maps:
    """What the frozen stages say of n views.

    Attributes
    ----------
    before : float16 [n, h, w, c]
        Output of the last frozen stage.
    pooled : float32 [n, p]
        All pooled numbers, of the untuned last stage too.
    """

    before: Tensor
    pooled: Tensor

    def __len__(self) -> int:
        return len(self.before)

    def rows(self, rows: Tensor) -> Maps:
        """Return those of some views."""
        return Maps(self.before[rows], self.pooled[rows])


def check_tunable(lvm: VisionEncoder) -> LVM:
    """Return the LVM if its last stage can be tuned.

    Raises
    ------
    LVMError
        It is another network, has one stage only, or its embedding leaves the last stage out.
    """
    if not isinstance(lvm, LVM):
        raise LVMError(
            f"Fine-tuning knows the LVM only; a {type(lvm).__name__} is used as it is. Pre-train "
            "an LVM of your own where its features do not suffice."
        )
    last = len(lvm.config.depths) - 1
    if last < 1:
        raise LVMError("This LVM has a single stage; there is no last one to tune alone.")
    if all(int(name[-1]) != last for name in lvm.config.pooling):
        raise LVMError(
            f"The embedding of this LVM is pooled from {', '.join(lvm.config.pooling)}: tuning its "
            "last stage would change nothing."
        )
    return lvm


class LastStage:
    """A copy of an LVM of which only the last stage, and the projection, learn.

    Norms keep their running statistics and nothing is dropped: with a few hundred stamps the
    statistics of a batch would be noise.

    Parameters
    ----------
    lvm : LVM
        Stays as it is.
    projection : bool
        Tune the projection too, where there is one.

    Raises
    ------
    LVMError
        The LVM cannot be tuned (see `check_tunable`).
    """

    def __init__(self, lvm: VisionEncoder, projection: bool = True) -> None:
        self.lvm = copy.deepcopy(check_tunable(lvm))
        self.lvm.__dict__.pop("identity", None)  # the copy is about to become another
        self.lvm.eval().requires_grad_(False)
        config = self.lvm.config
        self._last = len(config.depths) - 1
        self._names = [name for name in config.pooling if int(name[-1]) == self._last]
        # Of the pooled numbers those that the last stage gives, in their order.
        own = [
            torch.full((config.channels[int(name[-1])],), name in self._names)
            for name in config.pooling
        ]
        self._own = torch.cat(own)
        self.modules = [self.lvm.encoder.merges[-1], self.lvm.encoder.stages[-1]]
        if not isinstance(self.lvm.encoder, ConvolutionalEncoder):
            self.modules.append(self.lvm.encoder.norm)
        if projection and self.lvm.projection is not None:
            self.modules.append(self.lvm.projection)
        for module in self.modules:
            module.requires_grad_(True)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.lvm.parameters()).device

    def parameters(self) -> list[nn.Parameter]:
        """What learns."""
        return [parameter for module in self.modules for parameter in module.parameters()]

    @torch.no_grad()
    def maps(self, images: Tensor) -> Maps:
        """Compute what does not change of views `[n, 3, size, size]`."""
        _, outputs = self.lvm.encoder(images.to(self.device))
        pooled = self.lvm.pool(outputs)
        # Half precision halves the memory and rounds by far less than augmentation changes.
        return Maps(outputs[-2].half().cpu(), pooled.cpu())

    def maps_as_encoded(self, images: Tensor) -> list[Maps]:
        """Compute the same for each of the views that `encode` averages over."""
        return [self.maps(view) for view in views_of(images, self.lvm.config.views)]

    def embed(self, maps: Maps) -> Tensor:
        """Return embeddings `[n, d]` of single views, with the graph of what learns."""
        encoder = self.lvm.encoder
        x = maps.before.to(self.device).float()
        if isinstance(encoder, ConvolutionalEncoder):
            x = x.permute(0, 3, 1, 2)
            x = encoder.stages[-1](encoder.merges[-1](x)).permute(0, 2, 3, 1)
        else:
            x = encoder.norm(encoder.stages[-1](encoder.merges[-1](x)))
        own = self.lvm.pool({self._last: x}, self._names)
        pooled = maps.pooled.to(self.device).clone()
        pooled[:, self._own.to(self.device)] = own
        return pooled if self.lvm.projection is None else self.lvm.projection(pooled)

    @torch.no_grad()
    def encode(self, views: list[Maps]) -> Tensor:
        """Return the embeddings `[n, d]` that `LVM.encode` would give for those views."""
        n = len(views[0])
        parts = []
        for start in range(0, n, BATCH):
            rows = torch.arange(start, min(start + BATCH, n))
            parts.append(torch.stack([self.embed(view.rows(rows)) for view in views]).mean(0).cpu())
        return torch.cat(parts)


def joined(parts: list[Maps]) -> Maps:
    """Put maps of several batches behind each other."""
    return Maps(
        torch.cat([part.before for part in parts]), torch.cat([part.pooled for part in parts])
    )
