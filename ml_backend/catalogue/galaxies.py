"""Who is asked for: galaxies from a catalogue with positions, or from a folder of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ml_backend.bulk.catalogue import IMAGE_COLUMNS, find_column, id_column_of
from ml_backend.bulk.folder import read_folder
from ml_backend.bulk.items import MOST_ID, SourceError, listed, scheme_of
from ml_backend.bulk.tables import Table, open_table
from ml_backend.catalogue.positions import Position, PositionError, degrees_per, read_position

RA_COLUMNS = (
    *("ra", "ra_deg", "radeg", "ra_j2000", "raj2000", "_raj2000", "alpha_j2000", "target_ra"),
    *("right_ascension", "ra_icrs", "meanra", "ramean"),
)
DEC_COLUMNS = (
    *("dec", "dec_deg", "decdeg", "de_deg", "dec_j2000", "decj2000", "dej2000", "_dej2000"),
    *("delta_j2000", "target_dec", "declination", "de_icrs", "dec_icrs", "decmean"),
)
SAME_PLACE = 1.0
"""Arcseconds within which rows of one id are one galaxy."""


@dataclass(frozen=True, slots=True)
class Galaxy:
    """One galaxy of a catalogue.

    Attributes
    ----------
    id : str
    position : Position or None
        None: not known, or to be read from its image.
    address : str
        Path or http(s) address of an image that is there already; "" if there is none.
    problem : str
        Why it cannot be used, a part of a sentence; empty: it can.
    """

    id: str
    position: Position | None = None
    address: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Columns:
    """Columns that a person names; None: told by their usual names."""

    id: str | None = None
    ra: str | None = None
    dec: str | None = None
    image: str | None = None


@dataclass
class Catalogue:
    """A catalogue that may be read again and again; a table is never held whole.

    Attributes
    ----------
    path : Path
    has_images : bool
        Whether its rows name images.
    notes : list of str
        What a person should know about how it was understood.
    """

    path: Path
    has_images: bool
    notes: list[str] = field(default_factory=list)
    _table: Table | None = None
    _columns: dict[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Galaxy]:
        """Iterate over the galaxies in the order of the source, those with a problem too.

        Raises
        ------
        SourceError
            The table breaks off, or an id stands for several galaxies.
        """
        if self._table is None:
            for item in read_folder(self.path).items:
                yield Galaxy(item.id, address=item.address, problem=item.problem)
            return
        known: dict[str, tuple[Position | None, str]] = {}
        for galaxy in self._rows(self._table):
            if galaxy.problem:
                yield galaxy
                continue
            before = known.get(galaxy.id)
            if before is None:
                known[galaxy.id] = galaxy.position, galaxy.address
                yield galaxy
            elif not _same(before, galaxy):
                raise SourceError(
                    f"In {self.path} the id {listed([galaxy.id])} stands for different galaxies. "
                    "Name a column whose values tell them apart with --id-column."
                )

    def _rows(self, table: Table) -> Iterator[Galaxy]:
        used = list(self._columns)
        scales = (
            degrees_per(table.units.get(self._columns.get("ra", ""), ""), "ra"),
            degrees_per(table.units.get(self._columns.get("dec", ""), ""), "dec"),
        )
        for number, texts in enumerate(table.rows(list(self._columns.values())), start=1):
            row = dict(zip(used, texts, strict=True))
            yield self._galaxy(number, row, scales)

    def _galaxy(self, number: int, row: dict[str, str], scales: tuple[float, float]) -> Galaxy:
        name, problem, position = row.get("id", ""), "", None
        if "ra" in row:
            try:
                position = read_position(row["ra"], row["dec"], scales)
            except PositionError as error:
                problem = str(error)
        if "id" not in row:
            name = position.name if position else f"row {number}"
        elif not name:
            name, problem = f"row {number}", "it has no id"
        elif len(name) > MOST_ID:
            name, problem = name[:MOST_ID], f"its id is longer than {MOST_ID} letters"
        elif any(ord(letter) < 32 for letter in name):
            problem = "its id holds a control character"
        address = row.get("image", "")
        if self.has_images and not problem:
            if not address:
                problem = "it names no image"
            elif "\0" in address:
                problem = "its path holds a zero byte"
            elif not scheme_of(address):
                address = str(self.path.parent / address)
        return Galaxy(name, position, address, problem)


def open_catalogue(path: Path, columns: Columns | None = None, images: bool = True) -> Catalogue:
    """Open a catalogue of galaxies, or a folder of their images.

    Parameters
    ----------
    path : Path
        A folder, or a table: CSV, ECSV, FITS, VOTable or Parquet.
    columns : Columns, optional
    images : bool
        Whether images that the source names are wanted; else only positions are read.

    Raises
    ------
    SourceError
        It is no table, or its columns cannot be told.
    """
    columns = columns or Columns()
    if path.is_dir():
        if not images:
            raise SourceError(f"{path} is a folder of images; cut-outs need a catalogue with ra "
                              "and dec.")  # fmt: skip
        if columns != Columns():
            raise SourceError(f"{path} is a folder; columns can be named for a catalogue only.")
        return Catalogue(path, True, read_folder(path).notes)
    if not path.exists():
        raise SourceError(f"{path} does not exist. Name a folder of images, or a catalogue.")
    table = open_table(path)
    names = table.names
    found = {
        "id": id_column_of(path, names, columns.id),
        "ra": find_column(path, names, columns.ra, RA_COLUMNS, "right ascensions", "--ra-column"),
        "dec": find_column(path, names, columns.dec, DEC_COLUMNS, "declinations", "--dec-column"),
    }
    if images:
        found["image"] = find_column(
            path, names, columns.image, IMAGE_COLUMNS, "the images", "--image-column"
        )
    used = {what: name for what, name in found.items() if name}
    if ("ra" in used) != ("dec" in used) or not ("ra" in used or "image" in used):
        raise SourceError(
            f"{path} has no columns that are known to hold ra and dec, in degrees. Name them with "
            f"--ra-column and --dec-column. Its columns: {listed(names, 40)}."
        )
    if "id" not in used and "ra" not in used:
        raise SourceError(
            f"{path} has neither ids nor positions. Name the ids with --id-column. Its columns: "
            f"{listed(names, 40)}."
        )
    said = ", ".join(f"{what} from the column {name!r}" for what, name in used.items())
    notes = [said[0].upper() + said[1:] + "."]
    if "id" not in used:
        notes.append("There is no column of ids: galaxies are named by their positions (J...).")
    return Catalogue(path, "image" in used, notes, table, used)


def _same(before: tuple[Position | None, str], galaxy: Galaxy) -> bool:
    if before[1] != galaxy.address:
        return False
    if before[0] is None or galaxy.position is None:
        return before[0] is galaxy.position
    return before[0].separation(galaxy.position) <= SAME_PLACE
