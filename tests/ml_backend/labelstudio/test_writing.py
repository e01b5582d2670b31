"""Typed answers as Label Studio takes them, and back, exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from wire import ANSWERS, CONFIG, FRAME, XML, all_answers, typed

from ml_backend.labelstudio.config import Control, parse_controls
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.reading import read_answers
from ml_backend.labelstudio.typed import Item, TypedAnswer, kept, restored
from ml_backend.labelstudio.values import ANSWERS as KINDS
from ml_backend.labelstudio.writing import write_answers
from models.answers import Answer, Box, Ellipse, Labels, Mask, Number, Paths, Point, Polygon, Stars

GOLDEN = Path(__file__).parent / "golden"
INTERFACE: Any = None


def refused(result: list[dict[str, Any]]) -> list[str]:
    """What Label Studio has against a result."""
    from label_studio_sdk.label_interface import LabelInterface

    global INTERFACE
    INTERFACE = INTERFACE or LabelInterface(XML)
    prediction = {"result": result, "score": 0.5, "model_version": "m"}
    return list(INTERFACE.validate_prediction(prediction, return_errors=True))


def back(answers: list[TypedAnswer]) -> list[TypedAnswer]:
    """Answers after a way through Label Studio's JSON."""
    written = write_answers(CONFIG, answers)
    assert written.problems == ()
    assert refused(written.result) == []
    reading = read_answers(json.loads(json.dumps({"result": written.result})), CONFIG)
    assert reading.problems == ()
    told = {answer.control for answer in answers}
    return [answer for answer in reading.answers if answer.control in told]


def test_every_understood_control_is_here() -> None:
    assert {control.name for control in CONFIG.understood} == set(ANSWERS)
    assert {type(control) for control in CONFIG.understood} == set(KINDS)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_result_of_each_tag_is_as_it_was(name: str) -> None:
    """Golden: a change here changes what Label Studio holds in running projects."""
    written = write_answers(CONFIG, all_answers())
    [made] = [region for region in written.result if region["from_name"] == name]
    golden = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    if "imageDataURL" in golden["value"]:
        # The same picture may be packed in other bytes by another zlib.
        made["value"]["imageDataURL"] = golden["value"]["imageDataURL"]
    assert made == golden
    if name not in ("sure", "redshift"):
        assert refused([made]) == []
    value = read_answers({"result": [golden]}, CONFIG).answer(name)
    assert value is not None
    assert value.values == (ANSWERS[name],)


def test_all_at_once_comes_back() -> None:
    assert [(a.control, a.values) for a in back(all_answers())] == [
        (name, (answer,)) for name, answer in ANSWERS.items()
    ]


FRAMES = st.builds(
    Frame, st.integers(1, 700), st.integers(1, 700), st.sampled_from([0, 90, 180, 270])
)
SCORES = st.none() | st.integers(0, 1000).map(lambda n: n / 1000)
LABELS = st.sampled_from(["Galaxy", "star"])


def edges(side: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True)


@settings(max_examples=150, deadline=None)
@given(st.data(), FRAMES, LABELS, SCORES)
def test_boxes_on_pixels_come_back_exactly(
    data: st.DataObject, frame: Frame, label: str, score: float | None
) -> None:
    left, right = sorted(data.draw(edges(frame.width)))
    top, bottom = sorted(data.draw(edges(frame.height)))
    turn = data.draw(st.floats(0, 359.9))
    box = Box(left, top, right - left, bottom - top, turn, label=label, score=score)
    [answer] = back([typed("boxes", box, frame=frame)])
    assert answer.values == (box,)
    assert answer.frame == frame


