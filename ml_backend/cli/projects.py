"""The commands about projects: connect, doctor, jobs, versions, rollback."""

from __future__ import annotations

import json
from typing import get_args

import click

from ml_backend.cli.command import Failure, main, settings_with, spoken
from ml_backend.settings import Strategy

_STRATEGIES = click.Choice(get_args(Strategy))
_MEASURES = ("accuracy", "log_loss", "macro_auc")
# What a database can hold.
_PROJECT = click.IntRange(1, 2**63 - 1)


@main.command()
@click.option("--url", help="Address of Label Studio (LABEL_STUDIO_URL).")
@click.option("--api-key", help="Access token (LABEL_STUDIO_API_KEY; safer than an argument).")
@click.option("--project", type=_PROJECT, required=True, help="Number in the project's address.")
@click.option("--strategy", type=_STRATEGIES, help="Query strategy (GALAXYLOOP_STRATEGY).")
@click.option("--votes-per-round", type=click.IntRange(1), help="New votes that start a round.")
@click.option(
    "--seconds-per-round",
    type=click.FloatRange(0, min_open=True),
    help="Seconds after which a single new vote starts a round.",
)
@click.option(
    "--audit-fraction", type=click.FloatRange(0, 0.5), help="Share of tasks served at random."
)
@click.option(
    "--explore",
    type=click.FloatRange(0, 1),
    help="Of a project that marks what is of interest: share of the queue that goes by doubt.",
)
@click.option("--top-k", type=click.IntRange(1), help="Tasks ranked per round.")
@click.option(
    "--diversity/--no-diversity", default=None, help="Whether the queue is spread (default: yes)."
)
@click.option(
    "--most-people",
    type=click.IntRange(1, 1000),
    help="Most people asked about one galaxy; above 1, further votes go where they are worth most.",
)
@click.option(
    "--retire-confidence",
    type=click.FloatRange(0.5, 1, min_open=True, max_open=True),
    help="How sure votes must be together before a galaxy is asked about no more.",
)
@click.option(
    "--expert",
    "experts",
    type=click.IntRange(0),
    multiple=True,
    help="Label Studio's number of a user whose answers are taken as known; may be repeated, "
    "and replaces earlier ones (0: nobody).",
)
@spoken
def connect(
    url: str | None,
    api_key: str | None,
    project: int,
    strategy: str | None,
    experts: tuple[int, ...],
    **options: object,
) -> None:
    """Attach this backend to a project of a running Label Studio; may be repeated.

    `galaxyloop serve` must be running. What is given of the options from --strategy on holds for
    this project alone, in place of the settings.
    """
    settings = settings_with(label_studio_url=url, label_studio_api_key=api_key)
    from ml_backend.connection import connect as connect_project

    chosen = {name: value for name, value in options.items() if value is not None}
    if experts:
        chosen["experts"] = [number for number in experts if number]
    click.echo(str(connect_project(settings, project, strategy=strategy, options=chosen)))


@main.command()
@click.option("--url", help="Address of Label Studio (LABEL_STUDIO_URL).")
@click.option("--api-key", help="Access token (LABEL_STUDIO_API_KEY; safer than an argument).")
@click.option("--project", type=_PROJECT, help="Only this project.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@spoken
def doctor(url: str | None, api_key: str | None, project: int | None, as_json: bool) -> None:
    """Check every known trap and say the one thing to do for each; exit code 1 if any is met."""
    settings = settings_with(label_studio_url=url, label_studio_api_key=api_key)
    from ml_backend.connection import doctor as look
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        findings = look(settings, store, [project] if project is not None else None)
    finally:
        store.close()
    if as_json:
        keys = ("check", "ok", "problem", "remedy")
        click.echo(json.dumps([{key: getattr(f, key) for key in keys} for f in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{'ok     ' if finding.ok else 'PROBLEM'} {finding.check}")
            if not finding.ok:
                click.echo(f"        {finding.problem}\n        -> {finding.remedy}")
    if not all(finding.ok for finding in findings):
        raise SystemExit(1)


@main.command()
@click.option("--project", type=_PROJECT, help="Only this project.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@spoken
def jobs(project: int | None, as_json: bool) -> None:
    """List the jobs, newest first."""
    settings = settings_with()
    from ml_backend.store.database import open_store
    from ml_backend.store.jobs import job_details

    store = open_store(settings)
    try:
        details = [job_details(job) for job in store.jobs.listing(project)]
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps(details, indent=2))
        return
    rows = [
        [
            str(job["id"]),
            job["kind"],
            str(job["project"]),
            job["state"],
            f"{100 * job['progress']:.0f} %",
            job["created_at"],
            job["problem"] or job["message"],
        ]
        for job in details
    ]
    _table(["job", "kind", "project", "state", "progress", "queued", "message"], rows)


@main.command()
@click.argument("job", type=_PROJECT)
@spoken
def cancel(job: int) -> None:
    """Stop the JOB of that number, queued or running; what it has done so far stays usable."""
    settings = settings_with()
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        stopped = store.jobs.cancel(job)
    finally:
        store.close()
    if not stopped:
        raise Failure(f"Job {job} is over, or there is none; `galaxyloop jobs` lists them.")
    click.echo(f"Job {job} is cancelled.")


@main.command()
@click.option("--project", type=_PROJECT, required=True, help="Number of the project.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@spoken
def versions(project: int, as_json: bool) -> None:
    """List the model versions of a project, newest first, with their quality.

    The figures are means over the controls, each measured on galaxies that the judged heads never
    saw: accuracy, log loss (smaller is better) and macro AUC. JSON holds them by control.
    """
    settings = settings_with()
    from sqlalchemy import select

    from ml_backend.dashboard.measures import quality_of
    from ml_backend.protocol.versions import version_details
    from ml_backend.store.database import open_store
    from ml_backend.store.tables import Version

    store = open_store(settings)
    try:
        if store.projects.get(project) is None:
            raise Failure(f"Project {project} is not connected. Run `galaxyloop connect` first.")
        query = select(Version).where(Version.project_id == project).order_by(Version.number.desc())
        with store.reading() as session:
            known = list(session.scalars(query))
    finally:
        store.close()
    details = [version_details(version) for version in known]
    if as_json:
        click.echo(json.dumps(details, indent=2))
        return
    rows = [
        [
            version.name,
            version.kind,
            version.state,
            str(version.votes),
            *(_figure(quality_of(version, measure)) for measure in _MEASURES),
            told["published_at"] or "-",
            version.problem or version.gate.get("reason", ""),
        ]
        for version, told in zip(known, details, strict=True)
    ]
    measures = [name.replace("_", " ").replace("auc", "AUC") for name in _MEASURES]
    _table(["version", "kind", "state", "votes", *measures, "published", "reason"], rows)


@main.command()
@click.option("--project", type=_PROJECT, required=True, help="Number of the project.")
@click.argument("version")
@spoken
def rollback(project: int, version: str) -> None:
    """Publish an earlier VERSION of a project again."""
    settings = settings_with()
    from ml_backend.loop.requests import request_rollback
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        job = request_rollback(store, project, version)
    finally:
        store.close()
    click.echo(f"Job {job.id} brings {version} back; `galaxyloop jobs` shows how far it is.")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
