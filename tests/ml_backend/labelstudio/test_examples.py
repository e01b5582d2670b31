"""The labelling configurations that we ship."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

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
    parse_controls,
    shown,
)
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.reading import read_answers
from ml_backend.labelstudio.regions import choices_result
from ml_backend.labelstudio.typed import Item, TypedAnswer
from ml_backend.labelstudio.writing import write_answers
from models.answers import Answer, Box, Ellipse, Labels, Mask, Number, Paths, Point, Polygon, Stars

FOLDER = Path(__file__).parents[3] / "labeling_configs"
FRAME = Frame(12, 10)
TREE = [f"t{number:02d}" for number in (1, 2, 3, 4, 10, 11, 5, 9, 7, 6, 8)]
# The lists of choices (labels, multiple), the other questions that a head answers, and what is
# understood but left alone.
EXPECTED: dict[str, tuple[dict[str, tuple[int, bool]], list[str], list[str]]] = {
    "morphology.xml": ({"morphology": (4, False)}, [], []),
    "shape_and_features.xml": (
        {"shape": (4, False), "features": (5, True), "quality": (2, False)},
        ["smoothness"],
        [],
    ),
    "looks.xml": ({"morphology": (4, False)}, [], []),
    "rings.xml": ({"ring": (2, False)}, [], []),
    "rare_objects.xml": ({"rare": (6, True)}, ["certainty", "place"], []),
    "galaxy_zoo_tree.xml": (
        {
            "t01_smooth_or_features": (3, False),
            "t02_edgeon": (2, False),
            "t03_bar": (2, False),
            "t04_spiral": (2, False),
            "t10_arms_winding": (3, False),
            "t11_arms_number": (6, False),
            "t05_bulge_prominence": (4, False),
            "t09_bulge_shape": (3, False),
            "t07_rounded": (3, False),
            "t06_odd": (2, False),
            "t08_odd_feature": (7, False),
        },
        [],
        [],
    ),
    "interest.xml": ({"interest": (2, False)}, ["grade"], []),
    "detection.xml": ({}, ["galaxies", "not_galaxies"], ["KeyPointLabels", "Choices"]),
    "masks.xml": ({}, ["masks"], ["KeyPointLabels", "RectangleLabels"]),
    "parameters.xml": (
        {},
        ["half_light", "magnitude", "radius", "axis_ratio", "position_angle", "sersic", "redshift"],
        ["KeyPointLabels"],
    ),
    "restoration_review.xml": ({"verdict": (2, False)}, ["artefacts", "quality"], []),
    "all_in_one.xml": (
        {"shape": (4, False), "arms": (2, False), "features": (3, True)},
        [
            "boxes",
            "ellipses",
            "points",
            "outlines",
            "masks",
            "bad_pixels",
            "hubble",
            "redshift",
            "interest",
        ],
        ["KeyPointLabels", "Choices"],
    ),
}


def text_of(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def answer_to(control: Control) -> Answer:
    """Some answer that the control takes."""
    label = getattr(control, "labels", ("",))[-1]
    match control:
        case ChoicesControl():
            return Labels((label,), score=0.5)
        case TaxonomyControl():
            return Paths.of(control.leaves[0], score=0.5)
        case RatingControl():
            return Stars(control.maximum, score=0.5)
        case NumberControl():
            return Number(control.minimum or 0.0, score=0.5)
        case BoxControl():
            return Box(1, 2, 3, 4, 20, label=label, score=0.5)
        case EllipseControl():
            return Ellipse(6, 5, 4, 3, 20, label=label, score=0.5)
        case PointControl():
            return Point(6, 5, label=label, score=0.5)
        case PolygonControl():
            return Polygon(((0, 0), (12, 0), (6, 5)), label=label, score=0.5)
        case BrushControl() | BitmaskControl():
            return Mask(np.eye(10, 12, dtype=bool), label=label, score=0.5)
    raise AssertionError(control)


def test_every_example_is_tested_and_described() -> None:
    found = {path.name for path in FOLDER.glob("*.xml")}
    assert found == set(EXPECTED)
    readme = text_of("README.md")
    assert all(f"`{name}`" in readme for name in found)


@pytest.mark.parametrize("name", EXPECTED)
def test_example_is_read_and_its_predictions_are_accepted(name: str) -> None:
    from label_studio_sdk.label_interface import LabelInterface

    text = text_of(name)
    config = parse_controls(text)
    controls, others, left_alone = EXPECTED[name]
    assert {c.name: (len(c.labels), c.multiple) for c in config.controls} == controls
    answered = {control.name for control in config.answered}
    assert answered == {*controls, *others}
    assert [tag.tag for tag in config.unsupported] == left_alone
    # Whatever is left alone is understood all the same.
    assert len(config.understood) == len(answered) + len(left_alone)
    assert {control.image_field for control in config.understood} <= {"image", "restored"}
    interface = LabelInterface(text)
    interface.validate()
    assert {control.name for control in interface.controls} == {c.name for c in config.understood}
    result = [
        region
        for control in config.controls
        for region in choices_result(control, [1.0, *[0.0] * (len(control.labels) - 1)])
    ]
    assert len(result) == len(controls)
    prediction = {"result": result, "score": 0.25, "model_version": "m"}
    assert interface.validate_prediction(prediction, return_errors=True) == []


@pytest.mark.parametrize("name", EXPECTED)
def test_every_control_of_an_example_is_written_and_read_back(name: str) -> None:
    from label_studio_sdk.label_interface import LabelInterface

    text = text_of(name)
    config = parse_controls(text)
    regions = [control for control in config.understood if isinstance(control, BoxControl)]
    about = {control.name for control in config.understood if control.per_region}
    about |= {control.name for control in regions}
    answers = [
        TypedAnswer(
            control.name,
            (Item(answer_to(control), region="a" if control.name in about else ""),),
            FRAME,
        )
        for control in config.understood
    ]
    written = write_answers(config, answers)
    assert written.problems == ()
    prediction = {"result": written.result, "score": 0.25, "model_version": "m"}
    assert LabelInterface(text).validate_prediction(prediction, return_errors=True) == []
    reading = read_answers({"result": written.result}, config)
    assert reading.problems == ()
    assert [answer.values for answer in reading.answers] == [answer.values for answer in answers]


@pytest.mark.parametrize("name", EXPECTED)
def test_hotkeys_are_each_used_once(name: str) -> None:
    keys = re.findall(r'hotkey="(.)"', text_of(name))
    assert keys
    assert len(keys) == len(set(keys))
    # The editor's own keys for its tools, once there is something to draw with.
    if any(
        isinstance(control, RegionControl) for control in parse_controls(text_of(name)).understood
    ):
        assert not set(keys) & set("behkmoprvw")


@pytest.mark.parametrize(
    ("chosen", "asked"),
    [
        ({}, ["t01"]),
        ({"t01": "a03_star_or_artifact"}, ["t01"]),
        ({"t01": "a01_smooth"}, ["t01", "t07", "t06"]),
        ({"t01": "a01_smooth", "t06": "a14_yes"}, ["t01", "t07", "t06", "t08"]),
        ({"t01": "a02_features_or_disk"}, ["t01", "t02", "t06"]),
        ({"t01": "a02_features_or_disk", "t02": "a04_yes"}, ["t01", "t02", "t09", "t06"]),
        (
            {"t01": "a02_features_or_disk", "t02": "a05_no", "t04": "a08_spiral"},
            ["t01", "t02", "t03", "t04", "t10", "t11", "t05", "t06"],
        ),
    ],
)
def test_the_tree_of_galaxy_zoo_leads_where_theirs_does(
    chosen: dict[str, str], asked: list[str]
) -> None:
    config = parse_controls(text_of("galaxy_zoo_tree.xml"))
    names = {control.name[:3]: control.name for control in config.understood}
    assert list(names) == TREE
    given = {names[short]: [label] for short, label in chosen.items()}
    assert [name[:3] for name in shown(config.understood, given)] == asked


def test_the_restoration_review_has_two_pictures() -> None:
    config = parse_controls(text_of("restoration_review.xml"))
    assert [(image.name, image.field) for image in config.images] == [
        ("image", "image"),
        ("restored", "restored"),
    ]


@pytest.mark.parametrize("name", EXPECTED)
def test_what_answers_a_prompt_asks_for_nothing_itself(name: str) -> None:
    """A drawing with a tool of Auto-Detect vanishes when a suggestion is accepted."""
    config = parse_controls(text_of(name))
    regions = [control for control in config.understood if isinstance(control, RegionControl)]
    prompts = [control for control in regions if control.prompt_only]
    answering = {label for c in regions if not c.prompt_only for label in c.labels}
    assert all(set(prompt.labels) <= answering for prompt in prompts)
    if prompts:
        assert [control for control in regions if control.smart] == prompts
