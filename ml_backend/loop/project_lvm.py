"""Which LVM a project uses: that of the settings, or one that was tuned to it.

The champion decides: it was trained on one LVM's embeddings and can answer with no other's. So
bringing a version back brings its LVM back. A tuned LVM counts only while the settings name the
LVM that it was tuned from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from ml_backend.errors import StoreError
from ml_backend.loop import drafts
from ml_backend.store.database import Store
from ml_backend.store.tables import Task, Version
from ml_backend.store.tuned_lvms import kept_tuned, load_tuned, remove_tuned, tuned_folder
from models.throughput import best_device
from models.vision_encoder import VisionEncoder

_HASHES_AT_ONCE = 500


@dataclass(frozen=True)
class ProjectLVM:
    """An LVM that a project may use.

    Attributes
    ----------
    lvm : VisionEncoder
    base : str
        Identity of the LVM of the settings.
    seen : frozenset of str
        Content hashes of the images that tuning saw with their labels; none if it was not tuned.
    problem : str
        Why the LVM of the settings stands in for a tuned one; empty where it does not.
    """

    lvm: VisionEncoder
    base: str
    seen: frozenset[str] = field(default=frozenset(), repr=False)
    problem: str = ""

    @property
    def identity(self) -> str:
        """That of the LVM."""
        return self.lvm.identity

    @property
    def is_tuned(self) -> bool:
        """Whether it is another LVM than that of the settings."""
        return self.identity != self.base


def lvm_in_use(
    store: Store, project_id: int, base: VisionEncoder, version: Version | None = None
) -> ProjectLVM:
    """Return the LVM of a version (the champion by default), or what stands in for it.

    Parameters
    ----------
    store : Store
    project_id : int
    base : VisionEncoder
        That of the settings.
    version : Version, optional
        One that is to be brought back.
    """
    version = version or drafts.champion_of(store, project_id)
    if version is None or version.lvm_identity in ("", base.identity):
        return ProjectLVM(base, base.identity)
    tuning = store.tunings.of_lvm(project_id, version.lvm_identity)
    if tuning is None or tuning.base_identity != base.identity:
        return ProjectLVM(base, base.identity)
    try:
        return tuned_lvm(store, project_id, version.lvm_identity, base)
    except StoreError as error:
        problem = f"{error} The LVM of the settings (GALAXYLOOP_LVM) is used again."
        return ProjectLVM(base, base.identity, problem=problem)


def tuned_lvm(store: Store, project_id: int, identity: str, base: VisionEncoder) -> ProjectLVM:
    """Read a tuned LVM of a project.

    Raises
    ------
    StoreError
        Its files are gone or damaged, or it was tuned from another LVM than `base`.
    """
    found = load_tuned(tuned_folder(store.folder, project_id, identity))
    if found.base != base.identity or found.lvm.dimension != base.dimension:
        raise StoreError(f"The LVM {identity} was tuned from another one than GALAXYLOOP_LVM.")
    return ProjectLVM(found.lvm.to(best_device()), base.identity, found.seen)


def seen_tasks(store: Store, project_id: int, seen: frozenset[str]) -> npt.NDArray[np.int64]:
    """Return the tasks that show one of these images, in rising order."""
    wanted = sorted(seen)
    found: list[int] = []
    with store.reading() as session:
        for start in range(0, len(wanted), _HASHES_AT_ONCE):
            part = wanted[start : start + _HASHES_AT_ONCE]
            found += session.scalars(
                select(Task.id).where(Task.project_id == project_id, Task.content_hash.in_(part))
            )
    return np.array(sorted(found), np.int64)


def discard(store: Store, project_id: int, identity: str) -> None:
    """Delete a tuned LVM and its embeddings."""
    remove_tuned(tuned_folder(store.folder, project_id, identity))
    store.forget_embeddings(identity)


def unused(store: Store, project_id: int) -> list[str]:
    """Return the project's tuned LVMs that no version on the disk needs and no round will judge."""
    made = store.tunings.listing(project_id)
    if any(row.state == "running" for row in made):
        return []  # it may have written one that its row does not name yet
    with store.reading() as session:
        needed = set(
            session.scalars(
                select(Version.lvm_identity).where(
                    Version.project_id == project_id, Version.on_disk
                )
            )
        )
    needed |= {row.lvm_identity or "" for row in made if row.state in ("ready", "failed")}
    return [found for found in kept_tuned(store.folder, project_id) if found not in needed]
