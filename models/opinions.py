"""Opinions: what several people said of one image about one control."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from models.answers import Answer

A = TypeVar("A", bound=Answer)


@dataclass(frozen=True)
class Opinions:
    """Answers by person; what heads that answer more than a list of labels learn from.

    Attributes
    ----------
    by_person : tuple of tuple of Answer
        One entry per person, in a stable order. An empty one: the person looked, and there is
        nothing to mark.
    size : (int, int) or None
        Width and height in pixels of the image that shapes lie on; None where nobody marked any.
    """

    by_person: tuple[tuple[Answer, ...], ...]
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.by_person)

    @classmethod
    def of(cls, *by_person: Sequence[Answer], size: tuple[int, int] | None = None) -> Opinions:
        """Make one of the answers of each person."""
        return cls(tuple(tuple(answers) for answers in by_person), size)

    def each(self, kind: type[A]) -> Iterator[tuple[int, A]]:
        """Yield (place of the person, answer) of all answers of one type."""
        for person, answers in enumerate(self.by_person):
            for answer in answers:
                if isinstance(answer, kind):
                    yield person, answer
