"""Which controls have a head. All others are named and left alone, though they are understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ml_backend.labelstudio.config.controls import ChoicesControl, Control

Objection = Callable[[Any], str]


def _choices(control: ChoicesControl) -> str:
    if control.per_region:
        return "it asks about each region (perRegion), not about the image"
    return ""


HEADS: dict[type[Control], Objection] = {ChoicesControl: _choices}
"""For each type of control that a head answers: why it does not answer this one, "" if it does.

A new head joins by a line here; from then on votes on its controls are kept.
"""


def objection(control: Control, heads: Mapping[type[Control], Objection]) -> str:
    """Return why no head answers a control, "" if one does."""
    for kind, object_to in heads.items():
        if isinstance(control, kind):
            return object_to(control)
    about = "answers about regions" if control.per_region else "it"
    return f"it is understood, but not answered yet, since no head learns from {about}"
