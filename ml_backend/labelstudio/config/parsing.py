"""Labelling configurations: their tags, told apart."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple
from xml.etree.ElementTree import Element

from ml_backend.labelstudio.config.conditions import KINDS, Condition
from ml_backend.labelstudio.config.controls import ChoicesControl, Control, TaxonomyControl
from ml_backend.labelstudio.config.heads import HEADS, Objection, objection
from ml_backend.labelstudio.config.tags import READERS, Unsupported, image_field
from ml_backend.labelstudio.config.xml import attribute, parse_xml, tag_of

MAX_CONDITIONS = 50


@dataclass(frozen=True)
class UnsupportedTag:
    """A control that is left alone: its tag, its name ("" if it has none), and why."""

    tag: str
    name: str
    reason: str


@dataclass(frozen=True)
class ImageTag:
    """An ``<Image>``: its name, and the key of a task's data that holds its address."""

    name: str
    field: str


@dataclass(frozen=True)
class LabelConfig:
    """What a labelling configuration means to us.

    Attributes
    ----------
    controls : tuple of ChoicesControl
        The choices that a head answers, in the order of the configuration; may be empty.
    unsupported : tuple of UnsupportedTag
        Controls that are left alone, with the reason: not understood, or without a head.
    digest : str
        Hex digest that changes when the answered controls or their labels change, and not with
        layout, hints, hotkeys or controls that are left alone.
    answered : tuple of Control
        All controls that have a head; `controls` and other types.
    understood : tuple of Control
        All controls that can be read and written, with or without a head.
    images : tuple of ImageTag
        The images that show one field of the task.
    """

    controls: tuple[ChoicesControl, ...]
    unsupported: tuple[UnsupportedTag, ...]
    digest: str
    answered: tuple[Control, ...] = ()
    understood: tuple[Control, ...] = ()
    images: tuple[ImageTag, ...] = ()

    def control(self, name: str) -> ChoicesControl | None:
        """Return the answered choices of that name, None if there are none."""
        return next((control for control in self.controls if control.name == name), None)

    def find(self, name: str) -> Control | None:
        """Return the understood control of that name, None if there is none."""
        return next((control for control in self.understood if control.name == name), None)


