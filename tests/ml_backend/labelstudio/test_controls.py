"""Every control tag an astronomer puts on an image: its type, its conditions, its head."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_backend.labelstudio.config import (
    HEADS,
    BitmaskControl,
    BoxControl,
    BrushControl,
    ChoicesControl,
    Condition,
    Control,
    EllipseControl,
    ImageTag,
    NumberControl,
    PointControl,
    PolygonControl,
    RatingControl,
    RegionControl,
    TaxonomyControl,
    parse_controls,
    shown,
)

IMAGE = '<Image name="i" value="$image"/>'
LABELS = '<Label value="Galaxy"/><View><Label value="Bright star" alias="star"/></View>'


def only(tags: str) -> Control:
    [control] = parse_controls(f"<View>{IMAGE}{tags}</View>").understood
    return control


@pytest.mark.parametrize(
    ("tag", "made"),
    [
        ("Rectangle", BoxControl),
        ("Ellipse", EllipseControl),
        ("KeyPoint", PointControl),
        ("Polygon", PolygonControl),
        ("Brush", BrushControl),
        ("Bitmask", BitmaskControl),
    ],
)
def test_region_tags_with_and_without_labels(tag: str, made: type[RegionControl]) -> None:
    labelled = only(f'<{tag}Labels name="c" toName="i" smart="false">{LABELS}</{tag}Labels>')
    assert labelled == made(
        "c", "i", "image", ("Galaxy", "star"), ("Galaxy", "Bright star"), smart=False
    )
    assert labelled.type == f"{tag}Labels".lower()
    plain = only(f'<{tag} name="c" toName="i"/>')
    assert plain == made("c", "i", "image")
    assert plain.smart, "as Label Studio has it"
    assert plain.type == tag.lower()


def test_numbers_and_ratings_have_their_limits() -> None:
    assert only('<Number name="n" toName="i" min="-1.5" max="30" step="0.5"/>') == NumberControl(
        "n", "i", "image", -1.5, 30.0, 0.5
    )
    assert only('<Number name="n" toName="i" min="x" max="inf" step="0"/>') == NumberControl(
        "n", "i", "image"
    )
    assert only('<Rating name="r" toName="i"/>') == RatingControl("r", "i", "image", 5)
    assert only('<Rating name="r" toName="i" maxRating="10"/>') == RatingControl(
        "r", "i", "image", 10
    )


def test_a_taxonomy_is_a_tree_of_paths() -> None:
    control = only(
        '<Taxonomy name="t" toName="i" leafsOnly="true"><Choice value="Spiral"><Choice '
        'value="Barred" alias="SB"/><Choice value="Unbarred"/></Choice><Choice value="E"/>'
        "</Taxonomy>"
    )
    assert control == TaxonomyControl(
        "t",
        "i",
        "image",
        (("Spiral",), ("Spiral", "SB"), ("Spiral", "Unbarred"), ("E",)),
        leaves_only=True,
    )
    assert control.leaves == (("Spiral", "SB"), ("Spiral", "Unbarred"), ("E",))


def test_questions_about_regions_are_understood() -> None:
    config = parse_controls(
        f"""<View>{IMAGE}<RectangleLabels name="box" toName="i">{LABELS}</RectangleLabels>
        <Choices name="sure" toName="i" perRegion="true" whenLabelValue="star">
        <Choice value="yes"/><Choice value="no"/></Choices>
        <Number name="mag" toName="i" perRegion="true"/></View>"""
    )
    sure, mag = config.find("sure"), config.find("mag")
    assert isinstance(sure, ChoicesControl)
    assert sure.per_region
    assert sure.conditions == (Condition("region-selected", "", ("star",)),)
    assert mag == NumberControl("mag", "i", "image", per_region=True)
    assert [control.name for control in config.answered] == ["box"]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ('<RectangleLabels name="c" toName="i"/>', "no labels"),
        ('<RectangleLabels name="c" toName="i" value="$x"/>', "dynamic"),
        (
            f'<BrushLabels name="c" toName="i" choice="multiple">{LABELS}</BrushLabels>',
            "several labels",
        ),
        ('<Number name="c" toName="i" min="2" max="1"/>', "above its max"),
        ('<Rating name="c" toName="i" maxRating="many"/>', "stars"),
        ('<Rating name="c" toName="i" maxRating="0"/>', "stars"),
        ('<Taxonomy name="c" toName="i"/>', "no choices"),
        ('<Taxonomy name="c" toName="i" apiUrl="http://x"/>', "dynamic"),
        ('<Taxonomy name="c" toName="i" labeling="true"><Choice value="a"/></Taxonomy>', "regions"),
        ('<Number name="c" toName="i" perItem="true"/>', "perItem"),
        ('<Number toName="i"/>', "no name"),
        ('<Number name="c" toName="j"/>', "no <Image>"),
        ('<TextArea name="c" toName="i"/>', "not answered yet"),
        ('<VectorLabels name="c" toName="i"><Label value="a"/></VectorLabels>', "not answered"),
    ],
)
def test_what_is_not_understood_is_named(tags: str, reason: str) -> None:
    config = parse_controls(f"<View>{IMAGE}{tags}</View>")
    assert config.understood == ()
    [left] = config.unsupported
    assert reason in left.reason


def test_deep_and_wide_hostile_trees_cost_nothing() -> None:
    deep = '<Choice value="a">' * 40_000 + "</Choice>" * 40_000
    [left] = parse_controls(
        f'<View>{IMAGE}<Taxonomy name="t" toName="i">{deep}</Taxonomy></View>'
    ).unsupported
    assert "deep" in left.reason
    hidden = '<View visibleWhen="choice-selected">' * 20_000
    number = '<Number name="n" toName="i"/>'
    [left] = parse_controls(f"<View>{IMAGE}{hidden}{number}{'</View>' * 20_001}").unsupported
    assert "conditions" in left.reason


def test_a_head_joins_in_one_place() -> None:
    text = f"""<View>{IMAGE}<Rating name="r" toName="i"/>
    <Choices name="c" toName="i"><Choice value="a"/><Choice value="b"/></Choices></View>"""
    others = {kind: HEADS[kind] for kind in HEADS if kind is not RatingControl}
    without = parse_controls(text, heads=others)
    assert [control.name for control in without.answered] == ["c"]
    assert [(tag.tag, tag.name) for tag in without.unsupported] == [("Rating", "r")]
    joined = parse_controls(text, heads={**others, RatingControl: lambda control: ""})
    assert [control.name for control in joined.answered] == ["r", "c"]
    assert [control.name for control in joined.controls] == ["c"]
    assert joined.unsupported == ()
    assert joined.digest != without.digest
    refused = parse_controls(text, heads={**HEADS, RatingControl: lambda control: "too few"})
    assert refused.unsupported[0].reason == "too few"


def test_several_images_are_told_apart() -> None:
    config = parse_controls(
        '<View><Image name="before" value="$noisy"/><Image name="after" value="$clean"/>'
        '<Image name="list" valueList="$all"/><Rating name="r" toName="after"/></View>'
    )
    assert config.images == (ImageTag("before", "noisy"), ImageTag("after", "clean"))
    assert config.understood[0].image_field == "clean"


TREE = f"""<View>{IMAGE}
<Choices name="t01" toName="i"><Choice value="Smooth" alias="smooth"/><Choice value="Disc"/>
<Choice value="Star"/></Choices>
<View visibleWhen="choice-selected" whenTagName="t01" whenChoiceValue="Disc">
  <Choices name="t02" toName="i"><Choice value="edge-on"/><Choice value="no"/></Choices>
  <Choices name="t03" toName="i" visibleWhen="choice-selected" whenTagName="t02"
           whenChoiceValue="no"><Choice value="bar"/><Choice value="none"/></Choices></View>
