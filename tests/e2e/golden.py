"""Golden answers: for any labelling configuration one that is easy to tell from all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml_backend.labelstudio.config import (
    BitmaskControl,
    BoxControl,
    BrushControl,
    ChoicesControl,
    Control,
    EllipseControl,
    LabelConfig,
    NumberControl,
    PointControl,
    PolygonControl,
    RatingControl,
    RegionControl,
    TaxonomyControl,
    shown,
)
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.typed import Item, TypedAnswer
from models.answers import Answer, Box, Ellipse, Labels, Mask, Number, Paths, Point, Polygon, Stars

WIDTH, HEIGHT = 120, 84
"""Of the picture: not square, and no divisor of anything, so that percentages do not come out."""
FRAME = Frame(WIDTH, HEIGHT)


@dataclass(frozen=True)
class Golden:
    """What is suggested for one task.

    Attributes
    ----------
    answers : tuple of TypedAnswer
        Of every control that the editor shows.
    hidden : tuple of str
        Controls that the answers lead away from.
    """

    answers: tuple[TypedAnswer, ...]
    hidden: tuple[str, ...]

    def regions(self, config: LabelConfig) -> list[Item]:
        """Return the items that are regions."""
        return [
            item
            for answer in self.answers
            if isinstance(config.find(answer.control), RegionControl)
            for item in answer.items
        ]


def golden(config: LabelConfig, picks: Mapping[str, str] | None = None) -> Golden:
    """Return answers to all controls of a configuration that are shown together.

    Parameters
    ----------
    config : LabelConfig
    picks : mapping, optional
        Labels to choose, by control; else the first one.
    """
    chosen: dict[str, tuple[str, ...]] = {}
    for control in config.understood:
        if isinstance(control, ChoicesControl) and not control.per_region:
            pick = (picks or {}).get(control.name, control.labels[0])
            both = (control.labels[0], control.labels[-1])
            chosen[control.name] = both if control.multiple else (pick,)
    seen = set(shown(config.understood, chosen))
    answers: list[TypedAnswer] = []
    first = ""
    for control in config.understood:
        if control.name not in seen or control.per_region:
            continue
        if isinstance(control, RegionControl):
            items = _regions(control)
            first = first or items[0].region
            answers.append(TypedAnswer(control.name, items, FRAME))
        else:
            value = _about_image(control, chosen)
            answers.append(TypedAnswer(control.name, (Item(value),)))
    for control in config.understood:
        if control.per_region and first and isinstance(control, ChoicesControl):
            about = Item(Labels((control.labels[-1],), score=0.75), region=first)
            answers.append(TypedAnswer(control.name, (about,)))
    hidden = tuple(c.name for c in config.understood if c.name not in seen and not c.per_region)
    return Golden(tuple(answers), hidden)


def blob(seed: int) -> NDArray[np.bool_]:
    """A mask with a hole, a ragged edge and a pixel in a corner, so that nothing hides a shift."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    away = np.hypot(rows - 40, columns - 60 - 3 * seed)
    pixels = (away < 22) & (away > 6)
    pixels &= np.random.default_rng(seed).random(pixels.shape) < 0.9
    pixels[0, 0] = pixels[HEIGHT - 1, WIDTH - 1] = True
    return np.asarray(pixels, np.bool_)


def _regions(control: RegionControl) -> tuple[Item, ...]:
    labels = control.labels or ("",)
    shapes: tuple[Answer, ...]
    first, last = labels[0], labels[-1]
    if isinstance(control, BoxControl):
        shapes = (
            Box(17, 11, 31, 23, label=first, score=0.9),
            Box(70.25, 30.5, 28, 13.75, 33, label=last, score=0.6),
        )
    elif isinstance(control, EllipseControl):
        shapes = (Ellipse(61, 43, 27, 11, 25, label=first, score=0.8),)
    elif isinstance(control, PointControl):
        shapes = (Point(13.5, 70.25, label=first, score=0.7), Point(100, 9, label=last, score=0.5))
    elif isinstance(control, PolygonControl):
        shapes = (Polygon(((20, 60), (50.5, 58), (44, 79.25)), label=first, score=0.7),)
    elif isinstance(control, BrushControl | BitmaskControl):
        made = [Mask(blob(0), label=first, score=0.9)]
        if last != first:
            made.append(Mask(blob(5), label=last, score=0.4))
        shapes = tuple(made)
    else:
        raise AssertionError(f"no golden answer for {control}")
    return tuple(Item(shape, region=f"{control.name}-{n}") for n, shape in enumerate(shapes))


def _about_image(control: Control, chosen: Mapping[str, tuple[str, ...]]) -> Answer:
    if isinstance(control, ChoicesControl):
        return Labels(chosen[control.name], score=0.85)
    if isinstance(control, TaxonomyControl):
        return Paths((control.leaves[-1],), score=0.5)
    if isinstance(control, RatingControl):
        return Stars(max(1, control.maximum - 1), score=0.5)
    if isinstance(control, NumberControl):
        low, high, step = control.minimum or 0.0, control.maximum or 100.0, control.step or 1.0
        return Number(round(low + step * round((high - low) / 3 / step), 6), score=0.5)
    raise AssertionError(f"no golden answer for {control}")
