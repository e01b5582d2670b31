"""A plan: one head that is not a plain list of choices, and the controls that it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ml_backend.labelstudio.config import Control, RegionControl
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

    @property
    def marks(self) -> bool:
        """Whether it answers with places on the image."""
        return any(isinstance(control, RegionControl) for control in self.controls)

    def fits(self, head: Head) -> bool:
        """Tell whether a head (of an earlier version) answers what is asked now."""
        wanted = self.make()
        shapes = [getattr(one, "shape", None) for one in (head, wanted)]
        return (
            type(head) is type(wanted) and head.labels == wanted.labels and shapes[0] == shapes[1]
        )
