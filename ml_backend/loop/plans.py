"""Plans: which head answers which controls of a labelling configuration.

Lists of choices have a head each, and are ranked by modAL (see `training`). All other heads have a
plan: they answer one control, or several together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ml_backend.labelstudio.config import ChoicesControl, Control, LabelConfig
from ml_backend.loop.annotations import main_field
from models.heads.base import Head


@dataclass(frozen=True)
class HeadPlan:
    """One head that is not a plain list of choices.

    Attributes
    ----------
    name : str
        Key of the head in a version: the name of its first control.
    controls : tuple of Control
        What it answers, in the order of the configuration.
    companions : tuple of Control
        What it learns from besides: people's other answers about the same thing.
    learns : {"opinions", "counts", "fractions"}
        Its targets: all answers by person, the votes on each label of each control, or the
        fractions of these votes on its only control.
    make : callable
        Returns the unfitted head.
    """

    name: str
    controls: tuple[Control, ...]
    learns: Literal["opinions", "counts", "fractions"]
    make: Callable[[], Head] = field(compare=False)
    companions: tuple[Control, ...] = ()

    def fits(self, head: Head) -> bool:
        """Tell whether a head (of an earlier version) answers what is asked now."""
        wanted = self.make()
        return type(head) is type(wanted) and head.labels == wanted.labels


Planner = Callable[[Control, LabelConfig], HeadPlan | None]

PLANNERS: dict[type[Control], Planner] = {}
"""For each type of control, what makes its plan; a control that another plan answers has None."""


def head_plans(
    config: LabelConfig, planners: Mapping[type[Control], Planner] | None = None
) -> tuple[HeadPlan, ...]:
    """Return the plans of a configuration, in its order.

    Parameters
    ----------
    config : LabelConfig
    planners : mapping, optional
        By default :data:`PLANNERS`.
    """
    found = {}
    for control in config.answered:
        for kind, planner in (PLANNERS if planners is None else planners).items():
            if isinstance(control, kind) and not control.per_region:
                plan = planner(control, config)
                if plan is not None:
                    found[plan.name] = plan
    return tuple(found.values())


def learned_controls(config: LabelConfig) -> tuple[ChoicesControl, ...]:
    """Return the lists of choices on the image that we learn from, each with a head of its own."""
    image = main_field(config)
    planned = {control.name for plan in head_plans(config) for control in plan.controls}
    return tuple(
        control
        for control in config.controls
        if control.image_field == image and control.name not in planned
    )


def counted_controls(config: LabelConfig) -> tuple[ChoicesControl, ...]:
    """Return all lists of choices whose votes count, those of plans included."""
    image = main_field(config)
    planned = {
        control.name
        for plan in head_plans(config)
        for control in (*plan.controls, *plan.companions)
    }
    return tuple(
        control
        for control in config.controls
        if control.image_field == image or control.name in planned
    )


def usable_heads(heads: Mapping[str, Head], config: LabelConfig) -> dict[str, Head]:
    """Return the heads that answer the controls as they are configured now."""
    found = {
        control.name: heads[control.name]
        for control in learned_controls(config)
        if control.name in heads and heads[control.name].labels == control.labels
    }
    plans = {plan.name: plan for plan in head_plans(config)}
    return found | {
        name: head for name, head in heads.items() if name in plans and plans[name].fits(head)
    }
