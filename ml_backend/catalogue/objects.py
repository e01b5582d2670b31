"""Objects: what people and the model marked, measured in the file and on the sky."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ml_backend.catalogue.frames import Frames
from ml_backend.catalogue.fusing import fuse
from ml_backend.catalogue.said import Said
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.typed import TypedAnswer
from models.answers import Mask, Shape
from models.crowd.objects import Seen, real_objects
from models.picture_frame import PictureFrame
from models.sky_shapes import Measures, centre, measure

Source = Literal["people", "model"]
SOURCES: tuple[Source, ...] = ("people", "model")


@dataclass(frozen=True)
class MarkedObject:
    """One object on the picture of one galaxy.

    Attributes
    ----------
    row : int
        Of the results.
    control : str
    source : {"people", "model"}
    number : int
        Within the galaxy, control and source, from 1.
    shape : Shape
        In pixels of the picture; several people's fused.
    frame : PictureFrame
        Of that picture.
    measures : Measures
    persons, asked : int
        People who marked it, and who answered the question; 0 of the model's.
    confidence : float
        The model's calibrated probability; NaN of people's.
    probability : float
        That it is real, given how reliable those are who marked it and who did not
        (`models.crowd.objects`); NaN of the model's.
    """

    row: int
    control: str
    source: Source
    number: int
    shape: Shape
    frame: PictureFrame
    measures: Measures
    persons: int = 0
    asked: int = 0
    confidence: float = math.nan
    probability: float = math.nan

    @property
    def agreement(self) -> float:
        """Share of the people asked who marked it; NaN of the model's."""
        return self.persons / self.asked if self.asked else math.nan

    @property
    def small(self) -> MarkedObject:
        """The same without the pixels of its mask, for lists of many."""
        if not isinstance(self.shape, Mask):
            return self
        return replace(self, shape=replace(self.shape, pixels=np.ones((1, 1), np.bool_)))


class Objects:
    """All objects of the results, made when they are asked for.

    Parameters
    ----------
    said : mapping
        By control.
    frames : Frames
    """

    def __init__(self, said: Mapping[str, Said], frames: Frames) -> None:
        self._said, self._frames = said, frames
        self._made: dict[tuple[int, str, Source], list[MarkedObject]] = {}
        self._real: dict[str, dict[int, list[float]]] = {}

    def answered(self, row: int, control: str, source: Source) -> int:
        """Return how many people answered, or whether the model did (1 or 0)."""
        said = self._said.get(control)
        if said is None:
            return 0
        return len(said.people.get(row, ())) if source == "people" else int(row in said.model)

    def of(self, row: int, control: str, source: Source) -> list[MarkedObject]:
        """Return what was marked: of people's objects those most often marked first."""
        key = row, control, source
        if key in self._made:
            return self._made[key]
        said = self._said.get(control)
        found: list[MarkedObject] = []
        if said is not None:
            told = said.of_people(row) if source == "people" else [said.of_model(row)]
            found = self._measured(row, control, source, [one for one in told if one])
        if not any(isinstance(one.shape, Mask) for one in found):  # masks are too large to keep
            self._made[key] = found
        return found

    def everything(self, row: int, controls: list[str]) -> Iterator[MarkedObject]:
        """Yield the objects of one row, control by control, people's first."""
        for control in controls:
            for source in SOURCES:
                yield from self.of(row, control, source)

    def _measured(
        self, row: int, control: str, source: Source, told: list[TypedAnswer]
    ) -> list[MarkedObject]:
        shown, told, shapes = _on_one_picture(told)
        if shown is None or not any(shapes):
            return []
        frame = self._frames.of(row, shown)
        if source == "model":
            marked = [(shape, 0, shape.score, math.nan) for shape in shapes[0]]
        else:
            fused, real = fuse(shapes, shown.diagonal), self._probabilities(control)[row]
            marked = [
                (one.shape, one.persons, None, sure) for one, sure in zip(fused, real, strict=True)
            ]
        made: list[MarkedObject] = []
        for shape, persons, score, sure in marked:
            try:
                measures = measure(shape, frame)
            except ValueError:  # an empty mask
                continue
            made.append(
                MarkedObject(
                    row, control, source, len(made) + 1, shape, frame, measures,
                    persons, len(told) if source == "people" else 0,
                    math.nan if score is None else score, sure,
                )
            )  # fmt: skip
        return made

    def _probabilities(self, control: str) -> dict[int, list[float]]:
        """How probably each fused object of each row is real, once for all rows of a control."""
        if control not in self._real:
            said, seen, places = self._said[control], list[Seen](), list[int]()
            for row in said.people:
                by_person = said.by_person(row)
                shown, told, shapes = _on_one_picture([answer for _, answer in by_person])
                if shown is None:
                    continue
                names = [name for name, answer in by_person if any(answer is one for one in told)]
                for one in fuse(shapes, shown.diagonal):
                    seen.append(Seen(names, frozenset(names[place] for place in one.people)))
                    places.append(row)
            found: dict[int, list[float]] = {}
            for row, probability in zip(places, real_objects(seen).tolist(), strict=True):
                found.setdefault(row, []).append(probability)
            self._real[control] = found
        return self._real[control]


def _on_one_picture(
    told: list[TypedAnswer],
) -> tuple[Frame | None, list[TypedAnswer], list[list[Shape]]]:
    """Return the frame of the first answer with one, the answers on it, and their shapes.

    Of people who saw the picture in another size, e.g. before it was replaced, none count.
    """
    shown = next((answer.frame for answer in told if answer.frame), None)
    told = [answer for answer in told if not answer.frame or answer.frame.size == shown.size]  # type: ignore[union-attr]
    return shown, told, [[v for v in answer.values if isinstance(v, Shape)] for answer in told]


def main_object(objects: list[MarkedObject]) -> MarkedObject | None:
    """Return the one that the galaxy is: nearest to the middle of the picture.

    Of people's objects only those count that are probably real.
    """
    return min((one for one in objects if counts(one)), key=_off_centre, default=None)


def counts(one: MarkedObject) -> bool:
    """Tell whether an object is told of its galaxy: the model's are; people's if probably real."""
    return one.source == "model" or one.probability >= 0.5


def _off_centre(one: MarkedObject) -> float:
    x, y = centre(one.shape)
    return math.hypot(x - one.frame.width / 2, y - one.frame.height / 2)
