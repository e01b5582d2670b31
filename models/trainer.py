"""Training that can be stopped at any time and taken up again: steps, phases, checkpoints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.batches import Batch, Batches, read_ahead
from models.devices import Processes
from models.learner import Learner
from models.lvm import LVM, LVMConfig, resized
from models.masking import draw_hidden, enlarged
from models.mixture import Mixture
from models.schedule import Schedule
from models.stamps import central_views
from models.training_report import write_curve, write_sheet
from models.training_state import TrainingState, read_state, write_state

# Steps between entries of the curve, and stamps on the sheet of reconstructions.
REPORT_EVERY = 20
SHEET_STAMPS = 8
# Longer gradients are shortened to this.
LARGEST_NORM = 3.0


class Trainer:
    """One pre-training that can be stopped at any time and taken up again.

    The batch and the views of a step follow from seed and step alone, so a resumed run ends with
    the weights of one that was never stopped.

    Parameters
    ----------
    config : LVMConfig
        The LVM to train.
    schedule : Schedule
        How.
    mixture : Mixture
        On what.
    out : Path
        Folder of the checkpoints.
    report : callable
        Told the progress, one line at a time.
    start : LVM, optional
        Its weights are the first ones, instead of random ones.
    processes : Processes, optional
        Device, and who else takes part.
    workers : int
        Processes that make batches; 0: a thread.

    Raises
    ------
    ValueError
        Schedule, LVM and start do not fit, or `out` holds another training.
    """

    def __init__(
        self, config: LVMConfig, schedule: Schedule, mixture: Mixture, out: Path,
        report: Callable[[str], None] = print, start: LVM | None = None,
        processes: Processes | None = None, workers: int = 0,
    ) -> None:  # fmt: skip
        if schedule.sizes[-1][0] != config.image_size:
            raise ValueError(f"The last size must be {config.image_size}, that of the LVM.")
        if start is not None and start.config != config:
            raise ValueError("The LVM to start from has another configuration; train with its own.")
        if schedule.reconstruction_weight and not config.decoder:
            raise ValueError("Reconstruction needs an LVM with a decoder; this one has none.")
        if config.blocks == "convolution" and schedule.parts > 1:
            report(
                f"The batch norms of convolutions see each of the {schedule.parts} parts of a "
                "batch on its own: the losses are not quite those of an undivided batch."
            )
        self.config, self.schedule, self.mixture, self.out = config, schedule, mixture, out
        self.processes = processes or Processes(torch.device("cpu"))
        self.report, self.workers = report, workers
        self.batches = Batches(mixture, schedule, self.processes.rank, self.processes.count)
        torch.manual_seed(schedule.seed)
        first = resized(start or LVM(config), schedule.sizes[0][0])
        self.learner = Learner(first, schedule, self.processes)
        self.identity: dict[str, Any] = {
            "schedule": asdict(schedule),
            "lvm": config.as_dict(),
            "data": mixture.fingerprint,
            "start": start.identity if start is not None else None,
        }
        self.step = 0
        self.curve: list[dict[str, float]] = []
        self._recent: list[dict[str, float]] = []
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
        """Optimise what the present phase trains; norms, biases and tokens are not decayed."""
        parameters = self.learner.parameters(self._decoding)
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
        warm, fall = max(1, steps // 20), max(1, int(steps * self.schedule.fall))
        return self.schedule.rate * min((step + 1) / warm, (steps - step) / fall, 1.0)

    def run(self, until: int | None = None) -> LVM:
        """Train up to a step (or to the end) and return the LVM as it then is.

        Raises
        ------
        FloatingPointError
            The loss or its gradient is no longer finite; the last checkpoint stays.
        ValueError
            A stamp cannot be read; the message names it.
        OSError
            The checkpoint after the last step cannot be written. (An earlier one that cannot is
            reported; the one before stays.)
        """
        last = self.total if until is None else min(until, self.total)
        began, first = time.monotonic(), self.step
        for batch in read_ahead(self.batches, first, last, self.workers):
            self._enter_phase()
            for group in self.optimiser.param_groups:
                group["lr"] = self._rate()
            losses = self._descend(batch)
            self.step += 1
            self._recent.append(losses)
            if self.step % REPORT_EVERY == 0 or self.step in (last, self.schedule.encoder_steps):
                self._note((time.monotonic() - began) / (self.step - first))
            if self.step % self.schedule.save_every == 0 or self.step == last:
                self._save_or_tell(last)
        return self.model.eval()

    @property
    def model(self) -> LVM:
        """The LVM as it is now."""
        return self.learner.model

    def _descend(self, batch: Batch) -> dict[str, float]:
        """Make one step; return the losses before it."""
        self.optimiser.zero_grad(set_to_none=True)
        gradients = (
            self.learner.decoder_gradients if self._decoding else self.learner.encoder_gradients
        )
        try:
            losses = gradients(batch)
        except FloatingPointError as error:
            raise FloatingPointError(f"Step {self.step}: {error}") from None
        norm = nn.utils.clip_grad_norm_(self.learner.parameters(self._decoding), LARGEST_NORM)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"Step {self.step}: The gradient is not finite; lower the rate, and start anew in "
                "another folder."
            )
        self.optimiser.step()
        return losses

    def _enter_phase(self) -> None:
        """Change the image size, or from encoder to decoder, where the schedule says so."""
        size = self.schedule.size_at(self.step)
        if size != self.model.config.image_size:
            old = self.optimiser.state_dict()
            self.learner.resize(size)
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

    def _note(self, seconds: float) -> None:
        """Add the mean of the last steps to the curve, and report it."""
        names = list(self._recent[-1])
        kept = [losses for losses in self._recent if list(losses) == names]
        losses = {name: sum(entry[name] for entry in kept) / len(kept) for name in names}
        self._recent.clear()
        self.curve.append({"step": self.step, **losses})
        figures = "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
        left = seconds * (self.total - self.step) / 60
        self.report(f"step {self.step}/{self.total}  {figures}  {left:.0f} min left")

    def _save_or_tell(self, last: int) -> None:
        try:
            self.save()
        except OSError as error:
            if self.step == last:
                raise
            self.report(f"{error} What was written before stays; the training goes on.")

    def save(self) -> None:
        """Write a checkpoint, the curve and, where a decoder learns, the reconstructions.

        Raises
        ------
        OSError
            Something cannot be written; the checkpoint before stays.
        """
        if not self.processes.first:
            return
        tensors: dict[str, Tensor] = {}
        for name, module in self.learner.modules().items():
            tensors |= {f"{name}.{k}": v for k, v in module.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in state.items()}
        write_state(self.out, TrainingState(self.step, tensors, self.curve), self.identity)
        text = json.dumps({**self.identity, "curve": self.curve}, indent=1)
        (self.out / "training.json").write_text(text, encoding="utf-8")
        write_curve(self.out, self.curve)
        if self.config.decoder and (self.schedule.reconstruction_weight or self._decoding):
            self._write_sheet()

    @torch.no_grad()
    def _write_sheet(self) -> None:
        """Show what is made of the same stamps each time, masked as in training."""
        schedule, size = self.schedule, self.model.config.image_size
        plan = self.mixture.plan(schedule.seed, 0, schedule.batch)[:SHEET_STAMPS]
        canvases = self.mixture.read(plan, measuring=False)[0]
        images = central_views(canvases, size, self.config.preprocessing.crop)
        masking = schedule.reconstruction_weight > 0
        ratio, patch = (schedule.mask_ratio, schedule.mask_patch) if masking else (0.0, size)
        generator = torch.Generator().manual_seed(schedule.seed)
        hidden = draw_hidden(len(images), size, patch, ratio, generator)
        self.model.eval()
        device = self.processes.device
        given = self.learner.reconstruct(images.to(device), hidden.to(device)).cpu()
        write_sheet(self.out, self.mixture.frame, images, enlarged(hidden, size), given)

    def _resume(self) -> None:
        """Take up the checkpoint in the folder, if there is one."""
        state = read_state(self.out, self.identity)
        if state is None:
            return
        # The phase that the checkpoint was written in is that of the step before it.
        self.step = state.step - 1
        self.learner.resize(self.schedule.size_at(max(self.step, 0)))
        self.optimiser = self._new_optimiser()
        self.step += 1
        self.model.load_weights(state.part("model"), str(self.out))
        self.learner.objective.load_state_dict(state.part("objective"))
        self.learner.masking.load_state_dict(state.part("masking"))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, values in state.part("optimiser").items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = values
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.curve = [entry for entry in state.curve if entry["step"] <= self.step]
        self.report(f"resumed at step {self.step}")
