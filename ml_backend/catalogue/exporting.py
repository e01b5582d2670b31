"""An export: the results of a project as a catalogue, one row per galaxy."""

from __future__ import annotations

from datetime import UTC, datetime

from astropy.table import Table

from ml_backend.catalogue.cells import clean_text
from ml_backend.catalogue.columns import all_columns
from ml_backend.catalogue.results import Results


def results_table(results: Results, now: datetime) -> Table:
    """Return results as a table with units, descriptions and UCDs.

    Parameters
    ----------
    results : Results
    now : datetime
        With its zone; when the catalogue is made.

    Returns
    -------
    Table
        One row per galaxy. Its meta data say which project and version it is of and how old the
        votes are.
    """
    table = Table(list(all_columns(results)), copy=False)
    table.meta = results_meta(results, now)
    return table


def results_meta(results: Results, now: datetime) -> dict[str, str]:
    """Return which project and version results are of, and how old the votes are."""
    read = results.votes_read_at
    return {
        "CREATOR": "GalaxyLoop",
        "PROJECT": clean_text(results.title, 60),
        "VERSION": results.version,
        "LVM": results.lvm[:12],
        "VOTES_AT": read.astimezone(UTC).isoformat(timespec="seconds") if read else "never",
        "MADE_AT": now.astimezone(UTC).isoformat(timespec="seconds"),
    }
