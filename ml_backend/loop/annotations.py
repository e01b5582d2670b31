"""Label Studio's tasks and annotations, written into the store's rows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ml_backend.labelstudio.config import LabelConfig
from ml_backend.labelstudio.regions import read_annotation
from ml_backend.loop.served import Served, seconds_of, time_of
from ml_backend.loop.typed_votes import typed_rows
from ml_backend.store.tables import Project, Task, Vote

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
    # With the project, which the index begins with: else each batch would look at all votes.
    mine_of = (Vote.project_id == project_id, Vote.task_id.in_(ids))
    for vote in session.scalars(select(Vote).where(*mine_of)):
        votes.setdefault(vote.annotation_id, []).append(vote)
    image_field = main_field(config)
    served = Served(session, project_id, ids)
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


def _take_annotation(
    session: Session,
    project: Project,
    task: Task,
    annotation: dict[str, Any],
    old: list[Vote],
    config: LabelConfig,
    report: ReconcileReport,
    served: Served,
) -> None:
    updated = time_of(annotation.get("updated_at"))
    # Flagging another annotation of the task takes the flag away without a time stamp.
    known = annotation.get("ground_truth") is True
    unchanged = bool(old) and all(
        vote.updated_at == updated and vote.ground_truth == known for vote in old
    )
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
    would = served.answers(task.id, version)
    shown = {name: told for name, told in would.items() if was_shown and not told.get("blind")}
    common: dict[str, Any] = {
        "annotation_id": annotation["id"],
        "project_id": project.id,
        "task_id": task.id,
        "annotator": _person(annotation.get("completed_by")),
        "created_at": time_of(annotation.get("created_at")),
        "updated_at": updated,
        "lead_time": seconds_of(annotation.get("lead_time")),
        "shown_version": version,
        "audit": first.audit if first is not None else served.from_audit(task.id, version),
        "ground_truth": known,
    }
    task.audit = task.audit or common["audit"]
    rows: dict[str, dict[str, Any]] = {}
    if skipped:
        rows[""] = {"labels": [], "skipped": True, "origin": "", "accepted": None, "agrees": None}
    for answer in () if skipped else reading.answers:
        had = _labels(would.get(answer.control))
        seen: Sequence[str] | None = answer.suggested
        if seen is None or (had is not None and not seen):
            # An empty snapshot may be that of a suggestion that was held back.
            seen = _labels(shown.get(answer.control))
        rows[answer.control] = {
            "labels": list(answer.labels),
            "skipped": False,
            "origin": answer.origin,
            "accepted": _same(seen, answer.labels),
            "agrees": _same(seen if had is None else had, answer.labels),
            "problem": _unknown(answer.unknown),
        }
    if not skipped:
        rows |= typed_rows(annotation, config, shown, would)
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


def _labels(told: Mapping[str, Any] | None) -> Sequence[str] | None:
    return None if told is None else told["labels"]


def _same(told: Sequence[str] | None, labels: Sequence[str]) -> bool | None:
    return None if told is None else set(told) == set(labels)


def _no_image(image_field: str) -> str:
    return (
        f"The task has no text in its field '{image_field}', which the labelling configuration "
        "shows as the image. Import the task again with that field."
    )


def _unknown(labels: Sequence[str]) -> str | None:
    if not labels:
        return None
    return f"The labelling configuration does not offer {', '.join(map(repr, labels))}."


def _person(value: object) -> int | None:
    found = value.get("id") if isinstance(value, dict) else value
    return found if isinstance(found, int) else None


def _count(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < 2**31 else None  # type: ignore[operator,return-value]
