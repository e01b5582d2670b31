"""A search as a form carries it from step to step: marks, and an image from outside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import request

from ml_backend.dashboard.galaxies import tasks_in
from ml_backend.errors import StoreError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ml_backend.loop.search import Found, SearchSpace

PER_STEP = 24
_MARK = re.compile(r"mark-([0-9]{1,18})")
_LONGEST_AIM = 2**16


@dataclass
class Search:
    """What was marked so far.

    Attributes
    ----------
    yes, no : list of int
        Tasks that are and are not of interest.
    aim : str
        Embedding of an uploaded image, as `ml_backend.loop.uploads.packed` writes it; or empty.
    step : int
        Rankings made so far.
    looked : int
        Galaxies that were shown so far.
    """

    yes: list[int] = field(default_factory=list)
    no: list[int] = field(default_factory=list)
    aim: str = ""
    step: int = 0
    looked: int = 0

    @property
    def has_example(self) -> bool:
        """Whether anything can be ranked by."""
        return bool(self.yes or self.aim)


def read_search() -> Search:
    """Read a search from the request; what cannot be read is left out.

    Radio buttons ``mark-<task>`` say ``yes``, ``no`` or nothing. Where the button ``rest`` was
    pressed, the tasks in ``shown`` that are not marked count as not of interest.
    """
    yes, no = dict.fromkeys(tasks_in("yes")), dict.fromkeys(tasks_in("no"))
    shown = tasks_in("shown")
    for name, value in request.form.items():
        found = _MARK.fullmatch(name)
        if found and value in ("yes", "no", "clear"):
            task = int(found[1])
            yes.pop(task, None)
            no.pop(task, None)
            if value != "clear":
                (yes if value == "yes" else no)[task] = None
    if request.form.get("rest") == "no":
        no |= {task: None for task in shown if task not in yes}
    aim = request.form.get("aim", "")
    return Search(
        list(yes),
        [task for task in no if task not in yes],
        aim if len(aim) <= _LONGEST_AIM else "",
        _count("step"),
        _count("looked") + len(shown),
    )


def search_step(space: SearchSpace, search: Search, seed: int) -> Found:
    """Rank the galaxies that are not marked, by a search's marks.

    Raises
    ------
    StoreError
        There is no example among the galaxies that are here, or the aim cannot be used.
    """
    from ml_backend.loop.uploads import unpacked

    aim: npt.NDArray[np.float32] | None = None
    if search.aim:
        aim = unpacked(search.aim, space.rows.shape[1])
    return space.step(search.yes, search.no, aim, PER_STEP, seed)


def check_known(space: SearchSpace, tasks: Sequence[int]) -> None:
    """Refuse tasks that have no place in the space, if none of them has one.

    Raises
    ------
    StoreError
        None of the tasks is an encoded galaxy of the project.
    """
    if tasks and not len(space.embeddings(tasks)[0]):
        named = ", ".join(map(str, tasks[:5]))
        raise StoreError(
            f"No galaxy of this project that was encoded has the number {named}. Give the number "
            "of a task as Label Studio shows it."
        )


def _count(name: str) -> int:
    text = request.form.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0
