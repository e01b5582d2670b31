"""Classification exports of Zooniverse projects, read row by row, whatever stands in them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml_backend.errors import GalaxyLoopError

LARGEST_CELL = 16 * 2**20
"""Characters; a freehand drawing has some hundred thousand."""

_EXPORT = ("classification_id", "subject_ids", "annotations")
_EXTRACT = ("classification_id", "subject_ids", "val")
_LONGEST_NAME = 150


class ZooniverseError(GalaxyLoopError):
    """A file, mapping or option that cannot be used; says what to do."""


@dataclass(frozen=True)
class Classification:
    """What one person said of one subject.

    Attributes
    ----------
    id : str
        Zooniverse's number of it.
    user : str
        Name; "" where none is told. Who was not logged in has a name made of an address hash.
    subject : str
        Zooniverse's number of the subject.
    workflow, version : str
        "" in an extract.
    at : datetime or None
    seconds : float or None
        From beginning to end, by the person's browser.
    test : bool
        Made before the project was launched.
    said : list of dict
        Annotations: ``task`` and ``value``.
    fields : dict
        What the project keeps with the subject.
    sizes : tuple of (int, int)
        Natural width and height of the subject's images in pixels, as far as told.
    """

    id: str
    user: str
    subject: str
    workflow: str = ""
    version: str = ""
    at: datetime | None = None
    seconds: float | None = None
    test: bool = False
    said: list[dict[str, Any]] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Refused:
    """A row that cannot be read, and why."""

    row: int
    reason: str


def read_classifications(path: Path) -> Iterator[Classification | Refused]:
    """Read an export (``*-classifications.csv``) or an extract with a column ``val``.

    Parameters
    ----------
    path : Path
        CSV in UTF-8; it may be larger than memory.

    Yields
    ------
    Classification or Refused
        In the order of the file.

    Raises
    ------
    ZooniverseError
        The file cannot be opened, or has not the columns of an export.
    """
    csv.field_size_limit(LARGEST_CELL)
    try:
        file = path.open(encoding="utf-8-sig", errors="replace", newline="")
    except OSError as error:
        raise ZooniverseError(f"{path} cannot be read ({error.strerror}).") from error
    with file:
        rows = csv.reader((line.replace("\0", "") for line in file), strict=False)
        try:
            head = [name.strip() for name in next(rows)]
        except (StopIteration, csv.Error):
            raise ZooniverseError(f"{path} is empty or no CSV file.") from None
        wanted = _EXPORT if "annotations" in head else _EXTRACT
        missing = [name for name in wanted if name not in head]
        if missing:
            raise ZooniverseError(
                f"{path} is no classification export: it has no column {', '.join(missing)}. "
                "Ask for one in the Project Builder: Data Exports, 'classification export'."
            )
        number = 1
        while True:
            number += 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield Refused(number, f"broken CSV ({error})")
                continue
            if row:
                yield _read(number, dict(zip(head, row, strict=False)))


def _read(number: int, row: dict[str, str]) -> Classification | Refused:
    identity, subject = row.get("classification_id", "").strip(), row.get("subject_ids", "").strip()
    if not identity or len(identity) > 100:
        return Refused(number, "no classification_id")
    if not subject.isascii() or not subject.isdecimal() or len(subject) > 18:
        several = ";" in subject or "," in subject
        return Refused(number, "several subjects at once" if several else "no subject")
    common: dict[str, Any] = {
        "id": identity,
        "user": row.get("user_name", "").strip()[:_LONGEST_NAME],
        "subject": subject,
        "workflow": row.get("workflow_id", "").strip(),
        "version": row.get("workflow_version", "").strip(),
        "at": _time(row.get("created_at", "")),
    }
    if "annotations" not in row:
        value = row.get("val")
        if value is None:
            return Refused(number, "the row is too short")
        return Classification(**common, said=[{"task": "val", "value": value.strip()}])
    said = _json(row.get("annotations", ""), list)
    if said is None:
        return Refused(number, "annotations are no JSON list")
    facts = _json(row.get("metadata", ""), dict) or {}
    kept = (_json(row.get("subject_data", ""), dict) or {}).get(subject)
    begun, ended = _time(facts.get("started_at")), _time(facts.get("finished_at"))
    seconds = (ended - begun).total_seconds() if begun and ended else None
    return Classification(
        **common,
        seconds=seconds if seconds is not None and 0 <= seconds < 86400 else None,
        test=facts.get("live_project") is False,
        said=[one for one in said if isinstance(one, dict) and isinstance(one.get("task"), str)],
        fields=kept if isinstance(kept, dict) else {},
        sizes=_sizes(facts.get("subject_dimensions")),
    )


def _json(text: str, kind: type) -> Any:
    try:
        made = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return made if isinstance(made, kind) else None


def _time(value: object) -> datetime | None:
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        time = datetime.fromisoformat(value.strip().removesuffix(" UTC"))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _sizes(told: object) -> tuple[tuple[int, int], ...]:
    found = []
    for one in told if isinstance(told, list) else ():
        known = one if isinstance(one, dict) else {}
        sides = [known.get(f"natural{side}") for side in ("Width", "Height")]
        if not all(isinstance(side, int | float) and 1 <= side < 1e5 for side in sides):
            break
        found.append((int(sides[0]), int(sides[1])))  # type: ignore[arg-type]
    return tuple(found)
