"""Ways to bring votes together: ours, and those that others use."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crowding.answers import Answers
from models.crowd.choices import ChoiceCrowd

# crowd-kit's progress bars would fill the tables.
os.environ.setdefault("TQDM_DISABLE", "1")

Floats = NDArray[np.float64]
Aggregator = Callable[[Answers], Floats]
"""From votes to probabilities [n, k]; rows of tasks without a vote are even."""


def ours(votes: Answers) -> Floats:
    """Our posterior."""
    return ChoiceCrowd.fit(votes.tasks, votes.people, votes.labels, votes.shape).posterior


def majority(votes: Answers) -> Floats:
    """The shares of the votes."""
    n, _, k = votes.shape
    counts = np.bincount(votes.tasks * k + votes.labels, minlength=n * k).reshape(n, k)
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), 1 / k)


def of_crowd_kit(name: str, **settings: Any) -> Aggregator:
    """An aggregator of crowd-kit with its own settings, but for those told."""

    def told(votes: Answers) -> Floats:
        import crowdkit.aggregation as peers
        import pandas as pd

        n, _, k = votes.shape
        table = pd.DataFrame({"task": votes.tasks, "worker": votes.people, "label": votes.labels})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = getattr(peers, name)(**settings).fit_predict_proba(table)
        found = found.reindex(index=range(n), columns=range(k)).fillna(0.0).to_numpy(np.float64)
        total = found.sum(axis=1, keepdims=True)
        return np.where(total > 0, found / np.maximum(total, 1e-300), 1 / k)

    return told


def aggregators(seed: int) -> dict[str, Aggregator]:
    """All that are compared, by name."""
    return {
        "ours": ours,
        "majority": majority,
        "Dawid-Skene": of_crowd_kit("DawidSkene"),
        "GLAD": of_crowd_kit("GLAD"),
        "MACE": of_crowd_kit("MACE", random_state=seed),
    }


def right(told: Floats, truth: NDArray[np.int64]) -> Floats:
    """Whether each task's likeliest label is the truth; of labels as likely, the share [n]."""
    best = told >= told.max(axis=1, keepdims=True) - 1e-9
    return best[np.arange(len(truth)), truth] / best.sum(axis=1)
