"""Values: the ``value`` of one region in Label Studio -> a typed answer, for each control."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_backend.labelstudio.bitmask import data_url_to_mask
from ml_backend.labelstudio.config import (
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
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.rle import rle_to_mask
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

MAX_POINTS = 100_000
SLACK = 1e-3
"""Percent by which rounding in the editor may lead out of the image."""

ANSWERS: dict[type[Control], type[Answer]] = {
    ChoicesControl: Labels,
    TaxonomyControl: Paths,
    RatingControl: Stars,
    NumberControl: Number,
    BoxControl: Box,
    EllipseControl: Ellipse,
    PointControl: Point,
    PolygonControl: Polygon,
    BrushControl: Mask,
    BitmaskControl: Mask,
}
"""The type of answer that each type of control takes."""


class ValueProblem(ValueError):
    """A value cannot be read, or an answer cannot be written; the message says why."""


def read_value(control: Control, value: object, frame: Frame | None) -> Answer:
    """Read the ``value`` of a region.

    Parameters
    ----------
    control : Control
        That it answers.
    value : object
        As it came; anything.
    frame : Frame or None
        Of the region; needed for those that lie on the image.

    Raises
    ------
    ValueError
        It cannot be read; the message says why.
    """
    if not isinstance(value, Mapping):
        raise ValueProblem("it has no value")
    if isinstance(control, RegionControl):
        if frame is None:
            raise ValueProblem("it does not state original_width and original_height")
        return _read_shape(control, value, frame)
    content = value.get(control.type)
    if isinstance(control, NumberControl):
        return Number(_number(content, "number"))
    if isinstance(control, RatingControl):
        stars = _number(content, "rating")
        if stars != int(stars) or not 1 <= stars <= control.maximum:
            raise ValueProblem(f"it gives {stars:g} of {control.maximum} stars")
        return Stars(int(stars))
    if isinstance(control, TaxonomyControl):
        paths = [_strings(path, "path") for path in _listed(content, "paths")]
        known_only(paths, control.paths)
        return Paths.of(*dict.fromkeys(paths))
    if isinstance(control, ChoicesControl):
        return Labels(_aliases(control, _strings(content, "list of choices")))
    raise ValueProblem(f"a {control.kind} is not read")


def _read_shape(control: RegionControl, value: Mapping[str, Any], frame: Frame) -> Shape:
    label = _label(control, value)
    if isinstance(control, BrushControl):
        if value.get("format", "rle") != "rle":
            raise ValueProblem(f"its format is {str(value.get('format'))[:20]!r}, not 'rle'")
        return Mask(rle_to_mask(value.get("rle"), frame.height, frame.width), label=label)
    if isinstance(control, BitmaskControl):
        url = value.get("imageDataURL")
        return Mask(data_url_to_mask(url, frame.height, frame.width), label=label)
    if isinstance(control, PolygonControl):
        points = _listed(value.get("points"), "points")
        if value.get("closed") is False:
            raise ValueProblem("the polygon is not closed")
        if len(points) > MAX_POINTS:
            raise ValueProblem(f"it has {len(points)} points; at most {MAX_POINTS} are read")
        found = []
        for point in points:
            if not isinstance(point, list) or len(point) != 2:
                raise ValueProblem("a point is no pair of numbers")
            x, y = (_percent(number, name) for number, name in zip(point, "xy", strict=True))
            found.append((frame.across(x), frame.down(y)))
        return Polygon(tuple(found), label=label)
    x = frame.across(_percent(value.get("x"), "x"))
    y = frame.down(_percent(value.get("y"), "y"))
    if isinstance(control, PointControl):
        width = value.get("width")
        size = None if width is None else frame.across(_percent(width, "width"))
        return Point(x, y, size=size, label=label)
    turn = value.get("rotation")
    rotation = _number(turn if turn is not None else 0, "rotation") % 360
    box = isinstance(control, BoxControl)
    across, down = ("width", "height") if box else ("radiusX", "radiusY")
    # What is turned may be longer than the side that it is measured by, not than the diagonal.
    turned = rotation != 0
    first = _size(value.get(across), across, frame.diagonal / frame.width, turned)
    second = _size(value.get(down), down, frame.diagonal / frame.height, turned)
    sides = frame.across(first), frame.down(second)
    if box:
        return Box(x, y, sides[0], sides[1], rotation, label=label)
    return Ellipse(x, y, sides[0], sides[1], rotation, label=label)


def _label(control: RegionControl, value: Mapping[str, Any]) -> str:
    if not control.labels:
        return ""
    named = _aliases(control, _strings(value.get(control.type), "list of labels"))
    if len(named) != 1:
        raise ValueProblem(f"it has {len(named)} labels, not one")
    return named[0]


def _aliases(control: ChoicesControl | RegionControl, named: tuple[str, ...]) -> tuple[str, ...]:
    """Labels as results hold them; imports hold the shown texts too."""
    texts = dict(zip(control.texts, control.labels, strict=True))
    found = tuple(dict.fromkeys(n if n in control.labels else texts.get(n, n) for n in named))
    known_only(list(found), control.labels)
    return found


def known_only(named: list[Any], offered: tuple[Any, ...]) -> None:
    """Raise a `ValueProblem` that names what the configuration does not offer."""
    known = set(offered)
    unknown = [name for name in named if name not in known]
    if unknown:
        told = ", ".join(repr(name)[:80] for name in unknown[:5])
        raise ValueProblem(f"the configuration does not offer {told}")


def _strings(content: object, what: str) -> tuple[str, ...]:
    if not isinstance(content, list) or not all(isinstance(entry, str) for entry in content):
        raise ValueProblem(f"it holds no {what}")
    return tuple(content)


def _listed(content: object, what: str) -> list[Any]:
    if not isinstance(content, list):
        raise ValueProblem(f"it holds no list of {what}")
    return content


def _number(content: object, name: str) -> float:
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise ValueProblem(f"its {name} is no number")
    if not abs(content) < 1e15:
        raise ValueProblem(f"its {name} is not finite")
    return float(content)


def _percent(content: object, name: str) -> float:
    number = _number(content, name)
    if not -SLACK <= number <= 100 + SLACK:
        raise ValueProblem(f"its {name} is {number:g} percent of the image")
    return min(max(number, 0.0), 100.0)


def _size(content: object, name: str, longest: float, turned: bool) -> float:
    number = _number(content, name)
    if not -SLACK <= number <= (100 * longest if turned else 100) + SLACK:
        raise ValueProblem(f"its {name} is {number:g} percent of the image")
    return number
