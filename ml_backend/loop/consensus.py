"""Consensus: what the votes of several people say together about one galaxy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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
    """

    task_id: int
    person: str
    control: str
    labels: tuple[str, ...]
    at: float = 0.0
    skipped: bool = False


@dataclass(frozen=True)
class Consensus:
    """The votes on one control, one row per task in rising order of its number.

    Attributes
    ----------
    labels : tuple of str
    multiple : bool
    task_ids : int64 [n]
    targets : float32 [n, k]
        Fractions of the people who named each label; rows sum to 1 unless `multiple`.
    weights : float32 [n]
        People who answered.
    """

    labels: tuple[str, ...]
    multiple: bool
    task_ids: NDArray[np.int64]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.task_ids)

    def rows(self, kept: NDArray[np.bool_]) -> Consensus:
        """Return the consensus of the tasks marked in `kept` [n]."""
        return Consensus(
            self.labels,
            self.multiple,
            self.task_ids[kept],
            self.targets[kept],
            self.weights[kept],
        )


def consensus(votes: Iterable[CastVote], controls: Iterable[Question]) -> dict[str, Consensus]:
    """Count votes into fractions and weights, per control and task.

    Skipped tasks never count, the latest answer of each person counts once, and labels that
    the control does not (any longer) have are not counted. Several labels given to a single
    choice share that person's vote.

    Parameters
    ----------
    votes : iterable of CastVote
        In any order; votes on unknown controls are passed over.
    controls : iterable of Question
        The controls as configured now.

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

    counted: dict[str, dict[int, list[NDArray[np.float64]]]] = {name: {} for name in questions}
    for vote in latest.values():
        row = _row(vote, questions[vote.control])
        if row is not None:
            counted[vote.control].setdefault(vote.task_id, []).append(row)

    found = {}
    for name, question in questions.items():
        tasks = sorted(counted[name])
        stacks = [np.array(counted[name][task]) for task in tasks]
        k = len(question.labels)
        found[name] = Consensus(
            tuple(question.labels),
            question.multiple,
            np.array(tasks, dtype=np.int64),
            np.array([stack.mean(axis=0) for stack in stacks], dtype=np.float32).reshape(-1, k),
            np.array([len(stack) for stack in stacks], dtype=np.float32),
        )
    return found


def _row(vote: CastVote, question: Question) -> NDArray[np.float64] | None:
    named = np.array([label in vote.labels for label in question.labels], dtype=np.float64)
    if question.multiple:
        # An answer whose every label is gone says nothing about those that are left.
        return None if vote.labels and not named.any() else named
    return named / named.sum() if named.any() else None
