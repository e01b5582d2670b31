"""The commands about Zooniverse: sketch, import, manifest, retirements."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_backend.cli.command import Failure, main, settings_with, spoken
from ml_backend.cli.meter import Meter

if TYPE_CHECKING:
    from ml_backend.labelstudio.client import LabelStudioClient
    from ml_backend.labelstudio.config import LabelConfig
    from ml_backend.store.database import Store

_PROJECT = click.IntRange(1, 2**63 - 1)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SKETCHED = 20_000


@main.group()
def zooniverse() -> None:
    """Move a Zooniverse project here, or run it in both places."""


@zooniverse.command("sketch")
@click.argument("export", type=_FILE)
@click.option("--project", type=_PROJECT, required=True, help="Number in the project's address.")
@spoken
def sketch(export: Path, project: int) -> None:
    """Print a first mapping of the EXPORT's answers to the project's labels, to be completed."""
    with _opened(project) as (_, config, _client):
        from ml_backend.zooniverse.classifications import Classification, read_classifications
        from ml_backend.zooniverse.mapping import sketch as guess
        from ml_backend.zooniverse.mapping import written

        first = itertools.islice(read_classifications(export), _SKETCHED)
        good = (one for one in first if isinstance(one, Classification))
        click.echo(written(guess(good, config), config), nl=False)


@zooniverse.command("import")
@click.argument("export", type=_FILE)
@click.option("--project", type=_PROJECT, required=True, help="Number in the project's address.")
@click.option("--map", "mapping", type=_FILE, help="Mapping of answers (TOML); see sketch.")
@click.option(
    "--match", default="", help="How subjects are told: THEIRS=OURS, fields of subject and task."
)
@click.option("--workflow", default="", help="Only this workflow (its number).")
@click.option("--version", default="", help="Only this version of it: 12, or 12.34.")
@click.option("--with-tests", is_flag=True, help="Take in what was said before the launch.")
@click.option("--hash-names", is_flag=True, help="Keep people's names as hashes only.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@spoken
def import_votes(
    export: Path, project: int, mapping: Path | None, match: str, workflow: str, version: str,
    with_tests: bool, hash_names: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Bring the classifications of an EXPORT in as votes; once more, it adds only new ones."""
    with _opened(project) as (store, config, client):
        from ml_backend.loop.requests import request_round
        from ml_backend.zooniverse.importing import ImportOptions, import_classifications
        from ml_backend.zooniverse.mapping import read_mapping
        from ml_backend.zooniverse.subjects import Tasks

        tasks = Tasks(client.tasks(project, page_size=500, annotations=False))
        made = None if mapping is None else read_mapping(mapping, config)
        options = ImportOptions(made, match, workflow, version, with_tests, hash_names, dry_run)
        report = import_classifications(export, store, project, config, tasks, options, _told)
        click.echo(str(report))
        if dry_run:
            click.echo("Nothing was written (--dry-run).")
        elif report.added:
            job = request_round(store, project, force=True)
            click.echo(f"Job {job.id} learns from them; `galaxyloop jobs` shows how far it is.")


@zooniverse.command("manifest")
@click.option("--project", type=_PROJECT, required=True, help="Number in the project's address.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder."
)
@click.option("--images/--addresses", default=True, help="Draw the images, or name where they are.")
@click.option("--all", "everything", is_flag=True, help="Settled galaxies, too.")
@click.option("--limit", type=click.IntRange(1), help="At most so many, the first of the queue.")
@spoken
def manifest(project: int, out: Path, images: bool, everything: bool, limit: int | None) -> None:
    """Write open galaxies as subjects: manifest.csv and images, in the order of the queue."""
    with _opened(project) as (store, config, client):
        from ml_backend.labelstudio.images import ImageFetcher
        from ml_backend.loop.annotations import main_field
        from ml_backend.zooniverse.queue_order import in_order
        from ml_backend.zooniverse.subject_manifest import MANIFEST, write_manifest

        listed = client.tasks(project, page_size=500, annotations=False)
        chosen = in_order(store, project, listed, everything)[:limit]
        fetcher = ImageFetcher(store.settings, client, store.picture_addresses())
        with Meter("Writing") as meter:
            count, left_out = write_manifest(
                out, chosen, main_field(config), fetcher if images else None,
                lambda done: meter.show(done, len(chosen)),
            )  # fmt: skip
    click.echo(f"{count} subjects are in {out / MANIFEST}.")
    for line in left_out[:20]:
        click.echo(f"  left out, {line}")
    if len(left_out) > 20:
        click.echo(f"  and {len(left_out) - 20} more")


@zooniverse.command("retirements")
@click.option("--project", type=_PROJECT, required=True, help="Number in the project's address.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="CSV file."
)
@click.option("--workflow", default="", help="Number of the workflow, for its column.")
@click.option(
    "--subject-field", default="", help="Field of the tasks with the subject's number, "
    "where no import told which subject is which task.",
)  # fmt: skip
@spoken
def retirements(project: int, out: Path, workflow: str, subject_field: str) -> None:
    """Write the subjects that need no more answers, and why."""
    with _opened(project) as (store, _, client):
        from ml_backend.zooniverse.retirements import write_retirements
        from ml_backend.zooniverse.subjects import Tasks, kept_subjects

        subjects = kept_subjects(store.folder, project)
        if subject_field:
            tasks = Tasks(client.tasks(project, page_size=500, annotations=False))
            if not tasks.fields[subject_field]:
                raise Failure(f"No task has a field {subject_field!r}.")
            subjects |= tasks.by(subject_field)
        if not subjects:
            raise Failure(
                "It is not known which subject is which task. Import an export first, or name the "
                "field of the tasks that holds the subject's number (--subject-field)."
            )
        count, strangers = write_retirements(out, store, project, subjects, workflow)
    click.echo(f"{count} subjects are in {out}.")
    if strangers:
        click.echo(f"{strangers} settled galaxies are no subject there.")


def _told(rows: int) -> None:
    if rows % 100_000 == 0:
        click.echo(f"{rows:,} rows read", err=True)


@contextmanager
def _opened(project: int) -> Iterator[tuple[Store, LabelConfig, LabelStudioClient]]:
    settings = settings_with()
    from ml_backend.labelstudio.client import LabelStudioClient
    from ml_backend.labelstudio.config import parse_controls
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        known: Any = store.projects.get(project)
        if known is None:
            raise Failure(
                f"Project {project} is not connected. Run `galaxyloop connect --project {project}`."
            )
        yield store, parse_controls(known.label_config), LabelStudioClient.from_settings(settings)
    finally:
        store.close()
