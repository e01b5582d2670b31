"""Question trees: lists of choices that ``visibleWhen`` joins, as one head answers them."""

from __future__ import annotations

from dataclasses import dataclass

from ml_backend.labelstudio.config import ChoicesControl, LabelConfig
from models.heads.base import HeadError
from models.heads.questions import Question, QuestionTree


@dataclass(frozen=True)
class ControlTree:
    """The controls of one tree in the order of the configuration, and their questions."""

    controls: tuple[ChoicesControl, ...]
    questions: tuple[Question, ...]


def tree_of(control: ChoicesControl, config: LabelConfig) -> ControlTree | None:
    """Return the tree that a single choice belongs to, None where it stands alone.

    A tree is made of single choices on one image whose conditions are answers to each other
    (``choice-selected`` with a name). Where one has another kind of condition, or the conditions
    can never hold, each question keeps a head of its own.
    """
    single = {
        other.name: other
        for other in config.controls
        if not other.multiple and other.image_field == control.image_field
    }
    joined = _joined(control.name, single)
    if len(joined) < 2:
        return None
    members = tuple(other for name, other in single.items() if name in joined)
    try:
        questions = tuple(_question(other, single) for other in members)
        QuestionTree(questions)
    except (HeadError, ValueError):
        return None
    return ControlTree(members, questions)


def _joined(start: str, single: dict[str, ChoicesControl]) -> set[str]:
    """Names of all choices that conditions lead to from one, in either direction."""
    links: dict[str, set[str]] = {name: set() for name in single}
    for name, control in single.items():
        for condition in control.conditions:
            if condition.control in single and condition.kind == "choice-selected":
                links[name].add(condition.control)
                links[condition.control].add(name)
    found, waiting = set[str](), [start]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(links.get(name, ()))
    return found


def _question(control: ChoicesControl, single: dict[str, ChoicesControl]) -> Question:
    parents: list[tuple[str, str]] = []
    for condition in control.conditions:
        parent = single.get(condition.control)
        if condition.kind != "choice-selected" or parent is None:
            raise ValueError(f"{control.name!r} has a condition that is no answer to a question")
        if any(name == parent.name for name, _ in parents):
            raise ValueError(f"{control.name!r} has two conditions on {parent.name!r}")
        parents += [(parent.name, label) for label in condition.labels or parent.labels]
    return Question(control.name, control.labels, tuple(parents))
