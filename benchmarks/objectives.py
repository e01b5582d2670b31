"""Which terms of pre-training help with few labels: the same network, stamps and steps for each.

    python benchmarks/objectives.py --data DIR --work FOLDER [--steps 600] [--only NAME ...]

Each set of terms trains the `tiny` network at 64 px from the same random weights on the images
below DIR (labels are not read for that) and on simulated galaxies. Then a logistic regression is
fitted to the pooled numbers, and to what the projection makes of them: macro one-versus-rest AUC on
held-out thirds, mean of three splits, with 40 labels (mean of six draws each) and with all.

Canvases and finished trainings stay in FOLDER, so a run that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from embeddings import probe
from labelled_sets import SETS, LabelledSet, canvases_of, read_set, split
from numpy.typing import NDArray

from models.frame import CANVAS, CANVAS_CROP, central_views
from models.lvm import LVM
from models.pretraining import run_pretraining
from models.stamp_sources import SourceName
from models.training_recipes import tiny_recipe
from models.weight_files import WEIGHTS_FILE

PIXELS = 64
SIMULATED = 4000
SPLITS, DRAWS, FEW = 3, 6, 40
FOLDERS = ("sdss_unlabelled", *SETS)
# Weights of contrast, measured, truth and reconstruction.
VARIANTS: dict[str, tuple[float, float, float, float]] = {
    "contrast": (1.0, 0.0, 0.0, 0.0),
    "measured": (0.0, 3.0, 0.0, 0.0),
    "truth": (0.0, 0.0, 1.5, 0.0),
    "reconstruction": (0.0, 0.0, 0.0, 1.0),
    "contrast + measured": (0.5, 3.0, 0.0, 0.0),
    "contrast + measured + truth": (0.5, 3.0, 1.5, 0.0),
    "all four": (0.5, 3.0, 1.5, 1.0),
}


def train(name: str, data: Path, work: Path, steps: int) -> tuple[LVM, float]:
    """Train one variant (or read it, if it is there); return it and its processor seconds."""
    contrast, measured, truth, reconstruction = VARIANTS[name]
    recipe = tiny_recipe(pixels=PIXELS)
    schedule = replace(
        recipe.schedule, sizes=((PIXELS, steps),), decoder_steps=0, simulated=SIMULATED,
        contrast_weight=contrast, measured_weight=measured, truth_weight=truth,
        reconstruction_weight=reconstruction, bfloat16=True, save_every=steps,
    )  # fmt: skip
    config = replace(recipe.config, decoder=reconstruction > 0)
    out = work / name.replace(" + ", "-").replace(" ", "-")
    if (out / "lvm" / WEIGHTS_FILE).exists():
        return LVM.from_pretrained(out / "lvm"), float((out / "seconds").read_text())
    cache = work / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    out.mkdir(exist_ok=True)
    if not (out / "cache").exists():
        (out / "cache").symlink_to(cache.resolve(), target_is_directory=True)
    start = time.process_time()
    sources = [
        SourceName(str(data / folder), float(len(list((data / folder / "images").iterdir()))))
        for folder in FOLDERS
    ]
    lvm = run_pretraining(sources, out, config, schedule, report=lambda line: None)
    seconds = time.process_time() - start
    (out / "seconds").write_text(f"{seconds:.0f}", encoding="utf-8")
    return lvm, seconds


def pooled_and_projected(lvm: LVM, data: LabelledSet) -> tuple[NDArray[np.float32], ...]:
    """What the network says of a set: its pooled numbers, and the embedding made of them."""
    bare = LVM(replace(lvm.config, projection=0))
    state = {k: v for k, v in lvm.state_dict().items() if not k.startswith("projection.")}
    bare.load_weights(state, "the LVM")
    crop = lvm.config.preprocessing.crop
    images = central_views(canvases_of(data, CANVAS, CANVAS_CROP), PIXELS, crop)
    parts = [bare.encode(images[i : i + 64]).pooled for i in range(0, len(images), 64)]
    pooled = np.concatenate([part.numpy() for part in parts])
    assert lvm.projection is not None
    weight, bias = lvm.projection.weight.detach().numpy(), lvm.projection.bias.detach().numpy()
    return pooled, pooled @ weight.T + bias


def few_and_all(x: NDArray[np.float32], data: LabelledSet) -> tuple[float, float]:
    """Macro AUC with 40 labels and with all."""
    y = np.array(data.labels)[data.truth]
    few, every = [], []
    for seed in range(100, 100 + SPLITS):
        held, pool = split(len(y), seed)
        every.append(probe(x, y, pool, held))
        for draw in range(DRAWS):
            rng = np.random.default_rng((seed, draw))
            while len(set(y[(rows := rng.permutation(pool)[:FEW])])) < len(data.labels):
                pass
            few.append(probe(x, y, rows, held))
    return float(np.mean(few)), float(np.mean(every))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("GALAXYLOOP_DATA"))
    parser.add_argument("--work", type=Path, required=True, help="folder for what is trained")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    given = parser.parse_args()
    if given.data is None:
        parser.error("name the data with --data or GALAXYLOOP_DATA")
    sets = [read_set(name, Path(given.data)) for name in SETS]
    print(f"tiny, {PIXELS} px, {given.steps} steps; macro AUC with {FEW} / all labels")
    print("| terms | core min | numbers | " + " | ".join(SETS) + " |")
    for name in given.only:
        lvm, seconds = train(name, Path(given.data), given.work, given.steps)
        described = [pooled_and_projected(lvm, data) for data in sets]
        for index, which in enumerate(("pooled", "projected")):
            scores = [few_and_all(x[index], d) for x, d in zip(described, sets, strict=True)]
            cells = " | ".join(f"{few:.3f} / {every:.3f}" for few, every in scores)
            print(f"| {name} | {seconds / 60:.1f} | {which} | {cells} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
