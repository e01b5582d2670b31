"""The commands about galaxies whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ml_backend.cli.command import Failure, main, settings_with, spoken

_PROJECT = click.IntRange(1, 2**63 - 1)


@main.group()
def gold() -> None:
    """Say which answers are known: they train people, and tell how reliable they are."""


@gold.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--project", type=_PROJECT, required=True, help="Number in the project's address.")
@click.option("--key", default="", help="Column that names the galaxy (default: found by name).")
@click.option("--dry-run", is_flag=True, help="Read and report only; keep nothing.")
@spoken
def import_golds(file: Path, project: int, key: str, dry_run: bool) -> None:
    """Keep the known answers of FILE (CSV, ECSV, FITS, VOTable, Parquet).

    One column names the galaxy: `task` (Label Studio's number) or any field of the tasks. Columns
    named like questions hold the answers: labels, with | between several, numbers or stars. Rows
    that cannot be used are named and cost only themselves.
    """
    settings = settings_with()
    from ml_backend.catalogue.gold_files import few, read_gold_file
    from ml_backend.labelstudio.client import LabelStudioClient
    from ml_backend.labelstudio.config import parse_controls
    from ml_backend.loop.golds import FILE, make_known
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        known = store.projects.get(project)
        if known is None:
            raise Failure(
                f"Project {project} is not connected. Run `galaxyloop connect --project {project}`."
            )
        client = LabelStudioClient.from_settings(settings)
        found = read_gold_file(
            file, parse_controls(known.label_config), client.tasks(project, annotations=False), key
        )
        changed = 0
        if not dry_run and found.answers:
            with store.session() as session:
                changed = make_known(session, project, FILE, found.answers, keep_others=True)
    finally:
        store.close()
    if found.problems:
        click.echo(
            f"{len(found.problems)} answers cannot be used:\n{few(found.problems)}", err=True
        )
    said = "would be kept" if dry_run else f"are known; {changed} are new or have changed"
    click.echo(f"{len(found.answers)} answers of {found.rows} rows {said}.")
    if not found.answers:
        raise SystemExit(1)


@gold.command("list")
@click.option("--project", type=_PROJECT, required=True, help="Number in the project's address.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@spoken
def list_golds(project: int, as_json: bool) -> None:
    """List the known answers of a project and where each comes from."""
    settings = settings_with()
    from ml_backend.loop.golds import golds_of
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        known = golds_of(store, project)
    finally:
        store.close()
    if as_json:
        told = [
            {
                "task": one.task_id,
                "control": one.control,
                "labels": one.labels,
                "answer": one.answer,
                "source": one.source,
                "annotation": one.annotation_id,
            }
            for one in known
        ]
        click.echo(json.dumps(told, indent=2))
    elif not known:
        click.echo("No answer is known; `galaxyloop gold import FILE` brings some.")
    for one in [] if as_json else known:
        items = (one.answer or {}).get("items") or [{}]
        labels = ", ".join(map(str, one.labels)) or items[0].get("value", "(marked)")
        click.echo(f"{one.task_id}  {one.control}  {labels}  {one.source}")


@gold.command("remove")
@click.argument("tasks", type=_PROJECT, nargs=-1)
@click.option("--project", type=_PROJECT, required=True, help="Number in the project's address.")
@click.option("--all", "everything", is_flag=True, help="All that came from files.")
@spoken
def remove(tasks: tuple[int, ...], project: int, everything: bool) -> None:
    """Forget the answers of TASKS that came from a file; votes stay as they are.

    Flags and experts' answers are taken back in Label Studio.
    """
    settings = settings_with()
    if bool(tasks) == everything:
        raise click.UsageError("Name the tasks, or say --all.")
    from ml_backend.loop.golds import remove_golds
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        count = remove_golds(store, project, None if everything else tasks)
    finally:
        store.close()
    click.echo(f"{count} known answers are forgotten.")
