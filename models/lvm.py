"""The large vision model (LVM): describes galaxy images by embeddings, and gives them back.

The network itself is in `models/sunet.py`; here are its use (`encode`, `reconstruct`), its files
and its identity. Images and the pyramid are channels-first, `[n, c, h, w]`, as is usual in torch.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from models.convolution import ConvolutionalEncoder
from models.images import Preprocessing
from models.sunet import Decoder, Encoder, LVMConfig, LVMError, initialise
from models.vision_encoder import Encoding, VisionEncoder, views_of
from models.weight_files import CONFIG_FILE, WEIGHTS_FILE, read_json, read_tensors

__all__ = ["LVM", "Encoding", "LVMConfig", "LVMError", "resized"]


class LVM(VisionEncoder):
    """The large vision model: `encode` for every head, `reconstruct` for restoration.

    Parameters
    ----------
    config : LVMConfig
        What to build; the weights are random until they are loaded or trained.
    """

    def __init__(self, config: LVMConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: Encoder | ConvolutionalEncoder = (
            Encoder(config) if config.blocks == "attention" else ConvolutionalEncoder(config)
        )
        self.decoder = Decoder(config) if config.decoder else None
        self.projection = (
            nn.Linear(config.pooled_dimension, config.projection) if config.projection else None
        )
        self.apply(initialise)
        self.eval()

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        return self.config.dimension

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the input, for `to_tensor`."""
        return self.config.preprocessing

    @property
    def views(self) -> int:
        """How many quarter turns and mirror images an embedding is averaged over."""
        return self.config.views

    @property
    def amplifies_rounding(self) -> bool:
        """Whether attention is as steep as that of the released network."""
        return self.config.attention_scale is not None

    @property
    def can_reconstruct(self) -> bool:
        """Whether there is a decoder."""
        return self.decoder is not None

    def description(self) -> dict[str, Any]:
        """Return the configuration as JSON can hold it."""
        return self.config.as_dict()

    def pool(
        self, outputs: Sequence[Tensor] | Mapping[int, Tensor], names: Sequence[str] | None = None
    ) -> Tensor:
        """Reduce the stages' outputs `[n, h, w, c]` to means and deviations.

        As configured, or those of `names` alone (`outputs` need not hold other stages then).
        """
        parts = []
        for name in self.config.pooling if names is None else names:
            tokens = outputs[int(name[-1])].flatten(1, 2).float()
            mean = tokens.mean(1)
            if name[:-1] == "mean":
                parts.append(mean)
                continue
            # torch's own deviation takes ten times as long over an axis that is not the last.
            spread = torch.linalg.vector_norm(tokens - mean[:, None], dim=1)
            parts.append(spread / math.sqrt(tokens.shape[1]))
        return torch.cat(parts, dim=1)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Encoding:
        """Describe images by an embedding and a pyramid of feature maps.

        Parameters
        ----------
        images : Tensor
            float32 `[n, 3, image_size, image_size]`, made by `to_tensor` with our preprocessing.

        Raises
        ------
        LVMError
            The shape is another, or a value is not finite.
        """
        self.check_images(images)
        n, views = len(images), self.config.views
        _, outputs = self.encoder(torch.cat(views_of(images, views)))
        pooled = self.pool(outputs).unflatten(0, (views, n)).mean(0)
        if self.projection is not None:
            pooled = self.projection(pooled)
        pyramid = tuple(output[:n].permute(0, 3, 1, 2) for output in outputs)
        return Encoding(pooled, pyramid)

    @torch.inference_mode()
    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of images of any size (see `VisionEncoder.maps`)."""
        if not isinstance(self.encoder, ConvolutionalEncoder):
            return super().maps(images)
        height, width = images.shape[-2:]
        coarsest = 4 * 2 ** (len(self.config.channels) - 1)
        filled = F.pad(images, (0, -width % coarsest, 0, -height % coarsest), mode="replicate")
        _, outputs = self.encoder(filled)
        return tuple(output.permute(0, 3, 1, 2) for output in outputs)

    @torch.inference_mode()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Return images `[n, 3, s, s]` as encoder and decoder give them back.

        Raises
        ------
        LVMError
            There is no decoder, the shape is another, or a value is not finite.
        """
        if self.decoder is None:
            raise LVMError("This LVM has no decoder, so it cannot reconstruct images.")
        self.check_images(images)
        return self.forward(images)[0]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction and the bottleneck features `[n, tokens, c]` (for training)."""
        inputs, outputs = self.encoder(images)
        assert self.decoder is not None, "forward needs a decoder"
        return self.decoder(outputs[-1], inputs), outputs[-1].flatten(1, 2)

    def save_pretrained(self, folder: str | Path, half: bool = False) -> None:
        """Write configuration and weights to a folder that `from_pretrained` reads.

        Parameters
        ----------
        folder : path
            Made where missing.
        half : bool
            Store float16, half the size; the rounded weights are another identity.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        kept = torch.float16 if half else torch.float32
        state = {
            name: v.detach().cpu().to(kept).contiguous() for name, v in self.state_dict().items()
        }
        # Replaced, not overwritten: someone may have the old weights mapped.
        save_file(state, folder / (WEIGHTS_FILE + ".partial"), metadata={"format": "pt"})
        os.replace(folder / (WEIGHTS_FILE + ".partial"), folder / WEIGHTS_FILE)
        text = json.dumps(self.config.as_dict(), indent=2, sort_keys=True)
        (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> LVM:
        """Read an LVM from a folder with ``config.json`` and ``model.safetensors``.

        Raises
        ------
        LVMError
            A file is missing, broken or does not fit; the entry is named.
        """
        folder = Path(folder)
        config = LVMConfig.from_dict(read_json(folder / CONFIG_FILE))
        state = read_tensors(folder / WEIGHTS_FILE)
        model = cls(config)
        model.load_weights(state, str(folder / WEIGHTS_FILE))
        return model

    def load_weights(self, state: dict[str, Tensor], source: str) -> None:
        """Take weights by name, all of them and no others.

        Raises
        ------
        LVMError
            An entry is missing, unknown, misshapen, of integers or not finite; `source` is named.
        """
        expected = self.state_dict()
        for name in sorted(expected.keys() | state.keys()):
            if name not in state:
                raise LVMError(f"{source} lacks the entry {name}.")
            if name not in expected:
                raise LVMError(f"{source} has an entry {name} that this configuration does not.")
            found, wanted = list(state[name].shape), list(expected[name].shape)
            if found != wanted:
                raise LVMError(f"{source}: the entry {name} has shape {found}, not {wanted}.")
            if not state[name].is_floating_point():
                raise LVMError(f"{source}: the entry {name} holds {state[name].dtype}, not floats.")
            if not torch.isfinite(state[name]).all():
                raise LVMError(f"{source}: the entry {name} holds values that are not finite.")
        # Copied by hand: load_state_dict would give batch norms the counts that they do without.
        with torch.no_grad():
            for name, values in expected.items():
                values.copy_(state[name])
        self.__dict__.pop("identity", None)


def resized(model: LVM, size: int) -> LVM:
    """Return an LVM for images of another side whose weights are those of `model`.

    Only the bias tables of the attention depend on the side; they are interpolated.
    """
    config = model.config
    preprocessing = replace(config.preprocessing, size=size)
    window = math.gcd(size // config.patch, config.window * size // config.image_size or 1)
    other = LVM(replace(config, image_size=size, window=window, preprocessing=preprocessing))
    state = model.state_dict()
    for name, wanted in other.state_dict().items():
        if state[name].shape != wanted.shape:
            old, new = (math.isqrt(len(table)) for table in (state[name], wanted))
            grid = state[name].T.reshape(1, -1, old, old)
            grid = F.interpolate(grid, (new, new), mode="bicubic", align_corners=True)
            state[name] = grid.reshape(-1, new * new).T.contiguous()
    other.load_weights(state, "the LVM")
    return other
