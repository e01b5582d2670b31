"""Embeddings on disk: found again, never twice, whole after a crash, shared by processes."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_backend.errors import StoreError
from ml_backend.store import shards as module
from ml_backend.store.embeddings import EmbeddingStore
from ml_backend.store.hashindex import HashIndex, keys_of, prefixes_of

D = 6


def names(count: int, start: int = 0) -> list[str]:
    return [hashlib.sha256(str(n).encode()).hexdigest() for n in range(start, start + count)]


def values(count: int, start: int = 0) -> np.ndarray:
    return np.arange(start * D, (start + count) * D, dtype=np.float32).reshape(count, D) / 8


def test_rows_are_found_again_in_any_order_and_after_opening_again(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, "lvm", D, shard_rows=8)
    assert store.add(names(20), values(20)) == 20
    for opened in (store, EmbeddingStore(tmp_path, "lvm")):
        rows, found = opened.get([*names(20)[::-1], *names(1, 99)])
        assert found.tolist() == [True] * 20 + [False]
        assert np.array_equal(rows[:20], values(20)[::-1].astype(np.float16))
        assert rows.dtype == np.float16
        assert not rows[20].any()
        assert names(1)[0] in opened
        assert names(1, 99)[0] not in opened
        assert len(opened) == 20
        assert opened.verify() == 0


def test_nothing_is_kept_twice(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, "lvm", D)
    store.add(names(3), values(3))
    assert store.add([*names(5), names(5)[4]], values(6, start=50)) == 2
    rows, _ = store.get(names(3))
    assert np.array_equal(rows, values(3).astype(np.float16))
    assert len(store) == 5


def test_another_process_sees_new_rows(tmp_path: Path) -> None:
    reader = EmbeddingStore(tmp_path, "lvm", D, shard_rows=4)
    writer = EmbeddingStore(tmp_path, "lvm", D, shard_rows=4)
    for start in range(0, 12, 3):
        writer.add(names(3, start), values(3, start))
        rows, found = reader.get(names(3, start))
        assert found.all()
        assert np.array_equal(rows, values(3, start).astype(np.float16))


def test_writers_take_turns(tmp_path: Path) -> None:
    children = []
    for child in range(3):
        process = os.fork()
        if process == 0:
            try:
                store = EmbeddingStore(tmp_path, "lvm", D, shard_rows=16)
                for n in range(20):
                    # Two of three children add each row.
                    store.add(names(1, n + 10 * child), values(1, n + 10 * child))
                os._exit(0)
            finally:
                os._exit(1)
        children.append(process)
    for process in children:
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    store = EmbeddingStore(tmp_path, "lvm", D)
    rows, found = store.get(names(40))
    assert found.all()
    assert np.array_equal(rows, values(40).astype(np.float16))
    assert len(store) == 40
    assert store.verify() == 0


@pytest.mark.parametrize("lost", range(1, 41, 3))
@pytest.mark.parametrize("which", ["keys", "rows"])
def test_a_torn_end_is_cut(tmp_path: Path, which: str, lost: int) -> None:
    store = EmbeddingStore(tmp_path, "lvm", D)
    store.add(names(10), values(10))
    path = next(tmp_path.rglob(f"*.{which}"))
    os.truncate(path, path.stat().st_size - lost)
    store = EmbeddingStore(tmp_path, "lvm", D)
    left = len(store)
    assert 0 < left < 10
    rows, found = store.get(names(10))
    assert found.tolist() == [True] * left + [False] * (10 - left)
    store.add(names(10), values(10))
    rows, found = EmbeddingStore(tmp_path, "lvm", D).get(names(10))
    assert found.all()
    assert np.array_equal(rows, values(10).astype(np.float16))
    assert store.verify() == 0


def test_an_end_of_zeros_is_cut(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, "lvm", D)
    store.add(names(5), values(5))
    for path, size in ((next(tmp_path.rglob("*.keys")), 36), (next(tmp_path.rglob("*.rows")), 12)):
        with open(path, "ab") as file:
            file.write(bytes(3 * size))
    store = EmbeddingStore(tmp_path, "lvm", D)
    assert len(store) == 5
    store.add(names(2, 5), values(2, 5))
    assert EmbeddingStore(tmp_path, "lvm", D).get(names(7))[1].all()


def test_a_killed_writer_leaves_what_it_had_kept(tmp_path: Path) -> None:
    process = os.fork()
    if process == 0:
        store = EmbeddingStore(tmp_path, "lvm", D)
        for n in range(100_000):
            store.add(names(1, n), values(1, n))
        os._exit(0)
    # Rows are on disk before their keys, so that these many records (36 bytes each) are kept.
    while not any(path.stat().st_size >= 36 * 20 for path in tmp_path.rglob("*.keys")):
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    store = EmbeddingStore(tmp_path, "lvm", D)
    count = len(store)
    assert count >= 20
    assert np.array_equal(store.get(names(count))[0], values(count).astype(np.float16))
    assert store.verify() == 0
    store.add(names(1, 100_000), values(1))
    assert len(EmbeddingStore(tmp_path, "lvm", D)) == count + 1


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, "lvm", D)
    store.add(names(5), values(5))
    path = next(tmp_path.rglob("*.rows"))
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    assert store.verify() == 1
    again = EmbeddingStore(tmp_path, "lvm")
    assert (len(again), again.verify()) == (5, 1), "it hides no other row"


def test_a_full_disk_is_said_and_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = EmbeddingStore(tmp_path, "lvm", D)
    store.add(names(5), values(5))
    real = module._append_at

    def full(path: Path, offset: int, data: bytes) -> None:
        if path.suffix == ".keys":
            real(path, offset, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, offset, data)

    monkeypatch.setattr(module, "_append_at", full)
    with pytest.raises(StoreError, match="No space left"):
        store.add(names(3, 5), values(3, 5))
    monkeypatch.setattr(module, "_append_at", real)
    assert store.get(names(5))[1].all()
    assert not store.contains(names(3, 5)).any()
    store.add(names(3, 5), values(3, 5))
    assert EmbeddingStore(tmp_path, "lvm", D).get(names(8))[1].all()


def test_bad_input_is_refused(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, "lvm", D)
    with pytest.raises(ValueError, match="SHA-256"):
        store.get(["../../etc/passwd"])
    with pytest.raises(ValueError, match="SHA-256"):
        store.get(["g" * 64])
    with pytest.raises(ValueError, match="NaN"):
        store.add(names(1), np.full((1, D), np.nan))
    with pytest.raises(ValueError, match="shape"):
        store.add(names(2), values(1))
    store.add(names(1), np.full((1, D), 1e9))
    assert np.isfinite(store.get(names(1))[0]).all()
    for identity in ("../up", "", "a/b"):
        with pytest.raises(StoreError):
            EmbeddingStore(tmp_path, identity, D)
    with pytest.raises(StoreError, match="6 numbers, but the LVM makes 7"):
        EmbeddingStore(tmp_path, "lvm", 7)
    with pytest.raises(StoreError):
        EmbeddingStore(tmp_path, "unknown")
    (tmp_path / "lvm" / "form.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be opened"):
        EmbeddingStore(tmp_path, "lvm", D)


def test_two_lvms_do_not_meet(tmp_path: Path) -> None:
    EmbeddingStore(tmp_path, "one", D).add(names(1), values(1))
    assert not EmbeddingStore(tmp_path, "two", D).contains(names(1)).any()


def found_in(index: HashIndex, keys: np.ndarray) -> np.ndarray:
    """Look keys up in the order that the index asks for."""
    order = np.argsort(prefixes_of(keys), kind="stable")
    found = np.empty(len(keys), np.int64)
    found[order] = index.find(prefixes_of(keys)[order], keys[order])
    return found


@given(st.lists(st.binary(min_size=1, max_size=2), max_size=60), st.integers(1, 7))
@settings(deadline=None, max_examples=60)
def test_the_index_finds_keys_that_share_a_prefix(tails: list[bytes], step: int) -> None:
    texts = list(dict.fromkeys((b"\0" * 30 + tail.rjust(2, b"\0")).hex() for tail in tails))
    index = HashIndex()
    for start in range(0, len(texts), step):
        index.extend(keys_of(texts[start : start + step]))
    assert found_in(index, keys_of(texts)).tolist() == list(range(len(texts)))
    assert found_in(index, keys_of(["ff" * 32])).tolist() == [-1]


def test_a_hundred_thousand_rows_are_found_after_many_small_additions() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 256, (100_000, 32), dtype=np.uint8)
    index = HashIndex()
    index.extend(keys)
    for _ in range(0, 2000, 20):
        index.extend(rng.integers(0, 256, (20, 32), dtype=np.uint8))
    assert np.array_equal(found_in(index, keys), np.arange(100_000))
    assert index.contains(keys[::-1]).all()
