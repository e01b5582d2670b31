"""Conditions: when a question is shown (``visibleWhen``), and which questions answers lead to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

KINDS = (
    "choice-selected",
    "choice-unselected",
    "region-selected",
    "no-region-selected",
)


@dataclass(frozen=True)
class Condition:
    """One ``visibleWhen`` of a control or of a tag around it.

    Attributes
    ----------
    kind : str
        One of ``choice-selected``, ``choice-unselected``, ``region-selected`` and
        ``no-region-selected``.
    control : str
        Name of the control that it looks at (``whenTagName``); "" for any.
    labels : tuple of str
        Labels of which one must be chosen (``whenChoiceValue``, ``whenLabelValue``), as results
        hold them (aliases); empty for any.
    """

    kind: str
    control: str = ""
    labels: tuple[str, ...] = ()

    def holds(self, chosen: Mapping[str, Collection[str]]) -> bool:
        """Tell whether it holds for the labels that were chosen, by control.

        A condition on regions holds: which region is selected changes while people work.
        """
        if self.kind not in ("choice-selected", "choice-unselected"):
            return True
        looked_at = [chosen.get(self.control, ())] if self.control else list(chosen.values())
        named = {label for labels in looked_at for label in labels}
        met = bool(named.intersection(self.labels)) if self.labels else bool(named)
        return met == (self.kind == "choice-selected")


class Conditioned(Protocol):
    """What is needed to know of a control."""

    @property
    def name(self) -> str: ...
    @property
    def conditions(self) -> tuple[Condition, ...]: ...


def shown(controls: Iterable[Conditioned], chosen: Mapping[str, Collection[str]]) -> list[str]:
    """Return the controls that the editor shows, given what has been chosen.

    Parameters
    ----------
    controls : iterable of Control
        In the order of the configuration.
    chosen : mapping of control to labels
        Also answers to questions that are hidden; they count as not given, as in the editor.

    Returns
    -------
    list of str
        Names, in the order of `controls`. A control whose conditions go round in a circle is
        hidden.
    """
    known = {control.name: control for control in controls}
    state: dict[str, bool | None] = {}
    for first in known:
        stack = [first]
        while stack:
            name = stack[-1]
            conditions = known[name].conditions
            if name not in state:
                state[name] = None  # being looked at
                waiting = [
                    other
                    for other in _looked_at(conditions, known)
                    if other not in state and other != name
                ]
                if waiting:
                    stack.extend(waiting)
                    continue
            stack.pop()
            if state[name] is None:
                seen = {
                    other: labels
                    for other, labels in chosen.items()
                    if state.get(other, other not in known)
                }
                state[name] = all(condition.holds(seen) for condition in conditions)
    return [name for name in known if state[name]]


def _looked_at(conditions: Iterable[Condition], known: Mapping[str, Conditioned]) -> list[str]:
    found: list[str] = []
    for condition in conditions:
        if condition.kind.startswith("choice"):
            found += [condition.control] if condition.control in known else []
            # Without a name it looks at every question that does not depend on others.
            if not condition.control:
                found += [name for name, control in known.items() if not control.conditions]
    return found
