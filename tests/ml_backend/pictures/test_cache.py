"""The cache of pictures: bounded, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ml_backend.pictures.cache import PictureCache
from models.images import encode_png

PNG = encode_png(np.zeros((40, 40, 3), np.uint8))


def key(number: int) -> str:
    return f"{number:064x}"[::-1]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path / "pictures", 10**6)
    assert cache.get(key(1)) is None
    cache.put(key(1), PNG)
    assert cache.get(key(1)) == PNG
    assert PictureCache(tmp_path / "pictures", 10**6).get(key(1)) == PNG


def test_it_stays_within_its_size_and_drops_the_least_wanted(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, 10 * len(PNG))
    for number in range(8):
        cache.put(key(number), PNG)
        path = next(tmp_path.rglob(f"{key(number)}.png"))
        os.utime(path, (number, number))
    assert cache.get(key(0)) == PNG
    for number in range(8, 40):
        cache.put(key(number), PNG)
        assert size(tmp_path) <= 10 * len(PNG)
    # Another process finds what is there, and counts it.
    other = PictureCache(tmp_path, 5 * len(PNG))
    other.put(key(99), PNG)
    assert size(tmp_path) <= 5 * len(PNG)
    assert other.get(key(99)) == PNG


def test_a_recently_used_picture_survives_an_older_one(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, 3 * len(PNG))
    for number in range(3):
        cache.put(key(number), PNG)
        os.utime(next(tmp_path.rglob(f"{key(number)}.png")), (number, number))
    cache.get(key(0))
    cache.put(key(3), PNG)
    assert cache.get(key(0)) == PNG
    assert cache.get(key(1)) is None


@pytest.mark.parametrize("torn", [b"", PNG[:50], b"\0" * len(PNG), b"<html>"])
def test_torn_files_are_thrown_away(tmp_path: Path, torn: bytes) -> None:
    cache = PictureCache(tmp_path, 10**6)
    cache.put(key(1), PNG)
    path = next(tmp_path.rglob("*.png"))
    path.write_bytes(torn)
    assert cache.get(key(1)) is None
    assert not path.exists()


def test_nothing_is_kept_where_nothing_may_be(tmp_path: Path) -> None:
    PictureCache(tmp_path / "none", 0).put(key(1), PNG)
    PictureCache(tmp_path / "none", len(PNG) - 1).put(key(1), PNG)
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_written_costs_no_picture(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = PictureCache(tmp_path / "file", 10**6)
    cache.put(key(1), PNG)
    assert cache.get(key(1)) is None


def test_pictures_and_fits_files_of_one_key_are_two(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, 10**6)
    whole = b"SIMPLE  =".ljust(2880)
    cache.put(key(1), PNG)
    cache.put(key(1), whole, "fits")
    assert cache.get(key(1)) == PNG
    assert cache.get(key(1), "fits") == whole
    for broken in (whole[:-1], b"X" + whole[1:], b""):
        next(tmp_path.rglob("*.fits")).write_bytes(broken)
        assert cache.get(key(1), "fits") is None
        cache.put(key(1), whole, "fits")
