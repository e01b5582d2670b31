"""The files of a model version: heads, arrays and what is published, each written whole or not.

``MODEL_DIR/versions/<name>/`` holds ``version.json`` (what there is, and the meta data),
``heads/0``, ``heads/1``... (one folder per control), ``arrays.safetensors`` and, once ranked,
``predictions.json``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ml_backend.errors import StoreError
from ml_backend.store import whole
from models.heads.base import Head, HeadError, load_head

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_META, _ARRAYS, _PREDICTIONS = "version.json", "arrays.safetensors", "predictions.json"
_REMEDY = (
    "Free space or check the disk; the published version is untouched, and the round is tried "
    "again."
)


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
    with whole.whole_folder(folder, f"Version {folder.name}", _REMEDY) as draft:
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
    with whole.writing(folder, f"Version {folder.name}", _REMEDY):
        try:
            draft.write_text(json.dumps(list(predictions), allow_nan=False), encoding="utf-8")
            whole.sync(draft)
            os.replace(draft, folder / _PREDICTIONS)
            whole.sync(folder)
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
    return whole.remove_drafts(model_dir / "versions", prefix)


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