@settings(max_examples=100, deadline=None)
@given(st.data(), FRAMES)
def test_other_geometry_comes_back_within_a_millionth_of_a_pixel(
    data: st.DataObject, frame: Frame
) -> None:
    x, y = st.floats(0, frame.width), st.floats(0, frame.height)
    radii = st.floats(0.01, 0.49)
    ellipse = Ellipse(
        data.draw(x),
        data.draw(y),
        data.draw(radii) * frame.width,
        data.draw(radii) * frame.height,
        data.draw(st.floats(0, 359.9)),
    )
    point = Point(data.draw(x), data.draw(y))
    polygon = Polygon(tuple(data.draw(st.lists(st.tuples(x, y), min_size=3, max_size=9))))
    one, two, three = back(
        [
            typed("ellipse", ellipse, frame=frame),
            typed("point", point, frame=frame),
            typed("polygon", polygon, frame=frame),
        ]
    )
    for answer, given_ in ((one, ellipse), (two, point)):
        [read] = answer.values
        for name in ("x", "y", "radius_x", "radius_y", "rotation"):
            if hasattr(given_, name):
                assert getattr(read, name) == pytest.approx(getattr(given_, name), abs=1e-6)
    [read] = three.values
    assert isinstance(read, Polygon)
    assert np.array(read.points) == pytest.approx(np.array(polygon.points), abs=1e-6)
    # What has come back once does not move any more.
    assert [a.values for a in back([one, two, three])] == [a.values for a in (one, two, three)]


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
        lambda shape: arrays(np.bool_, shape)
    ),
    st.sampled_from([0, 90, 180, 270]),
    LABELS,
)
def test_masks_come_back_exactly(mask: np.ndarray, turn: int, label: str) -> None:
    frame = Frame(mask.shape[1], mask.shape[0], turn)
    value = Mask(mask, label=label)
    for name in ("masks", "bitmasks"):
        [answer] = back([typed(name, value, frame=frame)])
        assert answer.values == ((value,) if mask.any() else ())
        assert answer.complete


def test_a_long_thin_thing_turned_is_written_as_label_studio_takes_it() -> None:
    frame = Frame(50, 200)
    box = Box(40, 10, 150, 20, 90)
    [answer] = back([typed("box", box, frame=frame)])
    [read] = answer.values
    assert isinstance(read, Box)
    assert np.roll(read.corners, -1, axis=0) == pytest.approx(box.corners)
    ellipse = Ellipse(25, 100, 80, 20, 90)
    [answer] = back([typed("ellipse", ellipse, frame=frame)])
    [read] = answer.values
    assert isinstance(read, Ellipse)
    assert (read.major, read.minor, read.angle) == (80, 20, 90)


def test_boxes_are_cut_at_the_edge_of_the_image() -> None:
    [answer] = back([typed("boxes", Box(-2, 3, 5, 40, label="star"))])
    assert answer.values == (Box(0, 3, 3, 6, label="star"),)


@pytest.mark.parametrize(
    ("name", "value", "frame", "said"),
    [
        ("boxes", Box(0, 0, 1, 1, label="Comet"), FRAME, "does not offer 'Comet'"),
        ("boxes", Box(0, 0, 1, 1), FRAME, "does not offer ''"),
        ("box", Box(0, 0, 1, 1, label="star"), FRAME, "does not offer 'star'"),
        ("box", Box(0, 0, 1, 1), None, "size of the image"),
        ("box", Box(16, 0, 1, 1), FRAME, "beyond"),
        ("box", Box(-1, 0, 1, 1), FRAME, "beyond"),
        ("box", Box(-1, 0, 3, 1, 10), FRAME, "percent"),
        ("box", Box(0, 0, 30, 30, 45), FRAME, "larger"),
        ("box", Ellipse(1, 1, 1, 1), FRAME, "takes no answer"),
        ("ellipse", Ellipse(1, 1, 14, 14), FRAME, "larger"),
        ("mask", Mask(np.ones((3, 3), bool)), FRAME, "(3, 3)"),
        ("shape", Labels(("E", "Spiral")), None, "single choice"),
        ("shape", Labels(("Elliptical galaxy",)), None, "does not offer"),
        ("kind", Paths.of(("Star", "SB")), None, "does not offer"),
        ("beauty", Stars(6), None, "more than 5"),
        ("beauty", Number(3), None, "takes no answer"),
        ("sure", Labels(("yes",)), None, "no region"),
        ("nobody", Number(3), None, "no control"),
    ],
)
def test_what_label_studio_would_refuse_is_left_out_and_named(
    name: str, value: Answer, frame: Frame | None, said: str
) -> None:
    written = write_answers(CONFIG, [typed(name, value, frame=frame), typed("beauty", Stars(2))])
    assert len(written.result) == 1
    assert len(written.problems) == 1
    assert said in written.problems[0]


