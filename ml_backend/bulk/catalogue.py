"""Catalogues of images: tables with a column of paths or addresses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from ml_backend.bulk.items import MOST_ID, Item, Source, SourceError, ids_of_paths, listed
from ml_backend.bulk.items import scheme_of as scheme
from ml_backend.bulk.tables import open_table

ID_COLUMNS = (
    *("objid", "obj_id", "object_id", "objectid", "galaxy_id", "source_id", "sourceid"),
    *("dr7objid", "dr8objid", "specobjid", "iauname", "name"),
)
"""Looked for where there is no column `id`; in any case of letters."""
IMAGE_COLUMNS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "file_loc"),
    *("image", "image_path", "image_file", "url", "image_url", "cutout_url", "cutout"),
)


def read_catalogue(path: Path, id_column: str | None, image_column: str | None) -> Source:
    """Read ids and addresses from a table; its kind is told by its content.

    Paths are relative to the table's folder. Rows that repeat an id with the same image are read
    once. Rows without an id or an image become items with a problem.

    Parameters
    ----------
    path : Path
        CSV (comma, semicolon or tab; UTF-8; may be gzipped), ECSV, FITS binary table, VOTable,
        or Parquet.
    id_column, image_column : str or None
        None: told by the usual names, if exactly one of them is there.

    Raises
    ------
    SourceError
        It is no such table, its columns cannot be told, or one id names several images.
    """
    table = open_table(path)
    names = table.names
    image = _image_column(path, names, image_column)
    key = id_column_of(path, names, id_column)
    columns = table.read([name for name in (key, image) if name])
    addresses = columns[image]
    if not addresses:
        raise SourceError(f"The catalogue {path} holds no rows.")
    notes = [f"Images from the column {image!r}, ids from {repr(key) if key else 'file names'}."]
    if key:
        ids = columns[key]
    else:
        _refuse_web(path, addresses)
        ids = ids_of_paths(addresses, notes)
    return Source(_items(path, ids, addresses, notes), notes)


def _items(
    path: Path, ids: Sequence[str], addresses: Sequence[str], notes: list[str]
) -> list[Item]:
    items: list[Item] = []
    known: dict[str, str] = {}
    repeated = 0
    clashing: list[str] = []
    for row, (name, address) in enumerate(zip(ids, addresses, strict=True), start=1):
        problem = ""
        if not name:
            problem = f"Row {row} has no id."
        elif len(name) > MOST_ID:
            name, problem = name[:MOST_ID], f"The id of row {row} is longer than {MOST_ID} letters."
        elif not address:
            problem = f"Row {row} names no image."
        elif "\0" in address:
            problem = f"The path of row {row} holds a zero byte."
        elif name in known:
            if known[name] == address:
                repeated += 1
            else:
                clashing.append(name)
            continue
        else:
            known[name] = address
        items.append(Item(name, address if problem else _absolute(path, address), problem))
    if clashing:
        raise SourceError(
            f"In {path} the same id stands for different images: {listed(clashing)}. "
            "Name a column whose values tell the images apart with --id-column."
        )
    if not known:
        raise SourceError(f"No row of {path} has both an id and an image. {items[0].problem}")
    if repeated:
        notes.append(f"{repeated} rows repeat an id with the same image; it is encoded once.")
    return items


def _absolute(catalogue: Path, address: str) -> str:
    return address if scheme(address) else str(catalogue.parent / address)


def _refuse_web(path: Path, addresses: Iterable[str]) -> None:
    if any(scheme(address) for address in addresses):
        raise SourceError(
            f"{path} holds web addresses, which give no names, and no column of ids was found "
            f"(id, {', '.join(ID_COLUMNS)}). Name one with --id-column."
        )


def id_column_of(path: Path, names: Sequence[str], wanted: str | None) -> str | None:
    """Return the column of the ids, None if there is none that is known."""
    exact = [name for name in names if name.lower() == "id"]
    known = ("id",) if exact else ID_COLUMNS
    return find_column(path, names, wanted, known, "the ids", "--id-column")


def find_column(
    path: Path,
    names: Sequence[str],
    wanted: str | None,
    known: Sequence[str],
    what: str,
    option: str,
) -> str | None:
    """Return the column that is wanted, else the one of a known name (in any case of letters).

    Parameters
    ----------
    path : Path
        The table, for messages.
    names : sequence of str
        Its columns.
    wanted : str or None
        What the person said.
    known : sequence of str
        Names in small letters.
    what, option : str
        What is looked for, and the option that names it, for messages.

    Raises
    ------
    SourceError
        The wanted one is not there, or several have known names.
    """
    if wanted is not None:
        return _named(path, names, wanted, option)
    found = [name for name in names if name.lower() in known]
    if len(found) > 1:
        _ambiguous(path, names, found, what, option)
    return found[0] if found else None


def _image_column(path: Path, names: Sequence[str], wanted: str | None) -> str:
    found = find_column(path, names, wanted, IMAGE_COLUMNS, "the images", "--image-column")
    if found is None:
        raise SourceError(
            f"{path} has no column that is known to hold images ({', '.join(IMAGE_COLUMNS)}). "
            f"Name it with --image-column. Its columns: {listed(names, 40)}."
        )
    return found


def _named(path: Path, names: Sequence[str], wanted: str, option: str) -> str:
    if names.count(wanted) == 1:
        return wanted
    fault = "several columns" if wanted in names else "no column"
    raise SourceError(
        f"{path} has {fault} {wanted!r} ({option}). Its columns: {listed(names, 40)}."
    )


def _ambiguous(
    path: Path, names: Sequence[str], found: Sequence[str], what: str, option: str
) -> NoReturn:
    raise SourceError(
        f"{path} has several columns that may hold {what}: {listed(found, 40)}. Name the one to "
        f"use with {option}. Its columns: {listed(names, 40)}."
    )
