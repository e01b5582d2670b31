"""Heads: the small downstream tasks that stand on what the LVM sees."""

from models.heads.base import Head, HeadError, ProbabilityHead, load_head
from models.heads.classification import MultipleChoiceHead, SingleChoiceHead
from models.heads.detection import DetectionHead
from models.heads.ellipse import EllipseHead
from models.heads.interest import InterestHead
from models.heads.masks import MaskHead
from models.heads.parameters import NumberHead
from models.heads.pointing import object_in, object_under
from models.heads.prompted_masks import mask_under
from models.heads.questions import Question
from models.heads.rating import RatingHead
from models.heads.restoration import RestorationHead
from models.heads.taxonomy import TaxonomyHead
from models.heads.tree import DecisionTreeHead

__all__ = [
    "DecisionTreeHead",
    "DetectionHead",
    "EllipseHead",
    "Head",
    "HeadError",
    "InterestHead",
    "MaskHead",
    "MultipleChoiceHead",
    "NumberHead",
    "ProbabilityHead",
    "Question",
    "RatingHead",
    "RestorationHead",
    "SingleChoiceHead",
    "TaxonomyHead",
    "load_head",
    "mask_under",
    "object_in",
    "object_under",
]
