"""Heads: the small downstream tasks that stand on what the LVM sees."""

from models.heads.base import Head, HeadError, ProbabilityHead, load_head
from models.heads.classification import MultipleChoiceHead, SingleChoiceHead
from models.heads.detection import DetectionHead
from models.heads.ellipse import EllipseHead
from models.heads.interest import InterestHead
from models.heads.parameters import NumberHead
from models.heads.pointing import object_in, object_under
from models.heads.restoration import RestorationHead

__all__ = [
    "DetectionHead",
    "EllipseHead",
    "Head",
    "HeadError",
    "InterestHead",
    "MultipleChoiceHead",
    "NumberHead",
    "ProbabilityHead",
    "RestorationHead",
    "SingleChoiceHead",
    "load_head",
    "object_in",
    "object_under",
]
