"""The large vision model (LVM): describes galaxy images by embeddings, and gives them back.

The network itself is in `models/sunet.py`; here are its use (`encode`, `reconstruct`), its files
and its identity. Images and the pyramid are channels-first, `[n, c, h, w]`, as is usual in torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.sunet import Decoder, Encoder, LVMConfig, LVMError, initialise

__all__ = ["LVM", "Encoding", "LVMConfig", "LVMError", "default_lvm", "resized"]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
DEFAULT_FOLDER = Path(__file__).parent / "weights" / "default"
MAX_CONFIG_BYTES = 1 << 20


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


class LVM(nn.Module):
    """The large vision model: `encode` for every head, `reconstruct` for restoration.

    Parameters
    ----------
    config : LVMConfig
        What to build; the weights are random until they are loaded or trained.
    """

    def __init__(self, config: LVMConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
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

    def pool(self, outputs: list[Tensor]) -> Tensor:
        """Reduce the stages' outputs `[n, h, w, c]` to means and deviations as configured."""
        parts = []
        for name in self.config.pooling:
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
        self._check(images)
        n, views = len(images), self.config.views
        _, outputs = self.encoder(torch.cat(_views(images, views)))
        pooled = self.pool(outputs).unflatten(0, (views, n)).mean(0)
        if self.projection is not None:
            pooled = self.projection(pooled)
        pyramid = tuple(output[:n].permute(0, 3, 1, 2) for output in outputs)
        return Encoding(pooled, pyramid)

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
        self._check(images)
        return self.forward(images)[0]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reconstruction and the bottleneck features `[n, tokens, c]` (for training)."""
        inputs, outputs = self.encoder(images)
        assert self.decoder is not None, "forward needs a decoder"
        return self.decoder(outputs[-1], inputs), outputs[-1].flatten(1, 2)

    def _check(self, images: Tensor) -> None:
        size = self.config.image_size
        if images.dim() != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise LVMError(
                f"This LVM takes images [n, 3, {size}, {size}], not {list(images.shape)}; "
                "use to_tensor with the preprocessing of its configuration."
            )
        if not torch.isfinite(images).all():
            raise LVMError("An image holds values that are not finite; replace them first.")

    @cached_property
    def identity(self) -> str:
        """Hash of configuration and weights, 32 hex digits: equal ones give equal embeddings.

        It is computed once, so change no weights after asking for it.
        """
        digest = hashlib.sha256(json.dumps(self.config.as_dict(), sort_keys=True).encode())
        for name, values in sorted(self.state_dict().items()):
            digest.update(f"{name} {list(values.shape)}".encode())
            digest.update(values.detach().cpu().float().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

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
        config = LVMConfig.from_dict(_read_json(folder / CONFIG_FILE))
        try:
            state = load_file(folder / WEIGHTS_FILE)
        except FileNotFoundError:
            raise LVMError(
                f"{folder} holds no {WEIGHTS_FILE}; give the folder of an LVM."
            ) from None
        except (SafetensorError, OSError, ValueError) as error:
            raise LVMError(f"{folder / WEIGHTS_FILE} cannot be read: {error}.") from None
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
        self.load_state_dict({name: values.float() for name, values in state.items()})
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


def _views(images: Tensor, count: int) -> list[Tensor]:
    """Return the images, their quarter turns (4) and the mirror images of these (8)."""
    turned = [torch.rot90(images, turns, (2, 3)) for turns in range(4 if count > 1 else 1)]
    return turned + [view.flip(3) for view in turned] if count == 8 else turned


def _read_json(path: Path) -> object:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise LVMError(f"{path} is too large for a configuration.")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LVMError(f"{path.parent} holds no {path.name}; give the folder of an LVM.") from None
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, LVMError):
            raise
        raise LVMError(f"{path} cannot be read: {error}.") from None


def default_lvm() -> LVM:
    """Return the LVM that ships with the package, ready to encode."""
    return LVM.from_pretrained(DEFAULT_FOLDER)
