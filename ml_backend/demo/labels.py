"""The labels file: which images have which known label."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml_backend.errors import DemoError

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff",
    ".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fits.fz", ".fits.bz2",
)  # fmt: skip
LABEL_COLUMNS = ("label", "class", "class_name")
MOST_CLASSES = 100
NAMED_IN_ERRORS = 5


@dataclass(frozen=True)
class DemoImage:
    """An image file and, where it is known, its label.

    Parameters
    ----------
    key : str
        Name for people and for the truth: path below the image folder.
    path : Path
        The file.
    label : str or None
        The known label.
    """

    key: str
    path: Path
    label: str | None = None


@dataclass(frozen=True)
class LabelledImages:
    """What a labels file says.

    Parameters
    ----------
    question : str
        Name of the label column.
    classes : tuple of str
        The labels, sorted; numbers by value.
    images : tuple of DemoImage
        In the file's order, each image once.
    unlabelled : int
        Rows left out because their label is empty.
    """

    question: str
    classes: tuple[str, ...]
    images: tuple[DemoImage, ...]
    unlabelled: int = 0


def stem(path: Path) -> str:
    """Return the file's name without its image suffix (``a.fits.gz`` gives ``a``)."""
    suffix = _suffix(path)
    return path.name[: -len(suffix)] if suffix else path.stem


