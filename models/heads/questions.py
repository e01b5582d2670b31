"""Trees of questions: each is asked only where earlier answers lead to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.base import Floats, HeadError


@dataclass(frozen=True)
class Question:
    """One question with a single right answer, and when it is asked.

    Attributes
    ----------
    name : str
        Differs from those of all other questions.
    labels : tuple of str
        Its possible answers.
    parents : tuple of (str, str)
        Answers, as (question, label), that lead here. Any one of those of the same question is
        enough; if they are of several questions, each must have given one of its own. A parent
        that was not asked itself has no answer. Empty: everyone is asked.
    """

    name: str
    labels: tuple[str, ...]
    parents: tuple[tuple[str, str], ...] = ()

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """The labels that lead here, by question; all questions must have given one."""
        found: dict[str, tuple[str, ...]] = {}
        for question, label in self.parents:
            found[question] = (*found.get(question, ()), label)
        return found


@dataclass(frozen=True)
class QuestionTree:
    """Questions in the order of the columns, checked.

    Attributes
    ----------
    questions : tuple of Question

    Raises
    ------
    HeadError
        If there are no questions, one has no labels, names or labels repeat, a parent is not
        known, questions wait for each other, or conditions cannot hold together.
    """

    questions: tuple[Question, ...]
    _leads: tuple[dict[int, frozenset[int]], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = [question.name for question in self.questions]
        if not names:
            raise HeadError("A tree needs at least one question.")
        if len(set(names)) != len(names):
            raise HeadError(f"The questions of a tree must differ; some of these repeat: {names}.")
        for question in self.questions:
            if not question.labels or len(set(question.labels)) != len(question.labels):
                raise HeadError(
                    f"Question {question.name!r} needs labels that differ, not {question.labels}."
                )
        known: dict[str, dict[int, frozenset[int]]] = {}
        for place in self._ordered(names):
            known[names[place]] = self._closed(self.questions[place], names, known)
        object.__setattr__(self, "_leads", tuple(known[name] for name in names))

    def _ordered(self, names: list[str]) -> list[int]:
        """Places of the questions, parents before children."""
        for question in self.questions:
            for name in question.conditions:
                if name not in names:
                    raise HeadError(
                        f"Question {question.name!r} waits for {name!r}, which is not in the "
                        f"tree; known are {names}."
                    )
        order: list[int] = []
        while len(order) < len(names):
            done = {names[place] for place in order}
            ready = [
                place
                for place, question in enumerate(self.questions)
                if place not in order and set(question.conditions) <= done
            ]
            if not ready:
                waiting = [name for name in names if name not in done]
                raise HeadError(f"These questions wait for each other in a circle: {waiting}.")
            order += ready
        return order

    def _closed(
        self, question: Question, names: list[str], known: dict[str, dict[int, frozenset[int]]]
    ) -> dict[int, frozenset[int]]:
        """Which labels (columns) of which questions (places) lead to this one, all the way."""
        found: dict[int, frozenset[int]] = {}
        for name, labels in question.conditions.items():
            parent = names.index(name)
            strange = [label for label in labels if label not in self.questions[parent].labels]
            if strange:
                raise HeadError(
                    f"Question {question.name!r} waits for {strange} of {name!r}, whose labels "
                    f"are {self.questions[parent].labels}."
                )
            first = self.columns[parent].start
            chosen = frozenset(first + self.questions[parent].labels.index(one) for one in labels)
            for place, allowed in [*known[name].items(), (parent, chosen)]:
                found[place] = found.get(place, allowed) & allowed
                if not found[place]:
                    raise HeadError(
                        f"Question {question.name!r} can never be asked: its conditions want "
                        f"different answers of {names[place]!r}."
                    )
        return found

    @cached_property
    def columns(self) -> tuple[slice, ...]:
        """The columns of each question."""
        ends = np.cumsum([len(question.labels) for question in self.questions]).tolist()
        return tuple(slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True))

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Places of the questions, parents before children."""
        return tuple(self._ordered([question.name for question in self.questions]))

    @property
    def labels(self) -> tuple[str, ...]:
        """ "question/label" of each column."""
        return tuple(f"{q.name}/{label}" for q in self.questions for label in q.labels)

    def place(self, name: str) -> int:
        """Return the place of a question; a `HeadError` if there is none of this name."""
        for place, question in enumerate(self.questions):
            if question.name == name:
                return place
        names = [question.name for question in self.questions]
        raise HeadError(f"There is no question {name!r} in the tree; known are {names}.")

    def reached(self, fractions: NDArray[Any]) -> Floats:
        """Return how probably each question is asked, ``[n, q]`` in [0, 1].

        The product of the fractions [n, K] along the way; of answers that lead on alike, their
        sum. Answers to different questions are taken as independent given the image.
        """
        found = np.ones((len(fractions), len(self.questions)))
        for place, leads in enumerate(self._leads):
            for allowed in leads.values():
                found[:, place] *= fractions[:, sorted(allowed)].sum(axis=1)
        return np.asarray(np.clip(found, 0, 1), np.float32)

    def path(self, row: NDArray[Any]) -> list[tuple[int, int]]:
        """Follow the likeliest answers: (place of question, column), parents first."""
        chosen: dict[int, int] = {}
        for place in self.order:
            leads = self._leads[place]
            if all(chosen.get(parent) in allowed for parent, allowed in leads.items()):
                columns = self.columns[place]
                chosen[place] = columns.start + int(np.argmax(row[columns]))
        return list(chosen.items())

    def plain(self) -> list[dict[str, Any]]:
        """Return the questions as json-able values."""
        return [
            {"name": q.name, "labels": list(q.labels), "parents": [list(p) for p in q.parents]}
            for q in self.questions
        ]

    @classmethod
    def of_plain(cls, values: Any) -> QuestionTree:
        """Build one of what `plain` returns; a `HeadError` if it is anything else."""
        try:
            questions = tuple(
                Question(
                    _text(value["name"]),
                    tuple(_text(label) for label in _listed(value["labels"])),
                    tuple((_text(q), _text(label)) for q, label in _listed(value["parents"])),
                )
                for value in _listed(values)
            )
        except (TypeError, KeyError, ValueError) as error:
            raise HeadError(
                f"The questions of the head are damaged ({error}). Roll back to another version."
            ) from None
        return cls(questions)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is no list")
    return value
