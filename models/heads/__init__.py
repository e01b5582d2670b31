"""Heads: the small downstream tasks that stand on the embeddings of the LVM."""

from models.heads.base import Head, HeadError, load_head
from models.heads.classification import MultipleChoiceHead, SingleChoiceHead

__all__ = ["Head", "HeadError", "MultipleChoiceHead", "SingleChoiceHead", "load_head"]
