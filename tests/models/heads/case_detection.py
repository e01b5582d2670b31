"""Detection under the contract: boxes, ellipses and points of discs."""

from __future__ import annotations

from functools import partial

from head_case import HeadCase
from scenes_of_discs import LABELS, discs

from models.heads.detection import DetectionHead

CASES = [
    HeadCase(
        name=f"detection of {shape}s",
        make=partial(DetectionHead, LABELS, shape, steps=60),
        data=partial(discs, shape=shape),
        few=30,
    )
    for shape in ("box", "ellipse", "point")
]
