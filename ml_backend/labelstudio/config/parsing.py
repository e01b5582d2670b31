"""Labelling configurations (Label Studio's XML) -> the controls that we can answer."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ml_backend.errors import LabelConfigError

MAX_CHARACTERS = 2_000_000


@dataclass(frozen=True)
class ChoicesControl:
    """One ``<Choices>`` on an ``<Image>``.

    Attributes
    ----------
    name : str
        Name of the control, ``from_name`` in results.
    to_name : str
        Name of the image tag that it is about.
    image_field : str
        Key of a task's data that holds the image address.
    labels : tuple of str
        What results hold: a choice's ``alias`` where it has one, else its ``value``. In the order
        of the configuration, each once.
    multiple : bool
        Whether several labels may be ticked.
    texts : tuple of str
        What people read, one per label (``value``).
    conditional : bool
        Whether the control is shown only sometimes (``visibleWhen``, its own or of a tag around
        it), so that no answer means "not asked".
    """

    name: str
    to_name: str
    image_field: str
    labels: tuple[str, ...]
    multiple: bool
    texts: tuple[str, ...] = ()
    conditional: bool = False


@dataclass(frozen=True)
class UnsupportedTag:
    """A control that is left alone: its tag, its name ("" if it has none), and why."""

    tag: str
    name: str
    reason: str


@dataclass(frozen=True)
class LabelConfig:
    """What a labelling configuration means to us.

    Attributes
    ----------
    controls : tuple of ChoicesControl
        In the order of the configuration; may be empty.
    unsupported : tuple of UnsupportedTag
        Controls that are left alone, with the reason.
    digest : str
        Hex digest that changes when the controls or their labels change, and not with layout,
        hints, hotkeys or unsupported tags.
    """

    controls: tuple[ChoicesControl, ...]
    unsupported: tuple[UnsupportedTag, ...]
    digest: str

    def control(self, name: str) -> ChoicesControl | None:
        """Return the control of that name, None if there is none."""
        return next((control for control in self.controls if control.name == name), None)


def parse_controls(label_config: str) -> LabelConfig:
    """Read a labelling configuration.

    Parameters
    ----------
    label_config : str
        XML as Label Studio keeps it.

    Returns
    -------
    LabelConfig
        Controls that cannot be answered are named in `unsupported`; they are no error.

    Raises
    ------
    LabelConfigError
        The text is no XML, is too long, or declares a document type (entities are never
        expanded).
    """
    root = _parse_xml(label_config)
    images = {
        name: element
        for element in root.iter()
        if _tag(element) == "image" and (name := _attribute(element, "name"))
    }
    names = Counter(
        _attribute(element, "name") for element in root.iter() if _attribute(element, "toname")
    )
    conditional = _conditional(root)
    controls: list[ChoicesControl] = []
    unsupported: list[UnsupportedTag] = []
    for element in root.iter():
        if not _attribute(element, "toname") and _tag(element) != "choices":
            continue
        try:
            name = _attribute(element, "name")
            if name and names[name] > 1:
                raise _Unsupported("several controls have this name; give each its own")
            controls.append(_choices(element, images, element in conditional))
        except _Unsupported as error:
            unsupported.append(UnsupportedTag(element.tag, _attribute(element, "name"), str(error)))
    return LabelConfig(tuple(controls), tuple(unsupported), _digest(controls))


class _Unsupported(Exception):
    """Says why a control is left alone."""


def _choices(element: Element, images: dict[str, Element], conditional: bool) -> ChoicesControl:
    if _tag(element) != "choices":
        raise _Unsupported(f"<{element.tag}> is not answered yet; only <Choices> is")
    name = _attribute(element, "name")
    if not name:
        raise _Unsupported("it has no name")
    for attribute, meaning in (
        ("perregion", "it asks about each region (perRegion)"),
        ("peritem", "it asks about each item (perItem)"),
    ):
        if _attribute(element, attribute).lower() == "true":
            raise _Unsupported(f"{meaning}, not about the image")
    kind = _attribute(element, "choice") or "single"
    if kind not in ("single", "single-radio", "multiple"):
        raise _Unsupported(f'choice="{kind}" is neither single nor multiple')
    to_name = _attribute(element, "toname")
    labels, texts = _labels(element)
    if kind != "multiple" and len(labels) < 2:
        raise _Unsupported("it offers fewer than two choices, so there is nothing to decide")
    return ChoicesControl(
        name=name,
        to_name=to_name,
        image_field=_image_field(to_name, images),
        labels=labels,
        multiple=kind == "multiple",
        texts=texts,
        conditional=conditional,
    )


def _labels(element: Element) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if _attribute(element, "value").startswith("$"):
        raise _Unsupported("its choices come from each task's data (dynamic choices)")
    found: dict[str, str] = {}
    for choice in element.iter():
        if _tag(choice) != "choice":
            continue
        if any(_tag(child) == "choice" for child in choice):
            raise _Unsupported("its choices are nested")
        text = _attribute(choice, "value")
        label = _attribute(choice, "alias") or text
        if label.startswith("$"):
            raise _Unsupported("a choice's text comes from each task's data")
        if label:
            found.setdefault(label, text or label)
    if not found:
        raise _Unsupported("it offers no choices")
    return tuple(found), tuple(found.values())


def _image_field(to_name: str, images: dict[str, Element]) -> str:
    if "," in to_name:
        raise _Unsupported(f'it is about several tags at once (toName="{to_name}")')
    image = images.get(to_name)
    if image is None:
        raise _Unsupported(f'toName="{to_name}" names no <Image>')
    if _attribute(image, "valuelist"):
        raise _Unsupported(f'<Image name="{to_name}"> shows a list of images (valueList)')
    value = _attribute(image, "value")
    field = value[1:]
    if not value.startswith("$") or not field.strip() or "$" in field:
        raise _Unsupported(
            f'<Image name="{to_name}"> does not take one field of the task (value="{value}"; '
            'value="$image" would)'
        )
    return field


def _conditional(root: Element) -> set[Element]:
    """Elements that stand under, or are, one with visibleWhen."""
    found: set[Element] = set()
    stack = [(root, False)]
    while stack:
        element, hidden = stack.pop()
        hidden = hidden or bool(_attribute(element, "visiblewhen"))
        if hidden:
            found.add(element)
        stack.extend((child, hidden) for child in element)
    return found


def _digest(controls: list[ChoicesControl]) -> str:
    content = [
        [
            control.name,
            control.to_name,
            control.image_field,
            control.labels,
            control.multiple,
            control.texts,
            control.conditional,
        ]
        for control in controls
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _tag(element: Element) -> str:
    return str(element.tag).lower()


def _attribute(element: Element, name: str) -> str:
    """Value of an attribute, its name in any case as Label Studio reads it; "" if missing."""
    for key, value in element.attrib.items():
        if key.lower() == name:
            return value
    return ""


def _parse_xml(text: str) -> Element:
    if not isinstance(text, str) or not text.strip():
        raise LabelConfigError(
            "The labelling configuration is empty. Set one in Label Studio (Settings, Labeling "
            "Interface), e.g. one of labeling_configs/."
        )
    if len(text) > MAX_CHARACTERS:
        raise LabelConfigError(
            f"The labelling configuration has {len(text)} characters; at most {MAX_CHARACTERS} "
            "are read. Shorten it (inline styles and texts are the usual cause)."
        )
    builder = TreeBuilder()
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = lambda tag, attributes: builder.start(tag, attributes)
    parser.EndElementHandler = lambda tag: builder.end(tag)

    def refuse(*_: object) -> None:
        raise LabelConfigError(
            "The labelling configuration declares a document type (<!DOCTYPE>). Entities are not "
            "expanded, for safety; remove the declaration."
        )

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8"), True)
    except (expat.ExpatError, UnicodeEncodeError) as error:
        raise LabelConfigError(
            f"The labelling configuration is no well-formed XML: {error}. Correct it in Label "
            "Studio (Settings, Labeling Interface)."
        ) from None
    return builder.close()
