"""The commands that run: serve, work, demo. What is heavy is imported by the one that needs it."""

from __future__ import annotations

from pathlib import Path

import click

from ml_backend.cli.command import main, settings_with, spoken

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


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
@click.option("--images", type=_FOLDER, help="Folder of JPEG, PNG or FITS images.")
@click.option("--labels", type=_FILE, help="CSV of known labels, with id or file and a label.")
@click.option("--label-column", help="Column of the label; by default label, class or class_name.")
@click.option("--annotators", type=int, help="Simulated people who annotate from the labels.")
@click.option("--error-rate", type=float, help="Share of their answers that are wrong.")
@click.option(
    "--most-people", type=int, help="Most people asked about one galaxy, where that is worth it."
)
@click.option("--unequal", is_flag=True, default=None, help="Let these people differ in skill.")
@click.option("--votes", type=int, help="End after so many submitted votes.")
@click.option("--json", type=_FILE, help="File for the learning curve.")
@click.option("--data-dir", type=_FOLDER, help="Folder of everything the demo keeps.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the backend.")
@click.option("--label-studio-port", type=click.IntRange(1, 65535), help="Port of Label Studio.")
@click.option("--seed", type=int, help="Seed of galaxies, held-out images and wrong answers.")
@click.option(
    "--galaxies", type=int, help="Number of simulated galaxies, where no images are given."
)
@spoken
def demo(**given: object) -> None:
    """Start Label Studio, backend and worker on this machine, with galaxies to label.

    With --annotators simulated people do the labelling, and the learning curve is printed.
    """
    from ml_backend.demo import DemoOptions, run_demo

    chosen = {name: value for name, value in given.items() if value is not None}
    raise SystemExit(run_demo(DemoOptions(**chosen)))  # type: ignore[arg-type]
