"""Frames: where the pictures of the tasks lie in their files and on the sky."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ml_backend.labelstudio.frame import Frame
from models.picture_frame import PictureFrame

_FACTS = ("width", "height", "origin", "wcs")


def frame_facts(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a task's data that its frame is made of (see `image_facts`)."""
    return {name: data[name] for name in _FACTS if name in data}


class Frames:
    """The frame of each row's picture, made when it is asked for.

    Parameters
    ----------
    facts : sequence of mapping
        By row, as `frame_facts` returns them.
    """

    def __init__(self, facts: Sequence[Mapping[str, Any]] = ()) -> None:
        self._facts = facts
        self._stated = lru_cache(maxsize=256)(self._read)

    def of(self, row: int, shown: Frame | None = None) -> PictureFrame:
        """Return the frame of a row's picture.

        Parameters
        ----------
        row : int
        shown : Frame, optional
            The size of the picture that was marked, as Label Studio saw it.

        Returns
        -------
        PictureFrame
            As the task states it. Where it states none, or another size than that of the picture
            that was marked, a frame without sky whose first row is the upper one.

        Raises
        ------
        ValueError
            No size is known at all.
        """
        stated = self._stated(row)
        if shown is None:
            if stated is None:
                raise ValueError("neither the task nor the answer states the size of the picture")
            return stated
        if stated is not None and (stated.width, stated.height) == shown.size:
            return stated
        return PictureFrame(shown.width, shown.height, "upper")

    def _read(self, row: int) -> PictureFrame | None:
        try:
            return PictureFrame.from_facts(self._facts[row])
        except (ValueError, IndexError, TypeError):
            return None
