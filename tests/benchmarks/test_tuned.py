from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from efficiency import tuned
from efficiency.tuned import TuningSettings, run_tuned
from labelled_sets import LabelledSet
from simulated_loop import LoopOptions

from ml_backend.loop.gate import GateDecision
from models.finetuning import FinetuningOptions, Tuned
from models.images import Preprocessing, encode_png
from models.lvm import LVM, LVMConfig


@pytest.mark.parametrize("promote", [True, False])
def test_the_trial_decides_whose_answers_count(
    promote: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rng = np.random.default_rng(0)
    files, truth = [], np.arange(120) % 2
    for number, label in enumerate(truth):
        pixels = rng.integers(0, 90, (32, 32, 3), dtype=np.uint8)
        pixels[..., label] += 40
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(encode_png(pixels))
    data = LabelledSet("colours", tuple(files), ("green", "red"), truth)
    seen: list[int] = []

    def quick(_lvm: object, canvases: np.ndarray, *_: object, **__: object) -> Tuned:  # type: ignore[type-arg]
        seen.append(len(canvases))
        return Tuned(small(1), (1.0, 0.5), "Fine-tuned.", 0.0)

    def judge(_before: object, _after: object, votes: dict[str, list[int]]) -> GateDecision:
        seen.append(len(votes["shape"]))
        return GateDecision(promote, "")

    monkeypatch.setattr(tuned, "finetune", quick)
    monkeypatch.setattr(tuned, "judge", judge)
    settings = TuningSettings(fewest=50, options=FinetuningOptions(epochs=1))
    steps = list(run_tuned(data, 0, [40, 60], small(0), None, LoopOptions(), settings))
    assert [number for number, *_ in steps] == [40, 60]
    assert seen == [48, 12], "below `fewest` nothing is tuned, and a fifth is kept from it"


def small(seed: int) -> LVM:
    torch.manual_seed(seed)
    config = LVMConfig(
        image_size=32, window=4, width=8, depths=(1, 1), heads=(1, 2), decoder=False,
        pooling=("mean0", "mean1"), preprocessing=Preprocessing(kind="rgb8", size=32),
    )  # fmt: skip
    return LVM(config)
