"""Labelling configurations: what is read, what is left alone and why, what is refused."""

from __future__ import annotations

import contextlib
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_backend.errors import LabelConfigError
from ml_backend.labelstudio.config import ChoicesControl, parse_controls

MORPHOLOGY = """
<View>
  <Image name="img" value="$image"/>
  <Choices name="shape" toName="img">
    <Choice value="Elliptical"/><Choice value="Spiral galaxy" alias="Spiral"/>
  </Choices>
</View>"""


def test_a_single_choice_is_read() -> None:
    config = parse_controls(MORPHOLOGY)
    assert config.controls == (
        ChoicesControl(
            name="shape",
            to_name="img",
            image_field="image",
            labels=("Elliptical", "Spiral"),
            multiple=False,
            texts=("Elliptical", "Spiral galaxy"),
        ),
    )
    assert config.unsupported == ()
    assert config.control("shape") is config.controls[0]
    assert config.control("other") is None


def test_several_controls_on_several_images() -> None:
    config = parse_controls(
        """<View><View><Image name="a" value="$one"/><Image name="b" value="$two words"/></View>
        <Choices name="x" toName="b" choice="multiple"><View><Choice value="Bar"/></View></Choices>
        <Choices name="y" toName="a" choice="single-radio">
          <Choice value="1"/><Choice value="2"/></Choices></View>"""
    )
    assert [(c.name, c.image_field, c.multiple) for c in config.controls] == [
        ("x", "two words", True),
        ("y", "one", False),
    ]


def test_conditional_controls_are_marked() -> None:
    config = parse_controls(
        """<View><Image name="i" value="$i"/>
        <Choices name="a" toName="i"><Choice value="1"/><Choice value="2"/></Choices>
        <View visibleWhen="choice-selected" whenTagName="a" whenChoiceValue="1">
          <Choices name="b" toName="i" choice="multiple"><Choice value="3"/></Choices></View>
        </View>"""
    )
    assert [control.conditional for control in config.controls] == [False, True]


IMAGE = '<Image name="i" value="$i"/>'
TWO = '<Choice value="a"/><Choice value="b"/>'


@pytest.mark.parametrize(
    ("inside", "tag", "reason"),
    [
        (f'{IMAGE}<Choices name="c" toName="i" value="$options"/>', "Choices", "dynamic"),
        (
            f'<Text name="i" value="$t"/><Choices name="c" toName="i">{TWO}</Choices>',
            "Choices",
            "no <Image>",
        ),
        (f'{IMAGE}<Choices name="c" toName="nowhere">{TWO}</Choices>', "Choices", "no <Image>"),
        (f'{IMAGE}<Choices name="c" toName="i,j">{TWO}</Choices>', "Choices", "several tags"),
        (
            f'{IMAGE}<Choices name="c" toName="i" perRegion="true">{TWO}</Choices>',
            "Choices",
            "perRegion",
        ),
        (
            f'{IMAGE}<Choices name="c" toName="i" perItem="true">{TWO}</Choices>',
            "Choices",
            "perItem",
        ),
        (
            f'{IMAGE}<Choices name="c" toName="i" choice="some">{TWO}</Choices>',
            "Choices",
            "neither",
        ),
        (f'{IMAGE}<Choices toName="i">{TWO}</Choices>', "Choices", "no name"),
        (f'{IMAGE}<Choices name="c" toName="i"/>', "Choices", "no choices"),
        (
            f'{IMAGE}<Choices name="c" toName="i"><Choice value="a"/></Choices>',
            "Choices",
            "fewer than two",
        ),
        (
            f'{IMAGE}<Choices name="c" toName="i"><Choice value="a">{TWO}</Choice></Choices>',
            "Choices",
            "nested",
        ),
        (
            f'<Image name="i" value="https://x/$i"/><Choices name="c" toName="i">{TWO}</Choices>',
            "Choices",
            "one field",
        ),
        (
            f'<Image name="i" valueList="$i"/><Choices name="c" toName="i">{TWO}</Choices>',
            "Choices",
            "list of images",
        ),
        (
            f'{IMAGE}<RectangleLabels name="c" toName="i" smartOnly="true"><Label value="a"/>'
            "</RectangleLabels>",
            "RectangleLabels",
            "smartOnly",
        ),
        (f'{IMAGE}<Rating name="c" toName="i" perRegion="true"/>', "Rating", "each region"),
        (f'{IMAGE}<TextArea name="c" toName="i"/>', "TextArea", "not answered yet"),
    ],
)
def test_what_cannot_be_answered_is_named_with_its_reason(
    inside: str, tag: str, reason: str
) -> None:
    config = parse_controls(f"<View>{inside}</View>")
    assert config.controls == ()
    assert [item.tag for item in config.unsupported] == [tag]
    assert reason in config.unsupported[0].reason


