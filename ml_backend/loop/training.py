"""Training: heads from the consensus, and what unseeing models say of every labelled galaxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml_backend.loop.consensus import Consensus
from ml_backend.store.rows import StoredRows, Table, table_of
from models.heads.base import Head
from models.heads.classification import LinearHead, MultipleChoiceHead, SingleChoiceHead
from models.metrics import quality

# With more votes than this the data speak for themselves and a prior only costs time.
PRIOR_VOTES = 400


@dataclass(frozen=True)
class Unseen:
    """What models that never saw these tasks say of them.

    Attributes
    ----------
    labels : tuple of str
    task_ids : int64 [n]
    probabilities : float32 [n, k]
    """

    labels: tuple[str, ...]
    task_ids: NDArray[np.int64]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class TrainedControl:
    """The head of one control and how good it is.

    Attributes
    ----------
    head : Head
        Fitted on all votes; `head.committee` are the models of the folds.
    consensus : Consensus
        The votes it was fitted on.
    unseen : Unseen
        Out-of-fold predictions for the tasks of `consensus`.
    quality : dict
        Figures (see `models.metrics.quality`) of the out-of-fold predictions.
    """

    head: Head
    consensus: Consensus
    unseen: Unseen
    quality: dict[str, float | None]


@dataclass(frozen=True)
class TrainedHeads:
    """All that one training made; controls without a vote are not in it."""

    controls: dict[str, TrainedControl]

    @property
    def heads(self) -> dict[str, Head]:
        """The heads by control."""
        return {name: trained.head for name, trained in self.controls.items()}

    @property
    def committees(self) -> dict[str, tuple[Head, ...]]:
        """The models of the folds by control, for the committee strategies."""
        return {name: trained.head.committee for name, trained in self.controls.items()}

    @property
    def unseen(self) -> dict[str, Unseen]:
        """The out-of-fold predictions by control."""
        return {name: trained.unseen for name, trained in self.controls.items()}

    @property
    def quality(self) -> dict[str, dict[str, float | None]]:
        """The figures by control."""
        return {name: trained.quality for name, trained in self.controls.items()}


def head_class(multiple: bool) -> type[LinearHead]:
    """Return the class of heads for a list of choices."""
    return MultipleChoiceHead if multiple else SingleChoiceHead


def train(
    consensus: Mapping[str, Consensus],
    task_ids: ArrayLike,
    embeddings: ArrayLike | StoredRows,
    *,
    priors: Mapping[str, Head] | None = None,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> TrainedHeads:
    """Fit a head for each control that has votes.

    Each head is cross-fitted, so that every labelled galaxy is also judged by a model that
    never saw it, then fitted on all; calibration comes from the out-of-fold predictions.
    A prior head (one that knows simulated galaxies) is what the fit is drawn towards while
    there are fewer than 400 labelled galaxies; how far, the rows that are left out decide.

    Parameters
    ----------
    consensus : mapping of control to Consensus
    task_ids : int [m]
        The project's tasks that have an embedding.
    embeddings : [m, d]
        Of all those tasks: labelled ones are learnt from, the others give the statistics of
        the features. A memory map, or `StoredRows`, is read in parts.
    priors : mapping of control to Head, optional
        Heads of the same labels that saw no vote of this project.
    seed : int
        Seed of the folds.
    progress : callable, optional
        Called with a sentence and the share done.

    Returns
    -------
    TrainedHeads
        Votes on tasks without an embedding (a broken image) are left out.

    Raises
    ------
    HeadError
        If an embedding is not finite or shapes do not agree.
    """
    ids = np.asarray(task_ids, dtype=np.int64)
    table = table_of(embeddings)
    place = {int(task): row for row, task in enumerate(ids)}
    step = max(1, -(-len(table) // 8192))
    pool = table[::step]
    trained = {}
    for done, (name, votes) in enumerate(consensus.items()):
        if progress is not None:
            progress(f"Training the head of '{name}'", done / len(consensus))
        usable = votes.rows(np.array([int(task) in place for task in votes.task_ids], dtype=bool))
        if len(usable) == 0:
            continue
        rows = np.array([place[int(task)] for task in usable.task_ids])
        head = head_class(usable.multiple)(usable.labels)
        prior = (priors or {}).get(name)
        if len(usable) >= PRIOR_VOTES or not _matches(prior, head, table):
            prior = None
        head.fit(table[rows], usable.targets, usable.weights, pool=pool, prior=prior, seed=seed)
        assert head.out_of_fold is not None
        trained[name] = TrainedControl(
            head,
            usable,
            Unseen(usable.labels, usable.task_ids, head.out_of_fold),
            quality(head.out_of_fold, usable.targets, usable.weights, not usable.multiple),
        )
    return TrainedHeads(trained)


def unseen_by(
    head: Head,
    task_ids: Sequence[int] | NDArray[np.int64],
    embeddings: ArrayLike,
    kept: Unseen | None = None,
) -> Unseen:
    """What a version says of tasks without having seen their votes.

    Parameters
    ----------
    head : Head
        The head of the version.
    task_ids : int [n]
    embeddings : [n, d]
        Of those tasks.
    kept : Unseen, optional
        The out-of-fold predictions kept with the version, for the tasks it was trained on;
        all others are predicted by the head itself.
    """
    ids = np.asarray(task_ids, dtype=np.int64)
    probabilities = head.predict(embeddings)
    if kept is not None and kept.labels == head.labels:
        stored = {int(task): row for row, task in enumerate(kept.task_ids)}
        for row, task in enumerate(ids):
            if int(task) in stored:
                probabilities[row] = kept.probabilities[stored[int(task)]]
    return Unseen(head.labels, ids, probabilities)


def _matches(prior: Head | None, head: Head, table: Table) -> bool:
    return (
        prior is not None
        and type(prior) is type(head)
        and prior.labels == head.labels
        and prior.dimension == table.shape[1]
    )
