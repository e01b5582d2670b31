"""Tables as text: CSV, ECSV, FITS, VOTable and Parquet, of which wanted columns are read by row."""

from __future__ import annotations

import csv
import gzip
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ml_backend.bulk.items import SourceError
from models.pictures import picture_format

_DELIMITERS = (",", "\t", ";")
_GZIP = b"\x1f\x8b"
_LONGEST_HEAD = 1 << 20
_MOST_COMMENTS = 10_000
_PART = 10_000


@dataclass(frozen=True)
class Table:
    """A table that was opened.

    Attributes
    ----------
    path : Path
    names : list of str
        Its columns.
    units : dict of str to str
        Units of columns, where the table states them.
    """

    path: Path
    names: list[str]
    _rows: Callable[[list[str]], Iterator[tuple[str, ...]]]
    units: dict[str, str] = field(default_factory=dict)

    def rows(self, wanted: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """Iterate over the rows, each the texts of the wanted columns; "" is missing.

        Raises
        ------
        SourceError
            The table is broken, or a column holds arrays.
        """
        try:
            yield from self._rows(list(wanted))
        except SourceError:
            raise
        except Exception as error:
            raise _unreadable(self.path, error) from error

    def read(self, wanted: Sequence[str]) -> dict[str, list[str]]:
        """Return some columns by name, each a list of one text per row."""
        names = list(dict.fromkeys(wanted))
        columns: dict[str, list[str]] = {name: [] for name in names}
        for row in self.rows(names):
            for column, text in zip(columns.values(), row, strict=True):
                column.append(text)
        return columns


def open_table(path: Path) -> Table:
    """Open a table; what it is is told by its first bytes.

    Raises
    ------
    SourceError
        It cannot be read, is none, or has no columns.
    """
    try:
        start = _start(path)
        if picture_format(start):
            raise SourceError(f"{path} is one image. Name its folder, or a catalogue.")
        if start.startswith(b"PAR1"):
            return _parquet(path)
        if start.startswith(b"SIMPLE  ="):
            return _fits(path)
        if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
            return _votable(path)
        if b"\0" in start:
            raise SourceError(
                f"{path} is no table that is read: CSV, ECSV, FITS, VOTable, Parquet."
            )
        return _csv(path)
    except SourceError:
        raise
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} cannot be read as CSV in UTF-8: {error}.") from None
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SourceError:
    reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
    return SourceError(f"The catalogue {path} cannot be read: {reason}")


def text_of(value: Any) -> str:
    """Return a cell as text; "" for what is missing (masked, None, NaN)."""
    if value is None or value is np.ma.masked:
        return ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, float | np.floating) and math.isfinite(value) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return "" if text.lower() in ("nan", "null", "none", "<na>", "--") else text


def _start(path: Path) -> bytes:
    if not path.is_file():
        raise SourceError(f"{path} is neither a folder nor a file.")
    with open(path, "rb") as file:
        start = file.read(4096)
    if start.startswith(_GZIP):
        with gzip.open(path) as packed:
            start = packed.read(4096)
    if not start:
        raise SourceError(f"The catalogue {path} is empty (0 bytes).")
    return start


def _csv(path: Path) -> Table:
    def lines() -> TextIO:
        with open(path, "rb") as file:
            packed = file.read(2) == _GZIP
        if packed:
            return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
        return open(path, encoding="utf-8-sig", newline="")

    with lines() as file:
        head, comments = _head(file)
    delimiter = max(_DELIMITERS, key=head.count)
    units: dict[str, str] = {}
    if comments:
        delimiter, units = _ecsv_header(comments)
    names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
    if not any(names):
        raise SourceError(f"The first line of {path} must name its columns; it is empty.")

    def rows(wanted: list[str]) -> Iterator[tuple[str, ...]]:
        places = [names.index(name) for name in wanted]
        with lines() as file:
            _head(file)
            try:
                for row in csv.reader(file, delimiter=delimiter, strict=True):
                    if row:
                        yield tuple(text_of(row[i]) if i < len(row) else "" for i in places)
            except (UnicodeDecodeError, csv.Error, EOFError, OSError) as error:
                raise SourceError(f"{path} cannot be read as CSV in UTF-8: {error}.") from None

    return Table(path, names, rows, units)


def _head(file: TextIO) -> tuple[str, list[str]]:
    """Return the line of names, and the comments of an ECSV file before it."""
    line = file.readline(_LONGEST_HEAD)
    comments: list[str] = []
    if line.startswith("# %ECSV"):
        while line.startswith("#") and len(comments) < _MOST_COMMENTS:
            comments.append(line[1:].removeprefix(" ").rstrip("\r\n"))
            line = file.readline(_LONGEST_HEAD)
    return line, comments


def _ecsv_header(comments: list[str]) -> tuple[str, dict[str, str]]:
    """Return the delimiter and the units that an ECSV header states."""
    from astropy.table.meta import get_header_from_yaml

    header = get_header_from_yaml([line for line in comments[1:] if line != "---"])
    units = {c["name"]: str(c["unit"]) for c in header["datatype"] if c.get("unit") is not None}
    return header.get("delimiter", " "), units


def _fits(path: Path) -> Table:
    from astropy.io import fits
    from astropy.table import Table as Rows

    with fits.open(path, memmap=True) as file:
        places = [i for i, hdu in enumerate(file) if isinstance(hdu, fits.BinTableHDU)]
        tables = [i for i in places if not isinstance(file[i], fits.CompImageHDU)]
        if not tables:
            raise SourceError(f"{path} holds no table. Name the folder of the image, if it is one.")
        place = tables[0]
        columns = file[place].columns
        names = list(columns.names)
        units = {column.name: str(column.unit) for column in columns if column.unit}

    def rows(wanted: list[str]) -> Iterator[tuple[str, ...]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = Rows.read(
                path, format="fits", hdu=place, memmap=True, unit_parse_strict="silent"
            )
        return in_parts(path, [(name, table[name]) for name in wanted])

    return Table(path, names, rows, units)


def _votable(path: Path) -> Table:
    from ml_backend.bulk.votables import open_votable

    names, units, read = open_votable(path)

    def rows(wanted: list[str]) -> Iterator[tuple[str, ...]]:
        table = read(wanted)
        return in_parts(path, [(name, table[name]) for name in wanted])

    return Table(path, names, rows, units)


def _parquet(path: Path) -> Table:
    try:
        from pyarrow import parquet
    except ImportError:
        raise SourceError(
            f"{path} is a Parquet table, which needs pyarrow: pip install 'galaxyloop[parquet]'. "
            "Or save it as CSV."
        ) from None
    with parquet.ParquetFile(path) as file:
        names = list(file.schema_arrow.names)

    def rows(wanted: list[str]) -> Iterator[tuple[str, ...]]:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=list(dict.fromkeys(wanted))):
                columns = [(name, batch.column(name).to_pylist()) for name in wanted]
                yield from in_parts(path, columns)

    return Table(path, names, rows)


def in_parts(path: Path, columns: Sequence[tuple[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Iterate over the rows of columns, made into texts some thousands at a time."""
    for start in range(0, len(columns[0][1]) if columns else 0, _PART):
        texts = [_scalars(path, name, column[start : start + _PART]) for name, column in columns]
        yield from zip(*texts, strict=True)


def _scalars(path: Path, name: str, values: Iterable[Any]) -> list[str]:
    texts = []
    for value in values:
        if isinstance(value, list | dict) or np.ndim(value):
            raise SourceError(f"Column {name!r} of {path} holds arrays; it must hold one value.")
        texts.append(text_of(value))
    return texts
