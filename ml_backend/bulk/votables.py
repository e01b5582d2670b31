"""VOTables, which may name other files and declare entities; both are refused."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.parsers import expat

from ml_backend.bulk.items import SourceError


def open_votable(path: Path) -> tuple[list[str], dict[str, str], Callable[[list[str]], Any]]:
    """Return the columns of the first table of a VOTable, their units, and what reads some.

    Raises
    ------
    SourceError
        It is no VOTable, holds no table, or leads to another file.
    """
    _check(path)
    table = _parse(path)
    fields = table.fields
    names = [str(field.name or field.ID) for field in fields]
    units = {name: str(field.unit) for name, field in zip(names, fields, strict=True) if field.unit}

    def read(wanted: list[str]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return table.to_table(use_names_over_ids=True)[list(dict.fromkeys(wanted))]

    return names, units, read


def _parse(path: Path) -> Any:
    from astropy.io import votable

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = votable.parse(str(path), verify="ignore")
        try:
            return found.get_first_table()
        except IndexError:
            raise SourceError(f"The VOTable {path} holds no table.") from None


def _check(path: Path) -> None:
    """Refuse what would make the parser open other addresses, or unfold without end."""
    seen: list[str] = []

    def element(name: str, attributes: dict[str, str]) -> None:
        local = name.rsplit(":", 1)[-1].upper()
        if not seen:
            seen.append(local)
        if local == "STREAM" and any(key.lower() == "href" for key in attributes):
            raise SourceError(
                f"The VOTable {path} keeps its rows in another file (STREAM href), which is not "
                "followed. Save it in one file, e.g. from TOPCAT."
            )

    def doctype(*_: object) -> None:
        raise SourceError(
            f"The VOTable {path} declares a document type (<!DOCTYPE>). Entities are not "
            "expanded, for safety; remove the declaration."
        )

    parser = expat.ParserCreate()
    parser.StartElementHandler = element
    parser.StartDoctypeDeclHandler = doctype
    with open(path, "rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else open(path, "rb") as file:
        try:
            parser.ParseFile(file)
        except expat.ExpatError as error:
            raise SourceError(f"{path} is no well-formed XML: {error}.") from None
    if seen != ["VOTABLE"]:
        raise SourceError(f"{path} is XML, but no VOTable; its first element is {seen[0]}.")
