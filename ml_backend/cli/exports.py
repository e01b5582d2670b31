"""The command that writes results: catalogues, region files and masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ml_backend.cli.command import Failure, main, settings_with, spoken

if TYPE_CHECKING:
    from datetime import datetime

    from ml_backend.catalogue.results import Results

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@main.command()
@click.option(
    "--project", type=click.IntRange(1, 2**63 - 1), required=True, help="Number of the project."
)
@click.option("--out", type=_FILE, required=True, help="File; its suffix tells the format.")
@click.option(
    "--format", "form", type=click.Choice(("votable", "fits", "parquet", "ecsv", "csv")),
    help="Format, where the suffix does not tell.",
)  # fmt: skip
@click.option(
    "--objects", type=_FILE, help="File for a catalogue of all that was marked, a row per object."
)
@click.option(
    "--regions", type=click.Path(path_type=Path), metavar="PATH",
    help="DS9 regions: one .reg file on the sky, or a folder for a file per galaxy.",
)  # fmt: skip
@click.option(
    "--region-system", "system", type=click.Choice(("sky", "image")), default="sky",
    show_default=True, help="Coordinates of the region files in a folder.",
)  # fmt: skip
@click.option("--masks", type=_FOLDER, help="Folder for masks as FITS with WCS.")
@click.option(
    "--unit", "told_units", multiple=True, metavar="NAME=UNIT",
    help="Unit of a number, e.g. radius=arcsec; repeatable.",
)  # fmt: skip
@click.option(
    "--ucd", "ucds", multiple=True, metavar="NAME=UCD",
    help="What a number is, e.g. radius=phys.angSize; repeatable.",
)  # fmt: skip
@click.option(
    "--period", "periods", multiple=True, metavar="NAME=PERIOD",
    help="Of a number that turns, e.g. position_angle=180; repeatable.",
)  # fmt: skip
@click.option("--url", help="Address of Label Studio (LABEL_STUDIO_URL).")
@click.option("--api-key", help="Access token (LABEL_STUDIO_API_KEY; safer than an argument).")
@spoken
def export(
    project: int,
    out: Path,
    form: str | None,
    objects: Path | None,
    regions: Path | None,
    system: str,
    masks: Path | None,
    told_units: tuple[str, ...],
    ucds: tuple[str, ...],
    periods: tuple[str, ...],
    url: str | None,
    api_key: str | None,
) -> None:
    """Write the results of a project as a catalogue: one row per galaxy.

    Each row holds id, ra and dec, and for each question people's consensus, the number of votes
    and the model's answer with its probabilities. What is not known is masked. What was marked is
    there with the measures of the object nearest to the middle; --objects, --regions and --masks
    write all of it.
    """
    settings = settings_with(label_studio_url=url, label_studio_api_key=api_key)
    from datetime import UTC, datetime

    from ml_backend.catalogue.exporting import results_table
    from ml_backend.catalogue.formats import format_of, write_catalogue
    from ml_backend.catalogue.quantities import read_quantities
    from ml_backend.catalogue.region_files import check_path
    from ml_backend.catalogue.results import gather_results
    from ml_backend.labelstudio.client import LabelStudioClient
    from ml_backend.store.database import open_store

    chosen = format_of(out, form)
    objects_form = format_of(objects) if objects else ""
    quantities = read_quantities(told_units, ucds, periods)
    if regions is not None:
        check_path(regions, system)
    store = open_store(settings)
    try:
        results = gather_results(LabelStudioClient.from_settings(settings), store, project)
    finally:
        store.close()
    if not len(results):
        raise Failure(f"Project {project} has no tasks.")
    for note in (*results.notes, *results.tell(quantities)):
        click.echo(note, err=True)
    now = datetime.now(UTC)
    table = results_table(results, now)
    written = write_catalogue(table, out, chosen)
    click.echo(
        f"{' and '.join(map(str, written))}: {len(table)} galaxies, {len(table.colnames)} columns; "
        f"version {results.version or 'none'}, votes read: {table.meta['VOTES_AT']}."
    )
    if objects is not None:
        _write_objects(results, objects, objects_form, now)
    if regions is not None:
        _write_regions(results, regions, system)
    if masks is not None:
        _write_masks(results, masks, now)


def _write_objects(results: Results, path: Path, form: str, now: datetime) -> None:
    from ml_backend.catalogue.formats import write_catalogue
    from ml_backend.catalogue.objects_table import objects_table

    table = objects_table(results, now)
    written = write_catalogue(table, path, form)
    click.echo(f"{' and '.join(map(str, written))}: {len(table)} objects.")


def _write_regions(results: Results, path: Path, system: str) -> None:
    from ml_backend.catalogue.region_files import write_regions

    made = write_regions(results, path, "image" if system == "image" else "sky")
    click.echo(f"{path}: {made.regions} regions in {made.files} files.")
    if made.masks:
        click.echo(f"{made.masks} masks are no regions; --masks writes them.", err=True)
    if made.without_sky:
        click.echo(
            f"{made.without_sky} objects are on pictures without sky coordinates. A folder in "
            "place of the .reg file takes them, in pixels.", err=True,
        )  # fmt: skip


def _write_masks(results: Results, folder: Path, now: datetime) -> None:
    from ml_backend.catalogue.mask_files import write_masks

    made = write_masks(results, folder, now)
    click.echo(f"{folder}: {made.objects} masks in {made.files} files.")
