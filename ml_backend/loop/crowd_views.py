"""Views: what a fitted crowd says of the tasks of one list of choices, the model being heard."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.loop.consensus import Consensus
from ml_backend.loop.training import Unseen
from models.crowd.choices import ChoiceCrowd
from models.crowd.value import vote_gain

Ids = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """One question with exclusive answers: a single choice, or whether one label holds.

    Attributes
    ----------
    names : tuple of str
        Of the k answers.
    posterior : float64 [n, k]
        With the model as a witness.
    predicted : float64 [n, k] or None
        The model's word; uniform where it has none. None: no model.
    gain : float64 [n]
    crowd : ChoiceCrowd
    """

    names: tuple[str, ...]
    posterior: Doubles
    predicted: Doubles | None
    gain: Doubles
    crowd: ChoiceCrowd


@dataclass(frozen=True)
class View:
    """What is thought of the tasks with votes on one list of choices.

    Attributes
    ----------
    labels : tuple of str
    multiple : bool
    task_ids : int64 [n]
        In rising order.
    people : int64 [n]
        Who answered.
    known : bool [n]
        The answer is known.
    parts : tuple of Part
        One, or with multiple choice one for each label.
    persons : tuple of str
        Rows of the crowds' confusion; empty where they cannot be told apart.
    """

    labels: tuple[str, ...]
    multiple: bool
    task_ids: Ids
    people: Ids
    known: Bools
    parts: tuple[Part, ...]
    persons: tuple[str, ...]

    @property
    def probabilities(self) -> Doubles:
        """By label, [n, k]; rows sum to 1 unless `multiple`."""
        if not self.multiple:
            return self.parts[0].posterior
        return np.column_stack([part.posterior[:, 1] for part in self.parts])

    @property
    def chosen(self) -> Bools:
        """The labels taken as chosen, [n, k]."""
        if self.multiple:
            return np.asarray(self.probabilities > 0.5)
        marks = np.zeros((len(self.task_ids), len(self.labels)), np.bool_)
        marks[np.arange(len(marks)), self.parts[0].posterior.argmax(axis=1)] = True
        return marks

    @property
    def gain(self) -> Doubles:
        """Wrong answers that one more vote is expected to spare, [n]."""
        return np.sum([part.gain for part in self.parts], axis=0)

    def posterior_rows(self, control: str, least_people: int) -> Iterable[dict[str, Any]]:
        """Return rows of `Posterior` of the tasks that so many people have answered."""
        if self.multiple:
            sure = np.maximum(self.probabilities, 1 - self.probabilities).prod(axis=1)
        else:
            sure = self.parts[0].posterior.max(axis=1)
        hard = np.max([part.crowd.difficulty for part in self.parts], axis=0)
        told, chosen = self.probabilities.round(4).tolist(), self.chosen
        for row in np.flatnonzero(self.people >= least_people).tolist():
            yield {
                "control": control,
                "task_id": int(self.task_ids[row]),
                "probabilities": told[row],
                "label": ", ".join(self.labels[at] for at in np.flatnonzero(chosen[row])),
                "confidence": round(float(sure[row]), 4),
                "people": int(self.people[row]),
                "difficulty": round(float(hard[row]), 4),
            }

    def skill_rows(self, control: str) -> list[dict[str, Any]]:
        """Return rows of `Skill`, without golds; none where people cannot be told apart.

        With multiple choice a person's reliability is the mean over the labels.
        """
        if not self.persons:
            return []
        bounds = np.mean([part.crowd.reliability() for part in self.parts], axis=0)
        votes = np.max([part.crowd.votes_of_person for part in self.parts], axis=0)
        rows = []
        for at, person in enumerate(self.persons):
            mean, low, high = (round(float(bound[at]), 4) for bound in bounds)
            tables = [part.crowd.confusion[at].round(4).tolist() for part in self.parts]
            details = {"by_label": dict(zip(self.labels, tables, strict=True))}
            rows.append(
                {
                    "control": control,
                    "person": person[:200],
                    "votes": round(float(votes[at])),
                    "reliability": mean,
                    "low": low,
                    "high": high,
                    "details": details if self.multiple else {"confusion": tables[0]},
                }
            )
        return rows


def view_of(agreed: Consensus, unseen: Unseen | None, known: Collection[int] = ()) -> View:
    """Return what is thought of one list of choices.

    Parameters
    ----------
    agreed : Consensus
        With votes. Where its crowd is None (nothing tells people apart) all votes are taken as
        those of one typical person.
    unseen : Unseen or None
        What a model says that has not seen these tasks' votes.
    known : collection of int
        Tasks whose answer is known.
    """
    crowds = _crowds(agreed)
    told = _told(agreed, unseen)
    parts = []
    for number, crowd in enumerate(crowds):
        word = told
        if told is not None and agreed.multiple:
            word = np.column_stack([1 - told[:, number], told[:, number]])
        posterior = crowd.posterior if word is None else crowd.with_witness(word)
        label = agreed.labels[number] if agreed.multiple else ""
        names = (f"not {label}", label) if agreed.multiple else agreed.labels
        k = len(names)
        heard = None
        if word is not None:
            spoken = np.asarray(np.isfinite(word).all(axis=1))
            heard = np.where(spoken[:, None], word, 1 / k)
        gain = vote_gain(posterior, crowd.typical)
        parts.append(Part(tuple(names), posterior, heard, gain, crowd))
    people = np.rint(agreed.weights).astype(np.int64)
    persons = tuple(getattr(agreed, "people", ()))
    marks = np.isin(agreed.task_ids, list(known))
    return View(
        agreed.labels, agreed.multiple, agreed.task_ids, people, marks, tuple(parts), persons
    )


def _told(agreed: Consensus, unseen: Unseen | None) -> Doubles | None:
    """The model's word on each task of the consensus, NaN where it has none."""
    if unseen is None or unseen.labels != agreed.labels or not len(unseen.task_ids):
        return None
    found: Doubles = np.full((len(agreed), len(agreed.labels)), np.nan)
    order = np.argsort(unseen.task_ids)
    ids = np.asarray(unseen.task_ids)[order]
    at = np.searchsorted(ids, agreed.task_ids).clip(0, len(ids) - 1)
    same = ids[at] == agreed.task_ids
    found[same] = np.asarray(unseen.probabilities, np.float64)[order][at[same]]
    found = np.clip(found, 0, 1)
    if not agreed.multiple:
        with np.errstate(invalid="ignore", divide="ignore"):
            found = found / found.sum(axis=1)[:, None]
    return found


def _crowds(agreed: Consensus) -> list[ChoiceCrowd]:
    crowd: Any = getattr(agreed, "crowd", None)
    if crowd is not None:
        return list(getattr(crowd, "crowds", (crowd,)))
    counts = np.rint(agreed.targets * agreed.weights[:, None]).astype(np.int64)
    if not agreed.multiple:
        return [_pooled(counts)]
    people = np.rint(agreed.weights).astype(np.int64)
    return [
        _pooled(np.column_stack([people - counts[:, at], counts[:, at]]).clip(0))
        for at in range(len(agreed.labels))
    ]


def _pooled(counts: Ids) -> ChoiceCrowd:
    """Fit a crowd to counts [n, k] of votes, as if one typical person had given all."""
    n, k = counts.shape
    flat = counts.reshape(-1)
    tasks = np.repeat(np.repeat(np.arange(n), k), flat)
    labels = np.repeat(np.tile(np.arange(k), n), flat)
    return ChoiceCrowd.fit(tasks, np.zeros(len(tasks), np.int64), labels, (n, 1, k))
