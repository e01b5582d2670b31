"""What every encoder of images gives: embeddings, feature maps, and an identity.

The LVM (`models/lvm.py`) is one, a Hugging Face network (`models/hugging_face.py`) another; heads,
ranking and the embedding store know no difference.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.preprocessing import Preprocessing
from models.sunet import LVMError


@dataclass(frozen=True)
class Encoding:
    """What the encoder says about n images.

    Parameters
    ----------
    pooled : Tensor
        Embeddings, float32 `[n, d]`.
    pyramid : tuple of Tensor
        Feature maps of the stages, finest first, `[n, c, h, w]` (of the images as given, also where
        the embedding is averaged over views); the last one is the bottleneck after its norm.
    """

    pooled: Tensor
    pyramid: tuple[Tensor, ...]


class VisionEncoder(nn.Module, ABC):
    """A network that describes images; whoever encodes asks for this and nothing narrower."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length d of an embedding."""

    @property
    @abstractmethod
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the input, for `to_tensor`."""

    @property
    @abstractmethod
    def views(self) -> int:
        """How many quarter turns and mirror images an embedding is averaged over."""

    @property
    def amplifies_rounding(self) -> bool:
        """Whether low precision would change embeddings by more than it may."""
        return False

    @abstractmethod
    def description(self) -> Mapping[str, Any]:
        """Everything besides the weights that decides what is computed, json-able."""

    @abstractmethod
    def encode(self, images: Tensor) -> Encoding:
        """Describe images by an embedding and a pyramid of feature maps.

        Parameters
        ----------
        images : Tensor
            float32 `[n, 3, size, size]`, made by `to_tensor` with our preprocessing.

        Raises
        ------
        LVMError
            The shape is another, or a value is not finite.
        """

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of images of any size, finest first.

        Networks that take one size only are shown the image in tiles of that size.

        Parameters
        ----------
        images : Tensor
            float32 `[n, 3, H, W]`, values as `to_tensor` makes them.

        Returns
        -------
        tuple of Tensor
            `[n, c, h, w]`; h and w cover the image and may reach beyond its lower right edge
            (`models.scenes.Scene` knows how far).
        """
        size = self.preprocessing.size
        rows = []
        for tiles in images.split(size, dim=2):
            parts = [self.encode(_filled(tile, size)).pyramid for tile in tiles.split(size, dim=3)]
            rows.append([torch.cat(level, dim=3) for level in zip(*parts, strict=True)])
        return tuple(torch.cat(level, dim=2) for level in zip(*rows, strict=True))

    @property
    def can_reconstruct(self) -> bool:
        """Whether `reconstruct` gives images back, so that a restoration head is available."""
        return False

    def reconstruct(self, images: Tensor) -> Tensor:
        """Return images `[n, 3, size, size]` as the network gives them back.

        Raises
        ------
        LVMError
            There is no decoder, the shape is another, or a value is not finite.
        """
        raise LVMError(
            "This encoder has no decoder, so it cannot reconstruct images and restoration is not "
            "available. Use an LVM with a decoder for that."
        )

    @abstractmethod
    def save_pretrained(self, folder: str | Path) -> None:
        """Write a folder that `models.sources.load_lvm` reads, of the same identity."""

    @cached_property
    def identity(self) -> str:
        """Hash of description and weights, 32 hex digits: equal ones give equal embeddings.

        It is computed once, so change no weights after asking for it.
        """
        digest = hashlib.sha256(json.dumps(self.description(), sort_keys=True).encode())
        for name, values in sorted(self.state_dict().items()):
            digest.update(f"{name} {list(values.shape)}".encode())
            digest.update(values.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

    def check_images(self, images: Tensor) -> None:
        """Refuse what `to_tensor` with our preprocessing would not make.

        Raises
        ------
        LVMError
            The shape is another, or a value is not finite.
        """
        size = self.preprocessing.size
        if images.dim() != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise LVMError(
                f"This LVM takes images [n, 3, {size}, {size}], not {list(images.shape)}; "
                "use to_tensor with the preprocessing of its configuration."
            )
        if not torch.isfinite(images).all():
            raise LVMError("An image holds values that are not finite; replace them first.")


def views_of(images: Tensor, count: int) -> list[Tensor]:
    """Return the images, their quarter turns (4) and the mirror images of these (8)."""
    turned = [torch.rot90(images, turns, (2, 3)) for turns in range(4 if count > 1 else 1)]
    return turned + [view.flip(3) for view in turned] if count == 8 else turned


def _filled(tile: Tensor, size: int) -> Tensor:
    """Repeat the last row and column of a tile until it is square."""
    height, width = tile.shape[-2:]
    return F.pad(tile, (0, size - width, 0, size - height), mode="replicate")
