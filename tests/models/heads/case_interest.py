"""What the contract's suite needs to test `InterestHead`."""

from __future__ import annotations

from typing import Any

import numpy as np
from head_case import HeadCase

from models.heads.interest import InterestHead


def marked(n: int, seed: int) -> tuple[Any, Any]:
    """Embeddings of which the interesting third lies apart, and marks."""
    rng = np.random.default_rng(seed)
    liked = (np.arange(n) % 3 == 0).astype(np.float64)
    x = rng.normal(size=(n, 16))
    x[:, :2] += 2.5 * liked[:, None]
    return x.astype(np.float32), np.stack([liked, 1 - liked], axis=1)


CASES = [HeadCase("interest", InterestHead, marked)]
