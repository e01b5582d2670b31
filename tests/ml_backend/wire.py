"""One configuration with every control tag, and one answer to each."""

from __future__ import annotations

import numpy as np

from ml_backend.labelstudio.config import parse_controls
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.typed import Item, TypedAnswer
from models.answers import (
    Answer,
    Box,
    Ellipse,
    Labels,
    Mask,
    Number,
    Paths,
    Point,
    Polygon,
    Stars,
)

LABELS = '<Label value="Galaxy"/><Label value="Bright star" alias="star"/>'
CHOICES = '<Choice value="Elliptical" alias="E"/><Choice value="Spiral"/>'
XML = f"""<View><Image name="image" value="$image"/><Image name="clean" value="$clean"/>
<Choices name="shape" toName="image">{CHOICES}</Choices>
<Choices name="features" toName="image" choice="multiple">
  <Choice value="Bar"/><Choice value="Ring"/></Choices>
<Choices name="arms" toName="image" visibleWhen="choice-selected" whenTagName="shape"
         whenChoiceValue="Spiral"><Choice value="2"/><Choice value="3"/></Choices>
<Taxonomy name="kind" toName="image">
  <Choice value="Galaxy"><Choice value="Barred" alias="SB"/></Choice><Choice value="Star"/>
</Taxonomy>
<Rating name="beauty" toName="image" maxRating="5"/>
<Number name="magnitude" toName="image" min="10" max="30"/>
<RectangleLabels name="boxes" toName="image">{LABELS}</RectangleLabels>
<EllipseLabels name="ellipses" toName="image">{LABELS}</EllipseLabels>
<KeyPointLabels name="points" toName="image">{LABELS}</KeyPointLabels>
<PolygonLabels name="polygons" toName="image">{LABELS}</PolygonLabels>
<BrushLabels name="masks" toName="image">{LABELS}</BrushLabels>
<BitmaskLabels name="bitmasks" toName="clean">{LABELS}</BitmaskLabels>
<Rectangle name="box" toName="image"/><Ellipse name="ellipse" toName="image"/>
<KeyPoint name="point" toName="image"/><Polygon name="polygon" toName="image"/>
<Brush name="mask" toName="image"/><Bitmask name="bitmask" toName="image"/>
<Choices name="sure" toName="image" perRegion="true">
  <Choice value="yes"/><Choice value="no"/></Choices>
<Number name="redshift" toName="image" perRegion="true"/>
</View>"""
CONFIG = parse_controls(XML)
FRAME = Frame(15, 9)

_mask = np.zeros((9, 15), bool)
_mask[2:5, 3:9] = True
_mask[8, 14] = True

ANSWERS: dict[str, Answer] = {
    "shape": Labels(("E",), score=0.8),
    "features": Labels(("Bar", "Ring"), score=0.5),
    "arms": Labels(("3",), score=0.25),
    "kind": Paths.of(("Galaxy", "SB"), ("Star",), score=0.125),
    "beauty": Stars(4, score=0.75),
    "magnitude": Number(17.25, score=0.6),
    "boxes": Box(3, 2.25, 6, 3, 30.5, label="star", score=0.9),
    "ellipses": Ellipse(7.5, 4.5, 3, 1.8, 200, label="Galaxy", score=0.7),
    "points": Point(0, 9, size=0.3, label="star", score=1.0),
    "polygons": Polygon(((3, 3), (9, 3.6), (15, 9)), label="Galaxy", score=0.0),
    "masks": Mask(_mask, label="star", score=0.33),
    "bitmasks": Mask(_mask, label="Galaxy", score=0.66),
    "box": Box(0, 0, 15, 9),
    "ellipse": Ellipse(7.5, 4.5, 7.5, 4.5),
    "point": Point(7.5, 4.5),
    "polygon": Polygon(((0, 0), (15, 0), (15, 9), (0, 9))),
    "mask": Mask(_mask),
    "bitmask": Mask(_mask),
    "sure": Labels(("no",), score=0.9),
    "redshift": Number(0.5, score=0.9),
}


def typed(name: str, *values: Answer, region: str = "", frame: Frame | None = FRAME) -> TypedAnswer:
    """An answer of values, as a head would give it."""
    return TypedAnswer(name, tuple(Item(value, region=region) for value in values), frame)


def all_answers() -> list[TypedAnswer]:
    """One answer to each control; those about regions are about the box."""
    about_box = {"boxes", "sure", "redshift"}
    return [
        typed(name, value, region="r1" if name in about_box else "")
        for name, value in ANSWERS.items()
    ]
