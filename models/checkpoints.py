"""The checkpoint of the seed paper's authors (arXiv 2405.10890) to an LVM of ours."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.images import Preprocessing
from models.lvm import LVM, LVMConfig, LVMError

PREFIX = "swin_unet."
QK_SCALE = 8.0
IMAGE_SIZE = 128

# In the checkpoint, but without part in the network: two unused outputs, and what follows from the
# configuration alone.
UNUSED = re.compile(
    r"prelu\.weight|output_(re|class)\..*|.*\.attn_mask|.*\.relative_position_index"
)
BLOCK = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.qkv": "attn.qkv",
    "attention.projection": "attn.proj",
    "attention.bias": "attn.relative_position_bias_table",
    "expand": "mlp.fc1",
    "contract": "mlp.fc2",
}
PLAIN = {
    "encoder.stem": "conv_first",
    "encoder.patches": "patch_embed.proj",
    "encoder.patch_norm": "patch_embed.norm",
    "encoder.norm": "norm",
    "decoder.norm": "norm_up",
    "decoder.image": "low_conv",
}
UPSAMPLE = {"shuffle": "up_p", "interpolate": "up_b", "mix": "conv"}


def import_checkpoint(
    path: str | Path, attention_scale: float = QK_SCALE, preprocessing: Preprocessing | None = None
) -> LVM:
    """Read the authors' ``.pth`` checkpoint.

    Widths and depths are read off the shapes. The file is a pickle; it is opened in torch's
    restricted mode, which builds tensors and runs no code. Save the result with `save_pretrained`
    and keep that.

    Parameters
    ----------
    path : path
        A `torch.save` dictionary with the state dict under ``model``.
    attention_scale : float
        QK_SCALE of the training configuration; the released one is 8.
    preprocessing : Preprocessing, optional
        How images become its input; by default linear g, r, z flux at 128 px, as in the paper.

    Returns
    -------
    LVM
        With the checkpoint's weights.

    Raises
    ------
    LVMError
        The file is no checkpoint, is truncated, wants to run code, or an entry (named) is missing,
        unknown or misshapen.
    """
    path = Path(path)
    state = _state(path)
    if preprocessing is None:
        preprocessing = Preprocessing(kind="flux", size=IMAGE_SIZE, stretch="linear")
    config = _configuration(state, path, attention_scale, preprocessing)
    model = LVM(config)
    ours: dict[str, Tensor] = {}
    used: set[str] = set()
    for name in model.state_dict():
        theirs = _their_name(name)
        if theirs not in state:
            raise LVMError(
                f"{path} lacks the entry {PREFIX}{theirs}; it is not a whole checkpoint."
            )
        wanted, found = list(model.state_dict()[name].shape), list(state[theirs].shape)
        if wanted != found:
            raise LVMError(f"{path}: the entry {PREFIX}{theirs} has shape {found}, not {wanted}.")
        ours[name] = state[theirs]
        used.add(theirs)
    for theirs in sorted(state.keys() - used):
        if not UNUSED.fullmatch(theirs):
            raise LVMError(f"{path} has an entry {PREFIX}{theirs} that the network does not have.")
    model.load_weights(ours, str(path))
    return model


def _state(path: Path) -> dict[str, Tensor]:
    """Read the state dict, without prefix."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise LVMError(f"There is no file {path}.") from None
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise LVMError(
            f"{path} was refused: it is broken or holds more than tensors, so reading it could run "
            f"code ({reason}). Take the checkpoint from its authors' release."
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        reason = str(error).split("\n")[0]
        raise LVMError(
            f"{path} is not a whole torch checkpoint: {reason}. Load it down again."
        ) from None
    entries = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(entries, Mapping):
        raise LVMError(f"{path} lacks the entry model, the state dict of the network.")
    state = {}
    for name, values in entries.items():
        if not isinstance(name, str) or not isinstance(values, Tensor):
            raise LVMError(f"{path}: the entry {name!s:.80} is not a tensor.")
        if not name.startswith(PREFIX):
            raise LVMError(f"{path}: the entry {name!s:.80} does not begin with {PREFIX}.")
        state[name.removeprefix(PREFIX)] = values
    return state


def _configuration(
    state: Mapping[str, Tensor], path: Path, scale: float, preprocessing: Preprocessing
) -> LVMConfig:
    """Read the sizes of the network off the shapes of its entries."""

    def shape(name: str, dimensions: int) -> tuple[int, ...]:
        if name not in state:
            raise LVMError(f"{path} lacks the entry {PREFIX}{name}; it is not a whole checkpoint.")
        if state[name].dim() != dimensions:
            raise LVMError(
                f"{path}: the entry {PREFIX}{name} has shape {list(state[name].shape)}, which this "
                "network cannot have."
            )
        return tuple(state[name].shape)

    depths = tuple(_depths(state))
    if not depths:
        raise LVMError(f"{path} lacks the entry {PREFIX}layers.0.blocks.0.norm1.weight.")
    width = shape("conv_first.weight", 4)[0]
    tables = [
        shape(f"layers.{i}.blocks.0.attn.relative_position_bias_table", 2)
        for i in range(len(depths))
    ]
    hidden, channels = shape("layers.0.blocks.0.mlp.fc1.weight", 2)
    try:
        return LVMConfig(
            image_size=preprocessing.size,
            window=(round(tables[0][0] ** 0.5) + 1) // 2,
            width=width,
            depths=depths,
            heads=tuple(table[1] for table in tables),
            mlp_ratio=hidden // max(channels, 1),
            attention_scale=scale,
            pooling=(f"mean{len(depths) - 1}",),
            preprocessing=preprocessing,
        )
    except LVMError as error:
        raise LVMError(f"{path} is of a network that we cannot build: {error}") from None


def _depths(state: Mapping[str, Tensor]) -> Iterator[int]:
    """Yield the number of blocks of each stage."""
    stage = 0
    while f"layers.{stage}.blocks.0.norm1.weight" in state:
        depth = 1
        while f"layers.{stage}.blocks.{depth}.norm1.weight" in state:
            depth += 1
        yield depth
        stage += 1


def _their_name(name: str) -> str:
    """Translate the name of one of our weights to the authors'."""
    owner, leaf = name.rsplit(".", 1)
    if name.endswith(".bias") and owner.endswith(".attention"):
        owner, leaf = name, ""
    if owner in PLAIN:
        return f"{PLAIN[owner]}.{leaf}"
    half, kind, *rest = owner.split(".")
    if kind == "stages":
        stage, block, *part = rest
        layers = f"layers.{stage}" if half == "encoder" else f"layers_up.{int(stage) + 1}"
        entry = f"{layers}.blocks.{block}.{BLOCK['.'.join(part)]}"
        return f"{entry}.{leaf}" if leaf else entry
    if kind == "merges":
        return f"layers.{rest[0]}.downsample.{rest[1]}.{leaf}"
    if kind == "joins":
        return f"concat_back_dim.{int(rest[0]) + 1}.{leaf}"
    if kind == "upsamples":
        layers = "layers_up.0" if rest[0] == "0" else f"layers_up.{rest[0]}.upsample"
        rest = rest[1:]
    else:
        layers = "up"
    return ".".join([layers, UPSAMPLE[rest[0]], *rest[1:], leaf])
