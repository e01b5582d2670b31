"""The state of a training on disk: written whole or not at all, taken up only by the same one."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

STATE_FILE = "training.safetensors"


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands.

    Attributes
    ----------
    step : int
        Steps done.
    tensors : dict of Tensor
        Everything that the next step depends on, by name.
    curve : list of dict
        Losses so far.
    """

    step: int
    tensors: dict[str, Tensor]
    curve: list[dict[str, float]]

    def part(self, name: str) -> dict[str, Tensor]:
        """Tensors below a name, without it."""
        start = name + "."
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}


def write_state(folder: Path, state: TrainingState, identity: dict[str, Any]) -> None:
    """Write a checkpoint; a kill or a full disk while writing leaves the one before.

    Parameters
    ----------
    folder : Path
        Made where missing.
    state : TrainingState
        To be written.
    identity : dict
        What makes this training this one, as JSON can hold it.

    Raises
    ------
    OSError
        It cannot be written; the checkpoint before stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {"step": state.step, "identity": identity, "curve": state.curve}
    partial = folder / (STATE_FILE + ".partial")
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.tensors.items()}
    try:
        save_file(tensors, partial, metadata={"training": json.dumps(record)})
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, folder / STATE_FILE)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"The checkpoint in {folder} could not be written: {error}") from None


def read_state(folder: Path, identity: dict[str, Any]) -> TrainingState | None:
    """Read the checkpoint of a folder, if there is one.

    Raises
    ------
    ValueError
        It is torn, or that of another training; what differs is named.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {})["training"])
            step, theirs, curve = int(record["step"]), record["identity"], list(record["curve"])
            # The same training differs in no entry, so it has the same tensors.
            differing = _differences(theirs, json.loads(json.dumps(identity)))
            tensors = {} if differing else {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is torn or no checkpoint of a training ({error}); delete it to start anew."
        ) from None
    if differing:
        raise ValueError(
            f"{folder} holds another training ({'; '.join(differing)}); "
            "choose another folder, or the same options to resume."
        )
    if any(not torch.isfinite(values).all() for values in tensors.values()):
        raise ValueError(f"{path} holds values that are not finite; delete it to start anew.")
    return TrainingState(step, tensors, curve)


def _differences(theirs: Any, ours: Any, name: str = "") -> list[str]:
    """Name what differs between two JSON values, with both of them."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        keys = [*theirs, *(key for key in ours if key not in theirs)]
        found = [
            _differences(theirs.get(key), ours.get(key), f"{name}.{key}" if name else key)
            for key in keys
        ]
        return [line for lines in found for line in lines]
    return [] if theirs == ours else [f"{name} is {_short(theirs)}, not {_short(ours)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
