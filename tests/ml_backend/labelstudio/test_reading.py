"""Annotations as people and scripts make them, good and hostile, as typed answers."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import ANSWERS, CONFIG, FRAME, all_answers

from ml_backend.labelstudio import reading as module
from ml_backend.labelstudio.frame import Frame, FrameError
from ml_backend.labelstudio.reading import Relation, TypedReading, read_answers
from ml_backend.labelstudio.rle import mask_to_rle
from ml_backend.labelstudio.writing import write_answers
from models.answers import Box, Labels, Mask, Number, Paths, Point

BOX = {"x": 20, "y": 25, "width": 40, "height": 50, "rotation": 0, "rectanglelabels": ["star"]}
RESULT = write_answers(CONFIG, all_answers()).result


def region(name: str, value: Any, **fields: Any) -> dict[str, Any]:
    control = CONFIG.find(name)
    assert control is not None
    return {
        "id": f"id of {name}",
        "type": control.type,
        "from_name": name,
        "to_name": control.to_name,
        "origin": "manual",
        "value": value,
        "original_width": 15,
        "original_height": 9,
        "image_rotation": 0,
        **fields,
    }


def read(*regions: Any) -> TypedReading:
    return read_answers({"result": list(regions)}, CONFIG)


def test_what_a_person_drew() -> None:
    reading = read(
        region("boxes", BOX, image_rotation=90),
        region("boxes", {**BOX, "x": 0}, id="2", origin="prediction-changed", score=0.4),
    )
    assert reading.problems == ()
    answer = reading.answer("boxes")
    assert answer is not None
    assert answer.frame == Frame(15, 9, 90)
    assert answer.values == (
        Box(3, 2.25, 6, 4.5, label="star"),
        Box(0, 2.25, 6, 4.5, label="star", score=0.4),
    )
    assert [item.origin for item in answer.items] == ["manual", "prediction-changed"]
    assert [item.region for item in answer.items] == ["id of boxes", "2"]
    assert answer.labels == ("star",)


def test_no_regions_where_they_could_be_marked_is_an_answer() -> None:
    """Our suggestions deleted: there is nothing there."""
    reading = read()
    empty = {answer.control: answer.values for answer in reading.answers}
    assert empty["boxes"] == empty["masks"] == ()
    assert empty["features"] == (Labels(()),)
    assert not empty.keys() & {"shape", "arms", "kind", "beauty", "magnitude", "sure", "redshift"}


def test_an_erased_mask_is_no_region() -> None:
    nothing = {"format": "rle", "rle": mask_to_rle(np.zeros((9, 15), bool))}
    reading = read(region("mask", nothing))
    answer = reading.answer("mask")
    assert answer is not None
    assert (answer.items, answer.complete, reading.problems) == ((), True, ())


def test_a_skip_answers_nothing() -> None:
    assert read_answers({"was_cancelled": True, "result": RESULT}, CONFIG) == TypedReading()


def test_answers_about_regions_name_them() -> None:
    box = region("boxes", BOX, id="a")
    about = {key: box[key] for key in ("original_width", "original_height", "image_rotation")}
    sure = region("sure", {**BOX, "choices": ["yes"]}, id="a", **about)
    again = region("sure", {**BOX, "choices": ["no"]}, id="b", **about)
    redshift = region("redshift", {"number": 0.25}, id="a")
    reading = read(box, sure, again, redshift)
    assert reading.problems == ()
    told = reading.answer("sure")
    assert told is not None
    assert [(item.region, item.value) for item in told.items] == [
        ("a", Labels(("yes",))),
        ("b", Labels(("no",))),
    ]
    told = reading.answer("redshift")
    assert told is not None
    assert told.values == (Number(0.25),)


def test_relations_are_read() -> None:
    line = {"type": "relation", "from_id": "a", "to_id": "b", "direction": "bi", "labels": ["m"]}
    reading = read(line, {"type": "relation", "from_id": "a", "to_id": "b"}, {"type": "relation"})
    assert reading.relations == (
        Relation("a", "b", "bi", ("m",)),
        Relation("a", "b", "right"),
    )
    assert len(reading.problems) == 1


def test_several_results_of_one_question_are_one_answer() -> None:
    reading = read(
        region("features", {"choices": ["Bar"]}),
        region("features", {"choices": ["Ring", "Bar"]}),
        region("kind", {"taxonomy": [["Star"]]}),
        region("kind", {"taxonomy": [["Galaxy", "SB"]]}),
        region("magnitude", {"number": 20}),
        region("magnitude", {"number": 21}),
    )
    told = {answer.control: answer for answer in reading.answers}
    assert told["features"].values == (Labels(("Bar", "Ring")),)
    assert told["kind"].values == (Paths.of(("Star",), ("Galaxy", "SB")),)
    assert told["magnitude"].values == (Number(20),)
    assert not told["magnitude"].complete
    assert "more than once" in reading.problems[0]


def test_imports_may_hold_shown_texts_and_leave_out_what_goes_without_saying() -> None:
    bare = {
        "from_name": "boxes",
        "original_width": 15,
        "original_height": 9,
        "value": {"x": 0, "y": 0, "width": 100, "height": 100, "rectanglelabels": ["Bright star"]},
    }
    answer = read(bare, {"from_name": "shape", "value": {"choices": ["Elliptical"]}})
    assert answer.problems == ()
    assert answer.answers[0].values == (Labels(("E",)),)
    boxes = answer.answer("boxes")
    assert boxes is not None
    assert boxes.values == (Box(0, 0, 15, 9, label="star"),)
    assert boxes.items[0].origin == "unknown"


POLYGON = {"points": [[0, 0], [10, 0], [10, 10]], "polygonlabels": ["star"]}
BRUSH = {"format": "rle", "rle": mask_to_rle(np.ones((9, 15), bool)), "brushlabels": ["star"]}
HUGE = {"original_width": 10**6, "original_height": 10**6}


@pytest.mark.parametrize(
    ("name", "value", "fields", "said"),
    [
        ("boxes", None, {}, "no value"),
        ("boxes", [], {}, "no value"),
        ("boxes", {**BOX, "x": math.nan}, {}, "x is not finite"),
        ("boxes", {**BOX, "x": math.inf}, {}, "x is not finite"),
        ("boxes", {**BOX, "x": 10**400}, {}, "x is not finite"),
        ("boxes", {**BOX, "x": "3"}, {}, "x is no number"),
        ("boxes", {**BOX, "x": True}, {}, "x is no number"),
        ("boxes", {**BOX, "x": None}, {}, "x is no number"),
        ("boxes", {**BOX, "x": 101}, {}, "101 percent"),
        ("boxes", {**BOX, "y": -1}, {}, "-1 percent"),
        ("boxes", {**BOX, "width": -5}, {}, "-5 percent"),
        ("boxes", {**BOX, "width": 0}, {}, "width is 0"),
        ("boxes", {**BOX, "height": 120}, {}, "120 percent"),
        ("boxes", {**BOX, "height": 900, "rotation": 45}, {}, "900 percent"),
        ("boxes", {**BOX, "rotation": "left"}, {}, "rotation is no number"),
        ("boxes", {**BOX, "rectanglelabels": ["Comet"]}, {}, "does not offer 'Comet'"),
        ("boxes", {**BOX, "rectanglelabels": ["x" * 10**6]}, {}, "does not offer"),
        ("boxes", {**BOX, "rectanglelabels": []}, {}, "0 labels"),
        ("boxes", {**BOX, "rectanglelabels": ["star", "Galaxy"]}, {}, "2 labels"),
        ("boxes", {**BOX, "rectanglelabels": "star"}, {}, "no list of labels"),
        ("boxes", {**BOX, "rectanglelabels": [["star"]]}, {}, "no list of labels"),
        ("boxes", BOX, {"type": "ellipselabels"}, "its type"),
        ("boxes", BOX, {"type": ["rectanglelabels"]}, "its type"),
        ("boxes", BOX, {"original_width": None}, "original_width"),
        ("boxes", BOX, {"original_width": "15"}, "original_width"),
        ("boxes", BOX, {"original_width": 15.5}, "original_width"),
        ("boxes", BOX, {"original_width": math.nan}, "original_width"),
        ("boxes", BOX, {"original_height": 0}, "no area"),
        ("boxes", BOX, {"original_height": -9}, "no area"),
        ("boxes", BOX, HUGE, "larger than"),
        ("ellipses", {"x": 1, "y": 1, "radiusX": 0, "radiusY": 1,
                      "ellipselabels": ["star"]}, {}, "radius_x is 0"),
        ("points", {"x": 1, "keypointlabels": ["star"]}, {}, "y is no number"),
        ("polygons", {**POLYGON, "points": [[0, 0], [1, 1]]}, {}, "at least 3"),
        ("polygons", {**POLYGON, "points": [[0, 0], [1, 1], [1]]}, {}, "pair"),
        ("polygons", {**POLYGON, "points": [[0, 0], [1, 1], [1, math.nan]]}, {}, "finite"),
        ("polygons", {**POLYGON, "points": "0,0"}, {}, "no list of points"),
        ("polygons", {**POLYGON, "points": [[0, 0]] * 200_000}, {}, "200000 points"),
        ("polygons", {**POLYGON, "closed": False}, {}, "not closed"),
        ("masks", {**BRUSH, "format": "png"}, {}, "format"),
        ("masks", {**BRUSH, "rle": BRUSH["rle"][:9]}, {}, "ends"),
        ("masks", {**BRUSH, "rle": [255] * 20}, {}, "4294967295"),
        ("masks", {**BRUSH, "rle": "AAAA"}, {}, "no list"),
        ("masks", BRUSH, HUGE, "larger than"),
        ("bitmasks", {"imageDataURL": 3, "bitmasklabels": ["star"]}, {}, "imageDataURL"),
        ("shape", {"choices": "E"}, {}, "list of choices"),
        ("shape", {"choices": ["S0"]}, {}, "does not offer 'S0'"),
        ("kind", {"taxonomy": ["Star"]}, {}, "no path"),
        ("kind", {"taxonomy": [["SB", "Galaxy"]]}, {}, "does not offer"),
        ("beauty", {"rating": 9}, {}, "9 of 5 stars"),
        ("beauty", {"rating": 2.5}, {}, "2.5 of 5 stars"),
        ("beauty", {"rating": 0}, {}, "0 of 5"),
        ("magnitude", {"number": "bright"}, {}, "no number"),
        ("magnitude", {"number": math.inf}, {}, "not finite"),
        ("sure", {"choices": ["yes"]}, {"id": None}, "which region"),
    ],
)  # fmt: skip
def test_what_is_broken_is_named_and_costs_nothing_else(
    name: str, value: Any, fields: dict[str, Any], said: str
) -> None:
    good = [copy.deepcopy(made) for made in RESULT if made["from_name"] != name]
    broken = region(name, value, **fields)
    for regions in ([broken, *good], [*good, broken]):
        reading = read(*regions)
        assert len(reading.problems) == 1
        assert said in reading.problems[0]
        assert len(reading.problems[0]) < 1000
        assert name not in {answer.control for answer in reading.answers}
        others = {answer.control: answer.values for answer in reading.answers}
        assert others == {other: (made,) for other, made in ANSWERS.items() if other != name}


def test_a_broken_region_leaves_its_control_incomplete() -> None:
    answer = read(region("boxes", BOX), region("boxes", {**BOX, "x": -50})).answer("boxes")
    assert answer is not None
    assert len(answer.items) == 1
    assert not answer.complete


def test_regions_of_another_image_size_are_named() -> None:
    other = {"original_width": 30, "original_height": 18}
    point = region("point", {"x": 1, "y": 1})
    reading = read(region("boxes", BOX, **other), region("boxes", BOX), point)
    assert len(reading.problems) == 1
    assert "(30, 18)" in reading.problems[0]
    answer = reading.answer("boxes")
    assert answer is not None
    assert answer.frame == FRAME


def test_masks_of_one_annotation_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MASK_PIXELS", 3 * 15 * 9)
    reading = read(*[region("masks", BRUSH)] * 5)
    answer = reading.answer("masks")
    assert answer is not None
    assert len(answer.items) == 3
    assert not answer.complete
    assert len(reading.problems) == 2


def test_regions_of_one_annotation_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REGIONS", 2)
    reading = read(*[region("boxes", BOX)] * 3)
    assert "only the first 2 of 3" in reading.problems[0]


@pytest.mark.parametrize("result", [None, 3, "result", {"a": 1}])
def test_a_result_that_is_no_list_answers_nothing(result: Any) -> None:
    reading = read_answers({"result": result}, CONFIG)
    assert reading.answers == ()
    assert reading.problems == ("its result is not a list",)


@pytest.mark.parametrize("score", [None, "high", math.nan, -1, 2, True])
def test_a_score_that_is_none_is_passed_over(score: Any) -> None:
    answer = read(region("point", {"x": 0, "y": 0, "width": 1}, score=score)).answer("point")
    assert answer is not None
    assert answer.values == (Point(0, 0),)


def test_frames_are_whole_and_bounded() -> None:
    size = {"original_width": 3.0, "original_height": 2}
    assert Frame.of(size) == Frame(3, 2)
    for given_, turn in ((-90, 270), (450, 90), ("x", 0), (45, 0), (math.nan, 0)):
        assert Frame.of({**size, "image_rotation": given_}).rotation == turn
    with pytest.raises(FrameError, match="turned"):
        Frame(3, 2, 45)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers(-10, 10**12)
    | st.text(max_size=4)
    | st.sampled_from(["star", "E", "rle", "relation", "boxes"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["x", "y", "width", "rle", "points", "choices", "taxonomy", "number"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_makes_reading_fail(data: st.DataObject) -> None:
    """A good result with something replaced anywhere."""
    result = copy.deepcopy(RESULT)
    target: Any = data.draw(st.sampled_from(result))
    for _ in range(data.draw(st.integers(1, 2))):
        key = data.draw(st.sampled_from(sorted(target)))
        if isinstance(target[key], dict) and target[key]:
            target = target[key]
            key = data.draw(st.sampled_from(sorted(target)))
        target[key] = data.draw(JSON)
    reading = read_answers({"result": result}, CONFIG)
    for answer in reading.answers:
        for value in answer.values:
            assert not isinstance(value, Mask) or value.pixels.shape == (9, 15)


@settings(max_examples=100, deadline=None)
@given(st.lists(JSON, max_size=4), JSON)
def test_no_annotation_makes_reading_fail(result: list[Any], cancelled: Any) -> None:
    read_answers({"result": result, "was_cancelled": cancelled}, CONFIG)
    read_answers({"result": cancelled}, CONFIG)
