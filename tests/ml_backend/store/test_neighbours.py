"""Nearest neighbours: the same answer as the exact search, whatever the numbers look like."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ml_backend.errors import StoreError
from ml_backend.store import neighbours
from ml_backend.store.embeddings import EmbeddingStore

N, D = 3000, 24
HASHES = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(N)]


def filled(folder: Path, table: np.ndarray) -> EmbeddingStore:
    store = EmbeddingStore(folder, "lvm", table.shape[1], shard_rows=700)
    for start in range(0, len(table), 450):
        store.add(HASHES[start : start + 450][: len(table) - start], table[start : start + 450])
    return store


def exact(table: np.ndarray, row: int, count: int, metric: str) -> tuple[list[str], np.ndarray]:
    """Plain float64 over all rows."""
    spread = table.std(axis=0)
    z = (table - table.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    if metric == "euclidean":
        distance = np.linalg.norm(z - z[row], axis=1)
    else:
        distance = 1 - z @ z[row] / np.linalg.norm(z, axis=1) / np.linalg.norm(z[row])
    order = np.argsort(distance)
    order = order[order != row][:count]
    return [HASHES[n] for n in order], distance[order]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(
    ("mean", "scale", "half"),
    [(0, 1, True), (5, 1, True), (300, 1, True), (0, 1e-4, True), (0, 9000, True), (5, 1, False)],
)
def test_the_answer_is_that_of_the_exact_search(
    tmp_path: Path, metric: neighbours.Metric, mean: float, scale: float, half: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(neighbours, "_half_is_exact", lambda dimension: half)
    rng = np.random.default_rng(0)
    table = rng.standard_normal((N, D)) * rng.uniform(0.2, 1, D) * scale + mean
    table[:, 3] = 7 * scale  # says nothing
    table = table.astype(np.float16)
    store = filled(tmp_path, table)
    for row in range(0, N, 217):
        hashes, distances = store.nearest(HASHES[row], 12, metric)
        expected, measured = exact(table.astype(np.float64), row, 12, metric)
        assert hashes == expected
        assert np.allclose(distances, measured, rtol=1e-5, atol=1e-6)


def test_an_embedding_that_is_not_kept_finds_its_like(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((N, D)).astype(np.float16)
    store = filled(tmp_path, table)
    hashes, distances = store.nearest(table[42] + 1e-3, 3)
    assert hashes[0] == HASHES[42]
    assert 0 < distances[0] < 0.02
    assert len(store.nearest(table[0], 10 * N)[0]) == N


def test_equal_rows_are_all_candidates(tmp_path: Path) -> None:
    store = filled(tmp_path, np.ones((N, D), np.float16))
    hashes, distances = store.nearest(HASHES[5], 4)
    assert hashes == HASHES[:4]
    assert not distances.any()


def test_new_rows_are_found_and_old_lengths_are_used_again(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((N, D)).astype(np.float16)
    store = filled(tmp_path, table[:2000])
    store.nearest(HASHES[0], 1)
    store.add(HASHES[2000:2100], table[2000:2100])
    assert store.nearest(table[2050].astype(np.float32), 1)[0] == [HASHES[2050]]
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.norms")}
    assert len(written) == 3
    again = EmbeddingStore(tmp_path, "lvm")
    assert again.nearest(table[7].astype(np.float32), 1)[0] == [HASHES[7]]
    assert (
        written.items()
        <= {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.norms")}.items()
    )


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "strange", "folder"])
@pytest.mark.parametrize("name", ["00001.norms", "space"])
def test_damaged_helpers_are_made_anew(tmp_path: Path, name: str, damage: str) -> None:
    table = np.random.default_rng(0).standard_normal((N, D)).astype(np.float16)
    expected = filled(tmp_path, table).nearest(HASHES[9], 5)[0]
    path = next(tmp_path.rglob(name))
    data = bytearray(path.read_bytes())
    if damage == "torn":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[-3] ^= 64
        path.write_bytes(data)
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(b"" if damage == "empty" else b"\xff" * len(data))
    assert EmbeddingStore(tmp_path, "lvm").nearest(HASHES[9], 5)[0] == expected


def test_broken_rows_are_left_out(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((N, D)).astype(np.float16)
    store = filled(tmp_path, table)
    first, second = store.nearest(HASHES[9], 2)[0]
    store.close()
    path = next(tmp_path.rglob("00000.rows"))
    for content_hash, value in ((first, np.float16(np.nan)), (second, table[9, 0])):
        row = HASHES.index(content_hash)
        path = next(tmp_path.rglob(f"{row // 700:05d}.rows"))
        data = np.fromfile(path, np.float16).reshape(-1, D)
        data[row % 700, 0] = value
        data.tofile(path)
    hashes, distances = EmbeddingStore(tmp_path, "lvm").nearest(HASHES[9], 20)
    assert len(hashes) == 20
    assert not {first, second} & set(hashes)
    assert np.isfinite(distances).all()


def test_bad_queries_are_refused(tmp_path: Path) -> None:
    store = filled(tmp_path, np.eye(D, dtype=np.float16))
    for query in (np.full(D, np.nan), np.ones(D + 1), HASHES[-1], "no hash"):
        with pytest.raises(ValueError, match=r"finite numbers|no embedding|SHA-256"):
            store.nearest(query, 3)
    with pytest.raises(ValueError, match="euclidean"):
        store.nearest(HASHES[0], 3, "manhattan")  # type: ignore[arg-type]
    assert EmbeddingStore(tmp_path, "empty", D).nearest(np.ones(D), 3)[0] == []
    next(tmp_path.rglob("00000.rows")).write_bytes(b"short")
    with pytest.raises((StoreError, ValueError)):
        EmbeddingStore(tmp_path, "lvm").nearest(HASHES[0], 3)
