"""Known answers from a file: a row per galaxy, a column per control."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml_backend.bulk.tables import open_table
from ml_backend.errors import GalaxyLoopError
from ml_backend.labelstudio.config import ChoicesControl, LabelConfig, NumberControl, RatingControl
from ml_backend.labelstudio.typed import Item, TypedAnswer, kept
from ml_backend.loop.golds import KnownAnswer
from models.answers import Number, Stars

Asked = ChoicesControl | NumberControl | RatingControl

SEPARATOR = "|"
"""Between several labels of a multiple choice."""
_MOST_NAMED = 5


class GoldFileError(GalaxyLoopError):
    """Why a file of known answers cannot be used, and what to do."""


@dataclass
class GoldFile:
    """What a file says.

    Attributes
    ----------
    answers : dict of (task number, control) to KnownAnswer
    rows : int
        Rows read.
    problems : list of str
        What could not be used, one sentence each, with the number of the row (the first after the
        names is 1).
    """

    answers: dict[tuple[int, str], KnownAnswer] = field(default_factory=dict)
    rows: int = 0
    problems: list[str] = field(default_factory=list)


def read_gold_file(
    path: Path, config: LabelConfig, tasks: Iterable[Mapping[str, Any]], key: str = ""
) -> GoldFile:
    """Read a table of known answers: CSV, ECSV, FITS, VOTable or Parquet.

    Parameters
    ----------
    path : Path
    config : LabelConfig
        Lists of choices, numbers and stars are read; a cell holds a label, or several with ``|``
        between them, or a number. An empty cell says nothing.
    tasks : iterable of mapping
        The project's tasks with ``id`` and ``data``.
    key : str
        The column that names the galaxy: ``task`` or ``task_id`` (Label Studio's number), or any
        field of the tasks' data. By default the first of these that the file has.

    Raises
    ------
    SourceError
        The file is no table that can be read.
    GoldFileError
        No column names galaxies, or none is a control of the project.
    """
    table = open_table(path)
    controls = {
        control.name: control
        for control in config.answered
        if isinstance(control, Asked) and not control.per_region
    }
    known = list(tasks)
    fields = {name for task in known for name in _data(task)}
    names = [name for name in table.names if name in ("task", "task_id")]
    names += [name for name in table.names if name in fields and name not in controls]
    if key and key not in table.names:
        raise GoldFileError(f"{path} has no column {key!r}. It has: {', '.join(table.names)}.")
    column = key or next(iter(names), "")
    if not column:
        raise GoldFileError(
            f"No column of {path} names a galaxy. It needs one called 'task' (Label Studio's "
            f"number) or like a field of the tasks: {', '.join(sorted(fields)) or 'there is none'}."
        )
    asked = [name for name in table.names if name in controls and name != column]
    if not asked:
        raise GoldFileError(
            f"No column of {path} is called like a question of the project. There are: "
            f"{', '.join(controls) or 'none'}."
        )
    places = _places(known, column)
    found = GoldFile()
    for number, row in enumerate(table.rows([column, *asked]), start=1):
        found.rows = number
        name, cells = row[0], row[1:]
        matching = places.get(name, []) if name else []
        if len(matching) != 1:
            why = "no task" if not matching else f"{len(matching)} tasks"
            found.problems.append(f"Row {number}: {column} {name[:80]!r} is {why} of the project.")
            continue
        for control, cell in zip(asked, cells, strict=True):
            if cell:
                _take(found, number, matching[0], controls[control], cell)
    return found


def _take(found: GoldFile, number: int, task: int, control: Asked, cell: str) -> None:
    try:
        known = (
            _choices(control, cell)
            if isinstance(control, ChoicesControl)
            else _number(control, cell)
        )
    except ValueError as error:
        found.problems.append(f"Row {number}: {error}")
        return
    before = found.answers.get((task, control.name))
    if before is not None and (set(before.labels), before.answer) != (
        set(known.labels),
        known.answer,
    ):
        found.problems.append(
            f"Row {number}: task {task} has another answer to {control.name!r} further up."
        )
        return
    found.answers[task, control.name] = known


def _number(control: NumberControl | RatingControl, cell: str) -> KnownAnswer:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if isinstance(control, RatingControl):
        if value not in range(1, control.maximum + 1):
            raise ValueError(
                f"{control.name!r} takes 1 to {control.maximum} stars, not {cell[:80]!r}."
            )
        answer: Number | Stars = Stars(int(value))
    else:
        low, high = control.minimum, control.maximum
        if (
            not math.isfinite(value)
            or (low is not None and value < low)
            or (high is not None and value > high)
        ):
            limits = [f"at least {low:g}"] if low is not None else []
            limits += [f"at most {high:g}"] if high is not None else []
            raise ValueError(
                f"{control.name!r} takes a number"
                f"{' (' + ', '.join(limits) + ')' if limits else ''}, not {cell[:80]!r}."
            )
        answer = Number(value)
    return KnownAnswer((), kept(TypedAnswer(control.name, (Item(answer, "manual"),))))


def _choices(control: ChoicesControl, cell: str) -> KnownAnswer:
    parts = [part.strip() for part in cell.split(SEPARATOR)] if control.multiple else [cell]
    texts = dict(zip(control.texts, control.labels, strict=True))
    labels = [label if label in control.labels else texts.get(label, label) for label in parts]
    wrong = [label for label in labels if label not in control.labels]
    if wrong:
        raise ValueError(
            f"{control.name!r} has no label {wrong[0][:80]!r}; it has "
            f"{', '.join(control.labels[:10])}."
        )
    return KnownAnswer(tuple(dict.fromkeys(labels)))


def _places(tasks: Iterable[Mapping[str, Any]], column: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    own = column in ("task", "task_id")
    for task in tasks:
        data = _data(task)
        # A field of the data of that name is what the file's author meant by it.
        value = data.get(column, task["id"] if own else None)
        if isinstance(value, str | int | float) and str(value).strip():
            found.setdefault(str(value).strip(), []).append(int(task["id"]))
    return found


def _data(task: Mapping[str, Any]) -> Mapping[str, Any]:
    data = task.get("data")
    return data if isinstance(data, Mapping) else {}


def few(problems: list[str]) -> str:
    """Return the first problems as lines, and how many more there are."""
    more = len(problems) - _MOST_NAMED
    lines = problems[:_MOST_NAMED] + ([f"... and {more} more."] if more > 0 else [])
    return "\n".join(f"  {line}" for line in lines)