def parse_controls(
    label_config: str, heads: Mapping[type[Control], Objection] | None = None
) -> LabelConfig:
    """Read a labelling configuration.

    Parameters
    ----------
    label_config : str
        XML as Label Studio keeps it.
    heads : mapping, optional
        Which controls have a head; by default :data:`HEADS`.

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
    root = parse_xml(label_config)
    images = {
        name: element
        for element in root.iter()
        if tag_of(element) == "image" and (name := attribute(element, "name"))
    }
    names = Counter(
        attribute(element, "name") for element in root.iter() if attribute(element, "toname")
    )
    read: list[Control | UnsupportedTag] = []
    tags: dict[str, str] = {}
    hidden = _conditions(root)
    for element in root.iter():
        if not attribute(element, "toname") and tag_of(element) != "choices":
            continue
        name = attribute(element, "name")
        try:
            if name and names[name] > 1:
                raise Unsupported("several controls have this name; give each its own")
            read.append(_control(element, images, hidden.get(element)))
            tags[name] = str(element.tag)
        except Unsupported as error:
            read.append(UnsupportedTag(str(element.tag), name, str(error)))
    understood = _resolved([item for item in read if isinstance(item, Control)])
    unsupported: list[UnsupportedTag] = []
    answered: list[Control] = []
    for item in read:
        if isinstance(item, UnsupportedTag):
            unsupported.append(item)
        elif reason := objection(item, HEADS if heads is None else heads):
            unsupported.append(UnsupportedTag(tags[item.name], item.name, reason))
        else:
            answered.append(understood[item.name])
    return LabelConfig(
        controls=tuple(c for c in answered if isinstance(c, ChoicesControl) and not c.per_region),
        unsupported=tuple(unsupported),
        digest=_digest(answered),
        answered=tuple(answered),
        understood=tuple(understood.values()),
        images=_shown_images(images),
    )


class _Chain(NamedTuple):
    """A condition and those around it; shared, since deep nesting would make lists too long."""

    condition: Condition | None
    around: _Chain | None
    depth: int


def _control(element: Element, images: dict[str, Element], chain: _Chain | None) -> Control:
    reader = READERS.get(tag_of(element))
    if reader is None:
        raise Unsupported(
            f"<{element.tag}> is not answered yet; <Choices>, <Taxonomy>, <Rating>, <Number> and "
            "the tags of boxes, ellipses, points, polygons and masks are understood"
        )
    if not attribute(element, "name"):
        raise Unsupported("it has no name")
    if attribute(element, "peritem").lower() == "true":
        raise Unsupported("it asks about each item (perItem), not about the image")
    control = reader(element)
    if chain is not None and chain.depth > MAX_CONDITIONS:
        raise Unsupported(f"it stands under more than {MAX_CONDITIONS} conditions (visibleWhen)")
    conditions = _listed(chain)
    if control.per_region and (label := attribute(element, "whenlabelvalue")):
        conditions = (*conditions, Condition("region-selected", "", (label,)))
    control = replace(
        control,
        image_field=image_field(control.to_name, images),
        conditions=tuple(dict.fromkeys(conditions)),
    )
    if isinstance(control, ChoicesControl):
        control = replace(control, conditional=chain is not None)
    return control


def _conditions(root: Element) -> dict[Element, _Chain]:
    """The conditions of all elements that stand under, or are, one with visibleWhen."""
    found: dict[Element, _Chain] = {}
    stack: list[tuple[Element, _Chain | None]] = [(root, None)]
    while stack:
        element, chain = stack.pop()
        if attribute(element, "visiblewhen"):
            chain = _Chain(_condition(element), chain, chain.depth + 1 if chain else 1)
        if chain is not None:
            found[element] = chain
        stack.extend((child, chain) for child in element)
    return found


def _condition(element: Element) -> Condition | None:
    kind = attribute(element, "visiblewhen")
    if kind not in KINDS:  # the editor shows it always
        return None
    about = "whenlabelvalue" if kind == "region-selected" else "whenchoicevalue"
    values = attribute(element, about)
    # Label Studio splits at commas and strips nothing.
    labels = tuple(dict.fromkeys(values.split(","))) if values else ()
    return Condition(kind, attribute(element, "whentagname"), labels)


def _listed(chain: _Chain | None) -> tuple[Condition, ...]:
    found: list[Condition] = []
    while chain is not None:
        if chain.condition is not None:
            found.append(chain.condition)
        chain = chain.around
    return tuple(reversed(found))


def _resolved(controls: list[Control]) -> dict[str, Control]:
    """Controls by name; conditions that name a choice's text hold its alias instead."""
    aliases: dict[str, dict[str, str]] = {}
    for control in controls:
        if isinstance(control, ChoicesControl):
            aliases[control.name] = dict(zip(control.texts, control.labels, strict=True))
            aliases[control.name] |= {label: label for label in control.labels}
        elif isinstance(control, TaxonomyControl):
            aliases[control.name] = {path[-1]: path[-1] for path in control.paths}
    found: dict[str, Control] = {}
    for control in controls:
        conditions = tuple(
            replace(
                condition,
                labels=tuple(
                    aliases.get(condition.control, {}).get(label, label)
                    for label in condition.labels
                ),
            )
            for condition in control.conditions
        )
        found[control.name] = replace(control, conditions=conditions)
    return found


def _shown_images(images: dict[str, Element]) -> tuple[ImageTag, ...]:
    found = []
    for name in images:
        try:
            found.append(ImageTag(name, image_field(name, images)))
        except Unsupported:
            continue
    return tuple(found)


def _digest(controls: list[Control]) -> str:
    content: list[object] = []
    for control in controls:
        if isinstance(control, ChoicesControl):
            told: list[object] = [
                control.name,
                control.to_name,
                control.image_field,
                control.labels,
                control.multiple,
                control.texts,
                control.conditional,
            ]
            # Appended only where there is something, so that older digests stay as they are.
            more = (control.per_region, [asdict(item) for item in control.conditions])
            content.append([*told, *more] if any(more) else told)
        else:
            content.append([control.type, asdict(control)])
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
