"""The mapping: which task and answer of Zooniverse's is which control and label of ours."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_backend.labelstudio.config import (
    BoxControl,
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
)
from ml_backend.zooniverse.answers import Said, read_said
from ml_backend.zooniverse.classifications import Classification, ZooniverseError
from models.answers import Answer, Box, Ellipse, Number, Paths, Point, Polygon, Shape, Stars

SHAPES: dict[type[Shape], type[RegionControl]] = {
    Box: BoxControl,
    Ellipse: EllipseControl,
    Point: PointControl,
    Polygon: PolygonControl,
}
"""Which tags of ours take a shape."""

_LARGEST = 2**20


@dataclass(frozen=True)
class TaskMap:
    """One task of Zooniverse's.

    Attributes
    ----------
    control : Control
    labels : dict of str to str
        Answers, or tools, to labels of the control; "": the answer means none of them.
    """

    control: Control
    labels: Mapping[str, str] = field(default_factory=dict)

    def choices(self, said: Said) -> tuple[str, ...] | None:
        """Return the labels that were chosen; None where an answer is not mapped."""
        found = []
        for text in said.texts:
            if text not in self.labels:
                return None
            if self.labels[text]:
                found.append(self.labels[text])
        return tuple(dict.fromkeys(found))

    def answers(self, said: Said) -> tuple[Answer, ...] | None:
        """Return what was said, as the control's answers; None where it does not fit."""
        if isinstance(self.control, RegionControl):
            marks = []
            for tool, _, shape in said.marks:
                if tool not in self.labels:
                    return None
                wanted = SHAPES.get(type(shape))
                if wanted is None or not isinstance(self.control, wanted):
                    return None
                marks.append(_labelled(shape, self.labels[tool]))
            return tuple(marks) if not said.problems else None
        if isinstance(self.control, TaxonomyControl):
            names = self.choices(said)
            paths = {path[-1]: path for path in reversed(self.control.paths)}
            if not names or any(name not in paths for name in names):
                return None
            return (Paths.of(*(paths[name] for name in names)),)
        value = _value(said, self.labels)
        if value is None:
            return None
        if isinstance(self.control, RatingControl):
            whole = value == int(value) and 1 <= value <= self.control.maximum
            return (Stars(int(value)),) if whole else None
        low, high = self.control.minimum, self.control.maximum  # type: ignore[attr-defined]
        inside = (low is None or value >= low) and (high is None or value <= high)
        return (Number(value),) if inside else None


def _value(said: Said, labels: Mapping[str, str]) -> float | None:
    if len(said.texts) != 1:
        return None
    try:
        return float(labels.get(said.texts[0], said.texts[0]))
    except ValueError:
        return None


def _labelled(shape: Shape, label: str) -> Shape:
    from dataclasses import replace

    return replace(shape, label=label)


def read_mapping(path: Path, config: LabelConfig) -> dict[str, TaskMap]:
    """Read a mapping file (TOML, or JSON of the same form).

    By task of Zooniverse's (``T0``): ``control``, and ``labels``, a table of its answers (of a
    drawing task: its tools) to labels of the control; "" means none of them.

    Raises
    ------
    ZooniverseError
        It cannot be read, or names a control or label that the project does not have.
    """
    try:
        text = path.read_bytes()[: _LARGEST + 1].decode()
        if len(text) > _LARGEST:
            raise ValueError("it is larger than 1 MiB")
        made = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ZooniverseError(f"The mapping {path} cannot be read: {error}.") from error
    if not isinstance(made, dict) or not made:
        raise ZooniverseError(f"The mapping {path} names no task, e.g. [T0].")
    return {str(task): _task_map(path, task, told, config) for task, told in made.items()}


