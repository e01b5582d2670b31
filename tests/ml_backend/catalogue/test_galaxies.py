"""Catalogues of galaxies: columns, ids, positions, and what is wrong with them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from ml_backend.bulk.items import SourceError
from ml_backend.catalogue.galaxies import Columns, Galaxy, open_catalogue
from ml_backend.catalogue.positions import Position


def galaxies(path: Path, text: str | None = None, **options: object) -> list[Galaxy]:
    if text is not None:
        path.write_text(text)
    return list(open_catalogue(path, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["t.csv", "t.ecsv", "t.fits", "t.vot", "t.parquet"])
def test_every_kind_of_table_is_read_alike(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    big = 587722984435351614
    table = Table({"objID": [big, big + 1], "RA": [10.25, 200.5], "DEC": [-1.5, 60.0]})
    path = tmp_path / name
    forms = {"t.csv": "ascii.csv", "t.ecsv": "ascii.ecsv", "t.vot": "votable"}
    table.write(path, format=forms.get(name))
    assert galaxies(path) == [
        Galaxy(str(big), Position(10.25, -1.5)),
        Galaxy(str(big + 1), Position(200.5, 60.0)),
    ]


def test_radians_and_hours_of_a_table_become_degrees(tmp_path: Path) -> None:
    table = Table({"id": ["a"], "ra": [12.0], "dec": [np.pi / 4]})
    table["ra"].unit, table["dec"].unit = "hourangle", "rad"
    table.write(tmp_path / "t.vot", format="votable")
    [galaxy] = galaxies(tmp_path / "t.vot")
    assert galaxy.position is not None
    assert (galaxy.position.ra, galaxy.position.dec) == pytest.approx((180, 45))


def test_rows_with_faults_are_kept_with_the_reason(tmp_path: Path) -> None:
    rows = ["id,ra,dec", "good,1,2", ",1,2", "far,400,2", "nan,1,2", "lost,nan,2", "short"]
    rows += ["x" * 201 + ",1,2", "bell\x07,1,2", "words,one,two"]
    found = galaxies(tmp_path / "c.csv", "\n".join(rows))
    assert [(g.id[:6], g.problem) for g in found] == [
        ("good", ""),
        ("row 2", "it has no id"),
        ("far", "its ra is 400, outside 0 to 360 degrees"),
        ("row 4", "it has no id"),
        ("lost", "it has no ra"),
        ("short", "it has no ra"),
        ("xxxxxx", "its id is longer than 200 letters"),
        ("bell\x07", "its id holds a control character"),
        ("words", "its ra is 'one', which is no number"),
    ]


def test_a_repeated_row_is_one_galaxy_and_a_clashing_id_an_error(tmp_path: Path) -> None:
    found = galaxies(tmp_path / "c.csv", "id,ra,dec\na,1,2\na,1.0001,2\nb,1,2\n")
    assert [g.id for g in found] == ["a", "b"]
    with pytest.raises(SourceError, match="the id a stands for different galaxies"):
        galaxies(tmp_path / "c.csv", "id,ra,dec\na,1,2\na,1.001,2\n")


def test_galaxies_without_ids_are_named_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("ra,dec\n10.684583,41.269167\n")
    catalogue = open_catalogue(tmp_path / "c.csv")
    assert [g.id for g in catalogue] == ["J004244.29+411609.0"]
    assert "named by their positions" in catalogue.notes[-1]


def test_images_are_relative_to_the_table(tmp_path: Path) -> None:
    text = "id,ra,dec,file\na,1,2,x.jpg\nb,1,2,https://host/y.jpg\nc,1,2,\n"
    found = galaxies(tmp_path / "c.csv", text)
    assert [g.address for g in found] == [str(tmp_path / "x.jpg"), "https://host/y.jpg", ""]
    assert found[2].problem == "it names no image"
    assert not any(g.problem for g in galaxies(tmp_path / "c.csv", images=False))


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("id,x,y\n1,2,3\n", {}, "no columns that are known to hold ra and dec.*columns: id, x, y"),
        ("id,ra\n1,2\n", {}, "no columns that are known to hold ra and dec"),
        ("id,ra,raj2000,dec\n1,2,2,3\n", {}, "several columns .*right asc.*ra, raj2000.*--ra-col"),
        ("id,ra,dec\n1,2,3\n", {"ra": "alpha"}, "no column 'alpha' .--ra-column"),
        ("", {}, "is empty"),
        ("label,file\n1,a.jpg\n", {}, "neither ids nor positions"),
    ],
)
def test_tables_that_cannot_be_used(
    tmp_path: Path, text: str, columns: dict[str, str], said: str
) -> None:
    with pytest.raises(SourceError, match=said):
        galaxies(tmp_path / "c.csv", text, columns=Columns(**columns))
    with pytest.raises(SourceError, match="does not exist"):
        open_catalogue(tmp_path / "gone.csv")
    with pytest.raises(SourceError, match="cut-outs need a catalogue with ra"):
        open_catalogue(tmp_path, images=False)


def test_columns_may_be_named(tmp_path: Path) -> None:
    named = Columns(id="n", ra="alpha", dec="delta")
    text = "n,ra,alpha,delta,id\n7,0,1,2,x\n"
    assert galaxies(tmp_path / "c.csv", text, columns=named) == [Galaxy("7", Position(1, 2))]


def test_a_long_table_does_not_stand_in_memory(tmp_path: Path) -> None:
    with (tmp_path / "c.csv").open("w") as file:
        file.write("ra,dec,comment\n")
        for row in range(6_000):
            file.write(f"{row % 360},{row / 100},{'x' * 2000}\n")
    tracemalloc.start()
    rows = open_catalogue(tmp_path / "c.csv")._rows  # ids are remembered, rows are not
    count = sum(1 for _ in rows(open_catalogue(tmp_path / "c.csv")._table))  # type: ignore[arg-type]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 6_000
    assert most < 4e6
