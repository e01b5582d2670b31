"""Images of tasks, fetched once more for what an embedding does not hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog
from sqlalchemy import select

from ml_backend.errors import FetchError
from ml_backend.pictures.addresses import extension_of
from ml_backend.store.database import Store
from ml_backend.store.tables import Task
from models.images import GalaxyImage, ImageError, ImageLimits, content_hash, read_image

Made = TypeVar("Made")

_AT_ONCE = 500
_log = structlog.get_logger(__name__)


def tasks_of(store: Store, numbers: Sequence[int]) -> dict[int, Task]:
    """Return tasks by number; those without a usable image are left out."""
    found: dict[int, Task] = {}
    with store.reading() as session:
        for start in range(0, len(numbers), _AT_ONCE):
            part = numbers[start : start + _AT_ONCE]
            chosen = select(Task).where(Task.id.in_(part), Task.content_hash.is_not(None))
            found |= {task.id: task for task in session.scalars(chosen)}
    return found


def made_of(
    task: Task,
    fetch: Callable[[str], bytes],
    limits: ImageLimits,
    make: Callable[[GalaxyImage], Made],
) -> Made | None:
    """Make something of a task's image; None (and a line in the log) where it cannot be had again.

    Another image than the one that people answered for teaches nothing, so that is None, too.
    """
    try:
        data = fetch(task.image)
        extension = extension_of(task.image)
        if content_hash(data, extension) != task.content_hash:
            return None
        return make(read_image(data, limits, extension))
    except (FetchError, ImageError) as error:
        _log.info("image_not_had_again", task=task.id, reason=str(error))
        return None
