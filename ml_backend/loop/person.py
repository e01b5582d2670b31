"""Persons: what the loop calls whoever voted."""

from __future__ import annotations


def person_of(annotator: int | str | None, annotation_id: int | str) -> str:
    """Return the name that the loop gives to who voted.

    Label Studio's users have numbers; people from outside bring their name; who has neither is
    told apart by the annotation.
    """
    if isinstance(annotator, str):
        return annotator
    return f"person {annotator}" if annotator else f"annotation {annotation_id}"
