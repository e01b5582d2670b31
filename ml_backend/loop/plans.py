"""Plans: which head answers which controls of a labelling configuration.

Lists of choices have a head each, and are ranked by modAL (see `training`). All other heads have a
plan: they answer one control, or several together.
"""

from __future__ import annotations

from collections.abc import Mapping

from ml_backend.labelstudio.config import ChoicesControl, Control, LabelConfig
from ml_backend.loop.annotations import main_field
from ml_backend.loop.head_plan import HeadPlan
from ml_backend.loop.planners import PLANNERS, Planner
from models.heads.base import Head


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
