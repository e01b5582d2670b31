"""The figure ``progress``: how far a project is, who did it, and whether to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import structlog
from sqlalchemy import select

from ml_backend.errors import GalaxyLoopError
from ml_backend.labelstudio.config import ChoicesControl
from ml_backend.loop.acquisition import audit_order
from ml_backend.loop.drafts import champion_of
from ml_backend.loop.plans import learned_controls
from ml_backend.loop.progress_counts import days_by_person, people_counts, task_counts
from ml_backend.loop.progress_points import add_point
from ml_backend.loop.stopping import STOP_SET, agreement, enough_new
from ml_backend.store.figures import kept_figure
from ml_backend.store.tables import Version
from ml_backend.store.versions import load_heads, version_folder
from models.heads.classification import LinearHead

if TYPE_CHECKING:
    from ml_backend.loop.figures import FigureContext

Ids = npt.NDArray[np.int64]

SAMPLE = 10_000
"""Galaxies without an answer on which the model's predictions are counted."""
_CHANGES_KEPT = 50

_log = structlog.get_logger(__name__)


def progress_figure(context: FigureContext) -> dict[str, Any]:
    """Count a project's progress, and add it to its progress points.

    Returns
    -------
    dict
        ``counts`` (``tasks``, ``labelled``, ``retired``, ``expert``, ``doubt``, ``remaining``,
        ``unusable``, ``votes``, ``skips``), ``classes`` by control, ``people``, ``days``,
        ``expected_accuracy``, ``quality`` and ``changes`` (see `stopping`).
    """
    pool = context.pool
    with context.store.reading() as session:
        counted = task_counts(session, context.project_id)
        people = people_counts(session, context.project_id)
    labelled = int(pool.is_voted.sum())
    crowded = counted["retired"] + counted["expert"] + counted["open"] > 0
    voted_open = int((pool.is_voted & pool.is_open).sum())
    unanswered = pool.task_ids[~pool.is_voted]
    counts = {
        "tasks": counted["tasks"],
        "labelled": labelled,
        "retired": counted["retired"] if crowded else counted["done"],
        "expert": counted["expert"],
        "doubt": counted["open"] if crowded else voted_open,
        "remaining": max(counted["tasks"] - counted["unusable"] - labelled, 0),
        "unusable": counted["unusable"],
        "votes": sum(person.votes for person in people),
        "skips": sum(person.skips for person in people),
    }
    heads = _heads(context)
    sample = _sample(unanswered, SAMPLE, context.store.settings.seed)
    classes, accuracy = {}, []
    for control in learned_controls(context.config):
        guessed = _predicted(context, heads.get(control.name), sample)
        classes[control.name], sure = _classes(context, control, guessed, len(unanswered))
        if sure is not None:
            accuracy.append(sure)
    champion = champion_of(context.store, context.project_id)
    data = {
        "counts": counts,
        "crowded": crowded,
        "sampled": len(sample),
        "unanswered": len(unanswered),
        "classes": classes,
        "people": [person.as_dict() for person in people],
        "days": days_by_person(people),
        "expected_accuracy": float(np.mean(accuracy)) if accuracy else None,
        "quality": dict(champion.quality or {}) if champion is not None else {},
        "version": champion.name if champion is not None else None,
        **_changes(context, champion, heads),
    }
    told = {name: data[name] for name in ("counts", "expected_accuracy", "quality", "version")}
    with context.store.session() as session:
        add_point(session, context.project_id, context.now, told)
    return data


def _heads(context: FigureContext) -> dict[str, LinearHead]:
    """The published heads of lists of choices that answer as they are configured now."""
    champion = champion_of(context.store, context.project_id)
    if champion is None or not champion.on_disk:
        return {}
    try:
        found = load_heads(version_folder(context.store.folder, champion.name))
    except GalaxyLoopError as error:
        _log.warning("version_broken", version=champion.name, reason=str(error))
        return {}
    usable = {}
    for control in learned_controls(context.config):
        head = found.get(control.name)
        if isinstance(head, LinearHead) and head.labels == control.labels:
            usable[control.name] = head
    return usable


def _sample(task_ids: Ids, most: int, seed: int) -> Ids:
    """Return at most so many tasks, drawn at random; the same ones while they are there."""
    if len(task_ids) > 20 * most:
        # The hash of a million numbers takes seconds; those of a part are as random.
        step = len(task_ids) // (10 * most)
        task_ids = task_ids[::step]
    return task_ids[np.sort(audit_order(task_ids, seed)[:most])]


