"""Subjects: which of Zooniverse's is which task of ours."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ml_backend.zooniverse.classifications import Classification, ZooniverseError

NUMBER = "subject_id"
"""Stands for Zooniverse's own number of a subject where a field of it is named."""

TASK = "#task_id"
"""Field that our manifests give to a subject: the number of the task."""

_LOOKED_AT = 2000
_NUMBERED = ("subject_id", "zooniverse_id", "zooniverse_subject_id", "subject")


class TasksClient(Protocol):
    """What is asked of Label Studio (a part of its client)."""

    def tasks(
        self, project: int, *, page_size: int = ..., annotations: bool = ...
    ) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True)
class Pairing:
    """How subjects are told: this field of theirs equals that field of a task's data.

    `theirs` may be `NUMBER`, `ours` "" for the number of the task itself.
    """

    theirs: str
    ours: str

    def __str__(self) -> str:
        return f"{self.theirs} = {self.ours or 'number of the task'}"

    def key(self, one: Classification) -> str:
        """Return what a classification's subject is called; "" where it has no such field."""
        return one.subject if self.theirs == NUMBER else _text(one.fields.get(self.theirs))


class Tasks:
    """Our tasks, by any field of their data."""

    def __init__(self, listed: Iterable[Mapping[str, Any]]) -> None:
        self._data: dict[int, dict[str, str]] = {}
        for task in listed:
            data = task.get("data")
            if isinstance(task.get("id"), int) and isinstance(data, Mapping):
                self._data[task["id"]] = {
                    str(name): _text(value)
                    for name, value in data.items()
                    if isinstance(value, str | int | float) and len(str(value)) <= 500
                }
        self.fields = Counter(name for data in self._data.values() for name in data)

    def __len__(self) -> int:
        return len(self._data)

    def by(self, field: str) -> dict[str, int]:
        """Return tasks by a field; of several with one value none, since they cannot be told."""
        if not field:
            return {str(task): task for task in self._data}
        found: dict[str, int] = {}
        twice = set()
        for task, data in self._data.items():
            value = data.get(field, "")
            if value in found:
                twice.add(value)
            elif value:
                found[value] = task
        return {value: task for value, task in found.items() if value not in twice}

    def of(self, task: int, field: str) -> str:
        """Return a field of a task; "" where it has none."""
        return self._data.get(task, {}).get(field, "")


def find_pairing(first: Iterable[Classification], tasks: Tasks) -> Pairing:
    """Find the fields that tell most of some subjects apart.

    Tried are the number of the task that our own manifests carry, Zooniverse's number in a field
    named like it, and every field that both have under one name.

    Raises
    ------
    ZooniverseError
        None of them tells a single subject.
    """
    some = [one for _, one in zip(range(_LOOKED_AT), first, strict=False)]
    wanted = [Pairing(TASK, "")]
    wanted += [Pairing(NUMBER, name) for name in _NUMBERED if tasks.fields[name]]
    theirs = Counter(name for one in some for name in one.fields)
    for name in theirs:
        bare = name.lstrip("#!/").strip()
        wanted += [Pairing(name, ours) for ours in (name, bare) if tasks.fields[ours]]
    counted = []
    for pairing in wanted:
        known = tasks.by(pairing.ours)
        counted.append(len({key for one in some if (key := pairing.key(one)) in known}))
    if not wanted or not max(counted):
        raise ZooniverseError(
            "No subject of the export is a task of the project by any field that both have. Say "
            "which with --match THEIRS=OURS, e.g. --match image_name=file, or "
            f"--match {NUMBER}=zoo_id. The export has: {_named(theirs)}; tasks have: "
            f"{_named(tasks.fields)}."
        )
    return wanted[counted.index(max(counted))]


def stated_pairing(text: str, tasks: Tasks) -> Pairing:
    """Read ``THEIRS=OURS``.

    Raises
    ------
    ZooniverseError
        It has another form, or no task has that field.
    """
    theirs, equals, ours = text.partition("=")
    if not (theirs.strip() and equals and ours.strip()):
        raise ZooniverseError(f"--match {text!r} should be THEIRS=OURS, e.g. image_name=file.")
    if not tasks.fields[ours.strip()]:
        raise ZooniverseError(
            f"No task has a field {ours.strip()!r}. They have: {_named(tasks.fields)}."
        )
    return Pairing(theirs.strip(), ours.strip())


def keep_subjects(folder: Path, project_id: int, subjects: Mapping[str, int]) -> None:
    """Keep which subject is which task, for lists of retirements; added to what is kept."""
    path = _path(folder, project_id)
    both = {**kept_subjects(folder, project_id), **subjects}
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_suffix(f".{os.getpid()}.part")
    with made.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subject_id", "task_id"])
        writer.writerows(sorted(both.items()))
    made.replace(path)


def kept_subjects(folder: Path, project_id: int) -> dict[str, int]:
    """Return subjects and their tasks as earlier imports found them."""
    path = _path(folder, project_id)
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            row["subject_id"]: int(row["task_id"])
            for row in csv.DictReader(file)
            if row.get("subject_id") and str(row.get("task_id", "")).isdecimal()
        }


def _path(folder: Path, project_id: int) -> Path:
    return folder / "zooniverse" / f"subjects-{project_id}.csv"


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).strip()


def _named(fields: Counter[str]) -> str:
    return ", ".join(name for name, _ in fields.most_common(12)) or "no field"
