"""Labelling configurations (Label Studio's XML) -> the controls that we can read and answer."""

from ml_backend.labelstudio.config.conditions import Condition, shown
from ml_backend.labelstudio.config.controls import (
    BitmaskControl,
    BoxControl,
    BrushControl,
    ChoicesControl,
    Control,
    EllipseControl,
    NumberControl,
    PointControl,
    PolygonControl,
    RatingControl,
    RegionControl,
    TaxonomyControl,
)
from ml_backend.labelstudio.config.heads import HEADS
from ml_backend.labelstudio.config.parsing import (
    ImageTag,
    LabelConfig,
    UnsupportedTag,
    parse_controls,
)
from ml_backend.labelstudio.config.xml import MAX_CHARACTERS

__all__ = [
    "HEADS",
    "MAX_CHARACTERS",
    "BitmaskControl",
    "BoxControl",
    "BrushControl",
    "ChoicesControl",
    "Condition",
    "Control",
    "EllipseControl",
    "ImageTag",
    "LabelConfig",
    "NumberControl",
    "PointControl",
    "PolygonControl",
    "RatingControl",
    "RegionControl",
    "TaxonomyControl",
    "UnsupportedTag",
    "parse_controls",
    "shown",
]
