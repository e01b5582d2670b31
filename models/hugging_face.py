"""Vision encoders of Hugging Face's transformers behind the interface of our LVM."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.preprocessing import Preprocessing
from models.pretrained_networks import chosen_stages, first_line, load_network, read_settings
from models.recipe import PROJECTION_FILE, RECIPE_FILE, Recipe, read_projection
from models.sunet import LVMError
from models.vision_encoder import Encoding, VisionEncoder, views_of
from models.weight_files import CONFIG_FILE, WEIGHTS_FILE, read_weights

CLASS_TOKENS = 8


class HuggingFaceEncoder(VisionEncoder):
    """A network of transformers that describes images. It has no decoder.

    Parameters
    ----------
    network : PreTrainedModel
        A backbone, which gives feature maps, or a model, which gives hidden states.
    settings : mapping
        The content of its ``config.json``, as far as it matters.
    recipe : Recipe
        Preprocessing, pooling, views, and the length that a projection must have.
    projection : nn.Linear, optional
        A last linear map, from the pooled numbers to the embedding.

    Raises
    ------
    LVMError
        The projection does not fit, or the network cannot see images of that size, gives no
        feature maps, or another answer every time.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: Mapping[str, Any],
        recipe: Recipe,
        projection: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.projection = projection
        self.settings = dict(settings)
        self.eval().requires_grad_(False)
        size = recipe.preprocessing.size
        image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        try:
            maps, token = self._features(image)
            again, _ = self._features(image)
        except LVMError:
            raise
        except Exception as error:
            # The network is anybody's, and may fail in any way.
            raise LVMError(
                f"This {settings.get('model_type')} network cannot see images of {size} px: "
                f"{first_line(error)}. Choose another size, or another network."
            ) from error
        if not all(torch.isfinite(values).all() for values in maps):
            raise LVMError(
                f"This {settings.get('model_type')} network gives values that are not finite."
            )
        if not torch.allclose(maps[-1], again[-1], rtol=1e-3, atol=1e-4):
            raise LVMError(
                f"This {settings.get('model_type')} network says something else of the same image "
                "every time (does it hide a part of it?), so its embeddings cannot be kept."
            )
        last = len(maps) - 1
        pooling = recipe.pooling or (*(("class",) if token is not None else ()), f"mean{last}")
        for name in pooling:
            if (name == "class" and token is None) or (name != "class" and _map_of(name) > last):
                raise LVMError(
                    f"pooling names {name}, but this network has feature maps 0 to {last} and "
                    f"{'no' if token is None else 'a'} class token."
                )
        length = projection.out_features if projection is not None else 0
        self.recipe = replace(recipe, pooling=pooling, projection=length)
        self.pooled_dimension = len(self._pool(maps, token)[0])
        if projection is not None and projection.in_features != self.pooled_dimension:
            raise LVMError(
                f"The projection takes {projection.in_features} numbers, but pooling gives "
                f"{self.pooled_dimension}."
            )

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        return self.recipe.projection or self.pooled_dimension

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the input, for `to_tensor`."""
        return self.recipe.preprocessing

    @property
    def views(self) -> int:
        """How many quarter turns and mirror images an embedding is averaged over."""
        return self.recipe.views

    def description(self) -> dict[str, Any]:
        """Return settings and recipe as JSON can hold them."""
        return {"settings": self.settings, "recipe": self.recipe.as_dict()}

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Encoding:
        """Describe images by an embedding and a pyramid of feature maps.

        A vision transformer's maps all have the same scale; they are the outputs of (up to) six
        layers, or of four that are evenly spaced.

        Parameters
        ----------
        images : Tensor
            float32 `[n, 3, size, size]`, made by `to_tensor` with our preprocessing.

        Raises
        ------
        LVMError
            The shape is another, or a value is not finite.
        """
        self.check_images(images)
        n, views = len(images), self.recipe.views
        maps, token = self._features(torch.cat(views_of(images, views)))
        pooled = self._pool(maps, token).unflatten(0, (views, n)).mean(0)
        if self.projection is not None:
            pooled = self.projection(pooled)
        return Encoding(pooled, tuple(values[:n] for values in maps))

    @torch.inference_mode()
    def _features(self, images: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Feature maps `[n, c, h, w]`, finest first, and the class token `[n, c]` of the last."""
        output = self.network(pixel_values=images, output_hidden_states=True)
        found = getattr(output, "feature_maps", None)
        if found is None:
            final = getattr(output, "last_hidden_state", None)
            if final is None:
                raise LVMError("This network gives no feature maps.")
            states = getattr(output, "hidden_states", None) or (final,)
            inner = [states[i] for i in chosen_stages(len(states) - 1)[:-1]]
            found = [*inner, final]  # the final one is after the network's last norm
        side = self.settings.get("patch_size")
        grid = images.shape[-1] // side if isinstance(side, int) and side > 0 else 0
        split = [_as_map(values.float(), grid) for values in found]
        return tuple(values for values, _ in split), split[-1][1]

    def _pool(self, maps: Sequence[Tensor], token: Tensor | None) -> Tensor:
        parts = []
        for name in self.recipe.pooling:
            if name == "class":
                assert token is not None, "checked when the network was taken"
                parts.append(token)
                continue
            pixels = maps[_map_of(name)].flatten(2).float()
            parts.append(pixels.std(2, correction=0) if name[0] == "s" else pixels.mean(2))
        return torch.cat(parts, dim=1)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write configuration, weights and recipe; what is read again has the same identity."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            name: values.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, values in self.network.state_dict().items()
        }
        _replace(folder / WEIGHTS_FILE, state)
        if self.projection is not None:
            _replace(folder / PROJECTION_FILE, dict(self.projection.state_dict()))
        for name, values in ((CONFIG_FILE, self.settings), (RECIPE_FILE, self.recipe.as_dict())):
            text = json.dumps(values, indent=2, sort_keys=True)
            (folder / name).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, changes: Mapping[str, Any] | None = None
    ) -> HuggingFaceEncoder:
        """Read an encoder from a folder with ``config.json`` and safetensors weights.

        Parameters
        ----------
        folder : path
            As transformers' ``save_pretrained`` writes it, for the bare network or one with a
            classification head, which is left out.
        changes : mapping, optional
            As in `Recipe.of_folder`.

        Raises
        ------
        LVMError
            A file is missing, broken or does not fit; the entry is named.
        """
        folder = Path(folder)
        settings = read_settings(folder)
        recipe = Recipe.of_folder(folder, changes)
        network = load_network(folder, settings, read_weights(folder))
        projection = read_projection(folder, recipe)
        try:
            return cls(network, settings, recipe, projection)
        except LVMError as error:
            raise LVMError(f"{folder}: {error}") from error


def _as_map(values: Tensor, grid: int) -> tuple[Tensor, Tensor | None]:
    """Bring tokens `[n, t, c]` to a map `[n, c, h, w]`, and split off the class token."""
    if values.dim() == 4:
        return values, None
    if values.dim() != 3:
        raise LVMError(f"Feature maps of the shape {list(values.shape)} are not understood.")
    count = values.shape[1]
    side = grid if 0 < grid * grid <= count <= grid * grid + CLASS_TOKENS else math.isqrt(count)
    before = count - side * side
    if before > CLASS_TOKENS:
        raise LVMError(f"{count} tokens are no square grid with a few tokens before it.")
    pixels = values[:, before:].transpose(1, 2).unflatten(2, (side, side))
    return pixels.contiguous(), values[:, 0] if before else None


def _replace(path: Path, state: dict[str, Tensor]) -> None:
    """Write a safetensors file anew: someone may have the old one mapped."""
    save_file(state, path.with_name(path.name + ".partial"), metadata={"format": "pt"})
    os.replace(path.with_name(path.name + ".partial"), path)


def _map_of(name: str) -> int:
    return int(name.removeprefix("mean").removeprefix("std"))
