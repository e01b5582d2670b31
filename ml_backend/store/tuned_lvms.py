"""The files of LVMs that were tuned to a project, each written whole or not.

``MODEL_DIR/lvms/p<project>/<identity>/`` holds the LVM as `models.sources` reads it, and
``tuning.json``: what it was tuned from and the content hashes of the images that tuning saw.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ml_backend.errors import StoreError
from ml_backend.store import whole
from models.sources import load_lvm
from models.sunet import LVMError
from models.vision_encoder import VisionEncoder
from models.weight_files import CONFIG_FILE, WEIGHTS_FILE, read_json

_RECORD = "tuning.json"
_LARGEST = 1 << 28
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class TunedLVM:
    """An LVM that was tuned to one project.

    Attributes
    ----------
    lvm : VisionEncoder
    base : str
        Identity of the LVM that it was tuned from.
    seen : frozenset of str
        Content hashes of the images that tuning saw with their labels.
    """

    lvm: VisionEncoder
    base: str
    seen: frozenset[str]


def tuned_folder(model_dir: Path, project_id: int, identity: str) -> Path:
    """Return the folder of a project's tuned LVM.

    Raises
    ------
    StoreError
        The identity is none; it could lead out of the folder.
    """
    if not re.fullmatch(r"[0-9a-f]{8,64}", identity):
        raise StoreError(f"{identity!r} is no identity of an LVM.")
    return model_dir / "lvms" / f"p{project_id}" / identity


def write_tuned(folder: Path, lvm: VisionEncoder, base: str, seen: Iterable[str]) -> None:
    """Write a tuned LVM; it appears whole at its place, or not at all.

    Raises
    ------
    StoreError
        The disk is full or fails; nothing is changed then.
    """
    remedy = "Free space or check the disk; the LVM in use is untouched, and tuning is tried again."
    whole.remove_drafts(folder.parent)  # a project is tuned by one worker at a time
    with whole.whole_folder(folder, "The tuned LVM", remedy) as draft:
        lvm.save_pretrained(draft)
        record = {"format": 1, "base": base, "seen": sorted(seen)}
        (draft / _RECORD).write_text(json.dumps(record), encoding="utf-8")


def kept_tuned(model_dir: Path, project_id: int) -> list[str]:
    """Return the identities of a project's tuned LVMs that have a folder."""
    folders = (model_dir / "lvms" / f"p{project_id}").glob("[0-9a-f]*")
    return sorted(folder.name for folder in folders if folder.is_dir())


def load_tuned(folder: Path) -> TunedLVM:
    """Read a tuned LVM, once per process.

    Raises
    ------
    StoreError
        A file is missing or broken, or the weights are not those of the folder's name.
    """
    try:
        marks = [(folder / name).stat() for name in (CONFIG_FILE, WEIGHTS_FILE, _RECORD)]
    except OSError as error:
        raise _broken(folder, error) from error
    return _loaded(folder, *((mark.st_ino, mark.st_mtime_ns, mark.st_size) for mark in marks))


def remove_tuned(folder: Path) -> None:
    """Delete a tuned LVM's files; missing ones are no error."""
    shutil.rmtree(folder, ignore_errors=True)


# A file that was changed is another one; only a few projects are worked on at a time.
@lru_cache(maxsize=4)
def _loaded(folder: Path, *_marks: tuple[int, int, int]) -> TunedLVM:
    try:
        record = read_json(folder / _RECORD, _LARGEST)
        lvm = load_lvm(folder)
    except LVMError as error:
        raise _broken(folder, error) from error
    base, seen = (record.get(k) if isinstance(record, dict) else None for k in ("base", "seen"))
    hashes = isinstance(seen, list) and all(
        isinstance(item, str) and _HASH.fullmatch(item) for item in seen
    )
    if not isinstance(base, str) or not isinstance(seen, list) or not hashes:
        raise _broken(folder, f"{_RECORD} does not say what tuning saw")
    if lvm.identity != folder.name:
        raise _broken(folder, "the weights are not those that were kept")
    return TunedLVM(lvm, base, frozenset(seen))


def _broken(folder: Path, reason: object) -> StoreError:
    return StoreError(f"The tuned LVM in {folder} cannot be read ({reason}).")
