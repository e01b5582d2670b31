"""Suggestions: what heads say of tasks, as Label Studio takes it and as we keep it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from ml_backend.labelstudio.config import (
    ChoicesControl,
    Control,
    LabelConfig,
    RegionControl,
)
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.regions import choices_result
from ml_backend.labelstudio.typed import Item, TypedAnswer, kept
from ml_backend.labelstudio.writing import write_answers
from ml_backend.loop.head_plan import HeadPlan
from ml_backend.loop.plans import head_plans, learned_controls
from models.answers import Answer, Labels
from models.heads.base import Head
from models.scenes import Scene

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Suggestion:
    """What is suggested for one task.

    Attributes
    ----------
    result : list of dict
        Regions for Label Studio.
    answers : dict
        By control: ``labels``, ``confidence`` and ``answer`` as rankings keep them.
    """

    result: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def take(self, other: Suggestion) -> None:
        """Add what another head says of the same task."""
        self.result.extend(other.result)
        self.answers.update(other.answers)


Look = Callable[[npt.NDArray[np.int64]], tuple[Sequence[Scene], npt.NDArray[np.bool_]]]
"""Places [m] of some tasks to the scenes that were had of them, and which of them were."""

_AT_ONCE = 32


def suggested(
    config: LabelConfig,
    heads: Mapping[str, Head],
    embeddings: npt.ArrayLike,
    look: Look | None = None,
) -> list[Suggestion]:
    """Ask all heads about tasks.

    Parameters
    ----------
    config : LabelConfig
    heads : mapping of control or plan to Head
        Heads that fit; what has none is left unanswered.
    embeddings : [n, d]
    look : callable, optional
        Asked for scenes, a few at a time, where a head sees them; without it such heads are
        left out.

    Returns
    -------
    list of Suggestion
        n of them.
    """
    rows = np.asarray(embeddings, np.float32)
    found = [Suggestion() for _ in rows]
    if not len(rows):
        return found
    for control in learned_controls(config):
        head = heads.get(control.name)
        if head is None:
            continue
        for suggestion, probabilities in zip(found, head.predict(rows), strict=True):
            suggestion.take(_chosen(choices_result(control, probabilities)))
    planned = [(plan, heads[plan.name]) for plan in head_plans(config) if plan.name in heads]
    for plan, head in planned:
        if head.sees == "embedding":
            for suggestion, said in zip(
                found, suggest(config, plan, head, rows, [None] * len(rows)), strict=True
            ):
                suggestion.take(said)
    dense = [(plan, head) for plan, head in planned if head.sees == "scene"]
    if dense and look is not None:
        for start in range(0, len(rows), _AT_ONCE):
            places = np.arange(start, min(start + _AT_ONCE, len(rows)))
            scenes, got = look(places)
            if not len(scenes):
                continue
            sizes = [scene.size for scene in scenes]
            for plan, head in dense:
                for place, said in zip(
                    places[got], suggest(config, plan, head, scenes, sizes), strict=True
                ):
                    found[place].take(said)
    return found


def suggest(
    config: LabelConfig,
    plan: HeadPlan,
    head: Head,
    seen: Any,
    sizes: Sequence[tuple[int, int] | None],
) -> list[Suggestion]:
    """Ask one head about tasks.

    Parameters
    ----------
    config : LabelConfig
    plan : HeadPlan
    head : Head
        That of the plan.
    seen : n rows of what the head sees
    sizes : sequence of (int, int) or None
        Width and height of the images that regions lie on.

    Returns
    -------
    list of Suggestion
        n of them. A region that Label Studio would not take is left out.
    """
    found = []
    for row, size in zip(head.answers(seen), sizes, strict=True):
        typed = []
        for control in plan.controls:
            items = tuple(Item(answer) for answer in _said_of(control, row))
            marks = isinstance(control, RegionControl)
            if items or marks:
                frame = Frame(*size) if marks and size is not None else None
                typed.append(TypedAnswer(control.name, items, frame))
        written = write_answers(config, typed)
        if written.problems:
            _log.warning("suggestion_left_out", control=plan.name, problems=written.problems[:3])
        found.append(Suggestion(written.result, {a.control: _as_kept(a) for a in typed}))
    return found


def _chosen(result: list[dict[str, Any]]) -> Suggestion:
    answers = {
        region["from_name"]: {"labels": region["value"]["choices"], "confidence": region["score"]}
        for region in result
    }
    return Suggestion(result, answers)


def _said_of(control: Control, row: Sequence[Answer]) -> list[Answer]:
    """Return the answers of a head that are about one of its controls."""
    if not isinstance(control, ChoicesControl):
        return [answer for answer in row if not isinstance(answer, Labels)]
    mine: list[Answer] = []
    for answer in row:
        if not isinstance(answer, Labels):
            continue
        prefix = f"{control.name}/"
        names = tuple(label.removeprefix(prefix) for label in answer.labels)
        # A head of one control names its labels alone, one of several with the control before.
        own = all(label.startswith(prefix) for label in answer.labels)
        if all(name in control.labels for name in names) and (own or names == answer.labels):
            mine.append(Labels(names, score=answer.score))
    return mine[:1]


def _as_kept(answer: TypedAnswer) -> dict[str, Any]:
    scores = [item.value.score for item in answer.items if item.value.score is not None]
    return {
        "labels": list(answer.labels),
        "confidence": min(scores) if scores else None,
        "answer": kept(answer),
    }