<Choices name="t07" toName="i" visibleWhen="choice-selected" whenTagName="t01"
         whenChoiceValue="Smooth"><Choice value="round"/><Choice value="cigar"/></Choices>
<Choices name="t06" toName="i" visibleWhen="choice-unselected" whenTagName="t01"
         whenChoiceValue="Star"><Choice value="odd"/><Choice value="usual"/></Choices></View>"""


@pytest.mark.parametrize(
    ("chosen", "asked"),
    [
        ({}, ["t01", "t06"]),
        ({"t01": ["smooth"]}, ["t01", "t07", "t06"]),
        ({"t01": ["Star"]}, ["t01"]),
        ({"t01": ["Disc"]}, ["t01", "t02", "t06"]),
        ({"t01": ["Disc"], "t02": ["no"]}, ["t01", "t02", "t03", "t06"]),
        # An answer to a question that is hidden by now leads nowhere.
        ({"t01": ["smooth"], "t02": ["no"]}, ["t01", "t07", "t06"]),
    ],
)
def test_the_tree_asks_what_the_editor_shows(
    chosen: dict[str, list[str]], asked: list[str]
) -> None:
    config = parse_controls(TREE)
    assert shown(config.understood, chosen) == asked
    assert [control.conditional for control in config.controls] == [False, True, True, True, True]
    third = config.find("t03")
    assert third is not None
    assert third.conditions == (
        Condition("choice-selected", "t01", ("Disc",)),
        Condition("choice-selected", "t02", ("no",)),
    )


def test_conditions_that_go_round_in_a_circle_end() -> None:
    config = parse_controls(
        f"""<View>{IMAGE}
        <Choices name="a" toName="i" visibleWhen="choice-selected" whenTagName="b">
        <Choice value="1"/><Choice value="2"/></Choices>
        <Choices name="b" toName="i" visibleWhen="choice-selected" whenTagName="a">
        <Choice value="1"/><Choice value="2"/></Choices></View>"""
    )
    assert shown(config.understood, {"a": ["1"], "b": ["1"]}) == []


def test_the_digest_follows_answered_controls_only() -> None:
    heads = {kind: HEADS[kind] for kind in HEADS if kind is not RatingControl}
    text = f'<View>{IMAGE}<Number name="n" toName="i" max="3"/><Rating name="r" toName="i"/></View>'
    digest = parse_controls(text, heads=heads).digest
    assert parse_controls(text.replace('"3"', '"4"'), heads=heads).digest != digest
    assert (
        parse_controls(text.replace("<Rating ", '<Rating maxRating="9" '), heads).digest == digest
    )
    changed = TREE.replace('whenChoiceValue="no"', 'whenChoiceValue="edge-on"')
    assert parse_controls(changed).digest != parse_controls(TREE).digest


WORDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=("Cc", "Cf", "Zs")),
    min_size=1,
).filter(lambda word: not set(word) & set(',$"<>&'))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["Rectangle", "Ellipse", "KeyPoint", "Polygon", "Brush", "Bitmask"]),
    st.lists(WORDS, min_size=1, max_size=4, unique=True),
)
def test_label_studios_own_reading_agrees(tag: str, labels: list[str]) -> None:
    from label_studio_sdk.label_interface import LabelInterface

    inside = "".join(f"<Label value={quoteattr(label)}/>" for label in labels)
    text = f'<View>{IMAGE}<{tag}Labels name="c" toName="i">{inside}</{tag}Labels></View>'
    [ours], [theirs] = parse_controls(text).understood, list(LabelInterface(text).controls)
    assert isinstance(ours, RegionControl)
    assert list(ours.labels) == list(theirs.labels)
    assert ours.type == theirs.tag.lower()