def test_two_controls_of_one_name_are_both_left_alone() -> None:
    twice = f'<Choices name="c" toName="i">{TWO}</Choices>' * 2
    config = parse_controls(f"<View>{IMAGE}{twice}</View>")
    assert config.controls == ()
    assert len(config.unsupported) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("<View>", "well-formed"),
        ("plain text", "well-formed"),
        ("<View>\x00</View>", "well-formed"),
        ("<View>\ud800</View>", "well-formed"),
        ("<View>&unknown;</View>", "well-formed"),
        ('<!DOCTYPE View [<!ENTITY a "b">]><View>&a;</View>', "DOCTYPE"),
        ('<!DOCTYPE View SYSTEM "file:///etc/passwd"><View/>', "DOCTYPE"),
        ("<View>" + " " * 2_000_001 + "</View>", "characters"),
    ],
)
def test_hostile_or_broken_text_is_refused(text: str, said: str) -> None:
    with pytest.raises(LabelConfigError, match=said):
        parse_controls(text)


def test_deep_nesting_is_read() -> None:
    deep = "<View>" * 50_000 + MORPHOLOGY + "</View>" * 50_000
    assert len(parse_controls(deep).controls) == 1


def test_a_comment_may_mention_a_doctype() -> None:
    commented = MORPHOLOGY.replace("<View>", "<View><!-- no <!DOCTYPE> here -->")
    assert parse_controls(commented).digest == parse_controls(MORPHOLOGY).digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('value="Elliptical"', 'value="Smooth"'),
        ('alias="Spiral"', 'alias="spiral"'),
        ('<Choices name="shape"', '<Choices visibleWhen="region-selected" name="shape"'),
        ('<Choice value="Elliptical"/>', '<Choice value="Elliptical"/><Choice value="Merger"/>'),
        ('name="shape"', 'name="form"'),
        ('value="$image"', 'value="$picture"'),
        ('toName="img"', 'toName="img" choice="multiple"'),
    ],
)
def test_the_digest_follows_controls_and_labels(old: str, new: str) -> None:
    assert old in MORPHOLOGY
    changed = parse_controls(MORPHOLOGY.replace(old, new))
    assert changed.digest != parse_controls(MORPHOLOGY).digest


def test_the_digest_does_not_follow_the_layout() -> None:
    changed = MORPHOLOGY.replace(
        "<View>", '<View className="x"><Header value="Look!"/>', 1
    ).replace(
        '<Choice value="Elliptical"/>', '<Choice value="Elliptical" hotkey="1" hint="round"/>'
    )
    assert changed != MORPHOLOGY
    assert parse_controls(changed).digest == parse_controls(MORPHOLOGY).digest


# Everything that XML allows in an attribute; Label Studio itself gives "$" a meaning.
TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff$"), min_size=1
).filter(lambda text: text.strip() != "")
NAMES = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x24F, exclude_categories=("Cc", "Cf", "Zs")),
    min_size=1,
).filter(lambda name: not set(name) & set(',$"<>&'))


@st.composite
def configurations(draw: st.DrawFn) -> tuple[str, list[tuple[str, str, list[str], bool]]]:
    """A labelling configuration, and what it says: control, field, labels, multiple."""
    names = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    field = draw(NAMES)
    image, *controls = names
    parts = [f"<Image name={quoteattr(image)} value={quoteattr('$' + field)}/>"]
    expected = []
    for name in controls:
        labels = draw(st.lists(TEXT, min_size=2, max_size=5, unique=True))
        multiple = draw(st.booleans())
        choices = "".join(
            f"<Choice value={quoteattr(label)}/>"
            if draw(st.booleans())
            else f'<Choice value="shown {index}" alias={quoteattr(label)}/>'
            for index, label in enumerate(labels)
        )
        kind = ' choice="multiple"' if multiple else ""
        tag = f"<Choices name={quoteattr(name)} toName={quoteattr(image)}{kind}>{choices}</Choices>"
        parts.append(f"<View>{tag}</View>" if draw(st.booleans()) else tag)
        expected.append((name, field, labels, multiple))
    return f"<View>{''.join(parts)}</View>", expected


@settings(max_examples=60, deadline=None)
@given(configurations())
def test_any_names_and_labels_are_read_as_written(
    case: tuple[str, list[tuple[str, str, list[str], bool]]],
) -> None:
    text, expected = case
    config = parse_controls(text)
    assert [
        (control.name, control.image_field, list(control.labels), control.multiple)
        for control in config.controls
    ] == expected


@settings(max_examples=30, deadline=None)
@given(configurations())
def test_label_studios_own_reading_agrees(
    case: tuple[str, list[tuple[str, str, list[str], bool]]],
) -> None:
    from label_studio_sdk.label_interface import LabelInterface

    text, _ = case
    theirs = {
        control.name: (control.to_name, list(control.labels), control.attr.get("choice"))
        for control in LabelInterface(text).controls
    }
    for control in parse_controls(text).controls:
        to_name, labels, kind = theirs.pop(control.name)
        assert to_name == [control.to_name]
        assert labels == list(control.labels)
        assert (kind == "multiple") is control.multiple
    assert theirs == {}


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(LabelConfigError):
        parse_controls(text)
