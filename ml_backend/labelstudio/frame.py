"""Frames: the size of an image, and Label Studio's percentages of it <-> pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_PIXELS = 64_000_000
"""Largest image that regions are read on; as the readers of images allow."""

DECIMALS = 6
"""Decimals of a pixel that are kept: more than the rounding of percentages disturbs."""

_TURNS = (0, 90, 180, 270)


class FrameError(ValueError):
    """A region does not say on what image it lies; the message says how not."""


@dataclass(frozen=True)
class Frame:
    """Size of an image, as results state it.

    Attributes
    ----------
    width, height : int
        ``original_width`` and ``original_height``, in pixels.
    rotation : int
        ``image_rotation``: 0, 90, 180 or 270 degrees by which the person had turned the view.
        Coordinates stay those of the image as it is, so nothing is computed with it.
    """

    width: int
    height: int
    rotation: int = 0

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise FrameError(f"an image of {self.width} x {self.height} pixels has no area")
        if self.width * self.height > MAX_PIXELS:
            raise FrameError(
                f"an image of {self.width} x {self.height} pixels is larger than the "
                f"{MAX_PIXELS} that are read"
            )
        if self.rotation not in _TURNS:
            raise FrameError(f"an image is not turned by {self.rotation} degrees")

    @classmethod
    def of(cls, region: Mapping[str, Any]) -> Frame:
        """Read the frame of a region.

        Raises
        ------
        FrameError
            It is missing, no whole number, or larger than is read.
        """
        width, height = (_whole(region.get(f"original_{side}")) for side in ("width", "height"))
        if width is None or height is None:
            raise FrameError("it does not state original_width and original_height")
        turn = _whole(region.get("image_rotation", 0))
        return cls(width, height, turn % 360 if turn is not None and turn % 90 == 0 else 0)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, without the rotation of the view."""
        return self.width, self.height

    @property
    def diagonal(self) -> float:
        """In pixels."""
        return math.hypot(self.width, self.height)

    def as_dict(self) -> dict[str, int]:
        """Return what a region states."""
        return {
            "original_width": self.width,
            "original_height": self.height,
            "image_rotation": self.rotation,
        }

    def across(self, percent: float) -> float:
        """Percent of the width -> pixels."""
        return round(percent * self.width / 100, DECIMALS)

    def down(self, percent: float) -> float:
        """Percent of the height -> pixels."""
        return round(percent * self.height / 100, DECIMALS)

    def percent_across(self, pixels: float) -> float:
        """Pixels -> percent of the width."""
        return pixels * 100 / self.width

    def percent_down(self, pixels: float) -> float:
        """Pixels -> percent of the height."""
        return pixels * 100 / self.height


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value) or value != int(value) or abs(value) > 1e9:
        return None
    return int(value)
