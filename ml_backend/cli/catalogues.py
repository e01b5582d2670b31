"""The commands about catalogues: import and export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_backend.cli.command import Failure, UsageFailure, main, settings_with, spoken
from ml_backend.cli.meter import Meter
from ml_backend.settings import Settings

if TYPE_CHECKING:
    from ml_backend.catalogue.image_sources import ImageSource
    from ml_backend.catalogue.importing import ImportReport
    from ml_backend.catalogue.tasks import TaskSink

_PROJECT = click.IntRange(1, 2**63 - 1)
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_POSITIVE = click.FloatRange(0, min_open=True)


@main.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--project", type=_PROJECT, help="Number of the Label Studio project.")
@click.option("--out", type=_FILE, help="JSON file of tasks, in place of a project.")
@click.option(
    "--survey-images", "images", multiple=True, metavar="[BAND=]PATH",
    help="FITS images with WCS to cut out of: files or folders; repeatable.",
)  # fmt: skip
@click.option(
    "--cutouts", metavar="URL",
    help="Address of a cut-out server, with {ra}, {dec}, {size}, {pixscale}, {bands}, {id}.",
)  # fmt: skip
@click.option(
    "--side", type=_POSITIVE, default=60.0, show_default=True, help="Side of cut-outs, arcsec."
)
@click.option(
    "--pixel-scale", type=_POSITIVE, default=0.262, show_default=True,
    help="Of --cutouts, arcsec per pixel.",
)  # fmt: skip
@click.option("--bands", default="", help="Bands, e.g. grz; by default all that the images have.")
@click.option(
    "--coverage", type=click.FloatRange(0, 1), default=0.9, show_default=True,
    help="Least share of a cut-out that must hold data.",
)  # fmt: skip
@click.option(
    "--rate", type=_POSITIVE, default=2.0, show_default=True, help="Most requests per second."
)
@click.option("--survey", help="Name of the survey, for the tasks.")
@click.option("--pictures", type=_FOLDER, help="Folder for cut-outs and pictures.")
@click.option(
    "--address", "prefix", metavar="PREFIX",
    help="What stands before a picture's file name where it is served; else tasks hold pictures.",
)  # fmt: skip
@click.option("--image-field", help="Key of the image in tasks; by default the project's.")
@click.option("--id-column", help="Column of the ids.")
@click.option("--ra-column", help="Column of right ascension, degrees.")
@click.option("--dec-column", help="Column of declination, degrees.")
@click.option("--image-column", help="Column of paths or addresses of images.")
@click.option("--restored", is_flag=True, help="Tasks also hold the restored picture.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; fetch and write nothing.")
@click.option("--restart", is_flag=True, help="Make cut-outs anew that were made otherwise.")
@click.option("--strict", is_flag=True, help="Exit code 1 if any galaxy could not be imported.")
@click.option("--url", help="Address of Label Studio (LABEL_STUDIO_URL).")
@click.option("--api-key", help="Access token (LABEL_STUDIO_API_KEY; safer than an argument).")
@spoken
def import_galaxies(
    source: Path,
    project: int | None,
    out: Path | None,
    pictures: Path | None,
    survey: str | None,
    prefix: str | None,
    restored: bool,
    dry_run: bool,
    restart: bool,
    strict: bool,
    **given: Any,
) -> None:
    """Make tasks of the galaxies in SOURCE: a folder of images, or a catalogue.

    A catalogue is CSV, ECSV, FITS, VOTable or Parquet with ra and dec (degrees) and, best, ids.
    Images come from a column of it, from --survey-images, or from --cutouts. Interrupted or
    repeated, the same command adds what is missing and nothing twice.
    """
    if (project is None) == (out is None):
        raise UsageFailure("Say where tasks go: either --project or --out.")
    if given["images"] and given["cutouts"]:
        raise UsageFailure("Cut-outs come either from --survey-images or from --cutouts.")
    settings = settings_with(label_studio_url=given["url"], label_studio_api_key=given["api_key"])
    from ml_backend.catalogue.galaxies import Columns, open_catalogue
    from ml_backend.catalogue.importing import ImportOptions, plan_import, run_import
    from ml_backend.catalogue.pictures import PictureFolder
    from ml_backend.loop.encoding import image_limits

    cut = bool(given["images"] or given["cutouts"])
    names = (given[f"{what}_column"] for what in ("id", "ra", "dec", "image"))
    catalogue = open_catalogue(source, Columns(*names), images=not cut)
    where, named = _image_source(settings, given)
    if not cut and not catalogue.has_images:
        raise UsageFailure(
            f"{source} names no images. Say where they are from: --survey-images, --cutouts or "
            "--image-column."
        )
    for note in catalogue.notes:
        click.echo(note, err=True)
    sink = _sink(settings, project, out, given["image_field"])
    options = ImportOptions(
        prefix, named if survey is None else survey, image_limits(settings),
        restored, _restored_address(settings) if restored else None,
    )  # fmt: skip
    plan = plan_import(catalogue, where, sink, options)
    if dry_run:
        _say(plan, "would be made", project, out)
        if plan.sample:
            click.echo(json.dumps(plan.sample, indent=2, ensure_ascii=False))
        return
    target = pictures or settings.model_dir / "imports" / source.resolve().name
    folder = PictureFolder(target, where.facts, restart)
    try:
        with Meter("Importing") as meter:
            show, total = meter.show, plan.galaxies
            report = run_import(catalogue, where, folder, sink, options, show, total)
    except KeyboardInterrupt:
        raise Failure("Stopped. The same command goes on from here.") from None
    finally:
        folder.close()
    _say(report, "made", project, out)
    if report.failed:
        click.echo(f"All that failed are in {target / 'failed.csv'}.", err=True)
    if (strict and report.failed) or not (report.added or report.known):
        raise SystemExit(1)


def _restored_address(settings: Settings) -> Callable[[str], str]:
    """Return what signs the address of a restored picture of an image that lies elsewhere."""
    from ml_backend.pictures.addresses import RESTORED, PictureAddresses
    from ml_backend.store.secrets import picture_secret

    signer = PictureAddresses(picture_secret(settings), settings.browser_url, settings.picture_days)
    return lambda source: signer.address(source, RESTORED[0])


def _image_source(settings: Settings, given: dict[str, Any]) -> tuple[ImageSource, str]:
    """Return where images come from, and the name of the survey."""
    from ml_backend.catalogue import image_sources

    if given["images"]:
        from ml_backend.catalogue.cutouts import Cutter
        from ml_backend.catalogue.survey_images import find_survey_images

        found = find_survey_images(given["images"])
        for note in found.notes:
            click.echo(note, err=True)
        bands = found.chosen(given["bands"])
        cutter = Cutter(found, given["side"], bands, given["coverage"])
        facts = {"side": given["side"], "bands": list(bands), "coverage": given["coverage"]}
        name = Path(given["images"][0].rpartition("=")[2]).name
        return image_sources.LocalCutouts(cutter, facts), name
    if given["cutouts"]:
        from ml_backend.catalogue.cutout_address import Template, check_host
        from ml_backend.catalogue.cutout_server import CutoutServer, Pace
        from ml_backend.labelstudio.client import LabelStudioClient
        from ml_backend.labelstudio.images import ImageFetcher
        from ml_backend.loop.encoding import image_limits

        scale, asked = given["pixel_scale"], given["bands"] or "grz"
        template = Template(given["cutouts"], round(given["side"] / scale), scale, asked)
        check_host(template, settings)
        fetcher = ImageFetcher(settings, LabelStudioClient.from_settings(settings))
        server = CutoutServer(
            template, fetcher, Pace(given["rate"]), image_limits(settings), given["coverage"]
        )
        facts = {"side": given["side"], "pixel_scale": scale, "bands": asked}
        facts["coverage"] = given["coverage"]
        return image_sources.ServedCutouts(server, template, facts), template.survey
    return image_sources.NamedImages(settings.image_max_bytes), ""


def _sink(settings: Settings, project: int | None, out: Path | None, field: str | None) -> TaskSink:
    from ml_backend.catalogue.tasks import FileSink, ProjectSink
    from ml_backend.labelstudio.client import LabelStudioClient

    if out is not None:
        return FileSink(out, field or "image")
    assert project is not None
    return ProjectSink(LabelStudioClient.from_settings(settings), project, field)


def _say(report: ImportReport, done: str, project: int | None, out: Path | None) -> None:
    for name, reason in report.examples:
        click.echo(f"Not imported: {name!r}: {reason}", err=True)
    if report.moved:
        click.echo(
            f"{report.moved} galaxies are there under their ids at other positions than the "
            "catalogue says; they are left as they are.", err=True,
        )  # fmt: skip
    place = f"project {project}" if out is None else str(out)
    click.echo(
        f"{place}: of {report.galaxies} galaxies {report.added} tasks {done}, {report.known} were "
        f"there, {report.failed} failed."
    )


@main.command()
@click.option("--project", type=_PROJECT, required=True, help="Number of the project.")
@click.option("--out", type=_FILE, required=True, help="File; its suffix tells the format.")
@click.option(
    "--format", "form", type=click.Choice(("votable", "fits", "parquet", "ecsv", "csv")),
    help="Format, where the suffix does not tell.",
)  # fmt: skip
@click.option("--url", help="Address of Label Studio (LABEL_STUDIO_URL).")
@click.option("--api-key", help="Access token (LABEL_STUDIO_API_KEY; safer than an argument).")
@spoken
def export(project: int, out: Path, form: str | None, url: str | None, api_key: str | None) -> None:
    """Write the results of a project as a catalogue: one row per galaxy.

    Each row holds id, ra and dec, and for each question people's consensus, the number of votes
    and the model's answer with its probabilities. What is not known is masked.
    """
    settings = settings_with(label_studio_url=url, label_studio_api_key=api_key)
    from datetime import UTC, datetime

    from ml_backend.catalogue.exporting import results_table
    from ml_backend.catalogue.formats import format_of, write_catalogue
    from ml_backend.catalogue.results import gather_results
    from ml_backend.labelstudio.client import LabelStudioClient
    from ml_backend.store.database import open_store

    chosen = format_of(out, form)
    store = open_store(settings)
    try:
        results = gather_results(LabelStudioClient.from_settings(settings), store, project)
    finally:
        store.close()
    if not len(results):
        raise Failure(f"Project {project} has no tasks.")
    for note in results.notes:
        click.echo(note, err=True)
    table = results_table(results, datetime.now(UTC))
    written = write_catalogue(table, out, chosen)
    click.echo(
        f"{' and '.join(map(str, written))}: {len(table)} galaxies, {len(table.colnames)} columns; "
        f"version {results.version or 'none'}, votes read: {table.meta['VOTES_AT']}."
    )
