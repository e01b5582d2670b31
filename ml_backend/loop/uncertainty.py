"""Uncertainty by modAL: its learners, committees and measures around our heads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self, get_args

import numpy as np
from modAL.batch import uncertainty_batch_sampling
from modAL.disagreement import consensus_entropy_sampling, vote_entropy_sampling
from modAL.models import ActiveLearner, Committee
from modAL.uncertainty import entropy_sampling, margin_sampling, uncertainty_sampling
from numpy.typing import NDArray

from ml_backend.settings import Strategy
from ml_backend.store.rows import Table
from models.heads.base import Head
from models.heads.classification import MultipleChoiceHead

Singles = NDArray[np.float32]
Rows = NDArray[np.int64]

STRATEGIES: tuple[str, ...] = get_args(Strategy)
COMMITTEES = ("vote_entropy", "consensus_entropy")

_QUERIES = {
    "least_confidence": uncertainty_sampling,
    "margin": margin_sampling,
    "entropy": entropy_sampling,
    "vote_entropy": vote_entropy_sampling,
    "consensus_entropy": consensus_entropy_sampling,
    # The ranking proper is made of the best candidates only; these are found like this.
    "ranked_batch": uncertainty_sampling,
}
# modAL counts committee votes row by row in Python; the rest is sorted out beforehand.
_MOST_VOTED = 20_000
_BLOCK = 16_384


class PoolEstimator:
    """A fitted head in the form that modAL asks of an estimator.

    The pool that modAL sees is a column of row numbers, so that it copies those and not the
    embeddings when it answers a query.

    Parameters
    ----------
    probabilities : float32 [n, k]
        What the head says of the pool.
    """

    def __init__(self, probabilities: Singles) -> None:
        self.probabilities = probabilities
        self.classes_ = np.arange(probabilities.shape[1])

    def fit(self, rows: Rows, labels: NDArray[Any], **options: Any) -> Self:
        """Do nothing: heads are trained by rounds, on consensus and with weights."""
        return self

    def predict_proba(self, rows: Rows) -> Singles:
        """Return the probabilities ``[m, k]`` of the rows ``[m, 1]``."""
        return self.probabilities[rows[:, 0]]

    def predict(self, rows: Rows) -> Rows:
        """Return the most probable label ``[m]`` of the rows ``[m, 1]``."""
        return np.asarray(self.predict_proba(rows).argmax(axis=1), dtype=np.int64)

    def score(self, rows: Rows, labels: NDArray[Any]) -> float:
        """Return the share of right answers."""
        return float(np.mean(self.predict(rows) == labels))


def head_uncertainty(
    head: Head,
    embeddings: Table,
    strategy: str,
    committee: Sequence[Head] = (),
) -> Singles:
    """Score rows by a query strategy of modAL.

    A multiple choice is taken as one yes/no question per label, and the mean over the labels
    is the score of the row.

    Parameters
    ----------
    head : Head
    embeddings : [n, d]
        A memory map, or `StoredRows`, is read in blocks.
    strategy : str
        One of `STRATEGIES`.
    committee : sequence of Head
        For the committee strategies; empty: the head is a committee of one, and plain
        entropy is taken (one member never disagrees with itself).

    Returns
    -------
    float32 [n]
        In [0, 1]; larger is more doubtful.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"Unknown strategy {strategy!r}; known are {', '.join(STRATEGIES)}.")
    if strategy not in COMMITTEES or not committee:
        plain = "entropy" if strategy in COMMITTEES else strategy
        return _scores(_said([head], embeddings), plain, len(embeddings))
    if strategy == "vote_entropy" and len(embeddings) > _MOST_VOTED:
        rough = head_uncertainty(head, embeddings, "entropy")
        best = np.sort(np.argpartition(-rough, _MOST_VOTED)[:_MOST_VOTED])
        # Whatever is not put to the vote stays below whatever is.
        scores = rough * np.float32(1e-3)
        scores[best] += head_uncertainty(head, embeddings[best], strategy, committee)
        return np.minimum(scores, np.float32(1))
    return _scores(_said(committee, embeddings), strategy, len(embeddings))


def ranked_batch(
    points: Singles, uncertainty: Singles, count: int, labelled: Singles | None = None
) -> Rows:
    """Order candidates by modAL's ranked batch, which weighs uncertainty against nearness.

    Parameters
    ----------
    points : float32 [m, p]
        The candidates (a few thousand: each pick costs a pass over them).
    uncertainty : float32 [m]
        In [0, 1].
    count : int
    labelled : float32 [l, p], optional
        What has been labelled already.

    Returns
    -------
    int64 [min(count, m)]

    Notes
    -----
    Cardoso et al. (2017), "Ranked batch-mode active learning".
    """

    class _Given(PoolEstimator):
        def predict_proba(self, rows: Any) -> Singles:
            return np.stack([1 - uncertainty, np.zeros_like(uncertainty)], axis=1)

    learner = ActiveLearner(_Given(np.zeros((0, 2), dtype=np.float32)), uncertainty_batch_sampling)
    if labelled is not None and len(labelled):
        learner.X_training = labelled
    chosen, _ = learner.query(points, n_instances=min(count, len(points)))
    return np.asarray(chosen, dtype=np.int64)


def _said(members: Sequence[Head], embeddings: Table) -> list[Singles]:
    """Return the probabilities ``[n, k]`` of each member, of a multiple choice ``[n * k, 2]``."""
    k = len(members[0].labels)
    said: list[Singles] = [np.empty((len(embeddings), k), dtype=np.float32) for _ in members]
    for start in range(0, len(embeddings), _BLOCK):
        # Converted once for all members; the whole pool would not fit.
        block = np.asarray(embeddings[start : start + _BLOCK], dtype=np.float32)
        for member, table in zip(members, said, strict=True):
            table[start : start + _BLOCK] = member.predict(block)
    if not isinstance(members[0], MultipleChoiceHead):
        return said
    return [np.stack([1 - table.ravel(), table.ravel()], axis=1) for table in said]


def _scores(said: list[Singles], strategy: str, rows: int) -> Singles:
    """Ask modAL, and bring its measure to [0, 1] with doubt upwards."""
    n, k = said[0].shape
    if n == 0 or k < 2:
        return np.zeros(rows, dtype=np.float32)
    learners = [ActiveLearner(PoolEstimator(p), _QUERIES[strategy]) for p in said]
    asked = Committee(learners, _QUERIES[strategy]) if strategy in COMMITTEES else learners[0]
    pool = np.arange(n, dtype=np.int64)[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        chosen, _, measure = asked.query(pool, n_instances=n, return_metrics=True)
    scores = np.empty(n, dtype=np.float32)
    scores[chosen] = measure
    if strategy == "margin":
        scores = 1 - scores
    elif strategy in ("least_confidence", "ranked_batch"):
        scores *= np.float32(k / (k - 1))
    else:
        most = min(k, len(said)) if strategy == "vote_entropy" else k
        scores /= np.float32(np.log(max(most, 2)))
    return np.asarray(np.clip(scores.reshape(rows, -1).mean(axis=1), 0, 1), dtype=np.float32)
