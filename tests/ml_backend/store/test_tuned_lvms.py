"""Files of tuned LVMs: whole or not at all, and what is damaged is never used."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from stand_ins import settings_of, tiny_lvm

from ml_backend.errors import StoreError
from ml_backend.store.database import open_store
from ml_backend.store.tuned_lvms import load_tuned, remove_tuned, tuned_folder, write_tuned

SEEN = {"a" * 64, "b" * 64}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tuned_folder(tmp_path, 3, tiny_lvm().identity)
    write_tuned(found, tiny_lvm(), "0" * 32, SEEN)
    return found


def test_what_is_written_is_read(folder: Path) -> None:
    kept = load_tuned(folder)
    assert kept.lvm.identity == tiny_lvm().identity == folder.name
    assert (kept.base, kept.seen) == ("0" * 32, SEEN)
    assert load_tuned(folder) is kept, "once per process"
    remove_tuned(folder)
    remove_tuned(folder)
    with pytest.raises(StoreError, match="cannot be read"):
        load_tuned(folder)


@pytest.mark.parametrize(
    "record",
    ["", "[]", "{", '{"base": 1, "seen": []}', '{"base": "x"}', '{"base": "x", "seen": "abc"}',
     '{"base": "x", "seen": ["../../etc"]}', json.dumps({"base": "x", "seen": [["a" * 64]]})],
)  # fmt: skip
def test_a_record_that_says_nothing_of_use_is_refused(folder: Path, record: str) -> None:
    (folder / "tuning.json").write_text(record)
    with pytest.raises(StoreError, match="cannot be read"):
        load_tuned(folder)


def test_weights_that_are_others_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="not those that were kept"):
        load_tuned(folder)


@pytest.mark.parametrize("identity", ["", "..", "../../x", "A" * 32, "a/b", "a" * 65])
def test_an_identity_cannot_lead_out_of_the_folder(tmp_path: Path, identity: str) -> None:
    with pytest.raises(StoreError, match="no identity"):
        tuned_folder(tmp_path, 1, identity)


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(StoreError, match="the disk is full"):
        write_tuned(tuned_folder(tmp_path, 1, "a" * 32), tiny_lvm(), "0" * 32, SEEN)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_embeddings_can_be_forgotten(tmp_path: Path) -> None:
    store = open_store(settings_of(tmp_path))
    store.projects.save(1)
    rows = store.embeddings("a" * 32, 4)
    rows.add(["a" * 64], [[1.0, 2.0, 3.0, 4.0]])
    store.forget_embeddings("a" * 32)
    store.forget_embeddings("never there")
    assert not (tmp_path / "embeddings" / ("a" * 32)).exists()
    assert len(store.embeddings("a" * 32, 4)) == 0
    store.close()
