"""Heads: the small downstream tasks that stand on what the LVM sees."""

from models.heads.base import Head, HeadError, ProbabilityHead, load_head
from models.heads.classification import MultipleChoiceHead, SingleChoiceHead
from models.heads.restoration import RestorationHead

__all__ = [
    "Head",
    "HeadError",
    "MultipleChoiceHead",
    "ProbabilityHead",
    "RestorationHead",
    "SingleChoiceHead",
    "load_head",
]
