"""Learning: macro AUC against the number of votes, random order against ours.

A third of the galaxies is held out. People with a given error rate answer ten galaxies per
round; after each round the head is trained as the service trains it and measured on the held-out
third. Both orders see the same splits, errors and heads; only what is asked next differs.

Data: the folders named by ``--data`` under ``GALAXYLOOP_DATA`` (real galaxies, not in the
repository). Example: ``python benchmarks/learning.py --data gz1_sdss_6class``.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml_backend.loop.acquisition import STRATEGIES, audit_order, cold_start, interleave, rank
from ml_backend.loop.consensus import Consensus
from ml_backend.loop.training import train
from models.heads import Head
from models.images import read_image
from models.metrics import macro_auc
from models.prior import SimulationPrior
from models.sources import DEFAULT_FOLDER, load_lvm
from models.sunet import LVMError
from models.throughput import encode_images
from models.vision_encoder import VisionEncoder

SETS = ("gz1_sdss_6class", "decals_rings", "gz2_sdss_votes")
CHECKS = (10, 20, 30, 50, 70, 100, 150, 200, 300)
LEVELS = (0.75, 0.80, 0.85, 0.90)
CONTROL = "shape"


def label_of(name: str, row: dict[str, str]) -> str | None:
    """Return the label of a galaxy in its set, None where it is left out."""
    if name == "gz1_sdss_6class":
        found = row["class_name"]
        return (
            None
            if found == "dont_know"
            else found.removesuffix("_anticlockwise").removesuffix("_clockwise")
        )
    if name == "decals_rings":
        return "ring" if float(row["ring"]) > 0.5 else "no ring"
    found = row["class_vote"]
    return None if found in ("", "uncertain") else found


def embeddings_of(
    name: str, root: Path, lvm: VisionEncoder
) -> tuple[NDArray[np.float16], list[str]]:
    """Encode a set once; the embeddings are kept in the temporary folder of the system."""
    folder = root / name
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        pairs = [(row["file"], label_of(name, row)) for row in csv.DictReader(file)]
    known = [(path, label) for path, label in pairs if label is not None]
    kept = Path(tempfile.gettempdir()) / f"galaxyloop-learning-{name}-{lvm.identity}.npy"
    if kept.exists():
        table = np.load(kept, allow_pickle=False)
        if len(table) == len(known):
            return table, [label for _, label in known]
    print(f"Encoding {len(known)} galaxies of {name}...", file=sys.stderr)
    images = (read_image((folder / path).read_bytes()) for path, _ in known)
    table = np.stack(list(encode_images(lvm, images, batch_size=32))).astype(np.float16)
    np.save(kept, table, allow_pickle=False)
    return table, [label for _, label in known]


def curve(
    table: NDArray[np.float16],
    truth: NDArray[np.int64],
    labels: tuple[str, ...],
    ours: bool,
    options: argparse.Namespace,
    seed: int,
    prior: Head | None,
) -> dict[int, float]:
    """Label round by round; return the macro AUC by number of votes."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(table))
    held, pool = np.split(shuffled, [len(table) // 3])
    wrong = rng.random(len(pool)) < options.error_rate
    said = np.where(
        wrong, (truth[pool] + rng.integers(1, len(labels), len(pool))) % len(labels), truth[pool]
    )
    onehot = np.eye(len(labels), dtype=np.float32)
    points = table[pool]
    labelled = np.zeros(0, dtype=np.int64)
    heads: dict[str, Head] = {}
    committees: dict[str, tuple[Head, ...]] = {}
    found = {}
    while len(labelled) < min(max(CHECKS), len(pool)):
        if not ours:
            queue = audit_order(np.arange(len(pool)), seed)
            queue = queue[~np.isin(queue, labelled)]
        elif not heads:
            queue = cold_start(points, options.per_round, rng).order
        else:
            active = rank(
                points,
                heads,
                options.strategy,
                200,
                rng,
                committees=committees,
                labelled=labelled,
                diversity=not options.no_diversity,
            ).order
            audit = audit_order(np.arange(len(pool)), seed)
            queue, _ = interleave(active, audit[~np.isin(audit, labelled)], options.audit_fraction)
        labelled = np.append(labelled, queue[: options.per_round])
        votes = Consensus(
            labels,
            False,
            np.sort(labelled),
            onehot[said[np.sort(labelled)]],
            np.ones(len(labelled), dtype=np.float32),
        )
        trained = train(
            {CONTROL: votes},
            np.arange(len(pool)),
            points,
            priors={CONTROL: prior} if prior is not None else None,
            seed=seed,
        )
        heads, committees = trained.heads, trained.committees
        if len(labelled) in CHECKS:
            found[len(labelled)] = macro_auc(
                heads[CONTROL].predict(table[held]), onehot[truth[held]]
            )
    return found


def needed(mean: dict[int, float], level: float) -> str:
    """Return from which number of votes on a level is held."""
    votes = [n for n in mean if all(mean[m] >= level for m in mean if m >= n)]
    return str(min(votes)) if votes else "-"


def prior_of(labels: tuple[str, ...], folder: Path) -> Head | None:
    """Return the head of simulated galaxies, where the LVM brings some and they fit."""
    try:
        head = SimulationPrior.from_pretrained(folder).head_for(labels)
    except LVMError as error:
        print(f"Without a prior: {error}", file=sys.stderr)
        return None
    return head


def main() -> int:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["gz1_sdss_6class"], choices=SETS)
    parser.add_argument("--strategy", default="margin", choices=STRATEGIES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--error-rate", type=float, default=0.0)
    parser.add_argument("--audit-fraction", type=float, default=0.1)
    parser.add_argument("--per-round", type=int, default=10)
    parser.add_argument("--no-diversity", action="store_true")
    parser.add_argument("--no-prior", action="store_true")
    parser.add_argument(
        "--lvm",
        type=Path,
        help="folder of an LVM or a Hugging Face encoder; default: the one shipped",
    )
    options = parser.parse_args()
    root = os.environ.get("GALAXYLOOP_DATA", "")
    if not root or not Path(root).is_dir():
        print(
            "GALAXYLOOP_DATA does not name a folder; it must hold the real galaxies "
            f"({', '.join(SETS)}). Nothing measured.",
            file=sys.stderr,
        )
        return 1
    lvm = load_lvm(options.lvm)
    for name in options.data:
        table, names = embeddings_of(name, Path(root), lvm)
        labels = tuple(sorted(set(names)))
        truth = np.array([labels.index(label) for label in names])
        prior = None if options.no_prior else prior_of(labels, options.lvm or DEFAULT_FOLDER)
        counts = ", ".join(f"{label} {np.sum(truth == i)}" for i, label in enumerate(labels))
        print(f"\n{name}: {len(table)} x {table.shape[1]} ({counts}); a third held out")
        print(
            f"strategy {options.strategy}, audit {options.audit_fraction:.0%}, "
            f"error rate {options.error_rate:.0%}, {options.seeds} seeds, "
            f"prior from simulations: {'yes' if prior is not None else 'no'}"
        )
        start = time.perf_counter()
        means = []
        for ours in (False, True):
            runs = [
                curve(table, truth, labels, ours, options, seed, prior)
                for seed in range(options.seeds)
            ]
            means.append({n: float(np.mean([run[n] for run in runs])) for n in runs[0]})
            spread = {n: float(np.std([run[n] for run in runs])) for n in runs[0]}
            if not ours:
                print("votes      " + "".join(f"{n:>12}" for n in means[0]))
            print(
                f"{'ours' if ours else 'random':<11}"
                + "".join(f"{means[-1][n]:>7.3f}±{spread[n]:.2f}" for n in means[-1])
            )
        print("votes needed to hold a macro AUC of:")
        for level in LEVELS:
            random, own = (needed(mean, level) for mean in means)
            print(f"  {level:.2f}: random {random:>4}, ours {own:>4}")
        print(f"({time.perf_counter() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
