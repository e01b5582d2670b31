"""What people and heads say of a galaxy: typed, and all geometry in pixels of the image.

x runs to the right and y downwards from the image's upper left corner. The pixel in row r and
column c covers [c, c + 1) x [r, r + 1); its centre is (c + 0.5, r + 0.5). Angles are degrees,
clockwise on the screen (from +x towards +y). `score` is the calibrated probability of being right,
in [0, 1]; None where nobody said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray


def _finite(**values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, not a finite number")


def _positive(**values: float) -> None:
    _finite(**values)
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name} is {value}, not above 0")


@dataclass(frozen=True)
class Answer:
    """Base of all answers."""

    score: float | None = field(default=None, kw_only=True)

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.score is not None and not 0 <= self.score <= 1:
            raise ValueError(f"score is {self.score}, not in [0, 1]")


@dataclass(frozen=True)
class Shape(Answer):
    """Base of what is marked on the image; `label` is "" where the tag has no labels."""

    label: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class Box(Shape):
    """A rectangle, turned about its upper left corner.

    Attributes
    ----------
    x, y : float
        That corner, in pixels.
    width, height : float
        Sides before turning, in pixels, above 0.
    rotation : float
        In degrees, in [0, 360).
    """

    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0

    kind: ClassVar[str] = "box"

    def __post_init__(self) -> None:
        super().__post_init__()
        _finite(x=self.x, y=self.y, rotation=self.rotation)
        _positive(width=self.width, height=self.height)

    @property
    def corners(self) -> NDArray[np.float64]:
        """The corners [4, 2] as (x, y), clockwise from (x, y)."""
        turn = math.radians(self.rotation)
        across = np.array([math.cos(turn), math.sin(turn)]) * self.width
        down = np.array([-math.sin(turn), math.cos(turn)]) * self.height
        corner = np.array([self.x, self.y])
        return np.array([corner, corner + across, corner + across + down, corner + down])

    @property
    def centre(self) -> tuple[float, float]:
        """Where the diagonals cross, (x, y)."""
        x, y = self.corners.mean(axis=0)
        return float(x), float(y)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Smallest upright box around it: left, top, right, bottom."""
        left, top = self.corners.min(axis=0)
        right, bottom = self.corners.max(axis=0)
        return float(left), float(top), float(right), float(bottom)

    def turned(self) -> Box:
        """Return the same rectangle as a turn by a quarter less, about its lower left corner."""
        x, y = self.corners[3]
        quarter = (self.rotation - 90) % 360
        return replace(
            self, x=float(x), y=float(y), width=self.height, height=self.width, rotation=quarter
        )


@dataclass(frozen=True)
class Ellipse(Shape):
    """An ellipse, turned about its centre.

    Attributes
    ----------
    x, y : float
        Centre, in pixels.
    radius_x, radius_y : float
        Semi-axes along x and y before turning, in pixels, above 0.
    rotation : float
        In degrees, in [0, 360).
    """

    x: float
    y: float
    radius_x: float
    radius_y: float
    rotation: float = 0.0

    kind: ClassVar[str] = "ellipse"

    def __post_init__(self) -> None:
        super().__post_init__()
        _finite(x=self.x, y=self.y, rotation=self.rotation)
        _positive(radius_x=self.radius_x, radius_y=self.radius_y)

    @property
    def major(self) -> float:
        """Semi-major axis, in pixels."""
        return max(self.radius_x, self.radius_y)

    @property
    def minor(self) -> float:
        """Semi-minor axis, in pixels."""
        return min(self.radius_x, self.radius_y)

    @property
    def axis_ratio(self) -> float:
        """Minor over major axis, in (0, 1]."""
        return self.minor / self.major

    @property
    def angle(self) -> float:
        """Direction of the major axis from +x, clockwise, in degrees in [0, 180)."""
        quarter = 90.0 if self.radius_y > self.radius_x else 0.0
        return (self.rotation + quarter) % 180.0

    def turned(self) -> Ellipse:
        """Return the same ellipse with its axes exchanged and turned by a quarter."""
        quarter = (self.rotation + 90) % 360
        return replace(self, radius_x=self.radius_y, radius_y=self.radius_x, rotation=quarter)


@dataclass(frozen=True)
class Point(Shape):
    """A point at (x, y); `size`, its diameter on the screen, does not tell points apart."""

    x: float
    y: float
    size: float | None = field(default=None, compare=False)

    kind: ClassVar[str] = "point"

    def __post_init__(self) -> None:
        super().__post_init__()
        _finite(x=self.x, y=self.y)


@dataclass(frozen=True)
class Polygon(Shape):
    """A closed polygon: at least three points (x, y), the last joined to the first."""

    points: tuple[tuple[float, float], ...]

    kind: ClassVar[str] = "polygon"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.points) < 3:
            raise ValueError(f"a polygon has at least 3 points, not {len(self.points)}")
        if not np.isfinite(np.asarray(self.points, dtype=np.float64)).all():
            raise ValueError("a point of the polygon is not finite")

    @classmethod
    def of(cls, points: ArrayLike, label: str = "", score: float | None = None) -> Polygon:
        """Make one of an array [n, 2]."""
        rows = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        return cls(tuple((float(x), float(y)) for x, y in rows), label=label, score=score)


@dataclass(frozen=True, eq=False)
class Mask(Shape):
    """The pixels that belong to something.

    Attributes
    ----------
    pixels : bool [H, W]
        As large as the image; read-only.
    """

    pixels: NDArray[np.bool_]

    kind: ClassVar[str] = "mask"

    def __post_init__(self) -> None:
        super().__post_init__()
        pixels = np.array(self.pixels, dtype=np.bool_)
        if pixels.ndim != 2 or not pixels.size:
            raise ValueError(f"a mask has the shape of its image, not {pixels.shape}")
        pixels.flags.writeable = False
        object.__setattr__(self, "pixels", pixels)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return (
            self.label == other.label
            and self.score == other.score
            and np.array_equal(self.pixels, other.pixels)
        )

    def __hash__(self) -> int:
        return hash((self.label, self.score, self.pixels.shape, self.pixels.tobytes()))


@dataclass(frozen=True)
class Number(Answer):
    """A number, in the unit that the question states."""

    value: float

    kind: ClassVar[str] = "number"

    def __post_init__(self) -> None:
        super().__post_init__()
        _finite(value=self.value)


@dataclass(frozen=True)
class Stars(Answer):
    """A rating: 1 or more stars."""

    value: int

    kind: ClassVar[str] = "stars"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.value < 1:
            raise ValueError(f"{self.value} stars is no rating")


@dataclass(frozen=True)
class Paths(Answer):
    """Places in a taxonomy, each as the names from the root to it."""

    paths: tuple[tuple[str, ...], ...]

    kind: ClassVar[str] = "paths"

    @classmethod
    def of(cls, *paths: Sequence[str], score: float | None = None) -> Paths:
        """Make one of sequences of names."""
        return cls(tuple(tuple(path) for path in paths), score=score)


@dataclass(frozen=True)
class Labels(Answer):
    """Labels chosen for the image, or for one region of it."""

    labels: tuple[str, ...]

    kind: ClassVar[str] = "labels"
