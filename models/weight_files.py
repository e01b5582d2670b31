"""The files of a network's folder: a configuration in JSON, weights in safetensors, no pickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.sunet import LVMError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_CONFIG_BYTES = 1 << 20
MAX_INDEX_BYTES = 1 << 24


def read_json(path: Path, largest: int = MAX_CONFIG_BYTES) -> Any:
    """Read a small JSON file.

    Raises
    ------
    LVMError
        It is missing, larger than `largest` bytes, or no JSON.
    """
    try:
        if path.stat().st_size > largest:
            raise LVMError(f"{path} is too large for a configuration.")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LVMError(f"{path.parent} holds no {path.name}; give the folder of an LVM.") from None
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, LVMError):
            raise
        raise LVMError(f"{path} cannot be read: {error}.") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises
    ------
    LVMError
        It is missing, torn, or something else.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise LVMError(f"{path.parent} holds no {path.name}; give the folder of an LVM.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise LVMError(f"{path} cannot be read: {error}.") from None


def weight_files(folder: Path) -> list[Path]:
    """Name the safetensors files of a folder as Hugging Face lays it out: one, or shards.

    Raises
    ------
    LVMError
        There are none (pickled weights do not count), or the list of shards cannot be used.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    index = folder / INDEX_FILE
    if not index.is_file():
        patterns = ("*.bin", "*.pt", "*.pth", "*.ckpt")
        pickled = sorted(path.name for pattern in patterns for path in folder.glob(pattern))
        found = ""
        if pickled:
            found = f"; {pickled[0]} is a pickle, which could run code, so it is not opened"
        raise LVMError(
            f"{folder} holds no {WEIGHTS_FILE}{found}. Take the safetensors "
            "files of its release, or load it where you trust it and save it anew with "
            "save_pretrained of transformers."
        )
    listed = read_json(index, MAX_INDEX_BYTES)
    shards = listed.get("weight_map") if isinstance(listed, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise LVMError(f"{index} lacks the entry weight_map, which names the files of the weights.")
    names = {str(name) for name in shards.values()}
    for name in sorted(names):
        # A list of shards must not lead anywhere else on this disk.
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise LVMError(f"{index} names {name[:80]!r}, which is no safetensors file beside it.")
        if not (folder / name).is_file():
            raise LVMError(f"{folder} lacks {name}, which its {INDEX_FILE} names.")
    return [folder / name for name in sorted(names)]


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read all weights of a folder as Hugging Face lays it out.

    Returns
    -------
    dict of str to Tensor
        Floating-point entries as float32.

    Raises
    ------
    LVMError
        A file is missing or torn, or an entry (named) is of integers or not finite.
    """
    state: dict[str, Tensor] = {}
    for path in weight_files(folder):
        for name, values in read_tensors(path).items():
            if values.is_floating_point():
                # A copy: who overwrites the file must not reach into a network at work.
                values = values.to(torch.float32, copy=True)
                if not torch.isfinite(values).all():
                    raise LVMError(f"{path}: the entry {name} holds values that are not finite.")
            elif name.endswith((".weight", ".bias")):
                raise LVMError(f"{path}: the entry {name} holds {values.dtype}, not floats.")
            state[name] = values
    return state
