"""Interactive mode: a person draws a box or a point, and gets the object under it at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog

from ml_backend.labelstudio.config import (
    BitmaskControl,
    BoxControl,
    BrushControl,
    EllipseControl,
    LabelConfig,
    PolygonControl,
    RegionControl,
)
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.reading import read_answers
from ml_backend.labelstudio.typed import Item, TypedAnswer
from ml_backend.labelstudio.writing import write_answers
from models.answers import Box, Ellipse, Mask, Point, Polygon, Shape
from models.heads.base import Head
from models.heads.ellipse import EllipseHead
from models.heads.masks import MaskHead
from models.heads.prompted_masks import mask_under
from models.outlines import outlines, simplified
from models.scenes import Scene
from models.segmentation import mask_to_box, mask_to_ellipse

_TOLERANCE = 0.75
"""Pixels by which an outline may leave the mask, so that people can move its corners."""

_log = structlog.get_logger(__name__)

ANSWERED_WITH = (BrushControl, BitmaskControl, PolygonControl, EllipseControl, BoxControl)
"""What an object is given back as, best first."""


@dataclass(frozen=True)
class Prompt:
    """What a person drew to ask with.

    Attributes
    ----------
    control : str
        The tag it was drawn with.
    region : str
        Label Studio's id of it.
    shape : Box, Ellipse or Point
        In pixels.
    frame : Frame
    """

    control: str
    region: str
    shape: Box | Ellipse | Point
    frame: Frame


def prompt_of(context: Mapping[str, Any] | None, config: LabelConfig) -> Prompt | None:
    """Return what was drawn last, None where the context holds nothing to ask with.

    The editor sends all that was drawn with one tag and label and is not yet accepted. A click
    with Alt ("not this", ``is_positive`` false) asks for nothing. Nothing in the context makes this
    fail.
    """
    if not isinstance(context, Mapping):
        return None
    result = context.get("result")
    if not isinstance(result, list):
        return None
    drawn = [c for c in config.understood if isinstance(c, RegionControl)]
    for region in reversed(result[-50:]):
        if isinstance(region, Mapping) and region.get("is_positive") is False:
            continue
        for answer in read_answers({"result": [region]}, config, drawn).answers:
            for item in answer.items:
                if isinstance(item.value, Box | Ellipse | Point) and answer.frame is not None:
                    return Prompt(answer.control, item.region, item.value, answer.frame)
    return None


def answer_control(config: LabelConfig, prompt: Prompt) -> RegionControl | None:
    """Return the control that the object is given back in, None where there is none.

    One that has the label asked with goes before all others: in a configuration with many tags the
    label says what is wanted.
    """
    found = [
        control
        for kind in ANSWERED_WITH
        for control in config.understood
        if isinstance(control, kind)
        and control.name != prompt.control
        and not control.prompt_only
        and not control.per_region
    ]
    meant = (control for control in found if prompt.shape.label in control.labels)
    return next(meant, found[0] if found else None)


def object_under(
    config: LabelConfig, prompt: Prompt, scene: Scene, heads: Mapping[str, Head]
) -> list[dict[str, Any]]:
    """Return the regions that answer a prompt: those of one object, or none.

    Parameters
    ----------
    config : LabelConfig
    prompt : Prompt
    scene : Scene
        Of the image that it was drawn on.
    heads : mapping of plan to Head
        Of the published version; without one for the answer the object is found by its light.
    """
    control = answer_control(config, prompt)
    if control is None or scene.size != prompt.frame.size:
        return []
    box, point = _asked(prompt.shape)
    head, label = heads.get(control.name), _label(control, prompt.shape.label)
    try:
        if isinstance(head, EllipseHead):  # learned what its label means, e.g. half the light
            ellipse = head.at(scene, *_middle(prompt.shape), label)
            return _written(config, prompt, control, [ellipse])
        mask = mask_under(scene, box, point, head if isinstance(head, MaskHead) else None)
    except ValueError as error:
        _log.info("no_object", reason=str(error))
        return []
    if not mask.pixels.any():
        return []
    return _written(config, prompt, control, _shapes(control, mask, label))


def _written(
    config: LabelConfig, prompt: Prompt, control: RegionControl, shapes: Sequence[Shape]
) -> list[dict[str, Any]]:
    items = tuple(
        Item(shape, region=f"{prompt.region or 'prompt'}-galaxyloop-{number}")
        for number, shape in enumerate(shapes)
    )
    return write_answers(config, [TypedAnswer(control.name, items, prompt.frame)]).result


def _asked(shape: Box | Ellipse | Point) -> tuple[Box | None, tuple[float, float] | None]:
    if isinstance(shape, Point):
        return None, (shape.x, shape.y)
    if isinstance(shape, Box):
        left, top, right, bottom = shape.bounds
    else:
        reach = shape.major
        left, right = shape.x - reach, shape.x + reach
        top, bottom = shape.y - reach, shape.y + reach
    return Box(left, top, max(right - left, 1.0), max(bottom - top, 1.0)), None


def _middle(shape: Box | Ellipse | Point) -> tuple[float, float]:
    return shape.centre if isinstance(shape, Box) else (shape.x, shape.y)


def _label(control: RegionControl, wanted: str) -> str:
    """Return the prompt's label where the control has it, else the control's first."""
    if not control.labels:
        return ""
    return wanted if wanted in control.labels else control.labels[0]


def _shapes(control: RegionControl, mask: Mask, label: str) -> list[Shape]:
    if isinstance(control, EllipseControl):
        return [replace(mask_to_ellipse(mask.pixels), label=label, score=mask.score)]
    if isinstance(control, BoxControl):
        return [replace(mask_to_box(mask.pixels), label=label, score=mask.score)]
    if isinstance(control, PolygonControl):
        return [
            Polygon.of(
                simplified(outlines(mask.pixels)[0], _TOLERANCE), label=label, score=mask.score
            )
        ]
    return [Mask(mask.pixels, label=label, score=mask.score)]
