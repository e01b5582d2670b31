"""Folders and catalogues: what there is to encode, under which ids."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from PIL import Image

from ml_backend.bulk.items import SourceError, ids_of_paths, scheme_of, source_of, split_suffix
from ml_backend.bulk.tables import open_table


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (10, 20, 30)).save(buffer, "JPEG")
    return buffer.getvalue()


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture())


def found(path: Path, **columns: str | None) -> list[tuple[str, str]]:
    return [
        (item.id, os.path.relpath(item.address, path if path.is_dir() else path.parent))
        for item in source_of(path, **columns).items
    ]


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("a.jpg", "a", ".jpg"),
        ("J0004.19+02.jpg", "J0004.19+02", ".jpg"),
        ("a.v2.fits.gz", "a.v2", ".fits.gz"),
        ("a.fits.fz", "a", ".fits.fz"),
        ("a.fz", "a", ".fz"),
        ("x.y.gz", "x.y", ".gz"),
        ("plain", "plain", ""),
        ("b/a.PNG", "b/a", ".PNG"),
    ],
)
def test_suffixes(name: str, stem: str, suffix: str) -> None:
    assert split_suffix(name) == (stem, suffix)


def test_a_folder_is_read_in_order_with_all_below_it(tmp_path: Path) -> None:
    fill(tmp_path, "b.jpg", "a.JPEG", "sub/deep/c.png", "no_suffix", ".hidden.jpg", ".x/d.jpg")
    fill(tmp_path, "a.npz.partial/e.jpg")
    (tmp_path / "labels.csv").write_text("id,label\n")
    (tmp_path / "broken.fits").write_text("no image at all")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    source = source_of(tmp_path)
    ids = ["a", "b", "broken", "dangling", "no_suffix", "c"]
    assert [item.id for item in source.items] == ids
    assert source.notes == ["2 files that are no images are left out."]


def test_equal_stems_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    fill(tmp_path, "one/x.jpg", "two/x.jpg", "two/x.png", "y.jpg")
    source = source_of(tmp_path)
    ids = [item.id for item in source.items]
    assert ids == ["one/x", "two/x.jpg", "two/x.png", "y"]
    assert source.notes == [
        "3 files share their name with another, so their ids are paths, e.g. 'one/x'."
    ]
    paths = ["a/x.jpg", "a/x", "x.fits"]
    assert len(set(ids_of_paths(paths, []))) == 3


@pytest.mark.parametrize("files", [(), ("notes.txt",)])
def test_a_folder_without_images_is_an_error(tmp_path: Path, files: tuple[str, ...]) -> None:
    for name in files:
        (tmp_path / name).write_text("text")
    with pytest.raises(SourceError, match="holds no image"):
        source_of(tmp_path)
    with pytest.raises(SourceError, match="does not exist"):
        source_of(tmp_path / "gone")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,file,label\n7,a.jpg,x\n8,sub/b.jpg,y\n", [("7", "a.jpg"), ("8", "sub/b.jpg")]),
        ("\ufeffObjID;Path\n0017;a.jpg\n\n", [("0017", "a.jpg")]),
        ("name\turl\nNGC 1,2\thttps://h/x\nNGC 3\thttps://h/y\n", None),
        ('id,name,file\n"a,b",n,"x y.jpg"\n', [("a,b", "x y.jpg")]),
        ("file,label\nq/a.jpg,1\n../b.jpg,2\n", [("a", "q/a.jpg"), ("b", "../b.jpg")]),
        ("id,file\n587722984435351614,a.jpg\n", [("587722984435351614", "a.jpg")]),
    ],
)
def test_csv(tmp_path: Path, text: str, expected: list[tuple[str, str]] | None) -> None:
    (tmp_path / "c.csv").write_text(text, encoding="utf-8")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(text.encode()))
    if expected is not None:
        assert found(tmp_path / "c.csv") == expected
        assert found(tmp_path / "c.csv.gz") == expected
    else:
        items = source_of(tmp_path / "c.csv").items
        assert [item.address for item in items] == ["https://h/x", "https://h/y"]


def test_fits_tables(tmp_path: Path) -> None:
    big = 587722984435351614
    table = Table(
        {
            "objid": MaskedColumn([big, 2, 3], mask=[False, False, True]),
            "file": ["a.jpg", "b.jpg  ", "c.jpg"],
            "flux": np.ones((3, 5)),
            "real": [1.0, np.nan, 2.5],
        }
    )
    table.write(tmp_path / "t.fits")
    items = source_of(tmp_path / "t.fits").items
    assert [(i.id, Path(i.address).name, bool(i.problem)) for i in items] == [
        (str(big), "a.jpg", False),
        ("2", "b.jpg", False),
        ("", "c.jpg", True),
    ]
    items = source_of(tmp_path / "t.fits", id_column="real").items
    assert [item.id for item in items] == ["1", "", "2.5"]
    with pytest.raises(SourceError, match="holds arrays"):
        source_of(tmp_path / "t.fits", id_column="flux")
    fits.PrimaryHDU(np.ones((4, 4))).writeto(tmp_path / "image.fits")
    with pytest.raises(SourceError, match="holds no table"):
        source_of(tmp_path / "image.fits")


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    from pyarrow import parquet, table

    big = 587722984435351614
    parquet.write_table(
        table({"objid": [big, None], "path": ["a.jpg", "b.jpg"]}), tmp_path / "t.parquet"
    )
    items = source_of(tmp_path / "t.parquet").items
    assert [(i.id, bool(i.problem)) for i in items] == [(str(big), False), ("", True)]


def test_parquet_without_its_reader_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1" + bytes(20) + b"PAR1")
    with pytest.raises(SourceError, match=r"pip install 'galaxyloop\[parquet\]'"):
        source_of(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n1,2\n", "must name its columns"),
        ("id,file\n", "holds no rows"),
        ("id,label\n1,2\n", r"no column that is known to hold images.*Its columns: id, label\."),
        (
            "id,file,URL\n1,a,b\n",
            r"several columns that may hold the images: file, URL.*--image-co",
        ),
        (
            "objid,name,file\n1,a,b\n",
            r"several columns that may hold the ids: objid, name.*--id-col",
        ),
        ("id,file\n1,a.jpg\n1,b.jpg\n", "the same id stands for different images: 1"),
        ("label,url\n1,https://h/a\n", "no column of ids was found"),
        ("id,file\n,a.jpg\nnan,b.jpg\n", "No row .* has both an id and an image. Row 1 has no id"),
        ("id,file\n\x001,a.jpg\n", "no table that is read"),
        ('id,file\n1,"a.jpg\n', "cannot be read as CSV"),
    ],
)
def test_catalogues_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        source_of(tmp_path / "c.csv")


def test_files_that_are_no_catalogue(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes(b"id,file\n1,Andr\xe9.jpg\n")
    with pytest.raises(SourceError, match="UTF-8"):
        source_of(tmp_path / "latin.csv")
    (tmp_path / "broken.fits").write_bytes(b"SIMPLE  =" + bytes(3000))
    with pytest.raises(SourceError, match="cannot be read"):
        source_of(tmp_path / "broken.fits")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(os.urandom(4000))[:50])
    with pytest.raises(SourceError, match="cannot be read"):
        source_of(tmp_path / "cut.csv.gz")
    fill(tmp_path, "one.jpg")
    with pytest.raises(SourceError, match="is one image"):
        source_of(tmp_path / "one.jpg")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="neither a folder nor a file"):
        source_of(tmp_path / "pipe")
    with pytest.raises(SourceError, match="columns can be named for a catalogue only"):
        source_of(tmp_path, id_column="id")


def test_named_columns_win_and_must_exist(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("id,file,url,who\n1,a.jpg,b,x\n2,c.jpg,d,y\n")
    path = tmp_path / "c.csv"
    assert found(path, id_column="who", image_column="file") == [("x", "a.jpg"), ("y", "c.jpg")]
    with pytest.raises(SourceError, match=r"no column 'nix' \(--image-column\)"):
        source_of(path, image_column="nix")
    (tmp_path / "twice.csv").write_text("id,file,file\n1,a,b\n")
    with pytest.raises(SourceError, match="several columns 'file'"):
        source_of(tmp_path / "twice.csv", image_column="file")


def test_broken_rows_stay_as_items_with_a_reason(tmp_path: Path) -> None:
    rows = [
        "id,file",
        "1,a.jpg",
        "NaN,b.jpg",
        "2,",
        "3",
        "1,a.jpg",
        f"{'x' * 300},c.jpg",
        "4,d.jpg",
    ]
    (tmp_path / "c.csv").write_text("\n".join(rows))
    source = source_of(tmp_path / "c.csv")
    assert [(item.id[:3], item.problem) for item in source.items] == [
        ("1", ""),
        ("", "Row 2 has no id."),
        ("2", "Row 3 names no image."),
        ("3", "Row 4 names no image."),
        ("xxx", "The id of row 6 is longer than 200 letters."),
        ("4", ""),
    ]
    assert source.notes[1:] == ["1 rows repeat an id with the same image; it is encoded once."]


@pytest.mark.parametrize(
    ("address", "scheme"),
    [
        ("https://h/a", "https"),
        ("FTP://h/a", "ftp"),
        ("file:///etc/passwd", "file"),
        ("file:/etc/passwd", "file"),
        ("data:image/png;base64,AA", "data"),
        ("a:b.jpg", ""),
        ("/abs/x.jpg", ""),
        ("../x.jpg", ""),
    ],
)
def test_schemes(address: str, scheme: str) -> None:
    assert scheme_of(address) == scheme


def test_votables_and_ecsv_keep_ids_whole_and_say_their_units(tmp_path: Path) -> None:
    big = 587722984435351614
    table = Table({"objid": [big, 2], "file": ["a.jpg", "b c.jpg"], "ra": [1.5, np.nan]})
    table["ra"].unit = "rad"
    table.write(tmp_path / "t.vot", format="votable")
    table.write(tmp_path / "t.ecsv", format="ascii.ecsv")
    table.write(tmp_path / "comma.ecsv", format="ascii.ecsv", delimiter=",")
    (tmp_path / "t.vot.gz").write_bytes(gzip.compress((tmp_path / "t.vot").read_bytes()))
    for name in ("t.vot", "t.vot.gz", "t.ecsv", "comma.ecsv"):
        assert found(tmp_path / name) == [(str(big), "a.jpg"), ("2", "b c.jpg")]
        opened = open_table(tmp_path / name)
        assert opened.units == {"ra": "rad"}
        assert list(opened.rows(["ra", "objid"])) == [("1.5", str(big)), ("", "2")]


VOTABLE = '<VOTABLE version="1.4"><RESOURCE><TABLE>{}</TABLE></RESOURCE></VOTABLE>'
FIELD = '<FIELD name="id" datatype="int"/><DATA>{}</DATA>'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<?xml version="1.0"?><html/>', "no VOTable; its first element is HTML"),
        ("<VOTABLE><RESOURCE>", "no well-formed XML"),
        ("<VOTABLE/>", "holds no table"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><VOTABLE/>', "declares a document type"),
        (
            VOTABLE.format(
                FIELD.format('<BINARY><STREAM href="file:///etc/passwd"/></BINARY>')
            ),
            "another file",
        ),
    ],
)  # fmt: skip
def test_votables_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.vot").write_text(text)
    with pytest.raises(SourceError, match=message):
        source_of(tmp_path / "t.vot")
