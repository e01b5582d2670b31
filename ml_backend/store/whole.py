"""Folders that appear whole at their place, and on the disk, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ml_backend.errors import StoreError


@contextmanager
def whole_folder(folder: Path, what: str, remedy: str) -> Iterator[Path]:
    """Give out a folder that takes the place of `folder` once it is whole and on disk.

    Parameters
    ----------
    folder : Path
        What stands there is replaced.
    what, remedy : str
        For the error: what is written ("Version x"), and what to do.

    Raises
    ------
    StoreError
        The disk is full or fails; nothing is changed then.
    """
    draft = folder.parent / f".draft-{folder.name}-{uuid.uuid4().hex}"
    with writing(folder, what, remedy):
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        try:
            yield draft
            for path in sorted(draft.rglob("*")):
                sync(path)
            sync(draft)
            if folder.exists():
                shutil.rmtree(folder)
            os.rename(draft, folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def writing(folder: Path, what: str, remedy: str) -> Iterator[None]:
    """Name what could not be written, why, and what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        full = full or "os error 28" in str(error).lower()
        why = "the disk is full" if full else str(error)
        raise StoreError(
            f"{what} could not be written to {folder.parent}: {why}. {remedy}"
        ) from error


def remove_drafts(parent: Path, prefix: str = "") -> int:
    """Delete what killed writers left half-made of folders whose name begins so; return how many.

    Only for whoever alone writes such folders.
    """
    drafts = list(parent.glob(f".draft-{prefix}*"))
    for draft in drafts:
        shutil.rmtree(draft, ignore_errors=True)
    return len(drafts)


def sync(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
