"""Typed answers: what an annotation or prediction says about one control, and its kept form."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml_backend.labelstudio.frame import Frame
from models.answers import (
    Answer,
    Box,
    Ellipse,
    Labels,
    Mask,
    Number,
    Paths,
    Point,
    Polygon,
    Stars,
)

_KINDS: dict[str, type[Answer]] = {
    kind.kind: kind for kind in (Box, Ellipse, Point, Polygon, Mask, Number, Stars, Paths, Labels)
}


@dataclass(frozen=True)
class Item:
    """One region, or one answer about the image.

    Attributes
    ----------
    value : Answer
        What was said.
    origin : str
        "manual", "prediction" (ours, left as it was), "prediction-changed" or "unknown".
    region : str
        Label Studio's id of the region. In a control that asks about each region, that of the
        region that was asked about.
    """

    value: Answer
    origin: str = "prediction"
    region: str = ""


@dataclass(frozen=True)
class TypedAnswer:
    """What one annotation says about one control.

    Attributes
    ----------
    control : str
    items : tuple of Item
        Regions in their order; none means that there is nothing to mark. Of a control about the
        image exactly one.
    frame : Frame or None
        The image that regions lie on; None where none lies on it.
    complete : bool
        False where something was said that could not be read, so that what is missing here is not
        known to be absent.
    """

    control: str
    items: tuple[Item, ...] = ()
    frame: Frame | None = None
    complete: bool = True

    @property
    def values(self) -> tuple[Answer, ...]:
        """The answers alone."""
        return tuple(item.value for item in self.items)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that it names, once, in order (paths as their last name)."""
        found: dict[str, None] = {}
        for value in self.values:
            found |= dict.fromkeys(_labels(value))
        return tuple(found)

    @property
    def origin(self) -> str:
        """That of all items; "prediction-changed" where they differ, "unknown" without items."""
        origins = {item.origin for item in self.items}
        if len(origins) > 1:
            return (
                "prediction-changed" if origins & {"prediction", "prediction-changed"} else "manual"
            )
        return origins.pop() if origins else "unknown"

    def same_as(self, other: TypedAnswer) -> bool:
        """Tell whether both say the same, whatever their scores, origins and order."""
        mine, theirs = ([_plain(value) for value in a.values] for a in (self, other))
        return len(mine) == len(theirs) and all(value in theirs for value in mine)


def kept(answer: TypedAnswer) -> dict[str, Any]:
    """Return an answer as JSON, from which `restored` makes the identical one."""
    made: dict[str, Any] = {
        "items": [
            {"origin": item.origin, "region": item.region, **_kept_value(item.value)}
            for item in answer.items
        ],
        "complete": answer.complete,
    }
    if answer.frame is not None:
        made["frame"] = dataclasses.asdict(answer.frame)
    return made


def restored(control: str, made: Mapping[str, Any]) -> TypedAnswer:
    """Return the answer that `kept` made JSON of.

    Raises
    ------
    ValueError
        It is not what `kept` makes.
    """
    try:
        items = tuple(
            Item(_restored_value(item), item["origin"], item["region"]) for item in made["items"]
        )
        frame = Frame(**made["frame"]) if "frame" in made else None
        return TypedAnswer(control, items, frame, bool(made["complete"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a kept answer to {control!r} cannot be read: {error!r}") from None


def _kept_value(value: Answer) -> dict[str, Any]:
    made: dict[str, Any] = {"kind": value.kind}
    for entry in dataclasses.fields(value):
        content = getattr(value, entry.name)
        if isinstance(content, np.ndarray):
            flat = content.ravel()
            at = np.flatnonzero(flat[1:] != flat[:-1]) + 1
            runs = np.diff(at, prepend=0, append=flat.size).tolist()
            # Lengths in turn outside and inside, row by row, beginning outside.
            made["size"] = list(content.shape)
            made["runs"] = [0, *runs] if flat[0] else runs
        else:
            made[entry.name] = _lists(content)
    return made


def _lists(content: Any) -> Any:
    """As JSON gives it back, so that kept answers can be compared."""
    return [_lists(entry) for entry in content] if isinstance(content, tuple) else content


def _restored_value(made: Mapping[str, Any]) -> Answer:
    kind = _KINDS[made["kind"]]
    fields: dict[str, Any] = {
        entry.name: made[entry.name] for entry in dataclasses.fields(kind) if entry.name in made
    }
    if kind is Mask:
        runs = np.asarray(made["runs"], dtype=np.int64)
        inside = np.arange(len(runs)) % 2 == 1
        fields["pixels"] = np.repeat(inside, runs).reshape(made["size"])
    for name in ("points", "paths"):
        if name in fields:
            fields[name] = tuple(tuple(entry) for entry in fields[name])
    if kind is Labels:
        fields["labels"] = tuple(fields["labels"])
    return kind(**fields)


def _labels(value: Answer) -> tuple[str, ...]:
    if isinstance(value, Labels):
        return value.labels
    if isinstance(value, Paths):
        return tuple(path[-1] for path in value.paths if path)
    label = getattr(value, "label", "")
    return (label,) if label else ()


def _plain(value: Answer) -> Answer:
    plain = dataclasses.replace(value, score=None)
    if isinstance(plain, Labels):
        return dataclasses.replace(plain, labels=tuple(sorted(plain.labels)))
    return plain
