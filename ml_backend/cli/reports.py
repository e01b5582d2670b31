"""The command that writes the report of a project as one HTML file."""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ml_backend.cli.command import Failure, UsageFailure, main, settings_with, spoken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml_backend.pictures.drawing import PictureMaker
    from ml_backend.settings import Settings
    from ml_backend.store.database import Store


@main.command()
@click.option(
    "--project", type=click.IntRange(1, 2**63 - 1), required=True, help="Number of the project."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="File; - for standard output. By default galaxyloop-report-N-DATE.html here.",
)  # fmt: skip
@click.option("--days", type=click.IntRange(1, 366), help="Days up to today (UTC).  [default: 7]")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day, in place of --days.")
@click.option(
    "--accuracy", help="Accuracy of the model, in percent, to forecast to.  [default: 95]"
)
@click.option(
    "--names/--pseudonyms", default=False, show_default="--pseudonyms",
    help="Whether people go by their names, read from Label Studio.",
)  # fmt: skip
@click.option("--for-managers", is_flag=True, help="Show patterns that look like bad faith.")
@spoken
def report(
    project: int,
    out: Path | None,
    days: int | None,
    since: datetime | None,
    accuracy: str | None,
    names: bool,
    for_managers: bool,
) -> None:
    """Write a report of a project: one HTML file that needs nothing outside itself.

    What happened, how far it is and when it will be done, how good the model is, who did how
    much, what comes next, and what needs a look. Good to mail and to print; no script runs in it.
    """
    if days is not None and since is not None:
        raise UsageFailure("--days and --since both say where the report begins: give one.")
    settings = settings_with()
    from ml_backend.dashboard.outlook import wanted_of
    from ml_backend.dashboard.report import ReportOptions, make_report
    from ml_backend.dashboard.report_period import period_of
    from ml_backend.store.database import open_store

    try:
        period = period_of(datetime.now(UTC), days or 7, since.date() if since else None)
    except ValueError as error:
        raise UsageFailure(str(error)) from None
    store = open_store(settings)
    try:
        known = store.projects.get(project)
        if known is None:
            raise Failure(f"Project {project} is not connected. Run `galaxyloop connect` first.")
        called = _names(settings, store, project) if names else None
        options = ReportOptions(period, wanted_of(accuracy), "", called, for_managers)
        made = make_report(store, known, options, _maker(settings, store))
    finally:
        store.close()
    if out is not None and str(out) == "-":
        sys.stdout.buffer.write(made.encode())
        return
    path = out or Path(f"galaxyloop-report-{project}-{period.last}.html")
    _write(path, made)
    click.echo(f"{path}: {period.first} to {period.last}, {len(made.encode()) / 1000:.0f} kB.")


def _names(settings: Settings, store: Store, project: int) -> Mapping[str, str]:
    """Ask Label Studio what people are called; the numbers stand where it does not answer."""
    from ml_backend.cli.accounts import who
    from ml_backend.dashboard.people_rows import names_of
    from ml_backend.errors import GalaxyLoopError
    from ml_backend.labelstudio.client import LabelStudioClient

    try:
        found = names_of(LabelStudioClient.from_settings(settings).users())
    except GalaxyLoopError as error:
        click.echo(f"The names could not be read, numbers stand for them. {error}", err=True)
        return {}
    store.accounts.note(who(), "names revealed", "report", project)
    return found


def _maker(settings: Settings, store: Store) -> PictureMaker:
    from ml_backend.labelstudio.client import LabelStudioClient
    from ml_backend.labelstudio.images import ImageFetcher
    from ml_backend.pictures.cache import PictureCache
    from ml_backend.pictures.drawing import PictureMaker

    client = LabelStudioClient.from_settings(settings)
    return PictureMaker(
        ImageFetcher(settings, client, store.picture_addresses()),
        PictureCache(store.folder / "pictures", settings.picture_cache_bytes),
        settings.image_max_bytes,
        settings.image_max_pixels,
    )


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as drafts:
            draft = Path(drafts) / path.name
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, path)
    except OSError as error:
        raise Failure(
            f"The report could not be written to {path}: {error.strerror or error}. "
            "Nothing was changed there; choose another place with --out."
        ) from None
