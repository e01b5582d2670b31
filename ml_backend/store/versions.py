"""The files of a model version: heads, arrays and what is published, each written whole or not.

``MODEL_DIR/versions/<name>/`` holds ``version.json`` (what there is, and the meta data),
``heads/0``, ``heads/1``... (one folder per control), ``arrays.safetensors`` and, once ranked,
``predictions.json``.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ml_backend.errors import StoreError
from models.heads.base import Head, HeadError, load_head

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_META, _ARRAYS, _PREDICTIONS = "version.json", "arrays.safetensors", "predictions.json"


def version_folder(model_dir: Path, name: str) -> Path:
    """Return the folder of a version.

    Raises
    ------
    StoreError
        The name could lead out of the folder of versions.
    """
    if not _NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} is not the name of a version; `galaxyloop versions` lists them."
        )
    return model_dir / "versions" / name


def write_version(
    folder: Path,
    heads: Mapping[str, Head],
    arrays: Mapping[str, npt.NDArray[Any]] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write a version; it appears whole at its place, or not at all.

    Parameters
    ----------
    folder : Path
        From :func:`version_folder`; what stands there is replaced.
    heads : mapping
        Control to head; may be empty (nothing is known yet).
    arrays : mapping, optional
        Further arrays by name, e.g. out-of-fold probabilities.
    meta : mapping, optional
        What can be written as JSON.

    Raises
    ------
    StoreError
        The disk is full or fails; nothing is changed then.
    """
    with _writing(folder), _draft(folder) as draft:
        for number, head in enumerate(heads.values()):
            head.save(draft / "heads" / str(number))
        save_file(
            {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()},
            draft / _ARRAYS,
        )
        content = {"format": 1, "controls": list(heads), "meta": dict(meta or {})}
        (draft / _META).write_text(json.dumps(content), encoding="utf-8")


def write_predictions(folder: Path, predictions: Sequence[Mapping[str, Any]]) -> None:
    """Keep what a version publishes (the import is taken up from here after a crash).

    Raises
    ------
    StoreError
        The disk is full or fails.
    """
    draft = folder / f".{_PREDICTIONS}.{uuid.uuid4().hex}"
    with _writing(folder):
        try:
            draft.write_text(json.dumps(list(predictions), allow_nan=False), encoding="utf-8")
            _sync(draft)
            os.replace(draft, folder / _PREDICTIONS)
            _sync(folder)
        finally:
            draft.unlink(missing_ok=True)


def load_heads(folder: Path) -> dict[str, Head]:
    """Return the heads of a version by control.

    Raises
    ------
    StoreError
        A file is missing or broken.
    """
    controls = _content(folder)["controls"]
    try:
        return {
            control: load_head(folder / "heads" / str(number))
            for number, control in enumerate(controls)
        }
    except HeadError as error:
        raise StoreError(f"Version {folder.name} is broken. {error}") from error


def load_arrays(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a version by name.

    Raises
    ------
    StoreError
        The file is missing or broken.
    """
    try:
        return dict(load_file(folder / _ARRAYS))
    except (OSError, SafetensorError) as error:
        raise _broken(folder, error) from error


def load_meta(folder: Path) -> dict[str, Any]:
    """Return the meta data of a version.

    Raises
    ------
    StoreError
        The file is missing or broken.
    """
    return dict(_content(folder)["meta"])


def load_predictions(folder: Path) -> list[dict[str, Any]] | None:
    """Return what a version publishes, None where it has not been ranked.

    Raises
    ------
    StoreError
        The file is broken.
    """
    path = folder / _PREDICTIONS
    if not path.exists():
        return None
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _broken(folder, error) from error
    if not isinstance(rows, list):
        raise _broken(folder, "predictions.json is not a list")
    return rows


def remove_version(folder: Path) -> None:
    """Delete a version's files; missing ones are no error."""
    shutil.rmtree(folder, ignore_errors=True)


def remove_drafts(model_dir: Path, prefix: str) -> int:
    """Delete what killed writers left half-made of versions whose name begins so; return how many.

    Only for whoever alone writes such versions (the round of a project).
    """
    drafts = list((model_dir / "versions").glob(f".draft-{prefix}*"))
    for draft in drafts:
        shutil.rmtree(draft, ignore_errors=True)
    return len(drafts)


def _content(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / _META).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _broken(folder, error) from error
    controls = content.get("controls") if isinstance(content, dict) else None
    if not isinstance(controls, list) or not isinstance(content.get("meta"), dict):
        raise _broken(folder, "version.json lacks its controls or meta data")
    return dict(content)


def _broken(folder: Path, reason: object) -> StoreError:
    return StoreError(
        f"The files of version {folder.name} cannot be read ({reason}). Roll back to another "
        "version, or let the next round make a new one."
    )


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """Give out a folder that takes the place of `folder` once it is whole and on disk."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.parent / f".draft-{folder.name}-{uuid.uuid4().hex}"
    draft.mkdir()
    try:
        yield draft
        for path in sorted(draft.rglob("*")):
            _sync(path)
        _sync(draft)
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(draft, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        full = full or "os error 28" in str(error).lower()
        what = "the disk is full" if full else str(error)
        raise StoreError(
            f"Version {folder.name} could not be written to {folder.parent}: {what}. Free space or "
            "check the disk; the published version is untouched, and the round is tried again."
        ) from error
