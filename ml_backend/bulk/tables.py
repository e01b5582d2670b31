"""Tables as text: CSV, FITS and Parquet, of which only the wanted columns are read."""

from __future__ import annotations

import csv
import gzip
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ml_backend.bulk.items import SourceError
from models.pictures import picture_format

_DELIMITERS = (",", "\t", ";")
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Table:
    """A table that was opened.

    Attributes
    ----------
    names : list of str
        Its columns.
    read : callable
        Returns some columns by name, each a list of one text per row; "" is missing.
    """

    names: list[str]
    read: Callable[[Sequence[str]], dict[str, list[str]]]


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
        if b"\0" in start:
            raise SourceError(f"{path} is no table that is read (CSV, FITS, Parquet).")
        return _csv(path)
    except SourceError:
        raise
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} cannot be read as CSV in UTF-8: {error}.") from None
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise SourceError(f"The catalogue {path} cannot be read: {reason}") from error


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
        head = file.readline(1 << 20)
    delimiter = max(_DELIMITERS, key=head.count)
    names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
    if not any(names):
        raise SourceError(f"The first line of {path} must name its columns; it is empty.")

    def read(wanted: Sequence[str]) -> dict[str, list[str]]:
        places = {name: names.index(name) for name in wanted}
        columns: dict[str, list[str]] = {name: [] for name in wanted}
        with lines() as file:
            try:
                rows = csv.reader(file, delimiter=delimiter, strict=True)
                next(rows)
                for row in rows:
                    if not row:
                        continue
                    for name, place in places.items():
                        columns[name].append(text_of(row[place]) if place < len(row) else "")
            except (UnicodeDecodeError, csv.Error, EOFError, OSError) as error:
                raise SourceError(f"{path} cannot be read as CSV in UTF-8: {error}.") from None
        return columns

    return Table(names, read)


def _fits(path: Path) -> Table:
    from astropy.io import fits
    from astropy.table import Table as Rows

    with fits.open(path, memmap=True) as file:
        places = [i for i, hdu in enumerate(file) if isinstance(hdu, fits.BinTableHDU)]
        tables = [i for i in places if not isinstance(file[i], fits.CompImageHDU)]
        if not tables:
            raise SourceError(f"{path} holds no table. Name the folder of the image, if it is one.")
        place = tables[0]
        names = list(file[place].columns.names)

    def read(wanted: Sequence[str]) -> dict[str, list[str]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = Rows.read(
                path, format="fits", hdu=place, memmap=True, unit_parse_strict="silent"
            )
        return {name: _scalars(path, name, rows[name]) for name in wanted}

    return Table(names, read)


def _parquet(path: Path) -> Table:
    try:
        from pyarrow import parquet
    except ImportError:
        raise SourceError(
            f"{path} is a Parquet table, which needs pyarrow: pip install 'galaxyloop[parquet]'. "
            "Or save it as CSV."
        ) from None
    file = parquet.ParquetFile(path)

    def read(wanted: Sequence[str]) -> dict[str, list[str]]:
        columns: dict[str, list[str]] = {name: [] for name in wanted}
        for batch in file.iter_batches(columns=list(dict.fromkeys(wanted))):
            for name in columns:
                columns[name] += _scalars(path, name, batch.column(name).to_pylist())
        return columns

    return Table(list(file.schema_arrow.names), read)


def _scalars(path: Path, name: str, values: Iterable[Any]) -> list[str]:
    texts = []
    for value in values:
        if isinstance(value, list | dict) or np.ndim(value):
            raise SourceError(f"Column {name!r} of {path} holds arrays; it must hold one value.")
        texts.append(text_of(value))
    return texts
