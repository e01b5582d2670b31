"""What a person said at one task of Zooniverse's: texts, a number, or shapes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from models.answers import Box, Ellipse, Point, Polygon, Shape

_DEEPEST = 5
_OF_MARKS = ("tool", "toolIndex", "toolType", "x", "x_center", "x1", "points", "pathX")
_MOST_POINTS = 20_000


@dataclass(frozen=True)
class Said:
    """What was said at one task.

    Attributes
    ----------
    task : str
    texts : tuple of str
        Answers chosen, or typed; none: nothing chosen.
    marks : tuple of (str, int, Shape)
        Name of the tool (its place, where the export names none), frame, shape in pixels.
    problems : tuple of str
        What could not be read.
    """

    task: str
    texts: tuple[str, ...] = ()
    marks: tuple[tuple[str, int, Shape], ...] = ()
    problems: tuple[str, ...] = ()


def read_said(annotation: dict[str, Any], depth: int = 0) -> Iterator[Said]:
    """Read one annotation of a classification; a combined task gives one of each of its tasks.

    Single and multiple questions, dropdowns, sliders and texts give texts, survey tasks the names
    of what was seen, drawing tasks shapes: rectangles, turned ones, ellipses, circles, points,
    polygons and closed freehand lines. Lines, transcriptions and subject-dependent tools are
    problems. A task that was left out (null) gives nothing.
    """
    task, value = str(annotation["task"])[:100], annotation.get("value")
    if value is None:
        return
    if not isinstance(value, list):
        yield Said(task, (_text(value),)) if _is_plain(value) else _unread(task, "its value")
        return
    if value and all(_is_task(one) for one in value):
        for one in value if depth < _DEEPEST else ():
            yield from read_said(one, depth + 1)
        return
    texts, marks, problems = [], [], []
    for one in value:
        if one is None:
            continue
        if _is_plain(one):
            texts.append(_text(one))
        elif not isinstance(one, dict):
            problems.append("its value")
        elif "choice" in one:
            texts.append(_text(one["choice"]))
        elif _is_drawn(one):
            try:
                marks.append(_mark(one))
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                problems.append(f"a mark of the tool {_tool(one)!r} ({error})")
        elif _is_plain(one.get("label", one.get("value"))):
            texts.append(_text(one.get("label", one.get("value"))))
        elif one.get("value", 0) is not None:
            problems.append("its value")
    yield Said(task, tuple(texts), tuple(marks), tuple(problems))


def _unread(task: str, what: str) -> Said:
    return Said(task, problems=(what,))


def _is_task(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("task"), str) and "value" in value


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_drawn(value: dict[str, Any]) -> bool:
    return any(name in value for name in _OF_MARKS)


def _text(value: object) -> str:
    return str(value).strip()[:1000]


def _tool(mark: dict[str, Any]) -> str:
    named = mark.get("tool_label")
    return _text(named if isinstance(named, str) else mark.get("toolIndex", mark.get("tool", "")))


def _mark(mark: dict[str, Any]) -> tuple[str, int, Shape]:
    frame = mark.get("frame", 0)
    return _tool(mark), frame if isinstance(frame, int) and 0 <= frame < 1000 else 0, _shape(mark)


def _shape(mark: dict[str, Any]) -> Shape:
    """Read a mark by its numbers, which tell its kind in exports of both classifiers.

    The newer one names the centres of shapes ``x_center`` and ``y_center``. Angles of ellipses
    are counter-clockwise on the screen, those of rectangles clockwise about their centre.
    """
    if "pathX" in mark:
        return _polygon(list(zip(mark["pathX"], mark["pathY"], strict=True)))
    if isinstance(mark.get("points"), list):
        if mark.get("closed") is False:
            raise ValueError("it is not closed")
        return _polygon([(point["x"], point["y"]) for point in mark["points"]])
    if "x1" in mark:
        raise ValueError("lines have no counterpart")
    centred = "x_center" in mark
    x, y = (
        _number(mark["x_center" if centred else "x"]),
        _number(mark["y_center" if centred else "y"]),
    )
    if "rx" in mark:
        angle = -_number(mark.get("angle", 0)) % 360
        return Ellipse(x, y, _number(mark["rx"]), _number(mark["ry"]), angle)
    if "r" in mark:
        radius = _number(mark["r"])
        return Ellipse(x, y, radius, radius, 0.0)
    if "width" in mark:
        width, height = _number(mark["width"]), _number(mark["height"])
        middle = (x, y) if centred else (x + width / 2, y + height / 2)
        return _box(*middle, width, height, _number(mark.get("angle", 0)) % 360)
    return Point(x, y)


def _box(x: float, y: float, width: float, height: float, angle: float) -> Box:
    """A rectangle by its centre; ours are turned about their corner."""
    if width < 0 or height < 0:  # drawn from right to left
        width, height = abs(width), abs(height)
    turn = math.radians(angle)
    left = x - width / 2 * math.cos(turn) + height / 2 * math.sin(turn)
    top = y - width / 2 * math.sin(turn) - height / 2 * math.cos(turn)
    return Box(left, top, width, height, angle)


def _polygon(points: list[Any]) -> Polygon:
    if not 3 <= len(points) <= _MOST_POINTS:
        raise ValueError(f"it has {len(points)} corners")
    return Polygon(tuple((_number(x), _number(y)) for x, y in points))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a coordinate is missing")
    number = float(value)
    if not math.isfinite(number) or abs(number) > 1e6:
        raise ValueError("a coordinate is out of reach")
    return number
