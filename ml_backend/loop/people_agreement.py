"""How far people agree: of each control, and of each two of the busiest people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.labelstudio.config import ChoicesControl, LabelConfig, NumberControl, RatingControl
from ml_backend.loop.people_votes import PeopleVotes
from ml_backend.loop.typed_votes import kept_votes
from ml_backend.store.database import Store
from models.crowd.chance_agreement import Level, cohen_kappa, fleiss_kappa, krippendorff_alpha

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

PAIRED_PEOPLE = 10
LEAST_SHARED = 10


def control_agreement(
    store: Store, project_id: int, config: LabelConfig, votes: PeopleVotes
) -> list[dict[str, Any]]:
    """Fleiss' kappa and Krippendorff's alpha of each control that has several people's answers."""
    found = []
    for control in config.answered:
        level: Level = "nominal"
        items: Ids = np.zeros(0, np.int64)
        values: Doubles = np.zeros(0)
        if isinstance(control, RatingControl | NumberControl):
            level = "ordinal" if isinstance(control, RatingControl) else "interval"
            told = [
                (vote.task_id, _value(vote.answer))
                for vote in kept_votes(store, project_id, control.name)
            ]
            items = np.array([task for task, _ in told], np.int64)
            values = np.array([value for _, value in told], np.float64)
        elif isinstance(control, ChoicesControl) and control.name in votes.controls:
            at = votes.controls.index(control.name)
            rows = np.flatnonzero(votes.counted & (votes.control == at))
            keys = np.stack([votes.task[rows], votes.person[rows]])
            order = np.lexsort((votes.annotation[rows], *keys[::-1]))
            rows, keys = rows[order], keys[:, order]
            last = np.append((keys[:, 1:] != keys[:, :-1]).any(axis=0), True)[: len(rows)]
            items, values = votes.task[rows[last]], votes.answer[rows[last]].astype(np.float64)
        if not len(items):
            continue
        _, unit, people = np.unique(items, return_inverse=True, return_counts=True)
        fleiss = None
        if level == "nominal":
            codes, at_code = np.unique(values, return_inverse=True)
            if len(codes) <= 100:
                k = len(codes)
                counts = np.bincount(unit * k + at_code, minlength=len(people) * k)
                fleiss = fleiss_kappa(counts.reshape(-1, k))
        found.append(
            {
                "control": control.name,
                "level": level,
                "tasks": int((people > 1).sum()),
                "fleiss": number_of(fleiss),
                "alpha": number_of(krippendorff_alpha(items, values, level)),
            }
        )
    return found


def _value(answer: Mapping[str, Any]) -> float:
    """The one number of a kept answer; NaN where there is none."""
    items = answer.get("items") or [{}]
    value = items[0].get("value") if isinstance(items[0], dict) else None
    return float(value) if isinstance(value, int | float) else float("nan")


def paired_agreement(
    votes: PeopleVotes, choices: Sequence[ChoicesControl], people: Sequence[str]
) -> list[dict[str, Any]]:
    """Cohen's kappa of each two of the busiest people, over all lists of choices.

    `people` are in the order of how much they did.
    """
    busiest = [votes.persons.index(name) for name in people[:PAIRED_PEOPLE]]
    names = {control.name for control in choices}
    controls = [at for at, name in enumerate(votes.controls) if name in names]
    used = votes.counted & np.isin(votes.control, controls)
    said = {
        person: {
            (int(votes.task[row]), int(votes.control[row])): int(votes.answer[row])
            for row in np.flatnonzero(used & (votes.person == person)).tolist()
        }
        for person in busiest
    }
    found = []
    for place, first in enumerate(busiest):
        for second in busiest[place + 1 :]:
            shared = said[first].keys() & said[second].keys()
            if len(shared) < LEAST_SHARED:
                continue
            both = [(said[first][key], said[second][key]) for key in shared]
            codes = {code: at for at, code in enumerate(sorted({c for two in both for c in two}))}
            table = np.zeros((len(codes), len(codes)))
            for one, other in both:
                table[codes[one], codes[other]] += 1
            kappa = cohen_kappa(table)
            if kappa is not None:
                found.append(
                    {
                        "people": [votes.persons[first], votes.persons[second]],
                        "kappa": number_of(kappa.value),
                        "error": number_of(kappa.error),
                        "tasks": kappa.items,
                    }
                )
    return found


def number_of(value: float | None, digits: int = 4) -> float | None:
    """Return a finite number, rounded for JSON; else None."""
    return None if value is None or not np.isfinite(value) else round(float(value), digits)