def find_images(folder: Path) -> list[Path]:
    """Return all image files below `folder` by their suffix, sorted; hidden ones are left out.

    Raises
    ------
    DemoError
        `folder` is none, or holds no image.
    """
    if not folder.is_dir():
        raise DemoError(f"The image folder {folder} does not exist or is not a folder.")
    found = sorted(
        path
        for path in folder.rglob("*")
        if _suffix(path)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise DemoError(f"The folder {folder} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    return found


def folder_images(folder: Path) -> tuple[DemoImage, ...]:
    """Return all images of a folder, without labels."""
    return tuple(
        DemoImage(path.relative_to(folder).as_posix(), path.resolve())
        for path in find_images(folder)
    )


def read_labels(
    file: Path, column: str | None = None, images: Path | None = None
) -> LabelledImages:
    """Read a labels file: CSV with a header, ``file`` or ``id``, and a label column.

    Parameters
    ----------
    file : Path
        The CSV file (UTF-8).
    column : str or None
        The label column; None: the first of ``label``, ``class``, ``class_name``.
    images : Path or None
        Folder of the images; None: the folder of the labels file. ``file`` is a path relative
        to either, ``id`` the name of an image file without its suffix.

    Raises
    ------
    DemoError
        The file cannot be read, a column or an image is missing, an image has two labels, or
        there are fewer than two or more than 100 classes.
    """
    rows, columns = _read_csv(file)
    column = _label_column(file, columns, column)
    if "file" not in columns and "id" not in columns:
        raise DemoError(
            f"{file} has neither a column `file` nor `id` to find the images by. "
            f"Its columns: {', '.join(columns)}."
        )
    if images is not None and not images.is_dir():
        raise DemoError(f"The image folder {images} does not exist or is not a folder.")
    finder = _Finder(file.resolve().parent, images.resolve() if images else None)
    found: dict[Path, DemoImage] = {}
    missing: list[str] = []
    unlabelled = 0
    for row in rows:
        label = (row.get(column) or "").strip()
        if not label:
            unlabelled += 1
            continue
        path = finder.find(row)
        if path is None:
            missing.append((row.get("file") or row.get("id") or "(empty)").strip())
            continue
        known = found.setdefault(path, DemoImage(finder.key(path), path, label))
        if known.label != label:
            raise DemoError(
                f"{file} gives {known.key} two labels, {known.label!r} and {label!r}. "
                "Keep one row per image."
            )
    if missing:
        raise DemoError(
            f"{len(missing)} of the {len(rows)} images that {file} lists are missing, e.g. "
            f"{', '.join(missing[:NAMED_IN_ERRORS])}. Looked in {finder.places()}. "
            "Name their folder with --images."
        )
    classes = sorted({image.label or "" for image in found.values()}, key=_by_value)
    _check_classes(file, column, classes, len(found))
    return LabelledImages(column, tuple(classes), tuple(found.values()), unlabelled)


def hold_out(
    images: Sequence[DemoImage], seed: int, fraction: float = 1 / 3
) -> tuple[list[DemoImage], list[DemoImage]]:
    """Split into (for the project, held out), every class by the same fraction.

    Parameters
    ----------
    images : sequence of DemoImage
        With labels.
    seed : int
        The same seed and images give the same split.
    fraction : float
        Share that is held out, in (0, 1); of a class of one nothing is held out.

    Raises
    ------
    DemoError
        So few images that fewer than two classes could be measured.
    """
    rng = np.random.default_rng(seed)
    held: set[str] = set()
    for label in sorted({image.label or "" for image in images}):
        keys = sorted(image.key for image in images if image.label == label)
        count = min(round(len(keys) * fraction), len(keys) - 1)
        held.update(keys[index] for index in rng.permutation(len(keys))[:count])
    apart = [image for image in images if image.key in held]
    if len({image.label for image in apart}) < 2:
        raise DemoError(
            "There are too few labelled images to hold a third of them out: at least two classes "
            "need two images or more."
        )
    return [image for image in images if image.key not in held], apart


class _Finder:
    """Finds the file that a row means."""

    def __init__(self, beside: Path, images: Path | None) -> None:
        self._folders = [folder for folder in (images, beside) if folder]
        self._by_stem: dict[str, Path] | None = None

    def places(self) -> str:
        return " and ".join(str(folder) for folder in self._folders)

    def find(self, row: dict[str, str]) -> Path | None:
        name = (row.get("file") or "").strip()
        if name:
            for folder in self._folders:
                path = (folder / name).resolve()
                if path.is_file():
                    return path
        key = (row.get("id") or "").strip()
        return self._stems().get(key) if key else None

    def key(self, path: Path) -> str:
        for folder in self._folders:
            if path.is_relative_to(folder):
                return path.relative_to(folder).as_posix()
        return path.name

    def _stems(self) -> dict[str, Path]:
        if self._by_stem is None:
            self._by_stem = {}
            for path in find_images(self._folders[0]):
                for name in (stem(path), path.name):
                    self._by_stem.setdefault(name, path.resolve())
        return self._by_stem


def _read_csv(file: Path) -> tuple[list[dict[str, str]], list[str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = [{k: v for k, v in row.items() if isinstance(v, str)} for row in reader]
    except FileNotFoundError:
        raise DemoError(f"The labels file {file} does not exist.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DemoError(
            f"The labels file {file} cannot be read as CSV in UTF-8: {error}."
        ) from error
    if not rows:
        raise DemoError(f"The labels file {file} holds no rows below its header.")
    return rows, columns


def _label_column(file: Path, columns: Iterable[str], wanted: str | None) -> str:
    present = list(columns)
    if wanted is not None:
        if wanted in present:
            return wanted
        raise DemoError(f"{file} has no column {wanted!r}. Its columns: {', '.join(present)}.")
    for name in LABEL_COLUMNS:
        if name in present:
            return name
    raise DemoError(
        f"{file} has none of the columns {', '.join(LABEL_COLUMNS)}. Name its label column with "
        f"--label-column. Its columns: {', '.join(present)}."
    )


def _check_classes(file: Path, column: str, classes: Sequence[str], images: int) -> None:
    if len(classes) < 2:
        named = f"only the class {classes[0]!r}" if classes else "no label at all"
        raise DemoError(
            f"Column {column!r} of {file} holds {named}; at least two classes are needed. "
            "Choose another column with --label-column."
        )
    if len(classes) > MOST_CLASSES or len(classes) > max(2, images // 2):
        raise DemoError(
            f"Column {column!r} of {file} holds {len(classes)} different values for {images} "
            "images; that is no set of classes. Choose another column with --label-column."
        )


def _by_value(label: str) -> tuple[int, float, str]:
    try:
        value = float(label)
    except ValueError:
        return (1, 0.0, label)
    return (0, value, label) if math.isfinite(value) else (1, 0.0, label)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return max((s for s in IMAGE_SUFFIXES if name.endswith(s)), key=len, default="")


def class_counts(images: Iterable[DemoImage]) -> str:
    """Return the number of images per label in words."""
    counts = Counter(image.label or "" for image in images)
    return ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
