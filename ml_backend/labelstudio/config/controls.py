"""Controls: one type per family of control tags, with what a head needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ml_backend.labelstudio.config.conditions import Condition


@dataclass(frozen=True)
class Control:
    """A control tag on an ``<Image>``.

    Attributes
    ----------
    name : str
        Name of the control, ``from_name`` in results.
    to_name : str
        Name of the image tag that it is about.
    image_field : str
        Key of a task's data that holds the image address.
    per_region : bool
        Whether it asks about each region (``perRegion``) instead of the image.
    conditions : tuple of Condition
        All must hold for it to be shown; outermost first.
    """

    name: str
    to_name: str
    image_field: str
    per_region: bool = field(default=False, kw_only=True)
    conditions: tuple[Condition, ...] = field(default=(), kw_only=True)

    kind: ClassVar[str] = ""

    @property
    def type(self) -> str:
        """``type`` of its results in Label Studio."""
        return self.kind


@dataclass(frozen=True)
class ChoicesControl(Control):
    """One ``<Choices>``.

    Attributes
    ----------
    labels : tuple of str
        What results hold: a choice's ``alias`` where it has one, else its ``value``. In the order
        of the configuration, each once.
    multiple : bool
        Whether several labels may be ticked.
    texts : tuple of str
        What people read, one per label (``value``).
    conditional : bool
        Whether the control is shown only sometimes (``visibleWhen``, its own or of a tag around
        it), so that no answer means "not asked".
    """

    labels: tuple[str, ...]
    multiple: bool
    texts: tuple[str, ...] = ()
    conditional: bool = False

    kind: ClassVar[str] = "choices"


@dataclass(frozen=True)
class TaxonomyControl(Control):
    """One ``<Taxonomy>``.

    Attributes
    ----------
    paths : tuple of tuple of str
        Every node, parents before children, as the names (``alias``, else ``value``) from the
        root to it.
    leaves_only : bool
        Whether only nodes without children may be chosen.
    """

    paths: tuple[tuple[str, ...], ...]
    leaves_only: bool = False

    kind: ClassVar[str] = "taxonomy"

    @property
    def leaves(self) -> tuple[tuple[str, ...], ...]:
        """The nodes without children."""
        parents = {path[:-1] for path in self.paths}
        return tuple(path for path in self.paths if path not in parents)


@dataclass(frozen=True)
class RatingControl(Control):
    """One ``<Rating>``: 1 to `maximum` stars; no stars is no answer."""

    maximum: int = 5

    kind: ClassVar[str] = "rating"


@dataclass(frozen=True)
class NumberControl(Control):
    """One ``<Number>``.

    Attributes
    ----------
    minimum, maximum : float or None
        Inclusive; None where there is no limit.
    step : float or None
        Where it is given, the editor takes only `minimum` (else 0) plus whole steps.
    """

    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None

    kind: ClassVar[str] = "number"


@dataclass(frozen=True)
class RegionControl(Control):
    """A tag that marks regions of the image, with or without labels.

    Attributes
    ----------
    labels : tuple of str
        As results hold them (aliases); empty for tags without labels (``<Rectangle>``), whose
        regions have the label "".
    texts : tuple of str
        What people read, one per label.
    smart : bool
        Whether people may ask the backend with it (interactive mode): all but `smart="false"`.
    prompt_only : bool
        Whether it is there for asking alone (``smartOnly``); nothing is learned from it.
    """

    labels: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    smart: bool = True
    prompt_only: bool = False

    @property
    def type(self) -> str:
        """``type`` of its results, which is also the key of the label in their value."""
        return self.kind + ("labels" if self.labels else "")


@dataclass(frozen=True)
class BoxControl(RegionControl):
    """One ``<RectangleLabels>`` or ``<Rectangle>``."""

    kind: ClassVar[str] = "rectangle"


@dataclass(frozen=True)
class EllipseControl(RegionControl):
    """One ``<EllipseLabels>`` or ``<Ellipse>``."""

    kind: ClassVar[str] = "ellipse"


@dataclass(frozen=True)
class PointControl(RegionControl):
    """One ``<KeyPointLabels>`` or ``<KeyPoint>``."""

    kind: ClassVar[str] = "keypoint"


@dataclass(frozen=True)
class PolygonControl(RegionControl):
    """One ``<PolygonLabels>`` or ``<Polygon>``."""

    kind: ClassVar[str] = "polygon"


@dataclass(frozen=True)
class BrushControl(RegionControl):
    """One ``<BrushLabels>`` or ``<Brush>``: masks as run lengths."""

    kind: ClassVar[str] = "brush"


@dataclass(frozen=True)
class BitmaskControl(RegionControl):
    """One ``<BitmaskLabels>`` or ``<Bitmask>``: masks as PNG."""

    kind: ClassVar[str] = "bitmask"
