"""Catalogues as files: VOTable, FITS, Parquet, ECSV and CSV, with units, UCDs, descriptions."""

from __future__ import annotations

import csv
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from astropy.table import Table

from ml_backend.catalogue.cells import safe_cell
from ml_backend.errors import GalaxyLoopError

_MOST_FITS_COLUMNS = 999

SUFFIXES = {
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
    ".fits": "fits",
    ".fit": "fits",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ecsv": "ecsv",
    ".csv": "csv",
}


class FormatError(GalaxyLoopError):
    """A catalogue cannot be written in a format."""


def format_of(path: Path, wanted: str | None = None) -> str:
    """Return the format to write: the wanted one, else that of the file's suffix.

    Raises
    ------
    FormatError
        The suffix is that of no format, or what writes it is not installed.
    """
    found = wanted or SUFFIXES.get(path.suffix.lower(), "")
    if not found:
        raise FormatError(
            f"{path} does not end in the suffix of a format ({', '.join(SUFFIXES)}). Rename it, or "
            "say --format."
        )
    if found == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise FormatError(
                "Parquet needs pyarrow: pip install 'galaxyloop[parquet]'. Or choose another "
                "format."
            ) from None
    return found


def write_catalogue(table: Table, path: Path, form: str) -> list[Path]:
    """Write a catalogue in place of what stands there; it appears whole or not at all.

    Parameters
    ----------
    table : Table
        With ``unit``, ``description`` and ``meta["ucd"]`` of its columns, and meta data under
        names of at most eight letters (a FITS header takes no longer ones).
    path : Path
    form : str
        One of the values of :data:`SUFFIXES`.

    Returns
    -------
    list of Path
        The files that were written: of CSV also ``<stem>.columns.csv`` with the units.

    Raises
    ------
    FormatError
        The disk fails, or the format cannot hold so much.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".export-") as folder:
            draft = Path(folder) / path.name
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _WRITERS[form](table, draft)
            targets = [path]
            if form == "csv":
                targets.append(path.with_name(f"{path.stem}.columns.csv"))
                _write_columns(table, Path(folder) / targets[1].name)
            for target in targets:
                os.replace(Path(folder) / target.name, target)
    except OSError as error:
        raise FormatError(f"{path} cannot be written: {error.strerror or error}.") from None
    return targets


def _write_votable(table: Table, path: Path) -> None:
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import CooSys, Info

    made = from_table(table)
    resource = made.resources[0]
    resource.description = "Galaxies with people's votes and a model's answers, by GalaxyLoop."
    resource.coordinate_systems.append(CooSys(ID="sky", system="ICRS"))
    for key, value in table.meta.items():
        resource.infos.append(Info(name=key, value=str(value)))
    for field in resource.tables[0].fields:
        if str(field.ucd or "").startswith("pos.eq."):
            field.ref = "sky"
    # Text in tags has no mark for a missing number that all readers know; binary2 has.
    made.to_xml(str(path), tabledata_format="binary2")


def _write_fits(table: Table, path: Path) -> None:
    from astropy.io import fits

    if len(table.colnames) > _MOST_FITS_COLUMNS:
        raise FormatError(
            f"There are {len(table.colnames)} columns; a FITS table holds {_MOST_FITS_COLUMNS}. "
            "Choose another format."
        )
    plain = table.copy()
    plain.meta = {key: _ascii(str(value))[:60] for key, value in table.meta.items()}
    for column in plain.itercols():
        column.description = _ascii(column.description or "")
        if column.dtype.kind == "U":
            texts = [_ascii(text) for text in column.filled("")]
            plain.replace_column(column.name, _like(column, texts))
    plain.write(path, format="fits")
    # astropy keeps descriptions and UCDs for itself; TOPCAT and others look for these cards.
    with fits.open(path, mode="update") as file:
        header = file[1].header
        for number, column in enumerate(plain.itercols(), start=1):
            header[f"TCOMM{number}"] = column.description
            header[f"TUCD{number}"] = column.meta["ucd"]
        header["RADESYS"] = "ICRS"
        header["EXTNAME"] = "RESULTS"


def _write_parquet(table: Table, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table.write(path, format="parquet")
    # astropy marks what is missing in columns beside; others expect nulls.
    made = parquet.read_table(path)
    for number, name in enumerate(made.column_names):
        if name not in table.colnames:
            continue
        column = table[name]
        details = {
            "description": column.description,
            "unit": str(column.unit or ""),
            "ucd": column.meta["ucd"],
        }
        values = made.column(name)
        if f"{name}.mask" in made.column_names:
            values = pa.compute.if_else(made.column(f"{name}.mask"), None, values)
        field = pa.field(name, values.type, metadata=details)
        made = made.set_column(number, field, values)
    parquet.write_table(made, path)


def _write_ecsv(table: Table, path: Path) -> None:
    table.write(path, format="ascii.ecsv", delimiter=",")


def _write_csv(table: Table, path: Path) -> None:
    plain = table.copy()
    for column in plain.itercols():
        if column.dtype.kind == "U":
            texts = [safe_cell(text) for text in column.filled("")]
            plain.replace_column(column.name, _like(column, texts))
    plain.write(path, format="ascii.csv")


def _write_columns(table: Table, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "datatype", "unit", "ucd", "description"))
        for column in table.itercols():
            kind = "string" if column.dtype.kind == "U" else column.dtype.name
            cells = (column.name, kind, str(column.unit or ""), column.meta["ucd"])
            writer.writerow((*cells, safe_cell(column.description or "")))


def _like(column: Any, texts: list[str]) -> Any:
    """Return a column of other texts with everything else as it was."""
    from astropy.table import MaskedColumn

    return MaskedColumn(
        texts,
        dtype=f"U{max([len(text) for text in texts] or [1]) or 1}",
        name=column.name,
        mask=column.mask,
        description=column.description,
        meta=column.meta,
    )


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()


_WRITERS: dict[str, Callable[[Table, Path], None]] = {
    "votable": _write_votable,
    "fits": _write_fits,
    "parquet": _write_parquet,
    "ecsv": _write_ecsv,
    "csv": _write_csv,
}
