"""A project's map: where its galaxies lie in the embedding space, made anew when many are new.

The worker makes it in a job of its own (kind ``map``), beside the rounds; the dashboard reads the
file.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ml_backend.loop import drafts
from ml_backend.loop.encoded_tasks import encoded_tasks
from ml_backend.store import whole
from ml_backend.store.database import Store

if TYPE_CHECKING:
    from ml_backend.loop.figures import FigureContext

GROWTH = 0.1
"""Share of the galaxies that must be new or gone before a map is made anew."""
_REMEDY = "Make room; the next round asks for the map again."


@dataclass(frozen=True)
class ProjectMap:
    """Where galaxies lie.

    Attributes
    ----------
    task_ids : int64 [n]
        In rising order.
    places : float32 [n, 2]
        In [-1, 1].
    lvm_identity : str
        LVM of the embeddings.
    """

    task_ids: npt.NDArray[np.int64]
    places: npt.NDArray[np.float32]
    lvm_identity: str


def make_map(
    store: Store, project_id: int, progress: Callable[[float, str], None] = lambda *_: None
) -> str:
    """Make the map of a project and keep it, whole or not at all; return a sentence about it.

    Raises
    ------
    StoreError
        It cannot be written; an earlier map stays.
    """
    from models.embedding_map import flat_map  # scikit-learn

    champion = drafts.champion_of(store, project_id)
    if champion is None:
        return "There is no map before the first version."
    ids, rows = encoded_tasks(store, project_id, champion.lvm_identity)
    progress(0.05, f"Laying out {len(ids)} galaxies")
    places = flat_map(
        lambda some: np.asarray(rows[some], np.float32),
        len(ids),
        store.settings.seed,
        progress=lambda share: progress(0.05 + 0.9 * share, f"Laying out {len(ids)} galaxies"),
    )
    _write(_path(store, project_id), ids, places, champion.lvm_identity)
    return f"Made the map of {len(ids)} galaxies."


def load_map(store: Store, project_id: int) -> ProjectMap | None:
    """Return a project's map; None where there is none, or its file is damaged."""
    try:
        with safe_open(_path(store, project_id), "numpy") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            ids, places = file.get_tensor("task_ids"), file.get_tensor("places")
            identity = str(about["lvm"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
    if ids.ndim != 1 or ids.dtype != np.int64 or places.shape != (len(ids), 2):
        return None
    return ProjectMap(ids, np.asarray(places, np.float32), identity)


def map_figure(context: FigureContext) -> dict[str, Any]:
    """Ask for a map where there is none of the pool as it is; a figure of a project.

    Returns
    -------
    dict
        ``galaxies`` in the pool, ``mapped``, and whether a new map was ``asked`` for.
    """
    champion = drafts.champion_of(context.store, context.project_id)
    kept = load_map(context.store, context.project_id)
    ids = context.pool.task_ids
    mapped = 0 if kept is None else len(kept.task_ids)
    asked = champion is not None and len(ids) > 0 and _is_old(kept, ids, champion.lvm_identity)
    if asked:
        context.store.jobs.enqueue("map", context.project_id)
    return {"galaxies": len(ids), "mapped": mapped, "asked": asked}


def _is_old(kept: ProjectMap | None, ids: npt.NDArray[np.int64], lvm_identity: str) -> bool:
    if kept is None or kept.lvm_identity != lvm_identity:
        return True
    shared = len(np.intersect1d(kept.task_ids, ids, assume_unique=True))
    changed = len(ids) + len(kept.task_ids) - 2 * shared
    return changed > GROWTH * len(kept.task_ids)


def _path(store: Store, project_id: int) -> Path:
    return store.folder / "maps" / f"project-{project_id}.safetensors"


def _write(
    path: Path, ids: npt.NDArray[np.int64], places: npt.NDArray[np.float32], lvm_identity: str
) -> None:
    about = {"about": json.dumps({"lvm": lvm_identity})}
    data = save({"task_ids": ids, "places": places}, about)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with whole.writing(path, "The map", _REMEDY):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_bytes(data)
            whole.sync(draft)
            os.replace(draft, path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()