def _task_map(path: Path, task: str, told: Any, config: LabelConfig) -> TaskMap:
    where = f"The mapping {path}, task {task!r}"
    if not isinstance(told, dict) or not isinstance(told.get("control"), str):
        raise ZooniverseError(f"{where}: it needs 'control', the name of a control.")
    controls = {control.name: control for control in usable(config)}
    control = controls.get(told["control"])
    if control is None:
        raise ZooniverseError(
            f"{where}: the project has no control {told['control']!r} that votes can be brought "
            f"to. It has: {', '.join(map(repr, controls)) or 'none'}."
        )
    labels = told.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(v, str) for v in labels.values()):
        raise ZooniverseError(f"{where}: 'labels' is a table of texts.")
    known = _labels(control)
    wrong = sorted({label for label in labels.values() if label and known and label not in known})
    if wrong:
        raise ZooniverseError(
            f"{where}: {control.name!r} has no label {', '.join(map(repr, wrong))}. It has: "
            f"{', '.join(map(repr, known))}."
        )
    return TaskMap(control, dict(labels))


def usable(config: LabelConfig) -> list[Control]:
    """Return the controls that votes from outside can be brought to."""
    kinds = (ChoicesControl, TaxonomyControl, RatingControl, NumberControl, *SHAPES.values())
    return [c for c in config.answered if isinstance(c, kinds) and not c.per_region]


def sketch(found: Iterable[Classification], config: LabelConfig) -> dict[str, TaskMap]:
    """Guess a mapping from names that are alike.

    Each task goes to the control with most of its answers' (or tools') names among its labels,
    whatever their case; answers that match none map to "".
    """
    seen: dict[str, Counter[str]] = {}
    drawn: dict[str, set[type[Shape]]] = {}
    for one in found:
        for annotation in one.said:
            for said in read_said(annotation):
                counter = seen.setdefault(said.task, Counter())
                counter.update(said.texts)
                counter.update(tool for tool, _, _ in said.marks)
                drawn.setdefault(said.task, set()).update(type(shape) for _, _, shape in said.marks)
    made: dict[str, TaskMap] = {}
    for task, names in seen.items():
        candidates = [c for c in usable(config) if _takes(c, drawn[task])]
        fits = [(sum(n for name, n in names.items() if _same(name, c)), c) for c in candidates]
        best = max(fits, key=lambda fit: fit[0], default=None)
        if best is None or (not best[0] and len(candidates) > 1):
            continue
        control = best[1]
        if isinstance(control, NumberControl | RatingControl):
            made[task] = TaskMap(control)
        else:
            made[task] = TaskMap(control, {name: _same(name, control) for name in names})
    return made


def _takes(control: Control, shapes: set[type[Shape]]) -> bool:
    if isinstance(control, RegionControl):
        return bool(shapes) and all(
            SHAPES.get(shape) is not None and isinstance(control, SHAPES[shape]) for shape in shapes
        )
    return not shapes


def _same(name: str, control: Control) -> str:
    """Return the control's label that a name means, "" if there is none."""
    labels = _labels(control)
    texts = getattr(control, "texts", ()) or labels
    named = {text.casefold(): label for text, label in zip(texts, labels, strict=False)}
    named |= {label.casefold(): label for label in labels}
    return named.get(name.strip().casefold(), "")


def _labels(control: Control) -> tuple[str, ...]:
    if isinstance(control, TaxonomyControl):
        return tuple(dict.fromkeys(path[-1] for path in control.paths))
    return tuple(getattr(control, "labels", ()))


def written(mapping: Mapping[str, TaskMap], config: LabelConfig) -> str:
    """Return a mapping as the text of a TOML file, with notes for the person who completes it."""
    lines = ['# Which answers at Zooniverse are which labels here; "" means none of them.']
    for control in usable(config):
        lines.append(f"# {control.name}: {', '.join(_labels(control)) or control.type}")
    for task, told in mapping.items():
        lines += ["", f"[{json.dumps(task)}]", f"control = {json.dumps(told.control.name)}"]
        if told.labels:
            lines.append(f"[{json.dumps(task)}.labels]")
            lines += [f"{json.dumps(a)} = {json.dumps(b)}" for a, b in told.labels.items()]
    return "\n".join(lines) + "\n"