def test_nothing_is_written_where_nothing_is_to_be_seen() -> None:
    nothing = [
        typed("mask", Mask(np.zeros((9, 15), bool))),
        typed("features", Labels(())),
        typed("kind", Paths(())),
        typed("boxes"),
    ]
    assert write_answers(CONFIG, nothing).result == []


def test_two_regions_of_one_id_are_not_written() -> None:
    twice = TypedAnswer("box", (Item(Box(0, 0, 1, 1), region="a"),) * 2, FRAME)
    written = write_answers(CONFIG, [twice])
    assert len(written.result) == 1
    assert "several regions" in written.problems[0]


def test_ids_do_not_change_and_differ() -> None:
    once, again = (write_answers(CONFIG, all_answers()).result for _ in range(2))
    assert [region["id"] for region in once] == [region["id"] for region in again]
    per_region = {"sure", "redshift"}
    ids = [region["id"] for region in once if region["from_name"] not in per_region]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("limits", "value", "written"),
    [
        ('min="0" max="1"', 1.25, 1.0),
        ('min="0" max="1"', -3, 0.0),
        ('step="0.5"', 1.3, 1.5),
        ('min="0.1" step="0.25" max="1"', 0.99, 0.85),
        ('min="0" step="0.3" max="1"', 5, 0.9),
        ("", 1e9, 1e9),
    ],
)
def test_numbers_are_such_as_the_editor_lets_people_submit(
    limits: str, value: float, written: float
) -> None:
    text = f'<View><Image name="i" value="$i"/><Number name="n" toName="i" {limits}/></View>'
    [made] = write_answers(parse_controls(text), [typed("n", Number(value))]).result
    assert made["value"]["number"] == pytest.approx(written, abs=1e-9)


def test_numbers_are_written_as_people_would_write_them() -> None:
    text = '<View><Image name="i" value="$i"/><Number name="n" toName="i" {}/></View>'
    for limits, value in (('min="8" max="30" step="0.01"', 17.63), ('min="0" step="0.1"', 125.6)):
        config = parse_controls(text.format(limits))
        [made] = write_answers(config, [typed("n", Number(value + 1e-4))]).result
        assert repr(made["value"]["number"]) == repr(value)


@pytest.mark.parametrize("answer", all_answers(), ids=lambda answer: answer.control)
def test_kept_answers_come_back_identical(answer: TypedAnswer) -> None:
    for frame in (answer.frame, None):
        kept_ = TypedAnswer(answer.control, answer.items, frame, complete=frame is None)
        again = restored(answer.control, json.loads(json.dumps(kept(kept_), allow_nan=False)))
        assert again == kept_


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(lambda shape: arrays(np.bool_, shape))
)
def test_kept_masks_come_back_identical(pixels: np.ndarray) -> None:
    answer = typed("mask", Mask(pixels, score=0.1), region="x")
    assert restored("mask", json.loads(json.dumps(kept(answer)))) == answer


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"items": None, "complete": True},
        {"items": [{}], "complete": True},
        {"items": [{"kind": "galaxy", "origin": "", "region": ""}], "complete": True},
        {"items": [{"kind": "box", "x": 1, "origin": "", "region": ""}], "complete": True},
        {"items": [], "complete": True, "frame": {"width": 0, "height": 3}},
    ],
)
def test_what_was_not_kept_by_us_is_refused(made: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        restored("box", made)


def test_saying_the_same_needs_no_score_and_no_order() -> None:
    one, two = Box(0, 0, 1, 1, score=0.5), Box(2, 2, 1, 1)
    assert typed("box", one, two).same_as(typed("box", two, Box(0, 0, 1, 1), region="x"))
    assert not typed("box", one, two).same_as(typed("box", one, one))
    assert not typed("box", one).same_as(typed("box", one, two))
    assert typed("f", Labels(("a", "b"))).same_as(typed("f", Labels(("b", "a"))))


def test_a_control_of_a_new_kind_is_not_written() -> None:
    from ml_backend.labelstudio.values import read_value
    from ml_backend.labelstudio.written_values import write_value

    with pytest.raises(ValueError, match="no answer"):
        write_value(Control("c", "i", "image"), Number(1), None)
    with pytest.raises(ValueError, match="not read"):
        read_value(Control("c", "i", "image"), {}, None)
