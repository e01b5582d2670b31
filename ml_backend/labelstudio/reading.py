"""Reading: annotations and predictions of Label Studio -> typed answers; nothing makes it fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ml_backend.labelstudio.config import (
    BitmaskControl,
    BrushControl,
    ChoicesControl,
    Control,
    LabelConfig,
    RegionControl,
)
from ml_backend.labelstudio.frame import MAX_PIXELS, Frame, FrameError
from ml_backend.labelstudio.regions import ORIGINS
from ml_backend.labelstudio.typed import Item, TypedAnswer
from ml_backend.labelstudio.values import read_value
from models.answers import Answer, Labels, Mask, Paths

MAX_REGIONS = 20_000
MASK_PIXELS = 4 * MAX_PIXELS
"""Pixels of all masks of one annotation together that are unpacked."""

_DIRECTIONS = ("left", "right", "bi")


@dataclass(frozen=True)
class Relation:
    """A line that a person drew from one region to another.

    Attributes
    ----------
    source, target : str
        Ids of the regions.
    direction : str
        "right" (from source to target), "left" or "bi".
    labels : tuple of str
    """

    source: str
    target: str
    direction: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class TypedReading:
    """The answers of an annotation, and what in it could not be used and why."""

    answers: tuple[TypedAnswer, ...] = ()
    relations: tuple[Relation, ...] = ()
    problems: tuple[str, ...] = ()

    def answer(self, control: str) -> TypedAnswer | None:
        """Return the answer to the control of that name, None if there is none."""
        return next((answer for answer in self.answers if answer.control == control), None)


def read_answers(
    annotation: Mapping[str, Any], config: LabelConfig, controls: Collection[Control] | None = None
) -> TypedReading:
    """Read an annotation as Label Studio lists it.

    Parameters
    ----------
    annotation : mapping
        With ``result`` and ``was_cancelled``; a prediction may be given too.
    config : LabelConfig
    controls : collection of Control, optional
        Those to read; by default all of `config.understood`.

    Returns
    -------
    TypedReading
        At most one answer per control, in the order of the configuration; none of a skipped task.
        A control that marks regions and is always shown was answered where it has none ("nothing
        there"), like a multiple choice with nothing ticked; others were not. Results of other
        controls are passed over silently.
    """
    if annotation.get("was_cancelled"):
        return TypedReading()
    result = annotation.get("result")
    if not isinstance(result, list):
        return TypedReading(problems=("its result is not a list",))
    wanted = config.understood if controls is None else controls
    sheets = {control.name: _Sheet(control) for control in wanted}
    reader = _Reader(sheets, _frames(result[:MAX_REGIONS], sheets))
    for number, region in enumerate(result):
        if number == MAX_REGIONS:
            reader.problems.append(f"only the first {MAX_REGIONS} of {len(result)} are read")
            for sheet in sheets.values():
                sheet.broken = True
            break
        reader.take(region)
    answers = tuple(answer for sheet in sheets.values() if (answer := sheet.answer()) is not None)
    return TypedReading(answers, tuple(reader.relations), tuple(reader.problems))


@dataclass
class _Sheet:
    """What has been found of one control."""

    control: Control
    items: list[Item] = field(default_factory=list)
    frame: Frame | None = None
    broken: bool = False

    def answer(self) -> TypedAnswer | None:
        control = self.control
        items = tuple(self.items)
        if not items:
            asked = not control.conditions and not control.per_region
            if self.broken or not asked:
                return None
            if isinstance(control, ChoicesControl) and control.multiple:
                items = (Item(Labels(()), "unknown"),)
            elif not isinstance(control, RegionControl):
                return None
        return TypedAnswer(control.name, items, self.frame, not self.broken)

    def add(self, item: Item) -> None:
        """Take an item in; several results of one question are one answer."""
        control = self.control
        for place, before in enumerate(self.items):
            if isinstance(control, RegionControl):
                break
            if control.per_region and before.region != item.region:
                continue
            merged = _merged(before.value, item.value)
            if merged is None:
                raise ValueError("it is answered more than once; the first answer is taken")
            self.items[place] = replace(before, value=merged)
            return
        self.items.append(item)


class _Reader:
    def __init__(self, sheets: dict[str, _Sheet], frames: dict[str, Frame]) -> None:
        self.problems: list[str] = []
        self.relations: list[Relation] = []
        self._sheets, self._frames = sheets, frames
        self._pixels = 0

    def take(self, region: object) -> None:
        if not isinstance(region, Mapping):
            self.problems.append("a region is not an object")
            return
        if region.get("type") == "relation":
            self._relation(region)
            return
        name = region.get("from_name")
        sheet = self._sheets.get(name) if isinstance(name, str) else None
        if sheet is None:
            return
        try:
            self._region(sheet, region)
        except ValueError as error:
            sheet.broken = True
            self.problems.append(f"a region of control {sheet.control.name!r}: {error}")

    def _region(self, sheet: _Sheet, region: Mapping[str, Any]) -> None:
        control = sheet.control
        kind = region.get("type", control.type)
        if kind != control.type:
            raise ValueError(f"its type is {str(kind)[:40]!r}, not {control.type!r}")
        identity = region.get("id")
        identity = identity if isinstance(identity, str) and len(identity) <= 200 else ""
        if control.per_region and not identity:
            raise ValueError("it does not say about which region it is")
        frame = self._frame(control, region) if isinstance(control, RegionControl) else None
        value = read_value(control, region.get("value"), frame)
        if isinstance(value, Mask) and not value.pixels.any():
            return  # all of it was erased
        origin = region.get("origin")
        score = region.get("score")
        if isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1:
            value = replace(value, score=float(score))
        sheet.add(Item(value, origin if origin in ORIGINS else "unknown", identity))
        sheet.frame = frame

    def _frame(self, control: RegionControl, region: Mapping[str, Any]) -> Frame:
        frame = Frame.of(region)
        known = self._frames[control.to_name]
        if frame.size != known.size:
            raise FrameError(f"its image is {frame.size}, that of other regions {known.size}")
        if isinstance(control, BrushControl | BitmaskControl):
            self._pixels += frame.width * frame.height
            if self._pixels > MASK_PIXELS:
                raise FrameError(f"the masks have more than {MASK_PIXELS} pixels together")
        return known

    def _relation(self, region: Mapping[str, Any]) -> None:
        source, target = region.get("from_id"), region.get("to_id")
        direction, labels = region.get("direction", "right"), region.get("labels") or []
        if (
            not isinstance(source, str)
            or not isinstance(target, str)
            or direction not in _DIRECTIONS
            or not isinstance(labels, list)
            or not all(isinstance(label, str) for label in labels)
        ):
            self.problems.append("a relation does not name two regions and a direction")
            return
        self.relations.append(Relation(source, target, direction, tuple(labels)))


def _frames(result: list[Any], sheets: Mapping[str, _Sheet]) -> dict[str, Frame]:
    """The frame of each image: that of most of its regions, so that a broken one costs no other."""
    seen: dict[str, Counter[tuple[int, int]]] = {}
    first: dict[tuple[str, int, int], Frame] = {}
    for region in result:
        name = region.get("from_name") if isinstance(region, Mapping) else None
        sheet = sheets.get(name) if isinstance(name, str) else None
        if sheet is None or not isinstance(sheet.control, RegionControl):
            continue
        try:
            frame = Frame.of(region)
        except FrameError:
            continue
        image = sheet.control.to_name
        seen.setdefault(image, Counter())[frame.size] += 1
        first.setdefault((image, *frame.size), frame)
    return {image: first[image, *sizes.most_common(1)[0][0]] for image, sizes in seen.items()}


def _merged(before: Answer, after: Answer) -> Answer | None:
    if isinstance(before, Labels) and isinstance(after, Labels):
        return replace(before, labels=tuple(dict.fromkeys(before.labels + after.labels)))
    if isinstance(before, Paths) and isinstance(after, Paths):
        return replace(before, paths=tuple(dict.fromkeys(before.paths + after.paths)))
    return None
