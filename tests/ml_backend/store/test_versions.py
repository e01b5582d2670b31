"""Version files: whole or not at all, also on a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml_backend.errors import StoreError
from ml_backend.store import versions
from ml_backend.store.versions import (
    load_arrays,
    load_heads,
    load_meta,
    load_predictions,
    remove_drafts,
    remove_version,
    version_folder,
    write_predictions,
    write_version,
)
from models.heads.base import Head
from models.heads.classification import SingleChoiceHead

ROWS = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
TARGETS = np.eye(2, dtype=np.float32)[np.arange(12) % 2]


@pytest.fixture(scope="module")
def heads() -> dict[str, Head]:
    labels = ("Ring", "No / ring ☉")
    return {
        "a control/with odd ☉ name": SingleChoiceHead(labels).fit(ROWS, TARGETS),
        "other": SingleChoiceHead(labels).fit(ROWS, TARGETS[::-1]),
    }


def test_a_version_comes_back_as_it_was(tmp_path: Path, heads: dict[str, Head]) -> None:
    folder = version_folder(tmp_path, "galaxyloop-p1-v1")
    arrays = {"ids": np.arange(3), "half": np.ones((2, 2), np.float32)[:, ::-1]}
    write_version(folder, heads, arrays, {"votes": 3})
    back = load_heads(folder)
    assert list(back) == list(heads)
    for control, head in heads.items():
        assert back[control].labels == head.labels
        assert np.allclose(back[control].predict(ROWS), head.predict(ROWS), atol=1e-6)
    assert {name: array.tolist() for name, array in load_arrays(folder).items()} == {
        "ids": [0, 1, 2],
        "half": [[1, 1], [1, 1]],
    }
    assert load_meta(folder) == {"votes": 3}
    assert load_predictions(folder) is None
    write_predictions(folder, [{"task": 1, "score": 0.5, "result": []}])
    assert load_predictions(folder) == [{"task": 1, "score": 0.5, "result": []}]
    other = version_folder(tmp_path, "galaxyloop-p1-v2")
    write_version(other, heads)
    remove_version(folder)
    assert list(load_heads(other)) == list(heads)


def test_a_version_without_heads_is_one(tmp_path: Path) -> None:
    folder = version_folder(tmp_path, "cold")
    write_version(folder, {})
    assert load_heads(folder) == {}


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 300, "a\0b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="not the name of a version"):
        version_folder(tmp_path, name)


@pytest.mark.parametrize("failing", ["write_text", "fsync", "rename", "save_file"])
def test_a_full_disk_leaves_the_old_version_usable(
    tmp_path: Path, heads: dict[str, Head], monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    folder = version_folder(tmp_path, "galaxyloop-p1-v1")
    write_version(folder, heads, meta={"round": 1})

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if failing == "write_text":
            patch.setattr(Path, "write_text", full)
        elif failing == "save_file":
            patch.setattr(versions, "save_file", full)
        else:
            patch.setattr(os, failing, full)
        with pytest.raises(StoreError, match=r"the disk is full\. Free space") as caught:
            write_version(version_folder(tmp_path, "galaxyloop-p1-v2"), heads)
    assert "published version is untouched" in str(caught.value)
    assert load_meta(folder) == {"round": 1}
    assert np.isfinite(load_heads(folder)["other"].predict(ROWS)).all()
    assert [path.name for path in (tmp_path / "versions").iterdir()] == ["galaxyloop-p1-v1"]
    write_version(version_folder(tmp_path, "galaxyloop-p1-v2"), heads)


def test_a_full_disk_keeps_the_predictions_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = version_folder(tmp_path, "v")
    write_version(folder, {})
    write_predictions(folder, [{"task": 1}])

    def full(*_: Any) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="disk is full"):
            write_predictions(folder, [{"task": 2}])
    assert load_predictions(folder) == [{"task": 1}]
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"controls": 3, "meta": {}}', "null"])
def test_broken_files_are_named(tmp_path: Path, heads: dict[str, Head], content: str) -> None:
    folder = version_folder(tmp_path, "v")
    write_version(folder, heads)
    write_predictions(folder, [])
    (folder / "version.json").write_text(content)
    (folder / "arrays.safetensors").write_text(content)
    (folder / "predictions.json").write_text(content)
    for load in (load_heads, load_arrays, load_meta, load_predictions):
        if load is load_predictions and content == "[]":
            continue
        with pytest.raises(StoreError, match="version v"):
            load(folder)


def test_a_missing_head_is_named(tmp_path: Path, heads: dict[str, Head]) -> None:
    folder = version_folder(tmp_path, "v")
    write_version(folder, heads)
    (folder / "heads" / "1" / "head.safetensors").unlink()
    with pytest.raises(StoreError, match="Version v is broken"):
        load_heads(folder)


def test_drafts_of_killed_writers_are_removed(tmp_path: Path) -> None:
    for name in ("p1-v3", "p12-v3"):
        draft = tmp_path / "versions" / f".draft-galaxyloop-{name}-abc"
        draft.mkdir(parents=True)
        (draft / "file").write_text("x")
    assert remove_drafts(tmp_path, "galaxyloop-p1-v") == 1
    left = [path.name for path in (tmp_path / "versions").iterdir()]
    assert left == [".draft-galaxyloop-p12-v3-abc"]
