"""What was said at a task: every kind, both classifiers, and nonsense."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_backend.zooniverse.answers import read_said
from models.answers import Box, Ellipse, Point, Polygon


def one(value: Any) -> Any:
    [said] = read_said({"task": "T0", "value": value})
    return said


def shape(**mark: Any) -> Any:
    said = one([{"tool_label": "galaxy", "frame": 0, "details": [], **mark}])
    assert not said.problems
    [(tool, frame, found)] = said.marks
    assert (tool, frame) == ("galaxy", 0)
    return found


def test_questions_dropdowns_sliders_and_surveys_give_texts() -> None:
    assert one("Smooth").texts == ("Smooth",)
    assert one(["Arms", "Bar "]).texts == ("Arms", "Bar")
    assert one([]).texts == ()
    assert one(0.25).texts == ("0.25",)
    assert one([{"value": "a1b2", "option": True, "label": "Irregular"}]).texts == ("Irregular",)
    assert one([{"choice": "LION", "answers": {"HOWMANY": "2"}, "filters": {}}]).texts == ("LION",)
    assert list(read_said({"task": "T0", "value": None})) == []


def test_a_combined_task_gives_each_of_its_tasks() -> None:
    inner = [
        {"task": "T1", "value": "Yes"},
        {"task": "T2", "value": None},
        {"task": "T3", "value": ["a"]},
    ]
    found = list(read_said({"task": "T9", "value": inner}))
    assert [(said.task, said.texts) for said in found] == [("T1", ("Yes",)), ("T3", ("a",))]


def test_shapes_of_both_classifiers() -> None:
    assert shape(x=10.5, y=20) == Point(10.5, 20)
    box = Box(10, 20, 40, 30)
    assert shape(x=10, y=20, width=40, height=30) == box
    assert shape(x_center=30, y_center=35, width=40, height=30) == box
    turned = shape(x=10, y=20, width=40, height=30, angle=90)
    assert isinstance(turned, Box)
    assert turned.centre == pytest.approx((30, 35))
    assert turned.rotation == 90
    # Counter-clockwise there, clockwise here.
    assert shape(x=5, y=6, rx=4, ry=2, angle=30) == Ellipse(5, 6, 4, 2, 330)
    assert shape(x_center=5, y_center=6, r=3) == Ellipse(5, 6, 3, 3, 0)
    corners = [{"x": 0, "y": 0}, {"x": 9, "y": 0}, {"x": 9, "y": 9}]
    assert shape(points=corners, closed=True) == Polygon(((0, 0), (9, 0), (9, 9)))
    assert shape(pathX=[0, 9, 9], pathY=[0, 0, 9]) == Polygon(((0, 0), (9, 0), (9, 9)))


@pytest.mark.parametrize(
    "mark",
    [
        {"x1": 0, "y1": 0, "x2": 3, "y2": 3},
        {"x": "nan", "y": 0},
        {"x": None, "y": 0},
        {"x": True, "y": 0},
        {"x": 1e300, "y": 0},
        {"x": 0, "y": 0, "rx": 0, "ry": 2},
        {"points": [{"x": 0, "y": 0}]},
        {"points": [{"x": 0}, {"x": 1}, {"x": 2}]},
        {"points": [[0, 0]] * 5},
        {"points": [{"x": 0, "y": 0}] * 4, "closed": False},
        {"pathX": [1, 2, 3], "pathY": [1]},
        {"pathX": 5, "pathY": 5},
    ],
)
def test_marks_that_cannot_be_read_are_problems_not_marks(mark: dict[str, Any]) -> None:
    said = one([{"tool": 0, **mark}])
    assert not said.marks
    assert len(said.problems) == 1


def test_a_task_within_a_task_within_a_task_ends() -> None:
    value: Any = "x"
    for _ in range(50):
        value = [{"task": "T", "value": value}]
    assert list(read_said({"task": "T", "value": value})) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["task", "value", "x", "y", "points", "r", "width", "tool", "choice"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_nothing_makes_it_fail(value: Any) -> None:
    for said in read_said({"task": "T0", "value": value}):
        assert all(isinstance(text, str) for text in said.texts)
