"""`galaxyloop embeddings`: verify, compact, nearest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from stand_ins import SHAPE_CONFIG

from ml_backend.cli import main
from ml_backend.settings import load_settings
from ml_backend.store.database import open_store
from ml_backend.store.embeddings import EmbeddingStore
from ml_backend.store.tables import Task

IMAGES = [b"image %d" % n for n in range(20)]
HASHES = [hashlib.sha256(image).hexdigest() for image in IMAGES]
ROWS = np.stack([np.arange(20), np.arange(20) % 2], axis=1).astype(np.float16)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with 20 embeddings, 15 of them of tasks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))
    store = open_store(load_settings())
    store.projects.save(1, "Galaxies", SHAPE_CONFIG)
    store.embeddings("lvm", 2).add(HASHES, ROWS)
    with store.session() as session:
        session.add_all(
            Task(id=n + 1, project_id=1, image="x", content_hash=HASHES[n], removed=n == 14)
            for n in range(16)
        )
    store.close()
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["embeddings", *arguments])


def kept(folder: Path) -> EmbeddingStore:
    return EmbeddingStore(folder / "data" / "embeddings", "lvm")


def test_a_broken_row_is_found_and_dropped(folder: Path) -> None:
    done = run("verify")
    assert (done.exit_code, done.stdout) == (0, "lvm: 20 embeddings x 2, 0 broken\n")
    path = next(folder.rglob("*.rows"))
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    done = run("verify")
    assert done.exit_code == 1
    assert "1 broken" in done.stdout
    assert "compact" in done.stderr
    done = run("compact", "--lvm", "lvm")
    assert done.exit_code == 0
    assert "19 embeddings kept, 1 broken and 0 unused ones dropped" in done.stdout
    assert run("verify").exit_code == 0


def test_unused_ones_are_dropped_only_on_request(folder: Path) -> None:
    assert run("compact").exit_code == 0
    assert len(kept(folder)) == 20
    assert "5 unused" in run("compact", "--unused").stdout
    assert kept(folder).contains(HASHES).tolist() == [n < 16 and n != 14 for n in range(20)]


def test_a_database_that_knows_no_image_drops_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALAXYLOOP_DATABASE_URL", f"sqlite:///{folder}/another.sqlite3")
    done = run("compact", "--unused")
    assert done.exit_code == 1
    assert "knows no image" in done.stderr
    assert len(kept(folder)) == 20


def test_the_nearest_are_listed_with_their_tasks(folder: Path) -> None:
    (folder / "galaxy.png").write_bytes(IMAGES[4])
    for query in (HASHES[4], HASHES[4].upper(), "galaxy.png"):
        done = run("nearest", query, "-k", "2")
        assert done.exit_code == 0, done.output
        lines = [line.split() for line in done.stdout.splitlines()]
        assert {(line[1], line[2]) for line in lines} == {(HASHES[2], "1/3"), (HASHES[6], "1/7")}
    assert run("nearest", HASHES[19], "-k", "1").stdout.split()[1:] == [HASHES[17], "-"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nearest", "0" * 64], "no embedding"),
        (["nearest", "nowhere.png"], "neither a content hash nor a file"),
        (["nearest", "."], "neither a content hash nor a file"),
        (["verify", "--lvm", "../lvm"], "There are some of lvm"),
        (["compact", "--lvm", "another"], "There are some of lvm"),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 1
    assert said in done.stderr
