from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ml_backend.demo.labels import (
    DemoImage,
    folder_images,
    hold_out,
    read_labels,
    stem,
)
from ml_backend.errors import DemoError

ODD_NAMES = ("a b.jpg", "né#1.png", "50%25.jpeg", "x+y&z=1?.jpg", "日本.fits.gz")


def folder_of(tmp_path: Path, names: tuple[str, ...]) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def labels_file(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    file = tmp_path / "labels.csv"
    file.write_bytes(text.encode(encoding))
    return file


def test_files_are_found_relative_to_the_labels_file(tmp_path: Path) -> None:
    folder_of(tmp_path, ODD_NAMES)
    text = "file,label\n" + "".join(
        f"images/{name},{'ab'[i % 2]}\n" for i, name in enumerate(ODD_NAMES)
    )
    labelled = read_labels(labels_file(tmp_path, text))
    assert [image.key for image in labelled.images] == [f"images/{name}" for name in ODD_NAMES]
    assert labelled.classes == ("a", "b")
    assert labelled.question == "label"


def test_files_are_found_relative_to_the_image_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, ODD_NAMES)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    text = "file,class_name\n" + "".join(
        f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(ODD_NAMES)
    )
    labelled = read_labels(labels_file(elsewhere, text), images=folder)
    assert {image.path.name for image in labelled.images} == set(ODD_NAMES)


def test_an_id_is_a_file_name_without_its_suffix(tmp_path: Path) -> None:
    folder_of(tmp_path, ("J000411.19+020924.0.jpg", "00123.fits.gz", "other.png"))
    text = "id,ring\nJ000411.19+020924.0,1\n00123,0\n"
    labelled = read_labels(labels_file(tmp_path, text), column="ring")
    assert [image.path.name for image in labelled.images] == [
        "J000411.19+020924.0.jpg",
        "00123.fits.gz",
    ]
    assert labelled.classes == ("0", "1")


def test_a_byte_order_mark_blanks_and_empty_labels(tmp_path: Path) -> None:
    folder_of(tmp_path, ("1.jpg", "2.jpg", "3.jpg"))
    text = "\ufeffid , label\n1, round \n2,flat\n3,\n"
    labelled = read_labels(labels_file(tmp_path, text))
    assert labelled.classes == ("flat", "round")
    assert labelled.unlabelled == 1
    assert len(labelled.images) == 2


def test_classes_that_are_numbers_are_sorted_by_value(tmp_path: Path) -> None:
    folder_of(tmp_path, tuple(f"{i}.jpg" for i in range(8)))
    text = "id,label\n" + "".join(f"{i},{(10, 9, 2, 1)[i % 4]}\n" for i in range(8))
    assert read_labels(labels_file(tmp_path, text)).classes == ("1", "2", "9", "10")


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", None, "no rows"),
        ("id,label\n", None, "no rows"),
        ("id,kind\n1,a\n2,b\n", None, "--label-column"),
        ("id,kind\n1,a\n2,b\n", "ring", "no column 'ring'"),
        ("name,label\n1,a\n2,b\n", None, "neither a column `file` nor `id`"),
        ("id,label\n1,a\n2,a\n", None, "only the class 'a'"),
        ("id,label\n1,\n2,\n", None, "no label at all"),
        ("id,label\n1,a\n1,b\n", None, "two labels"),
        ("id,label\n1,a\n8,b\n9,b\n", None, "2 of the 3 images"),
        ("file,label\n../../etc/no,a\n1.jpg,b\n", None, "missing"),
        ("id,label\n1,a\n2,b\n3,c\n", None, "no set of classes"),
        ('id,label\n"1,a\n', None, "cannot be read"),
    ],
)
def test_a_labels_file_that_cannot_be_used_is_refused(
    tmp_path: Path, text: str, column: str | None, said: str
) -> None:
    folder_of(tmp_path, ("1.jpg", "2.jpg", "3.jpg"))
    with pytest.raises(DemoError, match=said.replace("(", r"\(")):
        read_labels(labels_file(tmp_path, text), column)


def test_a_labels_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(DemoError, match="cannot be read as CSV"):
        read_labels(file)
    with pytest.raises(DemoError, match="does not exist"):
        read_labels(tmp_path / "none.csv")
    with pytest.raises(DemoError, match="cannot be read"):
        read_labels(tmp_path)


def test_a_folder_of_images(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, (*ODD_NAMES, "notes.txt", ".hidden.png"))
    assert {image.key for image in folder_images(folder)} == set(ODD_NAMES)
    with pytest.raises(DemoError, match="does not exist"):
        folder_images(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DemoError, match="no image"):
        folder_images(tmp_path / "empty")


def test_stem_takes_double_suffixes_off() -> None:
    assert stem(Path("a.fits.gz")) == "a"
    assert stem(Path("a.b.JPG")) == "a.b"
    assert stem(Path("a.b")) == "a"


def test_a_third_of_every_class_is_held_out_and_the_seed_decides_which() -> None:
    images = [
        DemoImage(f"{label}{i}", Path(f"{label}{i}"), label)
        for label, count in (("a", 60), ("b", 31), ("c", 1), ("d", 2))
        for i in range(count)
    ]
    kept, held = hold_out(images, seed=3)
    assert Counter(image.label for image in held) == {"a": 20, "b": 10, "d": 1}
    assert {i.key for i in kept} | {i.key for i in held} == {i.key for i in images}
    assert not {i.key for i in kept} & {i.key for i in held}
    assert hold_out(images[::-1], seed=3)[1] == [i for i in images[::-1] if i in held]
    assert hold_out(images, seed=4)[1] != held


def test_too_few_images_to_hold_out() -> None:
    images = [DemoImage("1", Path("1"), "a"), DemoImage("2", Path("2"), "b")]
    with pytest.raises(DemoError, match="too few"):
        hold_out(images, seed=0)
