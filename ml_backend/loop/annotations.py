"""Label Studio's tasks and annotations, written into the store's rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_backend.labelstudio.config import LabelConfig
from ml_backend.labelstudio.regions import read_annotation
from ml_backend.loop.typed_votes import typed_rows
from ml_backend.store.tables import Project, Ranking, Task, Version, Vote

RESTORED_FIELD = "restored"
"""Key of a task's data that holds the address of the restored picture."""


@dataclass
class ReconcileReport:
    """What a reconciliation found; `changed` tells whether anything was new."""

    config: LabelConfig
    full: bool
    tasks_added: int = 0
    tasks_removed: int = 0
    images_changed: int = 0
    votes_added: int = 0
    votes_changed: int = 0
    votes_removed: int = 0
    skips: int = 0

    @property
    def changed(self) -> bool:
        """Whether tasks or votes came, went or changed."""
        return bool(
            self.tasks_added
            + self.tasks_removed
            + self.images_changed
            + self.votes_added
            + self.votes_changed
            + self.votes_removed
        )


def main_field(config: LabelConfig) -> str:
    """Return the data key of the image that we learn from: that of the first control.

    A task has one embedding; controls on another image of the same task are left alone. Controls
    on a picture that we restored (a field named ``restored``) are about the image it was made of,
    which is then the first one in the configuration.
    """
    fields = [control.image_field for control in config.answered]
    own = [field for field in fields if field != RESTORED_FIELD]
    shown = [image.field for image in config.images if image.field != RESTORED_FIELD]
    return next(iter(own if own else (shown if fields else [])), "")


def take_in(
    session: Session,
    project_id: int,
    found: Sequence[dict[str, Any]],
    config: LabelConfig,
    report: ReconcileReport,
    project: Project,
) -> None:
    """Write tasks as Label Studio lists them, with their annotations, into the store.

    Parameters
    ----------
    session : Session
        One that may write.
    project_id : int
    found : sequence of dict
        Tasks with ``id``, ``data``, ``updated_at``, ``is_labeled``, ``overlap``,
        ``total_annotations`` and ``annotations``. Nothing in them makes this fail;
        an annotation that is not listed any more loses its votes.
    config : LabelConfig
        The configuration to read the annotations with.
    report : ReconcileReport
        Counts are added to it.
    project : Project
        As it was before this reconciliation.
    """
    ids = [task["id"] for task in found]
    tasks = {task.id: task for task in session.scalars(select(Task).where(Task.id.in_(ids)))}
    votes: dict[int, list[Vote]] = {}
    for vote in session.scalars(select(Vote).where(Vote.task_id.in_(ids))):
        votes.setdefault(vote.annotation_id, []).append(vote)
    image_field = main_field(config)
    served = _Served(session, project_id, ids)
    for item in found:
        task = tasks.get(item["id"])
        if task is None:
            task = Task(id=item["id"], project_id=project_id, image="")
            session.add(task)
            report.tasks_added += 1
        data = item.get("data")
        address = data.get(image_field) if isinstance(data, dict) else None
        address = address if isinstance(address, str) else ""
        if address != task.image or (not address and not task.problem):
            report.images_changed += task.image != "" and address != task.image
            task.image, task.content_hash, task.tried_at = address, None, None
            task.problem = None if address else _no_image(image_field)
        task.removed = False
        task.is_labeled = bool(item.get("is_labeled"))
        task.overlap = _count(item.get("overlap"))
        task.annotations = _count(item.get("total_annotations")) or 0
        task.updated_at = time_of(item.get("updated_at"))

        annotations = item.get("annotations")
        mine = {k: v for k, v in votes.items() if v[0].task_id == task.id}
        for annotation in annotations if isinstance(annotations, list) else []:
            if not isinstance(annotation, dict) or not isinstance(annotation.get("id"), int):
                continue
            old = mine.pop(annotation["id"], [])
            _take_annotation(session, project, task, annotation, old, config, report, served)
        for gone in itertools.chain.from_iterable(mine.values()):
            session.delete(gone)
            report.votes_removed += 1


