"""Compaction: what nobody needs goes, at every crash all that was kept stays, readers go on."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ml_backend.errors import StoreError
from ml_backend.store import generations, shards
from ml_backend.store.embeddings import EmbeddingStore
from ml_backend.store.hashindex import Keys

N, D, SHARD = 100, 5, 16
HASHES = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(N + 50)]
ROWS = (np.arange(len(HASHES) * D, dtype=np.float16).reshape(-1, D) / 4).astype(np.float16)
UNWANTED = set(HASHES[5:20]) | set(HASHES[50:90:3])


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it has written; only a power cut would."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def filled(folder: Path) -> EmbeddingStore:
    store = EmbeddingStore(folder, "lvm", D, shard_rows=SHARD)
    store.add(HASHES[:N], ROWS[:N])
    return store


def wanted(keys: Keys) -> np.ndarray:
    return np.array([key.tobytes().hex() not in UNWANTED for key in keys], np.bool_)


def check(store: EmbeddingStore, compacted: bool, count: int = N) -> None:
    """All rows are right; the unwanted ones are there or not, all together."""
    rows, found = store.get(HASHES[:count])
    gone = np.array([compacted and name in UNWANTED for name in HASHES[:count]])
    assert np.array_equal(found, ~gone)
    assert np.array_equal(rows[found], ROWS[:count][found])
    assert len(store) == found.sum()
    assert store.verify() == 0


def damage(folder: Path, row: int) -> None:
    path = next(folder.rglob(f"{row // SHARD:05d}.rows"))
    data = bytearray(path.read_bytes())
    data[row % SHARD * 2 * D] ^= 1
    path.unlink()  # another file: those who mapped it keep theirs
    path.write_bytes(data)


def files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*.*") if path.suffix != ".lock")
    return sorted(str(path.relative_to(folder)) for path in paths)


def test_unwanted_and_broken_rows_go(tmp_path: Path) -> None:
    filled(tmp_path).close()
    damage(tmp_path, 3)
    damage(tmp_path, N - 5)
    store = EmbeddingStore(tmp_path, "lvm", D)
    assert store.verify() == 2
    report = store.compact(wanted)
    assert (report.rows, report.broken, report.unwanted) == (N, 2, len(UNWANTED))
    assert report.shards_kept == 2  # rows 32 to 47, and the last four
    for opened in (store, EmbeddingStore(tmp_path, "lvm")):
        assert opened.verify() == 0
        assert len(opened) == N - 2 - len(UNWANTED)
        gone = [n for n in range(N) if n in (3, N - 5) or HASHES[n] in UNWANTED]
        assert np.flatnonzero(~opened.contains(HASHES[:N])).tolist() == gone
    store.add(HASHES[:N], ROWS[:N])
    check(EmbeddingStore(tmp_path, "lvm"), compacted=False)


def test_nothing_to_drop_changes_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before = files(tmp_path)
    assert store.compact().dropped == 0
    assert files(tmp_path) == before
    check(store, compacted=False)


def test_all_can_go_and_come_again(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert store.compact(lambda keys: np.zeros(len(keys), np.bool_)).unwanted == N
    assert len(store) == 0
    store.add(HASHES[:N], ROWS[:N])
    check(EmbeddingStore(tmp_path, "lvm"), compacted=False)


def test_readers_that_are_open_go_on(tmp_path: Path) -> None:
    filled(tmp_path)
    quiet, fresh = EmbeddingStore(tmp_path, "lvm"), EmbeddingStore(tmp_path, "lvm")
    table, _ = quiet.view(HASHES[:N])
    for number in range(3):
        fresh.compact(lambda keys, n=number: np.arange(len(keys)) % 7 != n)
        rows, found = quiet.get(HASHES[:N])
        assert np.array_equal(rows[found], ROWS[:N][found])
        assert np.array_equal(found, EmbeddingStore(tmp_path, "lvm").contains(HASHES[:N]))
        # What was being worked on stays as it was.
        assert np.array_equal(table[:], ROWS[:N])
        assert np.array_equal(table[[3, 70]], ROWS[[3, 70]])


def test_readers_and_writers_meet_compactions(tmp_path: Path) -> None:
    filled(tmp_path)
    stop = threading.Event()
    wrong: list[str] = []

    def read(opened: Callable[[], EmbeddingStore]) -> None:
        while not stop.is_set():
            try:
                rows, found = opened().get(HASHES[:40])
            except StoreError as error:
                wrong.append(str(error))
                continue
            if not np.array_equal(rows[found], ROWS[:40][found]) or not found[30:].all():
                wrong.append(f"{found}")

    kept = EmbeddingStore(tmp_path, "lvm")
    readers = [
        threading.Thread(target=read, args=(lambda: kept,)),
        threading.Thread(target=read, args=(lambda: EmbeddingStore(tmp_path, "lvm"),)),
    ]
    for reader in readers:
        reader.start()
    writer = EmbeddingStore(tmp_path, "lvm")
    for number in range(25):
        drop = {HASHES[number], HASHES[number + 60]}
        EmbeddingStore(tmp_path, "lvm").compact(
            lambda keys, drop=drop: np.array([key.tobytes().hex() not in drop for key in keys])
        )
        writer.add([HASHES[N + number]], ROWS[[N + number]])
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert EmbeddingStore(tmp_path, "lvm").contains(HASHES[N : N + 25]).all()


def test_rows_that_come_meanwhile_are_kept(tmp_path: Path) -> None:
    store, writer = filled(tmp_path), EmbeddingStore(tmp_path, "lvm")

    def progress(share: float) -> None:
        if not writer.contains(HASHES[N : N + 1])[0]:
            writer.add(HASHES[N:], ROWS[N:])

    UNKNOWN = set(HASHES[N:])
    store.compact(
        lambda keys: np.array([k.tobytes().hex() not in UNKNOWN | UNWANTED for k in keys]), progress
    )
    check(EmbeddingStore(tmp_path, "lvm"), compacted=True, count=len(HASHES))


def steps(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call `act` before each step that touches the disk."""
    count = iter(range(10_000))

    def stepped(real: Callable[..., object]) -> Callable[..., object]:
        def step(*given: object, **named: object) -> object:
            act(next(count))
            return real(*given, **named)

        return step

    monkeypatch.setattr(shards, "_append_at", stepped(shards._append_at))
    monkeypatch.setattr(generations, "_wait_for_disk", stepped(generations._wait_for_disk))
    for name in ("link", "replace"):
        monkeypatch.setattr(os, name, stepped(getattr(os, name)))
    monkeypatch.setattr(generations.shutil, "rmtree", stepped(generations.shutil.rmtree))
    monkeypatch.setattr(Path, "unlink", stepped(Path.unlink))


