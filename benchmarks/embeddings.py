"""How much of galaxies' shapes can be read off the embeddings of an LVM, with few labels and many.

    python benchmarks/embeddings.py --data DIR [--lvm DIR]

For three sets of real galaxies, a third (seeded) is held out; a logistic regression on standardised
embeddings is fitted to 40 random labels (mean of 10 draws) and to all others. Printed: macro
one-versus-rest AUC on the held-out third, and that of the head from simulated galaxies alone.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.images import read_image
from models.prior import SimulationPrior
from models.sources import DEFAULT_FOLDER, load_lvm
from models.throughput import encode_images

# Name, folder, column, and what a label is called here (None: left out).
SETS: tuple[tuple[str, str, str, Callable[[str], str | None]], ...] = (
    (
        "gz1",
        "gz1_sdss_6class",
        "class_name",
        lambda name: (
            None if name == "dont_know" else name.replace("spiral_", "spiral|").split("|")[0]
        ),
    ),
    ("gz2", "gz2_sdss_votes", "class_vote", lambda name: None if name == "uncertain" else name),
    ("rings", "decals_rings", "ring", lambda name: "ring" if name == "1" else "no ring"),
)
FEW, DRAWS = 40, 10


def macro_auc(labels: NDArray[np.str_], classes: list[str], scores: NDArray[Any]) -> float:
    """Mean over the classes of the AUC of one against the rest."""
    return float(np.mean([roc_auc_score(labels == c, scores[:, i]) for i, c in enumerate(classes)]))


def probe(
    x: NDArray[np.float32], y: NDArray[np.str_], train: NDArray[np.int64], test: NDArray[np.int64]
) -> float:
    """Macro AUC on `test` of a logistic regression fitted on `train`."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    model.fit(x[train], y[train])
    return macro_auc(y[test], list(model.classes_), model.predict_proba(x[test]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--data", default=os.environ.get("GALAXYLOOP_DATA"), help="folder of the sets"
    )
    parser.add_argument("--lvm", default=str(DEFAULT_FOLDER), help="folder of the LVM")
    given = parser.parse_args()
    if not given.data:
        parser.error("name the data with --data or GALAXYLOOP_DATA")
    lvm, prior = load_lvm(given.lvm), SimulationPrior.from_pretrained(given.lvm)
    print(f"LVM {lvm.identity}, {lvm.dimension} numbers per galaxy")
    for name, folder, column, rename in SETS:
        with open(Path(given.data) / folder / "labels.csv", newline="", encoding="utf-8") as file:
            rows = [(row["file"], rename(row[column])) for row in csv.DictReader(file)]
        kept = [(path, label) for path, label in rows if label]
        y = np.array([label for _, label in kept])
        files = (Path(given.data) / folder / path for path, _ in kept)
        x = np.stack(list(encode_images(lvm, (read_image(f.read_bytes()) for f in files))))
        order = np.random.default_rng(100).permutation(len(y))
        test, rest = order[: len(y) // 3], order[len(y) // 3 :]
        few = []
        for seed in range(DRAWS):
            rng = np.random.default_rng(seed)
            while len(set(y[(draw := rng.permutation(rest)[:FEW])])) < len(set(y)):
                pass
            few.append(probe(x, y, draw, test))
        labels = sorted(set(y))
        head = prior.head_for(labels)
        alone = f"{macro_auc(y[test], labels, head.predict(x[test])):.3f}" if head else "none"
        print(
            f"{name}: {FEW} labels {np.mean(few):.3f} +- {np.std(few):.3f}, "
            f"all {len(rest)} labels {probe(x, y, rest, test):.3f}, simulation alone {alone}"
        )


if __name__ == "__main__":
    main()
