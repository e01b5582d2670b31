"""Learning: macro AUC against the number of votes, random order against ours.

A third of the galaxies is held out. People with a given error rate answer ten galaxies per
round; after each round the head is trained as the service trains it and measured on the held-out
third. Both orders see the same splits, errors and heads; only what is asked next differs.

Data: the folders named by ``--data`` under ``GALAXYLOOP_DATA`` (real galaxies, not in the
repository). Example: ``python benchmarks/learning.py --data gz1_sdss_6class``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from labelled_sets import SETS, LabelledSet, data_folder, embeddings_of, read_set, split
from numpy.typing import NDArray
from simulated_loop import LoopOptions, People, label_galaxies, prior_of

from ml_backend.loop.acquisition import STRATEGIES
from models.heads.base import Head
from models.metrics import macro_auc
from models.sources import DEFAULT_FOLDER, load_lvm

CHECKS = (10, 20, 30, 50, 70, 100, 150, 200, 300)
LEVELS = (0.75, 0.80, 0.85, 0.90)


def curve(
    table: NDArray[np.float16],
    data: LabelledSet,
    options: argparse.Namespace,
    loop: LoopOptions,
    seed: int,
    prior: Head | None,
) -> dict[int, float]:
    """Label round by round; return the macro AUC by number of votes."""
    held, pool = split(len(data), seed)
    rng = np.random.default_rng([seed, 1])
    count = len(data.labels)
    wrong = rng.random(len(pool)) < options.error_rate
    truth = data.truth[pool]
    said = np.where(wrong, (truth + rng.integers(1, count, len(pool))) % count, truth)
    numbers = [n for n in CHECKS if n <= len(pool)]
    people = People(data.labels, said)
    return {
        len(rows): macro_auc(head.predict(table[held]), data.onehot[held])
        for rows, head in label_galaxies(table[pool], people, numbers, loop, seed, prior)
    }


def needed(mean: dict[int, float], level: float) -> str:
    """Return from which number of votes on a level is held."""
    votes = [n for n in mean if all(mean[m] >= level for m in mean if m >= n)]
    return str(min(votes)) if votes else "-"


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
    root = data_folder()
    if root is None:
        return 1
    lvm = load_lvm(options.lvm)
    for name in options.data:
        data = read_set(name, root)
        table = embeddings_of(data, lvm)
        prior = None if options.no_prior else prior_of(data.labels, options.lvm or DEFAULT_FOLDER)
        print(f"\n{data.describe()}; {table.shape[1]} numbers each; a third held out")
        print(
            f"strategy {options.strategy}, audit {options.audit_fraction:.0%}, "
            f"error rate {options.error_rate:.0%}, {options.seeds} seeds, "
            f"prior from simulations: {'yes' if prior is not None else 'no'}"
        )
        start = time.perf_counter()
        means = []
        for ours in (False, True):
            loop = LoopOptions(
                active=ours,
                strategy=options.strategy,
                per_round=options.per_round,
                audit_fraction=options.audit_fraction,
                diversity=not options.no_diversity,
            )
            runs = [curve(table, data, options, loop, seed, prior) for seed in range(options.seeds)]
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
