"""The commands about LVMs: import-lvm, pretrain."""

from __future__ import annotations

from pathlib import Path

import click

from ml_backend.cli.command import Failure, main, spoken

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


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

    raise SystemExit(pretraining(list(arguments)))
