"""The ``galaxyloop`` command. What is heavy is imported by the command that needs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from ml_backend.errors import GalaxyLoopError, SettingsError
from ml_backend.settings import Settings, load_settings

P = ParamSpec("P")
R = TypeVar("R")

_STRATEGIES = click.Choice(
    [
        "least_confidence",
        "margin",
        "entropy",
        "vote_entropy",
        "consensus_entropy",
        "ranked_batch",
    ]
)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


class Failure(click.ClickException):
    """An error that a person can act on: one message, no stack trace."""

    def show(self, file: Any = None) -> None:
        """Print the message to standard error."""
        click.echo(f"galaxyloop: {self.message}", err=True)


class UsageFailure(Failure):
    """A setting or an argument that cannot be used."""

    exit_code = 2


def spoken(command: Callable[P, R]) -> Callable[P, R]:
    """Turn our errors into one clear message and an exit code: 2 for settings, 1 for the rest."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except SettingsError as error:
            raise UsageFailure(str(error)) from None
        except GalaxyLoopError as error:
            raise Failure(str(error)) from None

    return run


def settings_with(**overrides: object) -> Settings:
    """Return the settings of the environment with the options that were given on top."""
    return load_settings(**{name: value for name, value in overrides.items() if value is not None})


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="galaxyloop", prog_name="galaxyloop")
def main() -> None:
    """Put people in the loop of a large vision model for galaxy images, in Label Studio.

    Settings are read from the environment and an .env file; `galaxyloop settings` lists them.
    """


@main.command()
@click.option("--host", help="Address to listen on (HOST).")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on (PORT).")
@spoken
def serve(host: str | None, port: int | None) -> None:
    """Answer Label Studio and people; never trains."""
    settings = settings_with(host=host, port=port)
    from ml_backend.server import run_server

    run_server(settings)


@main.command()
@spoken
def work() -> None:
    """Encode, train, rank and publish: the other process beside `serve`."""
    settings = settings_with()
    from ml_backend.worker import run_worker

    run_worker(settings)


@main.command()
@click.option("--url", help="Address of Label Studio (LABEL_STUDIO_URL).")
@click.option("--api-key", help="Access token (LABEL_STUDIO_API_KEY; safer than an argument).")
@click.option("--project", type=int, required=True, help="Number in the project's address.")
@click.option("--strategy", type=_STRATEGIES, help="Query strategy (GALAXYLOOP_STRATEGY).")
@spoken
def connect(url: str | None, api_key: str | None, project: int, strategy: str | None) -> None:
    """Attach this backend to a project of a running Label Studio."""
    settings = settings_with(label_studio_url=url, label_studio_api_key=api_key)
    from ml_backend.connection import connect as connect_project

    report = connect_project(settings, project, strategy=strategy)
    click.echo(str(report) if report is not None else f"Project {project} is connected.")


@main.command()
@click.option("--project", type=int, help="Only this project.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@spoken
def doctor(project: int | None, as_json: bool) -> None:
    """Check every known trap and say the one thing to do for each; exit code 1 if any is met."""
    settings = settings_with()
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
@click.option("--project", type=int, help="Only this project.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@spoken
def jobs(project: int | None, as_json: bool) -> None:
    """List the jobs, newest first."""
    settings = settings_with()
    from ml_backend.dashboard.overview import job_details
    from ml_backend.store.database import open_store

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
@click.option("--project", type=int, required=True, help="Number of the project.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@spoken
def versions(project: int, as_json: bool) -> None:
    """List the model versions of a project, newest first, with their quality."""
    settings = settings_with()
    from sqlalchemy import select

    from ml_backend.protocol.versions import version_details
    from ml_backend.store.database import open_store
    from ml_backend.store.tables import Version

    store = open_store(settings)
    try:
        if store.projects.get(project) is None:
            raise Failure(f"Project {project} is not connected. Run `galaxyloop connect` first.")
        query = select(Version).where(Version.project_id == project).order_by(Version.number.desc())
        with store.reading() as session:
            details = [version_details(version) for version in session.scalars(query)]
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps(details, indent=2))
        return
    rows = [
        [
            version["name"],
            version["kind"],
            version["state"],
            str(version["votes"]),
            version["published_at"] or "-",
            version["problem"] or version["gate"].get("reason", ""),
        ]
        for version in details
    ]
    _table(["version", "kind", "state", "votes", "published", "reason"], rows)


@main.command()
@click.option("--project", type=int, required=True, help="Number of the project.")
@click.argument("version")
@spoken
def rollback(project: int, version: str) -> None:
    """Publish an earlier VERSION of a project again."""
    settings = settings_with()
    from ml_backend.jobs import request_rollback
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        job = request_rollback(store, project, version)
    finally:
        store.close()
    click.echo(f"Job {job.id} brings {version} back; `galaxyloop jobs` shows how far it is.")


@main.command("import-lvm")
@click.argument("checkpoint", type=_FILE)
@click.option(
    "--out", type=_FOLDER, required=True, help="Folder to write; set GALAXYLOOP_LVM to it."
)
@spoken
def import_lvm(checkpoint: Path, out: Path) -> None:
    """Turn a CHECKPOINT of the published network into a folder that GALAXYLOOP_LVM can name."""
    from models.checkpoints import import_checkpoint

    try:
        lvm = import_checkpoint(checkpoint)
        lvm.save_pretrained(out)
    except (ValueError, OSError) as error:
        raise Failure(str(error)) from None
    click.echo(f"{out}: {lvm.identity[:12]}, {lvm.dimension} features per image.")


@main.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@spoken
def pretrain(arguments: tuple[str, ...]) -> None:
    """Pre-train an LVM on image folders (`galaxyloop pretrain --help` for its options)."""
    from models.pretraining import main as pretraining

    pretraining(list(arguments))


@main.command("settings")
@spoken
def list_settings() -> None:
    """List every setting: name, default, meaning."""
    for field in Settings.model_fields.values():
        default = field.default
        if hasattr(default, "get_secret_value"):
            default = default.get_secret_value()
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        click.echo(f"{field.alias}={'' if shown is None else shown}\n    {field.description}")


def _table(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
