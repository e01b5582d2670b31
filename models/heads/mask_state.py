"""A mask head as arrays and values, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.heads.base import HeadError
from models.heads.mask_network import MaskNetwork

_ADVICE = "Roll back to another version or let the next round write a new one."
_MOST_CHANNELS = 1 << 14


def prefixed(name: str, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays under a name of their own."""
    return {f"{name}/{key}": value for key, value in tensors.items()}


def part_of(name: str, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays that `prefixed` put under a name."""
    start = f"{name}/"
    return {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}


def network_tensors(network: MaskNetwork) -> dict[str, NDArray[Any]]:
    """Return the weights of a network, contiguous, by name."""
    state = network.state_dict()
    return {name: value.detach().contiguous().numpy() for name, value in state.items()}


def network_from(
    tensors: dict[str, NDArray[Any]],
    channels: Sequence[int],
    levels: Sequence[int],
    classes: int,
    planes: int,
) -> MaskNetwork:
    """Build a network from its weights.

    Raises
    ------
    HeadError
        A weight is missing, unknown, of another shape or not finite.
    """
    with torch.random.fork_rng(devices=[]):
        network = MaskNetwork(channels, levels, classes, planes)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: value.shape for name, value in tensors.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))[:3]
        raise HeadError(f"The weights of a mask head do not fit: {wrong}. {_ADVICE}")
    check_finite(tensors)
    network.load_state_dict(
        {name: torch.from_numpy(value.astype(np.float32)) for name, value in tensors.items()}
    )
    return network.eval()


def check_finite(tensors: dict[str, NDArray[Any]]) -> None:
    """Refuse arrays with values that are no finite numbers."""
    for name, value in tensors.items():
        if not np.issubdtype(value.dtype, np.floating) or not np.isfinite(value).all():
            raise HeadError(f"The array {name!r} of a mask head holds no finite numbers. {_ADVICE}")


def checked_vector(tensors: dict[str, NDArray[Any]], name: str, length: int) -> NDArray[Any]:
    """Return an array [length] of finite numbers."""
    value = tensors.get(name)
    if value is None or value.shape != (length,):
        shape = None if value is None else list(value.shape)
        raise HeadError(f"A mask head needs the array {name!r} [{length}], not {shape}. {_ADVICE}")
    check_finite({name: value})
    return value


def checked_number(values: dict[str, Any], name: str, low: float, high: float) -> float:
    """Return a finite number in [low, high]."""
    value = values.get(name)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise HeadError(
            f"{name} of a mask head is a number in [{low}, {high}], not {value!r}. {_ADVICE}"
        )
    return float(value)


def checked_counts(values: dict[str, Any], name: str, high: int = _MOST_CHANNELS) -> list[int]:
    """Return a list of one to sixteen whole numbers in [1, high]."""
    value = values.get(name)
    if (
        not isinstance(value, list)
        or not 1 <= len(value) <= 16
        or not all(type(item) is int and 1 <= item <= high for item in value)
    ):
        raise HeadError(f"{name} of a mask head is a list of counts, not {value!r}. {_ADVICE}")
    return value
