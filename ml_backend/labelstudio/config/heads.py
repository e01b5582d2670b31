"""Which controls have a head. All others are named and left alone, though they are understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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

Objection = Callable[[Any], str]


def _about_image(control: Control) -> str:
    if control.per_region:
        return "it asks about each region (perRegion), not about the image"
    return ""


def _marks(control: RegionControl) -> str:
    if control.prompt_only:
        return "it asks the backend for an object (smartOnly), so there is nothing to learn from it"
    return _about_image(control)


HEADS: dict[type[Control], Objection] = {
    ChoicesControl: _about_image,
    TaxonomyControl: _about_image,
    RatingControl: _about_image,
    NumberControl: _about_image,
    BoxControl: _marks,
    EllipseControl: _marks,
    PointControl: _marks,
    PolygonControl: _marks,
    BrushControl: _marks,
    BitmaskControl: _marks,
}
"""For each type of control that a head answers: why it does not answer this one, "" if it does.

A new head joins by a line here, and one in `ml_backend.loop.plans`; from then on votes on its
controls are kept.
"""


def objection(control: Control, heads: Mapping[type[Control], Objection]) -> str:
    """Return why no head answers a control, "" if one does."""
    for kind, object_to in heads.items():
        if isinstance(control, kind):
            return object_to(control)
    about = "answers about regions" if control.per_region else "it"
    return f"it is understood, but not answered yet, since no head learns from {about}"
