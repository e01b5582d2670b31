"""How far posteriors can be believed: calibration error and log loss of the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crowding.aggregators import aggregators, right
from crowding.answers import NAMES, read_answers
from models.calibration import expected_calibration_error

USED = (3, 10)
FLOOR = 1e-4


def report(data: Path, seed: int) -> None:
    """Print the tables."""
    others = aggregators(seed)
    print(
        "Expected calibration error (10 bins of the largest probability) and log loss (nats, no\n"
        f"probability counted below {FLOOR}); shares of votes stand for majority."
    )
    for name in NAMES:
        answers = read_answers(data, name)
        print(f"\n{name}\n{'votes':>6} " + "".join(f"{method:>15}" for method in others))
        samples = {
            str(used): answers.drawn(used, np.random.default_rng([seed, used]))
            for used in USED
            if used < answers.most
        }
        for title, sample in {**samples, "all": answers}.items():
            cells = []
            for method in others.values():
                told = method(sample)
                truth = np.eye(sample.shape[2])[sample.truth]
                chance = (told * truth).sum(axis=1).clip(FLOOR, 1)
                error = expected_calibration_error(told.max(axis=1), right(told, sample.truth))
                cells.append(f"{error:7.3f} {-np.log(chance).mean():6.3f}")
            print(f"{title:>6} " + "".join(f"{cell:>15}" for cell in cells), flush=True)
