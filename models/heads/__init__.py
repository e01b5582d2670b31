"""Heads: the small downstream tasks that stand on what the LVM sees."""

from models.heads.base import Head, HeadError, ProbabilityHead, load_head
from models.heads.classification import MultipleChoiceHead, SingleChoiceHead
from models.heads.masks import MaskHead
from models.heads.prompted_masks import mask_under

__all__ = [
    "Head",
    "HeadError",
    "MaskHead",
    "MultipleChoiceHead",
    "ProbabilityHead",
    "SingleChoiceHead",
    "load_head",
    "mask_under",
]