class _Served:
    """What people were shown: Label Studio's lists do not say, so it is told from our own queue.

    A version served a task where it was the published one when the annotator began (the time of
    the annotation less its lead time, by Label Studio's clock) and has the task in its ranking.
    """

    def __init__(self, session: Session, project_id: int, task_ids: Sequence[int]) -> None:
        self._times = session.execute(
            select(Version.name, Version.published_at)
            .where(Version.project_id == project_id, Version.published_at.is_not(None))
            .order_by(Version.published_at.desc())
        ).all()
        rows = session.scalars(select(Ranking).where(Ranking.task_id.in_(task_ids)))
        self._rankings = {(row.version, row.task_id): row for row in rows}

    def version(self, task_id: int, annotation: dict[str, Any]) -> str | None:
        """Return the version that served the task, None where none did."""
        submitted = time_of(annotation.get("created_at"))
        if submitted is None:
            return None
        begun = submitted - timedelta(seconds=_seconds(annotation.get("lead_time")) or 0.0)
        name = next((name for name, since in self._times if since and since <= begun), None)
        return name if (name, task_id) in self._rankings else None

    def labels(self, task_id: int, version: str | None) -> dict[str, list[str]]:
        """Return the labels that a version suggested, by control."""
        answers = self.answers(task_id, version)
        return {control: list(answer["labels"]) for control, answer in answers.items()}

    def answers(self, task_id: int, version: str | None) -> dict[str, Any]:
        """Return all that a version suggested, by control."""
        row = self._rankings.get((version or "", task_id))
        return row.answers if row is not None else {}

    def from_audit(self, task_id: int, version: str | None) -> bool:
        """Tell whether a version served the task by its audit arm."""
        row = self._rankings.get((version or "", task_id))
        return row is not None and row.arm == "audit"


def _take_annotation(
    session: Session,
    project: Project,
    task: Task,
    annotation: dict[str, Any],
    old: list[Vote],
    config: LabelConfig,
    report: ReconcileReport,
    served: _Served,
) -> None:
    updated = time_of(annotation.get("updated_at"))
    unchanged = bool(old) and all(vote.updated_at == updated for vote in old)
    if unchanged and project.swept_digest == config.digest:
        return
    before = {vote.control: vote for vote in old}
    skipped = bool(annotation.get("was_cancelled"))
    report.skips += skipped and not old
    reading = read_annotation(annotation, config)
    # What was on show does not change with an edit, though its ranking may be gone by then.
    first = next((vote for vote in old if vote.shown_version), None)
    version = next((answer.model_version for answer in reading.answers), None)
    version = version or served.version(task.id, annotation)
    if first is not None:
        version = first.shown_version
    was_shown = bool(annotation.get("parent_prediction"))
    shown = served.labels(task.id, version) if was_shown else {}
    common: dict[str, Any] = {
        "annotation_id": annotation["id"],
        "project_id": project.id,
        "task_id": task.id,
        "annotator": _person(annotation.get("completed_by")),
        "created_at": time_of(annotation.get("created_at")),
        "updated_at": updated,
        "lead_time": _seconds(annotation.get("lead_time")),
        "shown_version": version,
        "audit": first.audit if first is not None else served.from_audit(task.id, version),
    }
    task.audit = task.audit or common["audit"]
    rows: dict[str, dict[str, Any]] = {}
    if skipped:
        rows[""] = {"labels": [], "skipped": True, "origin": "", "accepted": None}
    for answer in () if skipped else reading.answers:
        told = shown.get(answer.control) if answer.suggested is None else answer.suggested
        same = None if told is None else set(told) == set(answer.labels)
        rows[answer.control] = {
            "labels": list(answer.labels),
            "skipped": False,
            "origin": answer.origin,
            "accepted": same,
            "problem": _unknown(answer.unknown),
        }
    if not skipped:
        suggested = served.answers(task.id, version) if was_shown else {}
        rows |= typed_rows(annotation, config, suggested)
    answered = {control.name for control in config.answered}
    for control, values in rows.items():
        vote = before.pop(control, None)
        if vote is None:
            session.add(Vote(control=control, **common, **values))
            report.votes_added += 1
        elif not unchanged or _differs(vote, values):
            for name, value in {**common, **values}.items():
                setattr(vote, name, value)
            report.votes_changed += 1
    # With a changed configuration an untouched annotation keeps its answers to former controls:
    # they are not used, but come back with their control.
    for vote in before.values():
        if not unchanged or vote.control in answered:
            session.delete(vote)
            report.votes_removed += 1


def _differs(vote: Vote, values: dict[str, Any]) -> bool:
    return set(values["labels"]) != set(vote.labels) or values.get("answer") != vote.answer


def _no_image(image_field: str) -> str:
    return (
        f"The task has no text in its field '{image_field}', which the labelling configuration "
        "shows as the image. Import the task again with that field."
    )


def _unknown(labels: Sequence[str]) -> str | None:
    if not labels:
        return None
    return f"The labelling configuration does not offer {', '.join(map(repr, labels))}."


def time_of(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _person(value: object) -> int | None:
    found = value.get("id") if isinstance(value, dict) else value
    return found if isinstance(found, int) else None


def _count(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < 2**31 else None  # type: ignore[operator,return-value]


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e9 else None
