from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ml_backend.demo.labels import DemoImage, folder_images
from ml_backend.demo.pictures import address, place, simulate_folder


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_an_address_leads_back_to_any_name(name: str) -> None:
    parts = urlsplit("http://host" + address("folder", name))
    assert parts.path == "/data/local-files/"
    assert not parts.fragment
    assert parse_qs(parts.query, keep_blank_values=True)["d"] == [f"folder/{name}"]


def test_what_browsers_show_is_copied_and_fits_are_rendered(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep er").mkdir(parents=True)
    Image.new("RGB", (20, 10), (200, 10, 10)).save(source / "deep er" / "é#1.JPG", "JPEG")
    rng = np.random.default_rng(0)
    fits.PrimaryHDU(rng.normal(size=(3, 32, 32)).astype(np.float32)).writeto(source / "f.fits")
    counted: list[int] = []
    pictures, problems = place(
        folder_images(source), tmp_path / "served", lambda: counted.append(1)
    )
    assert problems == []
    assert len(counted) == 2
    assert {p.name for p in pictures} == {"deep er/é#1.JPG", "f.fits.png"}
    copied = tmp_path / "served" / "deep er" / "é#1.JPG"
    assert copied.read_bytes() == (source / "deep er" / "é#1.JPG").read_bytes()
    with Image.open(tmp_path / "served" / "f.fits.png") as rendered:
        assert rendered.size == (32, 32)
        assert rendered.format == "PNG"
        assert np.asarray(rendered).std() > 5


def test_what_cannot_be_rendered_is_named_and_left_out(tmp_path: Path) -> None:
    bad = tmp_path / "bad.fits"
    bad.write_bytes(b"SIMPLE but no FITS")
    good = tmp_path / "good.png"
    Image.new("RGB", (8, 8)).save(good)
    images = [
        DemoImage("bad.fits", bad),
        DemoImage("gone.jpg", tmp_path / "gone.jpg"),
        DemoImage("good.png", good),
    ]
    pictures, problems = place(images, tmp_path / "served")
    assert [p.name for p in pictures] == ["good.png"]
    assert [problem.split(":")[0] for problem in problems] == ["bad.fits", "gone.jpg"]
    assert not list((tmp_path / "served").glob("bad*"))


def test_names_that_are_one_on_some_disks_are_kept_apart(tmp_path: Path) -> None:
    for name, colour in (("a", 10), ("b", 200)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4), (colour, 0, 0)).save(tmp_path / name / "x.png")
    images = [
        DemoImage("x.png", tmp_path / "a" / "x.png"),
        DemoImage("X.png", tmp_path / "b" / "x.png"),
    ]
    pictures, _ = place(images, tmp_path / "served")
    assert len({p.name.casefold() for p in pictures}) == 2


def test_simulated_galaxies_are_made_once_and_their_names_do_not_tell(tmp_path: Path) -> None:
    folder = tmp_path / "galaxies"
    labels = simulate_folder(folder, 15, seed=1)
    with labels.open() as file:
        rows = list(csv.DictReader(file))
    assert not list(folder.glob("*.csv")), "the folder may be served"
    assert Counter(row["morphology"] for row in rows) == {
        "elliptical": 3,
        "lenticular": 3,
        "spiral": 3,
        "edge_on": 3,
        "merger": 3,
    }
    assert [row["morphology"] for row in rows[:5]] != [row["morphology"] for row in rows[5:10]]
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    (tmp_path / rows[3]["file"]).unlink()
    simulate_folder(folder, 15, seed=1)
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert set(after) == set(before)
    assert sum(after[name] != before[name] for name in before) == 1
    data = (tmp_path / rows[0]["file"]).read_bytes()
    assert Image.open(io.BytesIO(data)).size == (128, 128)


@pytest.mark.parametrize("seed", [0, 5])
def test_simulated_galaxies_depend_on_the_seed_only(tmp_path: Path, seed: int) -> None:
    first = simulate_folder(tmp_path / "a", 5, seed).with_name("a")
    second = simulate_folder(tmp_path / "b", 8, seed).with_name("b")
    for path in first.glob("*.png"):
        assert path.read_bytes() == (second / path.name).read_bytes()
