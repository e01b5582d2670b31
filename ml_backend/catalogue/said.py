"""What was said of one control that is more than labels: by people, and by the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from ml_backend.labelstudio.config import LabelConfig
from ml_backend.labelstudio.typed import TypedAnswer, restored
from ml_backend.loop.typed_votes import kept_votes, typed_controls
from ml_backend.store.database import Store
from ml_backend.store.tables import Ranking

Kept = Mapping[str, Any]


@dataclass
class Said:
    """Answers to one control by row of the results, as they are kept: masks stay small.

    Attributes
    ----------
    control : str
    people : dict of int to dict of str to dict
        `ml_backend.labelstudio.typed.kept` answers, by person. Rows that nobody answered have no
        entry.
    model : dict of int to dict
        The published version's kept answer.
    """

    control: str
    people: dict[int, dict[str, Kept]] = field(default_factory=dict)
    model: dict[int, Kept] = field(default_factory=dict)

    def of_people(self, row: int) -> list[TypedAnswer]:
        """Return one answer per person, without those that cannot be read any more."""
        return [told for _, told in self.by_person(row)]

    def by_person(self, row: int) -> list[tuple[str, TypedAnswer]]:
        """Return who said what, as of `of_people`."""
        return [
            (name, told)
            for name, made in self.people.get(row, {}).items()
            if (told := self._restored(made))
        ]

    def of_model(self, row: int) -> TypedAnswer | None:
        """Return the model's answer; None where it has none."""
        made = self.model.get(row)
        return None if made is None else self._restored(made)

    def _restored(self, made: Kept) -> TypedAnswer | None:
        try:
            return restored(self.control, made)
        except ValueError:  # written by another version of us
            return None


def gather_said(
    store: Store, project_id: int, config: LabelConfig, rows: Mapping[int, int], version: str
) -> dict[str, Said]:
    """Gather what is known of all controls whose answers are more than labels.

    Parameters
    ----------
    store : Store
    project_id : int
    config : LabelConfig
    rows : mapping
        Number of the task -> row of the results.
    version : str
        The published one; "" if there is none.
    """
    found = {control.name: Said(control.name) for control in typed_controls(config)}
    for name, said in found.items():
        for vote in kept_votes(store, project_id, name):
            if vote.task_id in rows:
                said.people.setdefault(rows[vote.task_id], {})[vote.person] = vote.answer
    if not found or not version:
        return found
    with store.reading() as session:
        ranked = session.execute(
            select(Ranking.task_id, Ranking.answers).where(Ranking.version == version)
        )
        for task, answers in ranked.yield_per(1000):
            if task not in rows or not isinstance(answers, dict):
                continue
            for name, said in found.items():
                told = answers.get(name)
                if isinstance(told, dict) and isinstance(told.get("answer"), dict):
                    said.model[rows[task]] = told["answer"]
    return found
