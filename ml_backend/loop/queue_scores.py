"""The score of a prediction: the task's place in the queue, not a confidence.

Ranked tasks have ``place / (2 n)`` in [0, 0.5); tasks that are not ranked (new ones) come after
them, the doubtful first, with ``1 - uncertainty / 2`` in [0.5, 1]; a task whose image cannot be
used is last with 1. Confidences are the regions' own scores.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from models.heads.base import Head

LAST = 1.0
BLIND_ARMS = ("audit", "gold")
"""Arms that measure, whose suggestions are held back from people (option ``blind_audit``)."""


def ranked_score(place: int, count: int) -> float:
    """Return the score of place 0, 1... of `count` ranked tasks, in [0, 0.5)."""
    return 0.5 * place / max(count, 1)


def unranked_scores(heads: Mapping[str, Head], embeddings: npt.ArrayLike) -> list[float]:
    """Return the scores [n] of tasks that are not ranked, in [0.5, 1]."""
    rows = np.asarray(embeddings, np.float32)
    # What scenes would say is not asked: a place in the queue is not worth that long.
    heads = {name: head for name, head in heads.items() if head.sees == "embedding"}
    if not heads or not len(rows):
        return [0.5] * len(rows)
    doubt = np.mean([head.uncertainty(rows) for head in heads.values()], axis=0)
    scores = 1.0 - 0.5 * np.clip(np.nan_to_num(doubt, nan=0.0), 0.0, 1.0)
    return [float(score) for score in scores]
