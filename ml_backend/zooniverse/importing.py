"""Importing: classifications as votes from outside; a repeated import adds only what is new."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from ml_backend.labelstudio.config import ChoicesControl, LabelConfig
from ml_backend.labelstudio.frame import Frame, FrameError
from ml_backend.labelstudio.typed import Item, TypedAnswer, kept
from ml_backend.store.crowd_tables import OutsideVote
from ml_backend.store.database import Store
from ml_backend.store.tables import Task
from ml_backend.zooniverse.answers import Said, read_said
from ml_backend.zooniverse.classifications import (
    Classification,
    Refused,
    ZooniverseError,
    read_classifications,
)
from ml_backend.zooniverse.mapping import TaskMap, sketch
from ml_backend.zooniverse.subjects import (
    Pairing,
    Tasks,
    find_pairing,
    keep_subjects,
    stated_pairing,
)
from models.answers import Shape

SOURCE = "zooniverse"
_BATCH = 500
_SKETCHED = 5000


@dataclass(frozen=True)
class ImportOptions:
    """How an export is read.

    Attributes
    ----------
    mapping : dict or None
        By task of Zooniverse's; None: guessed from names, which must then match in full.
    match : str
        ``THEIRS=OURS``; "": found.
    workflow, version : str
        Only these; "": any. A version ``12`` takes in ``12.34``.
    tests : bool
        Take classifications in, too, that were made before the launch.
    hash_names : bool
        Keep people's names as hashes only.
    dry_run : bool
        Write nothing.
    """

    mapping: Mapping[str, TaskMap] | None = None
    match: str = ""
    workflow: str = ""
    version: str = ""
    tests: bool = False
    hash_names: bool = False
    dry_run: bool = False


@dataclass
class ImportReport:
    """What an import did."""

    rows: int = 0
    added: int = 0
    known: int = 0
    people: set[str] = field(default_factory=set)
    subjects: dict[str, int] = field(default_factory=dict)
    strangers: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    pairing: Pairing | None = None

    def __str__(self) -> str:
        lines = [
            f"{self.rows} classifications read: {self.added} votes added, {self.known} known "
            f"already, by {len(self.people)} people on {len(self.subjects)} galaxies.",
            f"Subjects are told by {self.pairing}; {len(self.strangers)} are no task here.",
        ]
        lines += [f"  left out, {reason}: {n}" for reason, n in self.reasons.most_common()]
        return "\n".join(lines)


def import_classifications(
    path: Path,
    store: Store,
    project_id: int,
    config: LabelConfig,
    tasks: Tasks,
    options: ImportOptions,
    progress: Callable[[int], None] = lambda rows: None,
) -> ImportReport:
    """Bring an export's classifications into the store as votes from outside.

    Parameters
    ----------
    path : Path
        See `read_classifications`; it is read in a stream.
    store : Store
    project_id : int
        Connected, and reconciled once.
    config : LabelConfig
        Of the project.
    tasks : Tasks
        Of the project.
    options : ImportOptions
    progress : callable
        Called with the rows read so far.

    Raises
    ------
    ZooniverseError
        The file, the mapping or the pairing cannot be used. What was written until then stays,
        and the next import goes on.
    """
    mapping = options.mapping if options.mapping is not None else _guessed(path, config)
    pairing = (
        stated_pairing(options.match, tasks) if options.match else find_pairing(_good(path), tasks)
    )
    report, by_key = ImportReport(pairing=pairing), tasks.by(pairing.ours)
    with store.reading() as session:
        ours = set(
            session.scalars(
                select(Task.id).where(Task.project_id == project_id, Task.removed.is_(False))
            )
        )
    secret = store.dashboard_secret().encode() if options.hash_names else b""
    votes = _votes(path, mapping, pairing, by_key, ours, options, report, secret, progress)
    while batch := list(itertools.islice(votes, _BATCH)):
        _write(store, project_id, batch, report, options.dry_run)
    if not options.dry_run and report.subjects:
        keep_subjects(store.folder, project_id, report.subjects)
    return report


def _good(path: Path) -> Iterator[Classification]:
    return (one for one in read_classifications(path) if isinstance(one, Classification))


def _guessed(path: Path, config: LabelConfig) -> dict[str, TaskMap]:
    made = sketch(itertools.islice(_good(path), _SKETCHED), config)
    vague = [task for task, told in made.items() if told.labels and not all(told.labels.values())]
    if not made or vague:
        raise ZooniverseError(
            "It cannot be told from names alone which answers are which labels"
            + (f" (tasks {', '.join(vague)})" if vague else "")
            + ". Write a first mapping with `galaxyloop zooniverse sketch`, complete it, and give "
            "it with --map."
        )
    return made


def _votes(
    path: Path,
    mapping: Mapping[str, TaskMap],
    pairing: Pairing,
    by_key: Mapping[str, int],
    ours: set[int],
    options: ImportOptions,
    report: ImportReport,
    secret: bytes,
    progress: Callable[[int], None],
) -> Iterator[dict[str, Any]]:
    for one in read_classifications(path):
        report.rows += 1
        if report.rows % 1000 == 0:
            progress(report.rows)
        if isinstance(one, Refused):
            report.reasons[one.reason] += 1
            continue
        if options.workflow and one.workflow != options.workflow:
            report.reasons["another workflow"] += 1
            continue
        version = options.version
        if version and one.version != version and not one.version.startswith(f"{version}."):
            report.reasons["another version of the workflow"] += 1
            continue
        if one.test and not options.tests:
            report.reasons["made before the launch (--with-tests takes them in)"] += 1
            continue
        task = by_key.get(pairing.key(one))
        if task is None or task not in ours:
            report.strangers.add(one.subject)
            report.reasons["its subject is no task here"] += 1
            continue
        person = _person(one, secret)
        for control, values in _said(one, mapping, report):
            report.subjects[one.subject] = task
            report.people.add(person)
            yield {
                "source": SOURCE,
                "classification": one.id,
                "task_id": task,
                "person": person,
                "control": control,
                "created_at": one.at,
                "lead_time": one.seconds,
                **values,
            }


def _said(
    one: Classification, mapping: Mapping[str, TaskMap], report: ImportReport
) -> Iterator[tuple[str, dict[str, Any]]]:
    for annotation in one.said:
        for said in read_said(annotation):
            told = mapping.get(said.task)
            if told is None:
                report.reasons[f"task {said.task} is not mapped"] += 1
                continue
            values = _values(one, said, told)
            if isinstance(values, str):
                report.reasons[f"task {said.task}: {values}"] += 1
            else:
                yield told.control.name, values


def _values(one: Classification, said: Said, told: TaskMap) -> dict[str, Any] | str:
    """Return the columns of a vote, or why there is none."""
    control = told.control
    if isinstance(control, ChoicesControl):
        labels = told.choices(said)
        if labels is None:
            return "an answer is not mapped"
        if not control.multiple and len(labels) != 1:
            return "no answer that a single choice can hold"
        return {"labels": list(labels), "answer": None}
    values = told.answers(said)
    if values is None:
        return said.problems[0] if said.problems else f"it does not fit {control.name!r}"
    frame = None
    if any(isinstance(value, Shape) for value in values):
        frames = {frame for _, frame, _ in said.marks}
        if len(frames) > 1 or max(frames) >= len(one.sizes):
            return "it is not told how large the image was"
        try:
            frame = Frame(*one.sizes[frames.pop()])
        except FrameError as error:
            return str(error)
    answer = TypedAnswer(control.name, tuple(Item(value, "manual") for value in values), frame)
    return {"labels": list(answer.labels), "answer": kept(answer)}


def _person(one: Classification, secret: bytes) -> str:
    if not one.user:
        return f"{SOURCE} classification {one.id}"
    if secret:
        made = hashlib.blake2b(one.user.encode(), key=secret[:64], digest_size=8)
        return f"{SOURCE} {made.hexdigest()}"
    return f"{SOURCE} {one.user}"


def _write(
    store: Store,
    project_id: int,
    batch: list[dict[str, Any]],
    report: ImportReport,
    dry_run: bool,
) -> None:
    """Add the votes that are not kept yet, and correct those that are."""
    ids = {vote["classification"] for vote in batch}
    mine = OutsideVote.project_id == project_id, OutsideVote.source == SOURCE
    with store.reading() as session:
        there = {
            (row.classification, row.control): row
            for row in session.scalars(
                select(OutsideVote).where(*mine, OutsideVote.classification.in_(ids))
            )
        }
    new: dict[tuple[str, str], dict[str, Any]] = {}
    changed = []
    for vote in batch:
        key = vote["classification"], vote["control"]
        old = there.get(key)
        if old is not None:
            report.known += 1
            if (old.labels, old.answer, old.task_id, old.person) != (
                vote["labels"], vote["answer"], vote["task_id"], vote["person"],
            ):  # fmt: skip
                changed.append((old.id, vote))
        elif key in new:
            report.reasons["the same classification twice"] += 1
        else:
            new[key] = vote
    report.added += len(new)
    if dry_run:
        return
    with store.session() as session:
        session.add_all(OutsideVote(project_id=project_id, **vote) for vote in new.values())
        for row, vote in changed:
            session.execute(update(OutsideVote).where(OutsideVote.id == row).values(**vote))
