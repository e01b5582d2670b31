"""The command that pre-trains an LVM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ml_backend.cli.command import Failure, UsageFailure, main, spoken

if TYPE_CHECKING:
    from models.lvm import LVMConfig
    from models.schedule import Schedule

_FOLDER = click.Path(file_okay=False, path_type=Path)
_COUNT = click.IntRange(0)
_WEIGHT = click.FloatRange(0)
# Options that are fields of the schedule under the same name.
_FIELDS = (
    "batch", "rate", "decoder_steps", "contrast_weight", "measured_weight", "truth_weight",
    "reconstruction_weight", "mask_ratio", "mask_patch", "simulated", "seed", "save_every",
    "project",
)  # fmt: skip


@main.command()
@click.option(
    "--data", multiple=True, required=True, metavar="SOURCE[:WEIGHT]",
    help="Folder of images, HDF5 file of stamps, or `simulated`; repeatable.",
)  # fmt: skip
@click.option("--out", type=_FOLDER, required=True, help="Checkpoints, curves, and LVM (out/lvm).")
@click.option("--size", type=click.Choice(("tiny", "base")), default="tiny", help="Which recipe.")
@click.option("--start", type=_FOLDER, help="LVM to go on from, with its configuration.")
@click.option("--pixels", type=click.IntRange(32, 2048), help="Side of the images.")
@click.option("--width", type=click.IntRange(2, 512), help="Channels of the first stage.")
@click.option(
    "--blocks", type=click.Choice(("attention", "convolution")),
    help="What the encoder is made of.",
)  # fmt: skip
@click.option(
    "--crop", type=click.FloatRange(0, 1, min_open=True), help="Central share of an image seen."
)
@click.option(
    "--input", "seen", type=click.Choice(("picture", "flux", "asinh")), default="picture",
    help="What the LVM sees: pictures, linear flux times --gain, or stretched flux.",
)  # fmt: skip
@click.option(
    "--gain", type=click.FloatRange(0, min_open=True), default=1.0, help="Factor of linear flux."
)
@click.option("--small-steps", type=_COUNT, help="Steps at two thirds of the side.")
@click.option("--steps", type=_COUNT, help="Steps at the full side.")
@click.option("--decoder-steps", type=_COUNT, help="Steps of the decoder alone, afterwards.")
@click.option("--batch", type=click.IntRange(2), help="Real stamps per step, in all processes.")
@click.option(
    "--accumulate", type=click.IntRange(1), default=1,
    help="Parts of a batch that a process computes one after another.",
)  # fmt: skip
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Peak learning rate.")
@click.option("--contrast-weight", type=_WEIGHT, help="Two views of one stamp.")
@click.option("--measured-weight", type=_WEIGHT, help="Measured shapes of real stamps.")
@click.option("--truth-weight", type=_WEIGHT, help="Truth of simulated galaxies.")
@click.option("--reconstruction-weight", type=_WEIGHT, help="Image given back (L1).")
@click.option(
    "--mask-ratio", type=click.FloatRange(0, 1, max_open=True), help="Share of patches hidden."
)
@click.option("--mask-patch", type=click.IntRange(4), help="Side of a hidden patch, pixels.")
@click.option("--simulated", type=_COUNT, help="Number of simulated galaxies.")
@click.option("--project/--no-project", default=None, help="Fit the projection at the end.")
@click.option("--device", default="auto", help="auto, cpu or cuda.")
@click.option(
    "--precision", type=click.Choice(("auto", "float32", "bfloat16")), default="auto",
    help="auto: bfloat16 where the hardware multiplies it.",
)  # fmt: skip
@click.option("--workers", type=_COUNT, default=0, help="Processes that read; 0: a thread.")
@click.option("--save-every", type=click.IntRange(1), help="Steps between checkpoints.")
@click.option("--seed", type=click.IntRange(0, 2**31), help="Of every random choice.")
@spoken
def pretrain(
    data: tuple[str, ...], out: Path, start: Path | None, device: str, workers: int, **given: Any
) -> None:
    """Pre-train an LVM without labels, on images, HDF5 stamps and simulated galaxies.

    What is not given is as in the recipe that --size names. A stopped run is resumed by the same
    command. Several processes: torchrun --nproc-per-node N -m ml_backend.cli pretrain ...
    """
    from models.lvm import LVM
    from models.pretraining import run_pretraining

    try:
        first = LVM.from_pretrained(start) if start else None
        config, schedule = _plan(first.config if first else None, device, given)
    except ValueError as error:
        raise UsageFailure(str(error)) from None
    try:
        run_pretraining(data, out, config, schedule, click.echo, first, device, workers)
    except (ValueError, OSError, FloatingPointError) as error:
        raise Failure(str(error)) from None


def _plan(
    config: LVMConfig | None, device: str, given: dict[str, Any]
) -> tuple[LVMConfig, Schedule]:
    """Recipe of the chosen size with what was given in its place."""
    import os
    from dataclasses import replace

    from models.devices import choose_device
    from models.throughput import has_fast_bfloat16
    from models.training_recipes import RECIPES, STEP, seeing

    names = ("pixels", "width", "crop", "blocks")
    shape = {name: given[name] for name in names if given[name] is not None}
    if config is not None and (shape or given["seen"] != "picture"):
        raise ValueError("--start brings its own configuration: leave out --pixels, --width, "
                         "--blocks, --crop and --input.")  # fmt: skip
    if config is not None:
        shape = {"pixels": config.image_size}
    recipe = RECIPES[given["size"]](**shape)
    config = config or seeing(recipe.config, given["seen"], given["gain"])

    steps = dict(recipe.schedule.sizes)
    if given["steps"] is not None:
        steps[config.image_size] = given["steps"]
    if given["small_steps"] is not None:
        small = config.image_size * 2 // 3 // STEP * STEP
        if not small and given["small_steps"]:
            raise ValueError(f"Images of {config.image_size} pixels are small already; "
                             "leave out --small-steps.")  # fmt: skip
        steps = {small: given["small_steps"], config.image_size: steps[config.image_size]}
    precision = given["precision"]
    chosen = choose_device(device)
    fast = has_fast_bfloat16(chosen) and config.attention_scale is None
    fields = {name: given[name] for name in _FIELDS if given[name] is not None}
    if not config.decoder:
        fields.setdefault("reconstruction_weight", 0.0)
    schedule = replace(
        recipe.schedule,
        **fields,
        sizes=tuple((side, count) for side, count in sorted(steps.items()) if count),
        parts=given["accumulate"] * int(os.environ.get("WORLD_SIZE", 1)),
        bfloat16=precision == "bfloat16" or (precision == "auto" and fast),
    )
    return config, schedule
