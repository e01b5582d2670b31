"""How images go into a Hugging Face encoder, and what of its feature maps makes the embedding.

It is written down in ``galaxyloop.json`` beside the weights. Without that file the preprocessing is
read from ``preprocessor_config.json``; what neither file says must be said by a person, because a
guess would cost accuracy without anyone seeing why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.image_processor import as_preprocessing
from models.preprocessing import Preprocessing
from models.sunet import LVMError
from models.weight_files import read_json, read_tensors

RECIPE_FILE = "galaxyloop.json"
PROJECTION_FILE = "projection.safetensors"
PROCESSOR_FILE = "preprocessor_config.json"
NEEDED = ("size", "mean", "std")
POOLED = re.compile(r"class|(?:mean|std)[0-9]{1,2}")


@dataclass(frozen=True)
class Recipe:
    """What surrounds a network: the way in and the way out.

    Parameters
    ----------
    preprocessing : Preprocessing
        How an image becomes the input.
    pooling : tuple of str
        What makes up the embedding: ``class``, the class token of the last feature map, and
        ``mean<i>`` and ``std<i>`` over the pixels of feature map i. Empty: the class token where
        there is one, and the mean of the last map.
    views : int
        1, 4 or 8: the embedding is averaged over this many quarter turns and mirror images.
    projection : int
        Length that a last linear map, in ``projection.safetensors``, brings the pooled numbers to;
        0: none.
    """

    preprocessing: Preprocessing
    pooling: tuple[str, ...] = ()
    views: int = 1
    projection: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "pooling", tuple(self.pooling))
        if self.views not in (1, 4, 8):
            raise LVMError(f"views must be 1, 4 or 8, not {self.views!r}.")
        if type(self.projection) is not int or not 0 <= self.projection <= 4096:
            raise LVMError(f"projection must be in 0..4096, not {self.projection!r}.")
        for name in self.pooling:
            if not isinstance(name, str) or not POOLED.fullmatch(name):
                raise LVMError(f"pooling must name class, mean<i> or std<i>, not {name!r}.")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {
            "preprocessing": self.preprocessing.as_dict(),
            "pooling": list(self.pooling),
            "views": self.views,
            "projection": self.projection,
        }

    @classmethod
    def of_folder(cls, folder: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
        """Read what a folder says, and what a person says instead.

        Parameters
        ----------
        folder : Path
            With ``galaxyloop.json`` or ``preprocessor_config.json``, or neither.
        changes : mapping, optional
            pooling, views, or fields of `Preprocessing`; they win.

        Raises
        ------
        LVMError
            Size, mean or std are said nowhere, or something said cannot be used.
        """
        preprocessing: dict[str, Any] = {"kind": "rgb8"}
        outer: dict[str, Any] = {}
        source = folder / RECIPE_FILE
        if source.is_file():
            outer = _mapping(source)
            preprocessing = outer.pop("preprocessing", None)
            if not isinstance(preprocessing, dict):
                raise LVMError(f"{source} lacks the entry preprocessing.")
        elif (folder / PROCESSOR_FILE).is_file():
            source = folder / PROCESSOR_FILE
            preprocessing = as_preprocessing(_mapping(source))
        for name, value in (changes or {}).items():
            (outer if name in ("pooling", "views") else preprocessing)[name] = value
        missing = [name for name in NEEDED if name not in preprocessing]
        if missing:
            raise LVMError(
                f"Nobody says the {', '.join(missing)} of the images that {folder} was trained on: "
                f"neither {RECIPE_FILE} nor {PROCESSOR_FILE} there does in a way that can be "
                "followed. Say it with `galaxyloop import-lvm --size --mean --std` (in units of 0 "
                "to 1)."
            )
        unknown = sorted(set(outer) - {item.name for item in fields(cls)})
        if unknown:
            raise LVMError(f"{source} has an entry {unknown[0]} that is not known here.")
        try:
            return cls(Preprocessing.from_dict(preprocessing), **outer)
        except (TypeError, ValueError) as error:
            raise LVMError(f"{source}: {error}") from None


def read_projection(folder: Path, recipe: Recipe) -> nn.Linear | None:
    """Read the last linear map of an encoder, where its recipe says that there is one.

    Raises
    ------
    LVMError
        The file is missing or torn, or an entry is missing, misshapen or not finite.
    """
    if not recipe.projection:
        return None
    path = folder / PROJECTION_FILE
    state = read_tensors(path)
    weight, bias = state.get("weight"), state.get("bias")
    if weight is None or bias is None:
        raise LVMError(f"{path} lacks the entry {'weight' if weight is None else 'bias'}.")
    if weight.dim() != 2 or len(weight) != recipe.projection or bias.shape != weight.shape[:1]:
        raise LVMError(
            f"{path}: the entries weight {list(weight.shape)} and bias {list(bias.shape)} are no "
            f"linear map to {recipe.projection} numbers."
        )
    for name, values in (("weight", weight), ("bias", bias)):
        if not values.is_floating_point() or not torch.isfinite(values).all():
            raise LVMError(f"{path}: the entry {name} holds values that are not finite floats.")
    projection = nn.Linear(weight.shape[1], len(weight))
    projection.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return projection


def _mapping(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise LVMError(f"{path} holds no JSON object.")
    return values
