"""``galaxyloop encode``: what it says, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from stand_ins import Sky, sky, tiny_lvm

from ml_backend.cli import main
from ml_backend.cli.meter import Meter


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # away from any .env
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))
    tiny_lvm().save_pretrained(tmp_path / "lvm")
    (tmp_path / "images").mkdir()
    for number, address in enumerate(sky(3)):
        (tmp_path / "images" / f"{number}.png").write_bytes(Sky().fetch(address))
    return tmp_path


def encode(*options: str) -> Result:
    return CliRunner().invoke(main, ["encode", *options, "--lvm", "lvm", "--out", "e.npz"])


def test_a_folder_becomes_one_file(place: Path) -> None:
    result = encode("images")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"e.npz: 3 images, {tiny_lvm().dimension} numbers each.\n"
    with np.load("e.npz") as kept:
        assert kept["id"].tolist() == ["0", "1", "2"]


def test_failures_are_told_and_count_only_when_strict(place: Path) -> None:
    (place / "images" / "x.jpg").write_bytes(b"nothing")
    result = encode("images")
    assert result.exit_code == 0
    assert "Not encoded: 'x': The file is not an image" in result.stderr
    assert "1 images failed; all are in e.failed.csv." in result.stderr
    assert encode("images", "--strict").exit_code == 1
    assert Path("e.npz").exists()


def test_nothing_encoded_is_an_error(place: Path) -> None:
    Path("c.csv").write_text("id,path\n1,gone.png\n")
    result = encode("c.csv")
    assert result.exit_code == 1
    assert "galaxyloop: None of the 1 images could be encoded." in result.stderr
    assert not Path("e.npz").exists()
    assert encode("nowhere").exit_code == 1
    assert encode("images", "--id-column", "id").exit_code == 1


def test_columns_can_be_named(place: Path) -> None:
    Path("c.csv").write_text("who,path,url\na,images/0.png,-\nb,images/1.png,-\n")
    result = encode("c.csv")
    assert result.exit_code == 1
    assert "Its columns: who, path, url." in result.stderr
    result = encode("c.csv", "--id-column", "who", "--image-column", "path")
    assert result.exit_code == 0
    assert "Images from the column 'path', ids from 'who'." in result.stderr
    with np.load("e.npz") as kept:
        assert kept["id"].tolist() == ["a", "b"]


def test_an_lvm_that_is_none_is_a_wrong_setting(place: Path) -> None:
    result = CliRunner().invoke(main, ["encode", "images", "--lvm", "images", "--out", "e.npz"])
    assert result.exit_code == 2
    assert "The LVM cannot be loaded" in result.stderr


def test_the_meter_speaks_now_and_then_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    with Meter("Encoding", lambda: now[0]) as meter:
        for seconds, done in ((0, 100), (10, 200), (40, 500), (41, 510), (100, 1100)):
            now[0] = seconds
            meter.show(done, 2100)
    assert capsys.readouterr().err.splitlines() == [
        "Encoding: 500 of 2,100, 10.0 images/s, 160 s left",
        "Encoding: 1,100 of 2,100, 10.0 images/s, 100 s left",
    ]