def count_steps(folder: Path) -> int:
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        store = filled(folder)
        steps(patch, seen.append)
        store.compact(wanted)
    return len(seen)


def test_killed_at_any_step_all_is_there(tmp_path: Path) -> None:
    total = count_steps(tmp_path / "counted")
    assert total > 25
    outcomes = set()
    for fatal in range(total):
        folder = tmp_path / f"{fatal}"
        store = filled(folder)
        child = os.fork()
        if child == 0:
            with pytest.MonkeyPatch.context() as patch:

                def die(step: int, fatal: int = fatal) -> None:
                    if step == fatal:
                        os.kill(os.getpid(), signal.SIGKILL)

                steps(patch, die)
                store.compact(wanted)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        compacted = not store.contains([HASHES[6]])[0]
        outcomes.add(compacted)
        check(store, compacted)
        check(EmbeddingStore(folder, "lvm"), compacted)
        # The next writer removes what was left, and the next compaction is whole.
        again = EmbeddingStore(folder, "lvm")
        again.add(HASHES[N:], ROWS[N:])
        assert len({path.parent for path in folder.rglob("*.rows")}) == 1
        again.compact(wanted)
        check(store, compacted=True, count=len(HASHES))
    assert outcomes == {True, False}


def test_a_disk_that_fails_at_any_step_changes_nothing_by_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = count_steps(tmp_path / "counted")
    refused = 0
    for fatal in range(total):
        folder = tmp_path / f"{fatal}"
        store = filled(folder)
        with pytest.MonkeyPatch.context() as patch:

            def fail(step: int, fatal: int = fatal) -> None:
                if step == fatal:
                    raise OSError(errno.ENOSPC, "No space left on device")

            steps(patch, fail)
            try:
                store.compact(wanted)
            except StoreError as error:
                refused += "No space left" in str(error)
        compacted = not store.contains([HASHES[6]])[0]
        check(store, compacted)
        check(EmbeddingStore(folder, "lvm"), compacted)
    assert refused > 5


