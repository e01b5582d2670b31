"""What pages about galaxies share: their states, and numbers of tasks in forms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from flask import Blueprint, request

from ml_backend.dashboard.queue_rows import is_held_back, reason_of, suggestion_of
from ml_backend.store.database import Store
from ml_backend.store.tables import Project

if TYPE_CHECKING:
    from ml_backend.loop.galaxy_states import GalaxyState, Observer
    from ml_backend.loop.search import SearchSpace, SearchSpaces

MOST_TASKS = 1000
"""Numbers of tasks that a form is read for."""


class Galaxies:
    """The galaxies of all projects, for pages; what it needs is loaded when it is first asked.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._made: tuple[Observer, SearchSpaces] | None = None

    def space(self, project_id: int) -> SearchSpace | None:
        """Return where a project's galaxies lie; None before its first version."""
        return self._parts()[1].of(project_id)

    def states(self, project: Project, task_ids: Sequence[int]) -> list[GalaxyState]:
        """Return what is known of tasks of a project, in order."""
        return self._parts()[0].states(project, task_ids)

    def _parts(self) -> tuple[Observer, SearchSpaces]:
        if self._made is None:
            # Importing torch takes seconds, in which /health must answer already.
            from ml_backend.loop.galaxy_states import Observer
            from ml_backend.loop.search import SearchSpaces

            self._made = Observer(self._store), SearchSpaces(self._store)
        return self._made


def add_filters(blueprint: Blueprint) -> None:
    """Make the words about galaxies known to templates."""
    blueprint.add_app_template_filter(reason_of, "reason_of")
    blueprint.add_app_template_filter(suggestion_of, "suggestion_of")
    blueprint.add_app_template_filter(is_held_back, "is_held_back")
    blueprint.add_app_template_filter(joined, "joined")


def joined(task_ids: Iterable[int]) -> str:
    """Return numbers of tasks as forms carry them."""
    return ",".join(map(str, task_ids))


def tasks_in(*names: str) -> list[int]:
    """Return the numbers of tasks that the request's fields hold, each once; the rest is ignored.

    At most `MOST_TASKS`.
    """
    found: dict[int, None] = {}
    for name in names:
        for text in [*request.form.getlist(name), *request.args.getlist(name)]:
            for number in re.findall(r"(?<![0-9])[0-9]{1,18}(?![0-9])", text[: 20 * MOST_TASKS]):
                found[int(number)] = None
                if len(found) >= MOST_TASKS:
                    return list(found)
    return list(found)
