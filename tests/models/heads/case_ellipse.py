"""What the contract's suite needs to test `EllipseHead`."""

from __future__ import annotations

from typing import Any

import numpy as np
from blob_scenes import SIDE, blobs
from head_case import HeadCase

from models.answers import Ellipse
from models.heads.ellipse import EllipseHead
from models.opinions import Opinions


def drawn(n: int, seed: int) -> tuple[Any, Any]:
    """Scenes, and one person's ellipse at three sigma of the light."""
    scenes, truth = blobs(n, seed)
    rng = np.random.default_rng([seed, 1])
    targets = []
    for _, sigma, ratio, angle in truth:
        size = 3 * sigma * float(np.exp(rng.normal(0, 0.05)))
        ellipse = Ellipse(SIDE / 2, SIDE / 2, size, size * ratio, angle, label="galaxy")
        targets.append(Opinions.of([ellipse], size=(SIDE, SIDE)))
    return scenes, targets


CASES = [HeadCase("ellipse", lambda: EllipseHead(("galaxy",)), drawn)]
