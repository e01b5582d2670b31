"""Heads: the small downstream tasks that stand on what the LVM sees."""

from models.heads.base import Head, HeadError, ProbabilityHead, load_head
from models.heads.classification import MultipleChoiceHead, SingleChoiceHead
from models.heads.ellipse import EllipseHead
from models.heads.interest import InterestHead
from models.heads.masks import MaskHead
from models.heads.parameters import NumberHead
from models.heads.prompted_masks import mask_under
from models.heads.restoration import RestorationHead

__all__ = [
    "EllipseHead",
    "Head",
    "HeadError",
    "InterestHead",
    "MaskHead",
    "MultipleChoiceHead",
    "NumberHead",
    "ProbabilityHead",
    "RestorationHead",
    "SingleChoiceHead",
    "load_head",
    "mask_under",
]
