"""Planners: for each type of control tag the head that answers it, and what it learns from."""

from __future__ import annotations

from collections.abc import Callable

from ml_backend.labelstudio.config import (
    BitmaskControl,
    BoxControl,
    BrushControl,
    ChoicesControl,
    Control,
    EllipseControl,
    LabelConfig,
    NumberControl,
    PointControl,
    PolygonControl,
    RatingControl,
    RegionControl,
    TaxonomyControl,
)
from ml_backend.loop.annotations import RESTORED_FIELD
from ml_backend.loop.head_plan import HeadPlan
from ml_backend.loop.number_crowds import period_of
from ml_backend.loop.question_trees import tree_of
from models.heads.base import Head
from models.heads.detection import DetectionHead
from models.heads.ellipse import EllipseHead
from models.heads.interest import InterestHead
from models.heads.masks import MaskHead
from models.heads.parameters import NumberHead
from models.heads.rating import RatingHead
from models.heads.restoration import RestorationHead
from models.heads.taxonomy import TaxonomyHead
from models.heads.tree import DecisionTreeHead

Planner = Callable[[Control, LabelConfig], HeadPlan | None]

INTEREST = "interest"
"""Name of the choices that mark what is of interest."""


def _choices(control: Control, config: LabelConfig) -> HeadPlan | None:
    assert isinstance(control, ChoicesControl)
    if control.multiple:
        return None
    pair = len(control.labels) == 2
    if control.image_field == RESTORED_FIELD:
        return _verdict(control, config) if pair else None
    if control.name == INTEREST and pair:
        return HeadPlan(control.name, (control,), "fractions", lambda: InterestHead(control.labels))
    tree = tree_of(control, config)
    if tree is None or tree.controls[0] != control:
        return None  # it has a head of its own, or its tree is planned with the first of it
    return HeadPlan(control.name, tree.controls, "counts", lambda: DecisionTreeHead(tree.questions))


def _verdict(control: ChoicesControl, config: LabelConfig) -> HeadPlan:
    """The verdict on a restored picture; stars and masks on the same picture are about it, too."""
    accept = next((label for label in control.labels if "acc" in label.lower()), control.labels[0])
    reject = next(label for label in control.labels if label != accept)
    others = tuple(
        other
        for other in config.answered
        if other.image_field == RESTORED_FIELD and isinstance(other, RatingControl | BrushControl)
    )
    return HeadPlan(
        control.name, (control,), "opinions", lambda: RestorationHead((accept, reject)), others
    )


def _number(control: Control, config: LabelConfig) -> HeadPlan:
    assert isinstance(control, NumberControl)
    low, high = control.minimum, control.maximum
    if low is not None and low == high:
        low = high = None  # one number only: the head has nothing to keep between them
    period = period_of(control)

    def make() -> Head:
        if period is not None:
            return NumberHead(period=period, tolerance=control.step)
        return NumberHead(minimum=low, maximum=high, tolerance=control.step)

    return HeadPlan(control.name, (control,), "opinions", make)


def _rating(control: Control, config: LabelConfig) -> HeadPlan | None:
    assert isinstance(control, RatingControl)
    if control.image_field == RESTORED_FIELD:
        return None  # it is learned from with the verdict
    if control.maximum < 2:
        return None  # a single star leaves nothing to tell
    return HeadPlan(control.name, (control,), "opinions", lambda: RatingHead(control.maximum))


def _taxonomy(control: Control, config: LabelConfig) -> HeadPlan:
    assert isinstance(control, TaxonomyControl)
    paths, leaves = control.paths, control.leaves_only
    return HeadPlan(
        control.name, (control,), "opinions", lambda: TaxonomyHead(paths, leaves_only=leaves)
    )


def _box(control: Control, config: LabelConfig) -> HeadPlan | None:
    return _detection(control, lambda labels: DetectionHead(labels, shape="box"))


def _point(control: Control, config: LabelConfig) -> HeadPlan | None:
    return _detection(control, lambda labels: DetectionHead(labels, shape="point"))


def _ellipse(control: Control, config: LabelConfig) -> HeadPlan | None:
    # Beside numbers about the galaxy an ellipse is a measure of it, too: one in the middle.
    if any(isinstance(other, NumberControl) and not other.per_region for other in config.answered):
        return _detection(control, lambda labels: EllipseHead(labels))
    return _detection(control, lambda labels: DetectionHead(labels, shape="ellipse"))


def _mask(control: Control, config: LabelConfig) -> HeadPlan | None:
    return _detection(control, lambda labels: MaskHead(labels, shape="mask"))


def _outline(control: Control, config: LabelConfig) -> HeadPlan | None:
    return _detection(control, lambda labels: MaskHead(labels, shape="polygon"))


def _detection(control: Control, make: Callable[[tuple[str, ...]], Head]) -> HeadPlan | None:
    assert isinstance(control, RegionControl)
    if control.image_field == RESTORED_FIELD:
        return None  # artefacts are learned from with the verdict
    labels = control.labels or ("",)
    return HeadPlan(control.name, (control,), "opinions", lambda: make(labels))


PLANNERS: dict[type[Control], Planner] = {
    ChoicesControl: _choices,
    NumberControl: _number,
    RatingControl: _rating,
    TaxonomyControl: _taxonomy,
    BoxControl: _box,
    PointControl: _point,
    EllipseControl: _ellipse,
    BrushControl: _mask,
    BitmaskControl: _mask,
    PolygonControl: _outline,
}
"""For each type of control, what makes its plan; None for one that has its own or another's."""
