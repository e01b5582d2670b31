"""The XML of labelling configurations: parsed without entities, read as Label Studio reads it."""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ml_backend.errors import LabelConfigError

MAX_CHARACTERS = 2_000_000


def tag_of(element: Element) -> str:
    """Return the tag of an element in lower case."""
    return str(element.tag).lower()


def attribute(element: Element, name: str) -> str:
    """Value of an attribute, its name in any case as Label Studio reads it; "" if missing."""
    for key, value in element.attrib.items():
        if key.lower() == name:
            return value
    return ""


def is_true(element: Element, name: str) -> bool:
    """Tell whether an attribute says "true"."""
    return attribute(element, name).lower() == "true"


def parse_xml(text: str) -> Element:
    """Return the root of a labelling configuration.

    Raises
    ------
    LabelConfigError
        The text is no XML, is too long, or declares a document type (entities are never
        expanded).
    """
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
