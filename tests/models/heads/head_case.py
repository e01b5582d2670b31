"""What the contract's test suite needs to know of a head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.heads import Head


@dataclass(frozen=True)
class HeadCase:
    """One head under test.

    Attributes
    ----------
    name : str
    make : callable
        Returns an unfitted head.
    data : callable
        (n, seed) to n rows of what the head sees, and n targets; small, fast and learnable.
    few : int
        Images that suffice to be clearly better than a head that was fitted on shuffled targets.
    one : bool
        Whether fitting on one image must work.
    """

    name: str
    make: Callable[[], Head]
    data: Callable[[int, int], tuple[Any, Any]]
    few: int = 40
    one: bool = True
