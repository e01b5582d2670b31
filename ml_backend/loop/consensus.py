"""Consensus: what the votes of several people say together about one galaxy.

Where people's reliability can be told, the answer is the posterior of the crowd (`models.crowd`),
else the fractions of the votes. It can be told once `LEAST_CHECKED` tasks have something to hold an
answer against: another person's vote, or a known answer. With one vote a task, as projects begin,
fractions are all there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.crowd.choices import ChoiceCrowd
from models.crowd.multiple import MultipleCrowd

LEAST_CHECKED = 10
"""Tasks with two people or a known answer, below which nothing is said of people."""

_LEAST_WEIGHT = 0.05


class Question(Protocol):
    """What consensus needs to know of a control."""

    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def multiple(self) -> bool: ...


@dataclass(frozen=True)
class CastVote:
    """One person's answer to one control on one task.

    Attributes
    ----------
    task_id : int
    person : str
        Who answered; any stable name or number.
    control : str
    labels : tuple of str
        The labels chosen. Empty: nothing chosen, which is an answer ("none of these") only
        for a control with multiple choice.
    at : float
        When, in seconds; of several answers of one person the latest counts.
    skipped : bool
        A skipped task; never counts and takes no earlier answer back.
    is_known : bool
        The vote is where a known answer comes from, so that it cannot test its person.
    """

    task_id: int
    person: str
    control: str
    labels: tuple[str, ...]
    at: float = 0.0
    skipped: bool = False
    is_known: bool = False


@dataclass(frozen=True)
class Consensus:
    """The votes on one control, one row per task in rising order of its number.

    Attributes
    ----------
    labels : tuple of str
    multiple : bool
    task_ids : int64 [n]
    targets : float32 [n, k]
        What heads learn from: the posterior of the crowd, or where there is none the fractions;
        the known answer where there is one. Rows sum to 1 unless `multiple`.
    weights : float32 [n]
        Effective number of people: each counts by how much their votes tell (from 0 to 1) and
        all by how little they repeat each other. Without a crowd, the people who answered.
    fractions : float32 [n, k]
        Of the people who answered, who named each label; by default `targets`.
    answered : float32 [n]
        People who answered; by default `weights`.
    counts : float32 [n, k]
        People who named each label, each counted by how much their votes tell; never more than
        the people. By default ``targets * weights``.
    crowd : ChoiceCrowd, MultipleCrowd or None
        A row per task, as here.
    people : tuple of str
        The people of `crowd`, in its order.
    """

    labels: tuple[str, ...]
    multiple: bool
    task_ids: NDArray[np.int64]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    fractions: NDArray[np.float32] = field(default=None)  # type: ignore[arg-type]
    answered: NDArray[np.float32] = field(default=None)  # type: ignore[arg-type]
    counts: NDArray[np.float32] = field(default=None)  # type: ignore[arg-type]
    crowd: ChoiceCrowd | MultipleCrowd | None = None
    people: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Fill in what is not told: all people alike."""
        if self.fractions is None:
            object.__setattr__(self, "fractions", self.targets)
        if self.answered is None:
            object.__setattr__(self, "answered", self.weights)
        if self.counts is None:
            object.__setattr__(self, "counts", self.targets * self.weights[:, None])

    def __len__(self) -> int:
        return len(self.task_ids)

    def rows(self, kept: NDArray[np.bool_]) -> Consensus:
        """Return the consensus of the tasks marked in `kept` [n], without its crowd."""
        return Consensus(
            self.labels,
            self.multiple,
            self.task_ids[kept],
            self.targets[kept],
            self.weights[kept],
            self.fractions[kept],
            self.answered[kept],
            self.counts[kept],
        )


Golds = Mapping[tuple[int, str], tuple[str, ...]]
"""Known answers, by task and control."""


def consensus(
    votes: Iterable[CastVote], controls: Iterable[Question], golds: Golds | None = None
) -> dict[str, Consensus]:
    """Bring votes together, by control and task.

    Skipped tasks never count, the latest answer of each person counts once, and labels that
    the control does not (any longer) have are not counted. Several labels given to a single
    choice share that person's vote.

    Parameters
    ----------
    votes : iterable of CastVote
        In any order; votes on unknown controls are passed over.
    controls : iterable of Question
        The controls as configured now.
    golds : mapping of (task number, control) to labels, optional
        Known answers. Passed over where nobody has voted, and where they name a label that the
        control has not, or other than one label of a single choice.

    Returns
    -------
    dict of str to Consensus
        One for each control, empty where nobody has answered.
    """
    questions = {control.name: control for control in controls}
    latest: dict[tuple[str, int, str], CastVote] = {}
    for vote in votes:
        if vote.skipped or vote.control not in questions:
            continue
        key = (vote.control, vote.task_id, vote.person)
        before = latest.get(key)
        if before is None or vote.at >= before.at:
            latest[key] = vote
    by_control: dict[str, list[CastVote]] = {name: [] for name in questions}
    for vote in latest.values():
        by_control[vote.control].append(vote)
    return {
        name: _together(questions[name], cast, golds or {}) for name, cast in by_control.items()
    }


