"""``galaxyloop like``: more like these."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ml_backend.cli.command import main, settings_with, spoken

_LONGEST = 500
_NUMBER = click.IntRange(1, 2**63 - 1)


@main.command()
@click.argument("tasks", type=_NUMBER, nargs=-1, required=True)
@click.option("--project", type=_NUMBER, required=True, help="Number of the project.")
@click.option(
    "-k", "count", type=click.IntRange(1, 100_000), default=20, show_default=True,
    help="How many to list.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@spoken
def like(tasks: tuple[int, ...], project: int, count: int, as_json: bool) -> None:
    """List the galaxies of a project most like those of TASKS (numbers), the likest first.

    Likeness is in [0, 1]; 0.5 is what has nothing in common with them.
    """
    settings = settings_with()
    from ml_backend.labelstudio.addresses import shown
    from ml_backend.loop.likeness import tasks_like
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        found = tasks_like(store, project, tasks, count)
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    for one in found:
        answered = "answered" if one.is_labeled else ""
        # Pictures that stand inside their tasks are addresses of megabytes.
        image = one.image if len(one.image) <= _LONGEST else shown(one.image).strip("'")
        click.echo(f"{one.likeness:.3f}  task {one.task}  {image}  {answered}".rstrip())
