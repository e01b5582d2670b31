"""What the contract's suite needs to test `NumberHead`."""

from __future__ import annotations

from typing import Any

from blob_scenes import blobs, opinions
from head_case import HeadCase

from models.heads.parameters import NumberHead


def magnitudes(n: int, seed: int) -> tuple[Any, Any]:
    """Scenes and their magnitudes."""
    scenes, truth = blobs(n, seed)
    return scenes, opinions(truth[:, 0])


def angles(n: int, seed: int) -> tuple[Any, Any]:
    """Scenes and their position angles, degrees."""
    scenes, truth = blobs(n, seed)
    return scenes, opinions(truth[:, 3])


CASES = [
    HeadCase("number", lambda: NumberHead(tolerance=0.2), magnitudes),
    HeadCase("number_angle", lambda: NumberHead(period=180.0), angles),
]