def test_stopped_by_hand_nothing_is_changed(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before = files(tmp_path)

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.compact(wanted, stop)
    assert files(tmp_path) == before
    check(store, compacted=False)


def test_only_one_compaction_at_a_time(tmp_path: Path) -> None:
    store = filled(tmp_path)
    said = []

    def again(share: float) -> None:
        with pytest.raises(StoreError, match="being compacted already"):
            EmbeddingStore(tmp_path, "lvm").compact()
        said.append(share)

    store.compact(wanted, again)
    assert said[-1] == 1


def test_a_file_system_without_second_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    store = filled(tmp_path)
    monkeypatch.setattr(os, "link", refuse)
    store.compact(wanted)
    check(EmbeddingStore(tmp_path, "lvm"), compacted=True)


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "strange", "folder", "missing"])
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: str) -> None:
    filled(tmp_path)
    path = next(tmp_path.rglob("00002.index"))
    data = bytearray(path.read_bytes())
    path.unlink()
    if damage == "torn":
        path.write_bytes(data[:-7])
    elif damage == "flipped":
        data[80] ^= 4
        path.write_bytes(data)
    elif damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(b"" if damage == "empty" else os.urandom(len(data)))
    check(EmbeddingStore(tmp_path, "lvm"), compacted=False)
    if damage != "folder":
        assert len(path.read_bytes()) == len(data)


def test_a_broken_row_in_the_middle_hides_no_other(tmp_path: Path) -> None:
    filled(tmp_path).close()
    for path in tmp_path.rglob("*.index"):
        path.unlink()
    damage(tmp_path, 14)
    store = EmbeddingStore(tmp_path, "lvm")
    assert len(store) == N
    assert store.verify() == 1
    assert store.add(HASHES[: N + 3], ROWS[: N + 3]) == 3


@pytest.mark.parametrize(
    "form",
    ["{", "[]", "[" * 100_000, '{"dimension": 5}', "\udcff",
     '{"dimension": 5, "shard_rows": 0, "dtype": "float16"}',
     '{"dimension": 5, "shard_rows": 16, "dtype": "float64"}',
     '{"dimension": "5", "shard_rows": 16, "dtype": "float16"}',
     '{"dimension": 5, "shard_rows": 16, "dtype": "float16", "generation": -1}',
     '{"dimension": 5, "shard_rows": 16, "dtype": "float16", "generation": "../x"}'],
)  # fmt: skip
def test_a_hostile_form_is_refused(tmp_path: Path, form: str) -> None:
    store = filled(tmp_path)
    path = next(tmp_path.rglob("form.json"))
    path.write_bytes(form.encode("utf-8", "surrogateescape"))
    os.utime(path, ns=(1, 1))
    with pytest.raises(StoreError, match="cannot be opened"):
        EmbeddingStore(tmp_path, "lvm", D)
    with pytest.raises(StoreError, match="cannot be read"):
        store.get(HASHES[:1])
