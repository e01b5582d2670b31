"""Written values: a typed answer -> the ``value`` of one region in Label Studio."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ml_backend.labelstudio.bitmask import mask_to_data_url
from ml_backend.labelstudio.config import (
    BrushControl,
    ChoicesControl,
    Control,
    NumberControl,
    RatingControl,
    RegionControl,
    TaxonomyControl,
)
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.rle import mask_to_rle
from ml_backend.labelstudio.values import ANSWERS, SLACK, ValueProblem, known_only
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
    Shape,
    Stars,
)

POINT_SIZE = 1.0
"""Percent of the width that a point without a size is drawn with."""


def write_value(control: Control, answer: Answer, frame: Frame | None) -> dict[str, Any] | None:
    """Write an answer as the ``value`` of a region; None where nothing is to be shown.

    Raises
    ------
    ValueError
        The answer does not fit the control, or Label Studio would refuse it.
    """
    wanted = ANSWERS.get(type(control))
    if wanted is None or not isinstance(answer, wanted):
        raise ValueProblem(f"a {control.kind} control takes no answer of kind {answer.kind!r}")
    if isinstance(control, RegionControl) and isinstance(answer, Shape):
        if answer.label not in (control.labels or ("",)):
            raise ValueProblem(f"the configuration does not offer {answer.label!r}")
        if frame is None:
            raise ValueProblem("the size of the image is not given")
        made = _write_shape(control, answer, frame)
        if made is not None and control.labels:
            made[control.type] = [answer.label]
        return made
    if isinstance(control, NumberControl) and isinstance(answer, Number):
        return {"number": _allowed(control, answer.value)}
    if isinstance(control, RatingControl) and isinstance(answer, Stars):
        if answer.value > control.maximum:
            raise ValueProblem(f"{answer.value} stars are more than {control.maximum}")
        return {"rating": int(answer.value)}
    if isinstance(control, TaxonomyControl) and isinstance(answer, Paths):
        known_only(list(answer.paths), control.paths)
        return {"taxonomy": [list(path) for path in answer.paths]} if answer.paths else None
    if isinstance(control, ChoicesControl) and isinstance(answer, Labels):
        known_only(list(answer.labels), control.labels)
        if len(answer.labels) > 1 and not control.multiple:
            raise ValueProblem(f"a single choice cannot hold {len(answer.labels)} labels")
        return {"choices": list(answer.labels)} if answer.labels else None
    raise ValueProblem(f"a {control.kind} is not written")


def _write_shape(control: RegionControl, answer: Shape, frame: Frame) -> dict[str, Any] | None:
    if isinstance(answer, Mask):
        if answer.pixels.shape != (frame.height, frame.width):
            raise ValueProblem(
                f"the mask is {answer.pixels.shape}, the image {(frame.height, frame.width)}"
            )
        if not answer.pixels.any():
            return None  # nothing to see, and nothing to click on
        if isinstance(control, BrushControl):
            return {"format": "rle", "rle": mask_to_rle(answer.pixels)}
        return {"imageDataURL": mask_to_data_url(answer.pixels)}
    if isinstance(answer, Polygon):
        points = [
            [_inside(frame.percent_across(x), "x"), _inside(frame.percent_down(y), "y")]
            for x, y in answer.points
        ]
        return {"points": points, "closed": True}
    if isinstance(answer, Box):
        answer = _fitting(_cut(answer, frame), frame, 100)
    elif isinstance(answer, Ellipse):
        answer = _fitting(answer, frame, 50)
    elif not isinstance(answer, Point):
        raise ValueProblem(f"a {answer.kind} is not written")
    made = {
        "x": _inside(frame.percent_across(answer.x), "x"),
        "y": _inside(frame.percent_down(answer.y), "y"),
    }
    if isinstance(answer, Point):
        size = POINT_SIZE if answer.size is None else frame.percent_across(answer.size)
        return {**made, "width": size}
    across, down = _sides(answer)
    is_box = isinstance(answer, Box)
    names, limit = (("width", "height"), 100.0) if is_box else (("radiusX", "radiusY"), 50.0)
    made[names[0]] = min(frame.percent_across(across), limit)
    made[names[1]] = min(frame.percent_down(down), limit)
    return {**made, "rotation": answer.rotation % 360}


def _cut(box: Box, frame: Frame) -> Box:
    """An upright box without what is beyond the image: galaxies are cut by its edge, too."""
    if box.rotation % 360:
        return box
    left, top = max(box.x, 0.0), max(box.y, 0.0)
    right, bottom = min(box.x + box.width, frame.width), min(box.y + box.height, frame.height)
    if (left, top) == (box.x, box.y) and right - left == box.width and bottom - top == box.height:
        return box
    if right <= left or bottom <= top:
        raise ValueProblem("the box is beyond the image")
    return replace(box, x=left, y=top, width=right - left, height=bottom - top)


def _fitting(shape: Box | Ellipse, frame: Frame, percent: float) -> Box | Ellipse:
    """The same shape, described such that Label Studio takes the lengths of its sides."""
    for told in (shape, shape.turned()):
        if _fits(_sides(told), frame, percent):
            return told
    raise ValueProblem("it is larger than the image")


def _sides(shape: Box | Ellipse) -> tuple[float, float]:
    if isinstance(shape, Box):
        return shape.width, shape.height
    return shape.radius_x, shape.radius_y


def _fits(sides: tuple[float, float], frame: Frame, percent: float) -> bool:
    """Tell whether Label Studio takes sides of that length; it checks them as if not turned."""
    limit = percent + SLACK
    return frame.percent_across(sides[0]) <= limit and frame.percent_down(sides[1]) <= limit


def _allowed(control: NumberControl, value: float) -> float:
    """The nearest number that the editor takes; with another one people could not submit."""
    low, high, step = control.minimum, control.maximum, control.step
    if step is not None:
        base = low or 0.0
        steps = round((value - base) / step)
        if high is not None and base + steps * step > high:
            steps = math.floor((high - base) / step + 1e-9)
        # As decimals: people would read 17.630000000000003.
        value = float(Decimal(str(base)) + steps * Decimal(str(step)))
    if low is not None:
        value = max(value, low)
    return float(value if high is None else min(value, high))


def _inside(percent: float, name: str) -> float:
    if not -SLACK <= percent <= 100 + SLACK:
        raise ValueProblem(f"{name} would be {percent:g} percent of the image")
    return min(max(percent, 0.0), 100.0)
