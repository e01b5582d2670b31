"""Pre-training of an LVM without labels: what stays the same in the sky, and what we simulated.

The encoder learns from three terms. *Contrast* (SimCLR, Chen et al. 2020, arXiv 2002.05709): two
views of one real stamp shall be nearer to each other than to all other stamps. *Measured*: a
real stamp's measurements (`models/morphometry.py`) and, *Truth*: a simulated galaxy's kind and
parameters shall be readable off the embedding by a linear map. The decoder then learns to give
images back (L1, as in arXiv 2405.10890), with the encoder held fixed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from models.augmentation import random_views
from models.images import Preprocessing
from models.lvm import LVM, LVMConfig, resized
from models.objective import Objective
from models.projection import with_projection
from models.schedule import Schedule
from models.simulation import KINDS
from models.stamps import CANVAS_CROP, RealStamps, SimulatedStamps, real_stamps, simulated_stamps

STATE_FILE = "training.safetensors"
PROGRESS_FILE = "training.json"


class Pretraining:
    """One pre-training that can be stopped at any time and taken up again.

    The batch and the views of a step follow from seed and step alone, so a resumed run ends with
    the weights of one that was never stopped.

    Parameters
    ----------
    config : LVMConfig
        The LVM to train.
    schedule : Schedule
        How.
    stamps : RealStamps
        Real stamps, with their measurements.
    simulated : SimulatedStamps
        Simulated ones, with their truth.
    out : Path
        Folder of the checkpoints.
    report : callable
        Told the progress, one line at a time.
    start : LVM, optional
        Its weights are the first ones, instead of random ones.
    """

    def __init__(
        self, config: LVMConfig, schedule: Schedule, stamps: RealStamps,
        simulated: SimulatedStamps, out: Path, report: Callable[[str], None] = print,
        start: LVM | None = None,
    ) -> None:  # fmt: skip
        if schedule.sizes[-1][0] != config.image_size:
            raise ValueError(f"The last size must be {config.image_size}, that of the LVM.")
        if start is not None and start.config != config:
            raise ValueError("The LVM to start from has another configuration; train with its own.")
        self.schedule, self.stamps, self.simulated = schedule, stamps, simulated
        self.out, self.report = out, report
        self.config = config
        self.crop = config.preprocessing.crop / CANVAS_CROP
        torch.manual_seed(schedule.seed)
        first = schedule.sizes[0][0]
        self.model = resized(start or LVM(config), first)
        self.objective = Objective(
            config.pooled_dimension, len(KINDS), simulated.parameters.shape[1],
            stamps.measurements.shape[1],
        )  # fmt: skip
        self.step = 0
        self.curve: list[dict[str, float]] = []
        self.optimiser = self._new_optimiser()
        self._resume()

    @property
    def total(self) -> int:
        """Steps of encoder and decoder together."""
        decoder = self.schedule.decoder_steps if self.config.decoder else 0
        return self.schedule.encoder_steps + decoder

    @property
    def _decoding(self) -> bool:
        return self.step >= self.schedule.encoder_steps

    def _new_optimiser(self) -> torch.optim.AdamW:
        """Optimise what the present phase trains; norms and biases are not decayed."""
        if self._decoding:
            assert self.model.decoder is not None
            parameters = list(self.model.decoder.parameters())
        else:
            parameters = [*self.model.encoder.parameters(), *self.objective.parameters()]
        decayed = [p for p in parameters if p.dim() > 1]
        others = [p for p in parameters if p.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, weight_decay=self.schedule.weight_decay)

    def _rate(self) -> float:
        steps, step = self.schedule.encoder_steps, self.step
        if self._decoding:
            step, steps = step - steps, self.schedule.decoder_steps
        warm, fall = max(1, steps // 20), max(1, steps // 5)
        return self.schedule.rate * min((step + 1) / warm, (steps - step) / fall, 1.0)

    def run(self, until: int | None = None) -> LVM:
        """Train up to a step (or to the end) and return the LVM as it then is.

        Raises
        ------
        FloatingPointError
            The loss is no longer finite; the last checkpoint stays.
        """
        last = self.total if until is None else min(until, self.total)
        began, first = time.monotonic(), self.step
        while self.step < last:
            self._enter_phase()
            for group in self.optimiser.param_groups:
                group["lr"] = self._rate()
            losses = self._decoder_step() if self._decoding else self._encoder_step()
            self.step += 1
            if self.step % 20 == 0 or self.step == last:
                seconds = (time.monotonic() - began) / (self.step - first)
                self.curve.append({"step": self.step, **losses})
                figures = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
                left = seconds * (self.total - self.step) / 60
                self.report(f"step {self.step}/{self.total}  {figures}  {left:.0f} min left")
            if self.step % self.schedule.save_every == 0 or self.step == last:
                self.save()
        self.model.eval()
        return self.model

    def _enter_phase(self) -> None:
        """Change the image size, or from encoder to decoder, where the schedule says so."""
        size = self.schedule.size_at(self.step)
        if size != self.model.config.image_size:
            old = self.optimiser.state_dict()
            self.model = resized(self.model, size)
            self.optimiser = self._new_optimiser()
            self._take_moments(old)
        elif self.step == self.schedule.encoder_steps:
            self.optimiser = self._new_optimiser()

    def _take_moments(self, old: dict[str, Any]) -> None:
        """Keep the optimiser's moments of all parameters whose shape stayed."""
        for index, p in enumerate(
            p for group in self.optimiser.param_groups for p in group["params"]
        ):
            state = old["state"].get(index)
            if state is not None and state["exp_avg"].shape == p.shape:
                self.optimiser.state[p] = state

    def _generator(self) -> Generator:
        return Generator().manual_seed(self.schedule.seed * 1_000_003 + self.step)

    def _encoder_step(self) -> dict[str, float]:
        self.model.train()
        self.objective.train()
        generator, size = self._generator(), self.model.config.image_size
        torch.manual_seed(int(torch.randint(1 << 62, (), generator=generator)))  # of DropPath
        rows = self._draw(generator)
        others = torch.randint(
            len(self.simulated.canvases), (max(2, self.schedule.batch // 2),), generator=generator
        )
        real = _rows(self.stamps.canvases, rows)
        canvases = torch.cat([real, real, _rows(self.simulated.canvases, others)])
        views = random_views(canvases, size, self.crop, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.schedule.bfloat16):
            outputs = self.model.encoder(views)[1]
        pooled = self.model.pool(outputs)
        split = 2 * len(rows)
        contrast = self.objective.contrast(pooled[:split], self.schedule.temperature)
        measurements = torch.from_numpy(self.stamps.measurements)[rows]
        measured = self.objective.measured(pooled[:split], measurements.repeat(2, 1))
        truth = self.objective.truth(
            pooled[split:],
            torch.from_numpy(self.simulated.kinds)[others],
            torch.from_numpy(self.simulated.parameters)[others],
        )
        self._descend(
            self.schedule.contrast_weight * contrast
            + self.schedule.measured_weight * measured
            + self.schedule.truth_weight * truth
        )
        return {
            "contrast": contrast.item(), "measured": measured.item(), "truth": truth.item()
        }  # fmt: skip

    def _decoder_step(self) -> dict[str, float]:
        self.model.eval()
        assert self.model.decoder is not None
        self.model.decoder.train()
        generator = self._generator()
        torch.manual_seed(int(torch.randint(1 << 62, (), generator=generator)))
        real = _rows(self.stamps.canvases, self._draw(generator))
        views = random_views(real, self.model.config.image_size, self.crop, generator)
        with torch.no_grad():
            inputs, outputs = self.model.encoder(views)
        error = (self.model.decoder(outputs[-1], inputs) - views).abs().mean()
        self._descend(error)
        return {"l1": error.item()}

    def _descend(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"The loss of step {self.step} is {loss.item()}; lower the rate and resume."
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, 3.0)
        self.optimiser.step()

    def _draw(self, generator: Generator) -> Tensor:
        stamps = len(self.stamps.canvases)
        return torch.randperm(stamps, generator=generator)[: self.schedule.batch]

    def save(self) -> None:
        """Write a checkpoint; a kill while writing leaves the one before."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"objective.{k}": v for k, v in self.objective.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in state.items()}
        tensors["step"] = torch.tensor(self.step)
        self.out.mkdir(parents=True, exist_ok=True)
        partial = self.out / (STATE_FILE + ".partial")
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, partial)
        os.replace(partial, self.out / STATE_FILE)
        record = {
            "schedule": asdict(self.schedule),
            "lvm": self.config.as_dict(),
            "curve": self.curve,
        }
        (self.out / PROGRESS_FILE).write_text(json.dumps(record, indent=1), encoding="utf-8")

    def _resume(self) -> None:
        """Take up the checkpoint in the folder, if there is one."""
        path = self.out / STATE_FILE
        if not path.exists():
            return
        record = json.loads((self.out / PROGRESS_FILE).read_text(encoding="utf-8"))
        ours = json.loads(json.dumps([asdict(self.schedule), self.config.as_dict()]))
        if [record["schedule"], record["lvm"]] != ours:
            raise ValueError(
                f"{self.out} holds a training with another schedule or LVM; "
                "choose another folder, or the same options to resume."
            )
        tensors = load_file(path)
        # The phase that the checkpoint was written in is that of the step before it.
        self.step = int(tensors.pop("step")) - 1
        self.model = resized(self.model, self.schedule.size_at(max(self.step, 0)))
        self.optimiser = self._new_optimiser()
        self.step += 1
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "objective": {}}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, values in tensors.items():
            part, key = name.split(".", 1)
            if part == "optimiser":
                index, key = key.split(".")
                moments.setdefault(int(index), {})[key] = values
            else:
                parts[part][key] = values
        self.model.load_weights(parts["model"], str(path))
        self.objective.load_state_dict(parts["objective"])
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.curve = [entry for entry in record["curve"] if entry["step"] <= self.step]
        self.report(f"resumed at step {self.step}")


def _rows(array: NDArray[np.uint8], rows: Tensor) -> Tensor:
    return torch.from_numpy(np.stack([array[row] for row in rows.tolist()]))


def run_pretraining(
    folders: Sequence[str | Path],
    out: str | Path,
    config: LVMConfig,
    schedule: Schedule | None = None,
    report: Callable[[str], None] = print,
    start: LVM | None = None,
) -> LVM:
    """Pre-train an LVM on folders of images and on simulated galaxies.

    Parameters
    ----------
    folders : sequence of paths
        Images (JPEG, PNG, TIFF, WebP, FITS), no labels.
    out : path
        Checkpoints, the cached stamps, and at the end the LVM in ``out/lvm``. If it holds a stopped
        training with the same options, that one is resumed.
    config : LVMConfig
        The LVM to train.
    schedule : Schedule, optional
        How long and how.
    report : callable
        Told the progress, one line at a time.
    start : LVM, optional
        Its weights are the first ones, instead of random ones.

    Returns
    -------
    LVM
        The trained one, as saved.

    Raises
    ------
    ValueError
        A folder is missing or holds no image, or `out` holds another training.
    """
    out = Path(out)
    schedule = schedule or Schedule()
    stamps = real_stamps(folders, out / "cache", report)
    if len(stamps.canvases) < 2:
        raise ValueError("Pre-training compares stamps, so it needs at least two images.")
    simulated = simulated_stamps(schedule.simulated, schedule.seed, out / "cache", report)
    model = Pretraining(config, schedule, stamps, simulated, out, report, start).run()
    if schedule.project:
        model = with_projection(model, stamps, simulated)
    model.save_pretrained(out / "lvm")
    return model


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m models.pretraining`; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m models.pretraining", description="Pre-train an LVM without labels."
    )
    parser.add_argument(
        "--data", action="append", required=True, help="folder of images; repeatable"
    )
    parser.add_argument("--out", required=True, help="folder of checkpoints and of the result")
    parser.add_argument("--start", help="folder of an LVM to go on from; it sets size, width, crop")
    parser.add_argument("--size", type=int, default=96, help="side of the images, pixels")
    parser.add_argument("--width", type=int, default=32, help="channels of the first stage")
    parser.add_argument("--crop", type=float, default=0.55, help="central share of an image seen")
    parser.add_argument("--small-steps", type=int, default=2000, help="steps at 2/3 of the size")
    parser.add_argument("--steps", type=int, default=500, help="steps at the full size")
    parser.add_argument("--decoder-steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--simulated", type=int, default=5000, help="number of simulated galaxies")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        start = LVM.from_pretrained(given.start) if given.start else None
        config = start.config if start else _small_lvm(given.size, given.width, given.crop)
        small = config.image_size * 2 // 3 // 32 * 32
        sizes = ((small, given.small_steps), (config.image_size, given.steps))
        schedule = Schedule(
            sizes=tuple(pair for pair in sizes if pair[1] > 0 and pair[0] > 0),
            decoder_steps=given.decoder_steps,
            batch=given.batch,
            simulated=given.simulated,
            bfloat16=given.bfloat16,
            seed=given.seed,
        )
        run_pretraining(given.data, given.out, config, schedule, start=start)
    except (ValueError, OSError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _small_lvm(size: int, width: int, crop: float) -> LVMConfig:
    """Configuration of the default LVM at some size and width."""
    return LVMConfig(
        image_size=size,
        window=max(2, size // 16),
        width=width,
        depths=(2, 2, 2, 2),
        heads=(2, 4, 8, 8),
        pooling=("mean2", "std2", "mean3"),
        preprocessing=Preprocessing(kind="rgb8", size=size, crop=crop),
    )


if __name__ == "__main__":
    sys.exit(main())