def _together(question: Question, cast: list[CastVote], golds: Golds) -> Consensus:
    k = len(question.labels)
    # As they were cast, which the crowd looks at; and so that the same votes give the same bits.
    cast, named = _answers(question, sorted(cast, key=lambda v: (v.task_id, v.at, v.person)))
    voted = np.array([vote.task_id for vote in cast], np.int64)
    task_ids, tasks = np.unique(voted, return_inverse=True)
    n = len(task_ids)
    answered = np.bincount(tasks, minlength=n).astype(np.float64)
    fractions = _sums(tasks, named, n) / answered[:, None]
    known, is_gold = _known(question, task_ids, golds)
    targets = np.where(is_gold[:, None], known, fractions)

    weights, counts = answered, targets * answered[:, None]
    crowd: ChoiceCrowd | MultipleCrowd | None = None
    people: tuple[str, ...] = ()
    names, persons = np.unique([vote.person for vote in cast], return_inverse=True)
    telling = np.array([not vote.is_known for vote in cast], np.bool_)
    heard = np.bincount(tasks[telling], minlength=n)
    if k and ((heard > 1) | (is_gold & (heard > 0))).sum() >= LEAST_CHECKED:
        people = tuple(str(name) for name in names)
        shape = (n, len(people), k)
        crowd, useful = _crowd(
            question, tasks[telling], persons[telling], named[telling], shape,
            np.where(is_gold[:, None], known, -1.0),
        )  # fmt: skip
        targets = np.where(is_gold[:, None], known, crowd.posterior)
        told = useful[persons]
        told[~telling] = 1.0
        counts = _sums(tasks, named * told, n)
        counts[is_gold] = known[is_gold] * answered[is_gold, None]
        weights = np.bincount(tasks, told.mean(axis=1), minlength=n) * crowd.worth(answered)
        weights = np.maximum(weights, np.where(is_gold, 1.0, _LEAST_WEIGHT))
    return Consensus(
        tuple(question.labels),
        question.multiple,
        task_ids,
        targets.astype(np.float32),
        weights.astype(np.float32),
        fractions.astype(np.float32),
        answered.astype(np.float32),
        counts.astype(np.float32),
        crowd,
        people,
    )


def _sums(tasks: NDArray[np.int64], table: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Add the rows of a table [v, k] by task: [n, k]."""
    found = np.zeros((n, table.shape[1]))
    for column in range(table.shape[1]):
        found[:, column] = np.bincount(tasks, table[:, column], minlength=n)
    return found


def _crowd(
    question: Question,
    tasks: NDArray[np.int64],
    people: NDArray[np.int64],
    named: NDArray[np.float64],
    shape: tuple[int, int, int],
    known: NDArray[np.float64],
) -> tuple[ChoiceCrowd | MultipleCrowd, NDArray[np.float64]]:
    """Fit the crowd; return it and how much each person's votes tell of each label [p, k]."""
    if question.multiple:
        several = MultipleCrowd.fit(tasks, people, named > 0.5, shape, gold=known.astype(np.int64))
        return several, several.usefulness()
    votes, labels = np.nonzero(named)
    gold = np.where(known[:, 0] < 0, -1, known.argmax(axis=1))
    crowd = ChoiceCrowd.fit(
        tasks[votes], people[votes], labels, shape, gold=gold, weights=named[votes, labels]
    )
    return crowd, np.repeat(crowd.usefulness()[:, None], shape[2], axis=1)


def _known(
    question: Question, task_ids: NDArray[np.int64], golds: Golds
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the known answers [n, k], and which tasks have one."""
    known = np.zeros((len(task_ids), len(question.labels)))
    is_gold = np.zeros(len(task_ids), np.bool_)
    place = {label: column for column, label in enumerate(question.labels)}
    if not golds:
        return known, is_gold
    for row, task in enumerate(task_ids.tolist()):
        labels = golds.get((task, question.name))
        if labels is None or not all(label in place for label in labels):
            continue
        if question.multiple or len(set(labels)) == 1:
            known[row, [place[label] for label in labels]] = 1.0
            is_gold[row] = True
    return known, is_gold


def _answers(
    question: Question, cast: list[CastVote]
) -> tuple[list[CastVote], NDArray[np.float64]]:
    """Return the votes that are answers, and the share of each that names each label [v, k]."""
    place = {label: column for column, label in enumerate(question.labels)}
    kept: list[CastVote] = []
    rows: list[int] = []
    columns: list[int] = []
    for vote in cast:
        known = {place[label] for label in vote.labels if label in place}
        # An answer whose every label is gone says nothing about those that are left.
        if known or (question.multiple and not vote.labels):
            rows += [len(kept)] * len(known)
            columns += known
            kept.append(vote)
    named = np.zeros((len(kept), len(question.labels)))
    named[rows, columns] = 1.0
    if not question.multiple:
        named /= named.sum(axis=1, keepdims=True)
    return kept, named