def _predicted(
    context: FigureContext, head: LinearHead | None, task_ids: Ids
) -> npt.NDArray[np.float32] | None:
    """Return the probabilities [n, k] that a head gives tasks of the pool."""
    rows, inside = context.pool.rows_of(task_ids)
    if head is None or not inside.any() or head.dimension != context.pool.embeddings.shape[1]:
        return None
    return np.asarray(context.pool.scored(head.predict, rows[inside]), np.float32)


def _classes(
    context: FigureContext,
    control: ChoicesControl,
    told: npt.NDArray[np.float32] | None,
    unanswered: int,
) -> tuple[dict[str, Any], float | None]:
    """Count a control's labels by people and by the model; also the accuracy to expect of both."""
    agreed = context.pool.counted.get(control.name)
    k = len(control.labels)
    by_people: Ids = np.zeros(k, np.int64)
    by_model = None
    right, galaxies = 0.0, 0
    if agreed is not None and len(agreed):
        by_people = _named(agreed.targets, control.multiple)
        sure = agreed.targets.max(axis=1) if not control.multiple else _sure(agreed.targets)
        if agreed.crowd is not None:
            right, galaxies = float(sure.sum()), len(agreed)
    expected = None
    if told is not None and len(told):
        by_model = _named(told, control.multiple) * (unanswered / len(told))
        sure = told.max(axis=1) if not control.multiple else _sure(told)
        total = right + float(sure.mean()) * unanswered
        expected = total / (galaxies + unanswered)
    elif galaxies:
        expected = right / galaxies
    return {
        "labels": list(control.labels),
        "multiple": control.multiple,
        "people": by_people.tolist(),
        "by": "posterior" if agreed is not None and agreed.crowd is not None else "votes",
        "model": None if by_model is None else [round(float(count), 1) for count in by_model],
    }, expected


def _named(table: npt.NDArray[Any], multiple: bool) -> Ids:
    if multiple:
        return np.asarray((table > 0.5).sum(axis=0), np.int64)
    return np.bincount(table.argmax(axis=1), minlength=table.shape[1])


def _sure(table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """How probably each row of yes/no answers is right, by the mean of its labels."""
    return np.asarray(np.maximum(table, 1.0 - table).mean(axis=1))


def _changes(
    context: FigureContext, champion: Version | None, heads: Mapping[str, LinearHead]
) -> dict[str, Any]:
    """Compare what the champion says with what an earlier version said of the stop set."""
    kept = kept_figure(context.store, context.project_id, "progress")
    before = kept.data if kept is not None else {}
    changes = [one for one in before.get("changes", []) if isinstance(one, Mapping)]
    reference = before.get("reference")
    same = {"changes": changes[-_CHANGES_KEPT:], "reference": reference}
    trained = _trained(context, champion)
    if trained is None or not heads:
        return same
    votes, name = trained
    if isinstance(reference, Mapping) and not enough_new(int(reference.get("votes", 0)), votes):
        return same
    control, head = next(iter(heads.items()))
    ids = _sample(context.pool.task_ids, STOP_SET, context.store.settings.seed)
    told = _predicted(context, head, ids)
    if told is None:
        return same
    labels = [head.labels[at] for at in told.argmax(axis=1)]
    made = {
        "version": name, "votes": votes, "control": control,
        "tasks": ids.tolist(), "labels": labels,
    }  # fmt: skip
    if isinstance(reference, Mapping) and reference.get("control") == control:
        earlier = dict(zip(reference.get("tasks", []), reference.get("labels", []), strict=False))
        pairs = _pairs(earlier, ids.tolist(), labels)
        found = agreement(*pairs)
        if found is not None:
            changes.append(
                {
                    "version": name, "against": reference.get("version"), "votes": votes,
                    "kappa": found.kappa, "changed": found.changed, "galaxies": found.galaxies,
                }
            )  # fmt: skip
    return {"changes": changes[-_CHANGES_KEPT:], "reference": made}


def _pairs(
    earlier: Mapping[int, str], tasks: Sequence[int], labels: Sequence[str]
) -> tuple[list[str], list[str]]:
    both = [(earlier[task], now) for task, now in zip(tasks, labels, strict=True)
            if task in earlier]  # fmt: skip
    return [one for one, _ in both], [two for _, two in both]


def _trained(context: FigureContext, champion: Version | None) -> tuple[int, str] | None:
    """Return the votes and name of the version whose heads the champion has; None: a cold one."""
    if champion is None:
        return None
    name = champion.source or champion.name
    with context.store.reading() as session:
        found = session.scalar(
            select(Version).where(Version.name == name, Version.project_id == context.project_id)
        )
    if found is None or found.kind not in ("trained", "tuned"):
        return None
    return found.votes, found.name
