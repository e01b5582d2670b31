"""The commands about LVMs: encode, import-lvm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ml_backend.cli.command import Failure, main, settings_with, spoken
from ml_backend.cli.meter import Meter

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_SHOWN = 5


@main.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=_FILE, required=True, help="The npz file to write.")
@click.option("--lvm", help="The LVM, as GALAXYLOOP_LVM names it.")
@click.option("--id-column", help="Column of the ids in a catalogue.")
@click.option("--image-column", help="Column of the paths or addresses in a catalogue.")
@click.option("--strict", is_flag=True, help="Exit code 1 if any image could not be encoded.")
@click.option("--restart", is_flag=True, help="Throw away the progress of an interrupted run.")
@spoken
def encode(
    source: Path,
    out: Path,
    lvm: str | None,
    id_column: str | None,
    image_column: str | None,
    strict: bool,
    restart: bool,
) -> None:
    """Turn all images of SOURCE into embeddings: one npz file with `id` and `embedding`.

    SOURCE is a folder of images, or a catalogue (CSV, FITS table, Parquet) with a column of paths
    or http(s) addresses. Interrupted, the same command goes on where it was.
    """
    settings = settings_with(lvm=lvm)
    from ml_backend.bulk.items import source_of
    from ml_backend.bulk.run import BulkOptions, encode_source
    from ml_backend.loop.encoding import load_lvm

    found = source_of(source, id_column, image_column)
    network = load_lvm(settings)
    for note in found.notes:
        click.echo(note, err=True)
    options = BulkOptions(out, restart)
    try:
        with Meter("Encoding") as meter:
            report = encode_source(found, network, settings, options, meter.show)
    except KeyboardInterrupt:
        raise Failure("Stopped. The same command goes on from here.") from None
    if report.resumed:
        click.echo(f"{report.resumed} images were encoded by an earlier run.", err=True)
    for item, reason in report.failed[:_SHOWN]:
        click.echo(f"Not encoded: {item.id or 'a row'!r}: {reason}", err=True)
    if report.failed:
        click.echo(f"{len(report.failed)} images failed; all are in {options.failed}.", err=True)
    if not report.encoded:
        raise Failure(f"None of the {len(found.items)} images could be encoded.")
    click.echo(f"{out}: {report.encoded} images, {network.dimension} numbers each.")
    if strict and report.failed:
        raise SystemExit(1)


@main.command("import-lvm")
@click.argument("source")
@click.option(
    "--out", type=_FOLDER, required=True, help="Folder to write; set GALAXYLOOP_LVM to it."
)
@click.option("--size", type=int, help="Side of the input, pixels.")
@click.option("--crop", type=float, help="Side of the central square that is seen, a fraction.")
@click.option("--mean", type=float, nargs=3, help="Subtracted from red, green, blue in 0 to 1.")
@click.option("--std", type=float, nargs=3, help="What the difference is divided by.")
@click.option(
    "--pooling", multiple=True, help="Part of the embedding: class, mean<i>, std<i>; repeatable."
)
@click.option("--views", type=int, help="Average over 1, 4 or 8 turns and mirror images.")
@click.option(
    "--simulated",
    type=click.IntRange(min=0),
    default=0,
    help="Simulated galaxies to learn from before the first vote (1000 are enough; 0: none).",
)
@spoken
def import_lvm(source: str, out: Path, simulated: int, **said: Any) -> None:
    """Turn SOURCE into a folder that GALAXYLOOP_LVM can name.

    SOURCE is a checkpoint of the published network (a .pth file), or a Hugging Face vision encoder:
    its folder, or hub:OWNER/NAME to download it. For an encoder, --size, --mean and the others say
    what its files leave open, or something else than they say.
    """
    from models.checkpoints import import_checkpoint
    from models.prior import SimulationPrior
    from models.sources import HUB, load_lvm
    from models.vision_encoder import VisionEncoder

    changes = {name: value for name, value in said.items() if value not in (None, ())}
    lvm: VisionEncoder
    try:
        if source.startswith(HUB) or Path(source).is_dir():
            lvm = load_lvm(source, changes)
        elif changes:
            raise Failure(
                f"{source} is no folder and no {HUB}OWNER/NAME; --{next(iter(changes))} is for "
                "Hugging Face encoders."
            )
        else:
            lvm = import_checkpoint(source)
        # Before anything is written: flux LVMs cannot see simulated pictures, and say so.
        prior = SimulationPrior.build(lvm, simulated) if simulated else None
        lvm.save_pretrained(out)
        if prior is not None:
            prior.save_pretrained(out)
    except (ValueError, OSError) as error:
        raise Failure(str(error)) from None
    seen = lvm.preprocessing
    click.echo(
        f"{out}: {lvm.identity[:12]}, {lvm.dimension} features per image, "
        f"{seen.kind} images of {seen.size} px."
    )
