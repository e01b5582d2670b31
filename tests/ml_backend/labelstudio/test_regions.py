"""Our probabilities as Label Studio results; annotations as answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_backend.labelstudio.config import parse_controls
from ml_backend.labelstudio.regions import choices_result, read_annotation, votes_from_annotation

XML = """<View><Image name="image" value="$image"/>
<Choices name="shape" toName="image">
  <Choice value="Elliptical"/><Choice value="Spiral galaxy" alias="Spiral"/></Choices>
<Choices name="features" toName="image" choice="multiple">
  <Choice value="Bar"/><Choice value="Ring"/><Choice value="Dust &amp; gas"/></Choices>
<Choices name="arms" toName="image" choice="multiple" visibleWhen="choice-selected">
  <Choice value="2"/></Choices></View>"""
CONFIG = parse_controls(XML)
SHAPE, FEATURES, ARMS = CONFIG.controls


def region(name: str, *choices: Any, origin: str | None = "manual") -> dict[str, Any]:
    made = {
        "id": "x",
        "type": "choices",
        "from_name": name,
        "to_name": "image",
        "value": {"choices": list(choices)},
    }
    return made if origin is None else {**made, "origin": origin}


def test_a_single_choice_says_the_most_probable_label_with_its_confidence() -> None:
    [made] = choices_result(SHAPE, [0.2, 0.8])
    assert made["value"] == {"choices": ["Spiral"]}
    assert made["score"] == 0.8
    assert (made["from_name"], made["to_name"], made["type"]) == ("shape", "image", "choices")


def test_a_multiple_choice_ticks_what_is_more_likely_than_not() -> None:
    [made] = choices_result(FEATURES, [0.9, 0.5, 0.1])
    assert made["value"] == {"choices": ["Bar", "Ring"]}
    assert made["score"] == pytest.approx(0.9 * 0.5 * 0.9)
    assert choices_result(FEATURES, [0.4, 0.1, 0.0]) == []


def test_ids_do_not_change_and_differ_between_controls() -> None:
    ids = {
        choices_result(control, [1.0] * len(control.labels))[0]["id"] for control in CONFIG.controls
    }
    assert len(ids) == 3
    assert choices_result(SHAPE, [0.9, 0.1])[0]["id"] == choices_result(SHAPE, [0.1, 0.9])[0]["id"]


@pytest.mark.parametrize(
    "probabilities",
    [[0.5], [0.2, 0.3, 0.5], [np.nan, 0.5], [np.inf, 0.0], [-0.1, 1.1], [[0.5, 0.5]]],
)
def test_probabilities_that_are_none_are_refused(probabilities: Any) -> None:
    with pytest.raises(ValueError, match="shape"):
        choices_result(SHAPE, probabilities)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_label_studio_accepts_what_we_write(data: st.DataObject) -> None:
    from label_studio_sdk.label_interface import LabelInterface

    probability = st.floats(0, 1, width=32)
    result = [
        made
        for control in CONFIG.controls
        for made in choices_result(
            control,
            data.draw(
                st.lists(probability, min_size=len(control.labels), max_size=len(control.labels))
            ),
        )
    ]
    prediction = {"result": result, "score": 0.5, "model_version": "m"}
    assert LabelInterface(XML).validate_prediction(prediction, return_errors=True) == []
    # What we suggest and a person accepts comes back as the same labels.
    answers = {a.control: a.labels for a in votes_from_annotation({"result": result}, CONFIG)}
    for made in result:
        assert answers[made["from_name"]] == tuple(made["value"]["choices"])


def test_answers_carry_labels_and_origin() -> None:
    reading = read_annotation(
        {
            "result": [
                region("shape", "Spiral", origin="prediction"),
                region("features", "Bar", "Ring"),
                region("comment", "left alone"),
            ]
        },
        CONFIG,
    )
    assert reading.problems == ()
    assert [(a.control, a.labels, a.origin, a.skipped) for a in reading.answers] == [
        ("shape", ("Spiral",), "prediction", False),
        ("features", ("Bar", "Ring"), "manual", False),
    ]


def test_imported_annotations_may_hold_the_shown_text() -> None:
    [shape, _] = votes_from_annotation(
        {"result": [region("shape", "Spiral galaxy", origin=None)]}, CONFIG
    )
    assert (shape.labels, shape.unknown, shape.origin) == (("Spiral",), (), "unknown")


def test_nothing_ticked_is_an_answer_only_where_it_was_asked() -> None:
    answers = votes_from_annotation({"result": [region("shape", "Spiral")]}, CONFIG)
    assert [(a.control, a.labels) for a in answers] == [("shape", ("Spiral",)), ("features", ())]


def test_a_skip_is_no_vote_even_with_our_own_suggestion_in_it() -> None:
    answers = votes_from_annotation(
        {"was_cancelled": True, "result": [region("shape", "Spiral", origin="prediction")]}, CONFIG
    )
    assert {a.control for a in answers} == {"shape", "features", "arms"}
    assert all(a.skipped and a.labels == () for a in answers)


def test_unknown_labels_survive_with_a_reason() -> None:
    reading = read_annotation({"result": [region("shape", "Lenticular")]}, CONFIG)
    answer = reading.answers[0]
    assert (answer.labels, answer.unknown) == (("Lenticular",), ("Lenticular",))
    assert "Lenticular" in reading.problems[0]


def test_what_was_suggested_is_kept_beside_the_answer() -> None:
    annotation = {
        "result": [region("shape", "Spiral", origin="prediction-changed")],
        "prediction": {"model_version": "v3", "result": [region("shape", "Elliptical")]},
    }
    shape, features = votes_from_annotation(annotation, CONFIG)
    assert (shape.suggested, shape.model_version) == (("Elliptical",), "v3")
    assert (features.suggested, features.labels) == ((), ())
    assert votes_from_annotation({"result": [], "prediction": {}}, CONFIG)[0].suggested is None


@pytest.mark.parametrize(
    "result",
    [
        None,
        "Spiral",
        {"a": 1},
        [None, 3, "x"],
        [{"from_name": ["shape"]}],
        [{"from_name": "shape"}],
        [{"from_name": "shape", "value": None}],
        [{"from_name": "shape", "value": {"choices": "Spiral"}}],
        [{"from_name": "shape", "value": {"choices": [["a", "b"]]}}],
        [{"from_name": "shape", "value": {"choices": [None]}, "origin": 7}],
    ],
)
def test_broken_results_give_no_vote_for_the_broken_control(result: Any) -> None:
    reading = read_annotation({"result": result, "prediction": "broken"}, CONFIG)
    assert "shape" not in {answer.control for answer in reading.answers}


def test_a_broken_region_is_not_taken_for_nothing_ticked() -> None:
    reading = read_annotation({"result": [{"from_name": "features", "value": 3}]}, CONFIG)
    assert reading.answers == ()
    assert "features" in reading.problems[0]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["shape", "Spiral"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["from_name", "value", "choices", "origin", "result"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["result", "prediction", "was_cancelled"]), JSON))
def test_no_annotation_makes_reading_fail(annotation: dict[str, Any]) -> None:
    for answer in votes_from_annotation(annotation, CONFIG):
        assert all(isinstance(label, str) for label in answer.labels)
