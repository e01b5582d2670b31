"""Mask heads for the contract's tests."""

from __future__ import annotations

from head_case import HeadCase
from masked_discs import LABELS, objects, polygons

from models.heads.masks import MaskHead

CASES = [
    HeadCase("masks", lambda: MaskHead(LABELS, steps=25), objects, few=24),
    HeadCase("polygons", lambda: MaskHead(LABELS, "polygon", steps=25), polygons, few=24),
    HeadCase("regions", lambda: MaskHead(LABELS, instances=False, steps=20), objects, few=24),
]
