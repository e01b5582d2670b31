"""Control tags, one reader per family: an element of the XML -> a control."""

from __future__ import annotations

import math
from collections.abc import Callable
from xml.etree.ElementTree import Element

from ml_backend.labelstudio.config.controls import (
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
from ml_backend.labelstudio.config.xml import attribute, is_true, tag_of

MAX_DEPTH = 50
MAX_STARS = 1000


class Unsupported(Exception):
    """Says why a control is left alone."""


def image_field(to_name: str, images: dict[str, Element]) -> str:
    """Return the key of a task's data that the image of that name shows."""
    if "," in to_name:
        raise Unsupported(f'it is about several tags at once (toName="{to_name}")')
    image = images.get(to_name)
    if image is None:
        raise Unsupported(f'toName="{to_name}" names no <Image>')
    if attribute(image, "valuelist"):
        raise Unsupported(f'<Image name="{to_name}"> shows a list of images (valueList)')
    value = attribute(image, "value")
    field = value[1:]
    if not value.startswith("$") or not field.strip() or "$" in field:
        raise Unsupported(
            f'<Image name="{to_name}"> does not take one field of the task (value="{value}"; '
            'value="$image" would)'
        )
    return field


def _choices(element: Element) -> ChoicesControl:
    kind = attribute(element, "choice") or "single"
    if kind not in ("single", "single-radio", "multiple"):
        raise Unsupported(f'choice="{kind}" is neither single nor multiple')
    labels, texts = _labels(element, "choice")
    if kind != "multiple" and len(labels) < 2:
        raise Unsupported("it offers fewer than two choices, so there is nothing to decide")
    return ChoicesControl(
        *_place(element),
        labels=labels,
        multiple=kind == "multiple",
        texts=texts,
        per_region=is_true(element, "perregion"),
    )


def _taxonomy(element: Element) -> TaxonomyControl:
    if attribute(element, "value").startswith("$") or attribute(element, "apiurl"):
        raise Unsupported("its items come from each task's data or from an address (dynamic)")
    if is_true(element, "labeling"):
        raise Unsupported('it labels regions (labeling="true")')
    paths: dict[tuple[str, ...], None] = {}
    stack: list[tuple[Element, tuple[str, ...]]] = [(element, ())]
    while stack:
        parent, path = stack.pop()
        if len(path) > MAX_DEPTH:
            raise Unsupported(f"it is nested more than {MAX_DEPTH} deep")
        if path:
            paths.setdefault(path)
        children = []
        for child in parent:
            name = attribute(child, "alias") or attribute(child, "value")
            if tag_of(child) == "choice" and name:
                children.append((child, (*path, name)))
        stack.extend(reversed(children))
    if not paths:
        raise Unsupported("it offers no choices")
    return TaxonomyControl(
        *_place(element),
        paths=tuple(paths),
        leaves_only=is_true(element, "leafsonly"),
        per_region=is_true(element, "perregion"),
    )


def _rating(element: Element) -> RatingControl:
    text = attribute(element, "maxrating") or "5"
    maximum = _finite(text)
    if maximum is None or maximum != int(maximum) or not 1 <= maximum <= MAX_STARS:
        raise Unsupported(f'maxRating="{text}" is no number of stars')
    return RatingControl(
        *_place(element), maximum=int(maximum), per_region=is_true(element, "perregion")
    )


def _number(element: Element) -> NumberControl:
    minimum, maximum = (_finite(attribute(element, name)) for name in ("min", "max"))
    if minimum is not None and maximum is not None and minimum > maximum:
        raise Unsupported(f"its min {minimum:g} is above its max {maximum:g}")
    step = _finite(attribute(element, "step"))
    return NumberControl(
        *_place(element),
        minimum=minimum,
        maximum=maximum,
        step=step if step is not None and step > 0 else None,
        per_region=is_true(element, "perregion"),
    )


def _regions(made: type[RegionControl]) -> Callable[[Element], RegionControl]:
    def read(element: Element) -> RegionControl:
        labels: tuple[str, ...] = ()
        texts: tuple[str, ...] = ()
        if tag_of(element).endswith("labels"):
            labels, texts = _labels(element, "label")
            if attribute(element, "choice") == "multiple":
                raise Unsupported('a region may have several labels (choice="multiple")')
        prompt = is_true(element, "smartonly")
        return made(
            *_place(element),
            labels=labels,
            texts=texts,
            # As Label Studio has it: with Auto-Annotation on, such tags ask unless told not to.
            smart=prompt or attribute(element, "smart").lower() != "false",
            prompt_only=prompt,
        )

    return read


def _place(element: Element) -> tuple[str, str, str]:
    """Name, name of the image, and its field, which the caller fills in."""
    return attribute(element, "name"), attribute(element, "toname"), ""


def _labels(element: Element, tag: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels (alias, else value) and what people read."""
    if attribute(element, "value").startswith("$"):
        raise Unsupported(f"its {tag}s come from each task's data (dynamic choices)")
    found: dict[str, str] = {}
    for choice in element.iter():
        if tag_of(choice) != tag:
            continue
        if any(tag_of(child) == tag for child in choice):
            raise Unsupported(f"its {tag}s are nested")
        text = attribute(choice, "value")
        label = attribute(choice, "alias") or text
        if label.startswith("$"):
            raise Unsupported(f"a {tag}'s text comes from each task's data")
        if label:
            found.setdefault(label, text or label)
    if not found:
        raise Unsupported(f"it offers no {tag}s")
    return tuple(found), tuple(found.values())


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


READERS: dict[str, Callable[[Element], Control]] = {
    "choices": _choices,
    "taxonomy": _taxonomy,
    "rating": _rating,
    "number": _number,
}
for _kind in (
    BoxControl,
    EllipseControl,
    PointControl,
    PolygonControl,
    BrushControl,
    BitmaskControl,
):
    READERS[_kind.kind] = READERS[_kind.kind + "labels"] = _regions(_kind)
