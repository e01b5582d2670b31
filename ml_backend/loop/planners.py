"""Planners: for each type of control tag the head that answers it, and what it learns from."""

from __future__ import annotations

from collections.abc import Callable

from ml_backend.labelstudio.config import Control, LabelConfig, NumberControl
from ml_backend.loop.head_plan import HeadPlan
from models.heads.base import Head
from models.heads.parameters import NumberHead

Planner = Callable[[Control, LabelConfig], HeadPlan | None]


def _number(control: Control, config: LabelConfig) -> HeadPlan:
    assert isinstance(control, NumberControl)
    low, high = control.minimum, control.maximum
    if low is not None and low == high:
        low = high = None  # one number only: the head has nothing to keep between them
    # 179 and 1 degrees of a position angle are two degrees apart.
    round_ = "angle" in control.name.lower() and low is not None and high is not None
    period = high - low if round_ and low is not None and high is not None else None

    def make() -> Head:
        if period is not None:
            return NumberHead(period=period, tolerance=control.step)
        return NumberHead(minimum=low, maximum=high, tolerance=control.step)

    return HeadPlan(control.name, (control,), "opinions", make)


PLANNERS: dict[type[Control], Planner] = {NumberControl: _number}
"""For each type of control, what makes its plan; None for one that has its own or another's."""
