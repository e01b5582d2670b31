"""A project whose labels suffice to tune the LVM, and a tuning that takes no time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stand_ins import tiny_lvm
from world import World

from ml_backend.loop.gate import GateDecision
from ml_backend.loop.prediction import Predictor
from ml_backend.loop.rounds import RoundContext, run_round
from ml_backend.loop.tuning import tune
from ml_backend.store.tables import Tuning, Version
from ml_backend.store.tuned_lvms import tuned_folder
from models.finetuning import Tuned
from models.lvm import LVM
from models.vision_encoder import VisionEncoder

PROMOTE = GateDecision(True, "Promoted: on all unseen votes much better.", {"all": {}})
REFUSE = GateDecision(False, "Not promoted, tuning gained less than a standard error.", {"all": {}})


class TunedWorld(World):
    """A project of 60 galaxies of which 54 are labelled; tuning begins with 50."""

    def __init__(self, folder: Path, lvm: Callable[[], VisionEncoder] = tiny_lvm, **more: Any):
        super().__init__(folder, **({"tune_from": 50} | more))
        self.lvm = lvm

    def context(self, progress: Callable[[float, str], None] = lambda *_: None) -> RoundContext:
        return RoundContext(self.store, self.label_studio, self.sky, self.lvm, progress=progress)

    def round(self, **payload: Any) -> Any:
        return run_round(self.context(), 1, payload)

    def tune(self, progress: Callable[[float, str], None] = lambda *_: None) -> str:
        return tune(self.context(progress), 1)

    def labelled(self) -> Any:
        self.vote(54)
        return self.round()

    def tuning(self) -> Tuning:
        row = self.store.tunings.latest(1)
        assert row is not None
        return row

    def version(self, name: str | None = None) -> Version:
        return next(v for v in self.versions() if v.name == (name or self.published))

    def tuned_folder(self) -> Path:
        return tuned_folder(self.store.folder, 1, self.tuning().lvm_identity or "00000000")

    def predict(self, task: dict[str, Any]) -> dict[str, Any]:
        return Predictor(self.store, 1, self.sky, self.lvm).predict([task])[0]


def nudged(lvm: VisionEncoder, by: float = 0.01) -> LVM:
    """Return a copy whose last stage is another one."""
    assert isinstance(lvm, LVM)
    other = LVM(lvm.config)
    state = copy.deepcopy(lvm.state_dict())
    generator = torch.Generator().manual_seed(5)
    for name, values in state.items():
        if name.startswith("encoder.stages.1."):
            values += by * torch.randn(values.shape, generator=generator)
    other.load_weights(state, "the test")
    return other


def quick(lvm: VisionEncoder, canvases: Any, targets: Any, weights: Any, **more: Any) -> Tuned:
    """Stand in for `finetune`."""
    assert len(canvases) == len(targets) == len(weights) >= 40
    assert canvases.dtype == np.uint8
    more["progress"](0.5, "Fine-tuning, epoch 1")
    return Tuned(nudged(lvm), (1.0, 0.5), f"Fine-tuned on {len(targets)} labels.", 0.1)
