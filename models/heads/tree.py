"""Trees of questions as in Galaxy Zoo: how the votes of several people divide, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.answers import Answer, Labels
from models.heads.base import Floats, Head, HeadError
from models.heads.classification import SingleChoiceHead
from models.heads.dirichlet import Doubles, VoteCalibration, information, vote_losses
from models.heads.inputs import finite_rows, pool_rows, positive_weights
from models.heads.logits import Logits
from models.heads.question_fit import QuestionFit, usual_level
from models.heads.questions import Question, QuestionTree
from models.heads.vote_fractions import VoteFractions


class DecisionTreeHead(Head):
    """Dirichlet-multinomial vote fractions of each question.

    The mean of a question is a softmax, linear in the embedding and, where a pool was given, in
    the likeness to some of its galaxies; fitted to those who were asked. Its concentration is the
    most probable one for votes that the fit had not seen, and may grow with the mean's entropy.

    Parameters
    ----------
    questions : sequence of Question
        Columns follow their order; `labels` are "question/label".
    """

    kind = "decision_tree"

    def __init__(self, questions: Sequence[Question]) -> None:
        self.tree = QuestionTree(tuple(questions))
        super().__init__(self.tree.labels)
        self._logits: Logits | None = None
        # [Q, 2]: level and lean of the log concentrations; slopes are in the logits.
        self._spread: Floats = np.zeros((0, 2), np.float32)

    @property
    def questions(self) -> tuple[Question, ...]:
        """The questions, in the order of the columns."""
        return self.tree.questions

    @property
    def dimension(self) -> int:
        """Length d of the embeddings that the head takes."""
        return self._fitted().dimension

    def fit(
        self,
        seen: ArrayLike,
        targets: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        pool: ArrayLike | None = None,
        seed: int = 0,
    ) -> Self:
        """Fit to votes (see `Head.fit`).

        Parameters
        ----------
        targets : [n, K]
            Votes for each label, 0 or more. A question without votes in a row was not asked
            there; a row without any is left out of all fits.
        weights : [n], positive, optional
            By which the votes of a row count more or less than others; they do not change how
            many there are.
        """
        x = finite_rows(seen, "embeddings")
        if not len(x):
            raise HeadError("There is no labelled row to fit to.")
        counts = self._counts(targets, len(x))
        if not counts.any():
            raise HeadError("Nobody has answered a question of the tree in any of the rows.")
        w = positive_weights(weights, len(x))
        basis = pool_rows(pool, x.shape[1])
        fits = [QuestionFit.of(x, counts[:, at], w, basis, seed) for at in self.tree.columns]
        usual = usual_level(fits)
        calibrations = [
            VoteCalibration(level=usual) if fit is None else fit.calibration(usual) for fit in fits
        ]
        self._set(x.shape[1], fits, calibrations)
        folds = max((len(fit.found.fold_models) for fit in fits if fit is not None), default=0)
        self.committee = tuple(
            type(self)(self.questions)._set(x.shape[1], fits, calibrations, member)
            for member in range(folds)
        )
        self.out_of_fold = self._left_out(x, fits, usual)
        return self

    def predict(self, seen: ArrayLike) -> VoteFractions:
        """Return the distributions of the vote fractions of n images."""
        logits = self._fitted().at(seen)
        means = np.empty(logits.shape, np.float32)
        concentrations = np.empty((len(logits), len(self.questions)), np.float32)
        for place, columns in enumerate(self.tree.columns):
            level, lean = map(float, self._spread[place])
            calibration = VoteCalibration(1.0, level, lean)
            means[:, columns] = found = calibration.means(logits[:, columns])
            concentrations[:, place] = calibration.concentrations(found)
        return VoteFractions(self.tree, means, concentrations)

    def uncertainty(self, seen: ArrayLike) -> Floats:
        """Return the expected information over the tree, ``[n]`` in [0, 1].

        Sum over the questions of how probably each is asked times what one more vote is expected
        to tell of its fractions (`dirichlet.information`), over the sum of the logs of their
        numbers of labels: more than that, votes cannot tell.
        """
        said = self.predict(seen)
        reached = said.reached()
        told, most = np.zeros(len(said)), 0.0
        for place, columns in enumerate(self.tree.columns):
            each = information(said.means[:, columns], said.concentrations[:, place])
            told += reached[:, place] * each
            most += float(np.log(columns.stop - columns.start))
        return np.asarray(np.clip(told / (most or 1.0), 0, 1), np.float32)

    def answers(self, seen: ArrayLike) -> list[tuple[Answer, ...]]:
        """Return the likeliest label of each question on the way of the likeliest answers.

        One `Labels` of one "question/label" per question, parents first; the score is the
        expected fraction of those asked who would say so.
        """
        return [
            tuple(
                Labels((self.labels[column],), score=min(float(row[column]), 1.0))
                for _, column in self.tree.path(row)
            )
            for row in self.predict(seen).means
        ]

    def losses(self, said: VoteFractions, targets: ArrayLike) -> Floats:
        """Return minus the log probability of all votes over their number, ``[n]`` in nats."""
        counts = self._counts(targets, len(said))
        total = np.zeros(len(said))
        for place, columns in enumerate(self.tree.columns):
            c = said.concentrations[:, place]
            total += vote_losses(said.means[:, columns], c, counts[:, columns])
        votes = counts.sum(axis=1)
        return np.asarray(total / np.where(votes > 0, votes, 1), np.float32)

    def intervals(
        self, said: VoteFractions, level: float, votes: ArrayLike | None = None
    ) -> tuple[Floats, Floats]:
        """Return lower and upper ends ``[n, K]``, see `VoteFractions.intervals`."""
        return said.intervals(level, votes)

    def marginal(self, question: str) -> SingleChoiceHead:
        """Return a head that answers one question alone, with the same fractions.

        For whoever keeps one head per control; it says nothing about whether the question would
        be asked, see `VoteFractions.reached`.
        """
        place = self.tree.place(question)
        logits = self._fitted().columns(self.tree.columns[place])
        return SingleChoiceHead.restore(self.questions[place].labels, logits.tensors(), {})

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the tensors of `Logits` and spread ``[Q, 2]``; the questions."""
        tensors = {**self._fitted().tensors(), "spread": self._spread}
        return tensors, {"questions": self.tree.plain()}

    @classmethod
    def restore(
        cls, labels: Sequence[str], tensors: dict[str, NDArray[Any]], values: dict[str, Any]
    ) -> Self:
        """Build a head from its `state`."""
        head = cls(QuestionTree.of_plain(values.get("questions")).questions)
        if head.labels != tuple(labels):
            raise HeadError(
                f"The labels {tuple(labels)} are not those of the questions, {head.labels}. "
                "Roll back to another version."
            )
        shape = (len(head.questions), 2)
        head._logits = Logits.restore(tensors, len(head.labels), {"spread": shape})
        head._spread = tensors["spread"].astype(np.float32)
        return head

    def _set(
        self,
        dimension: int,
        fits: Sequence[QuestionFit | None],
        calibrations: Sequence[VoteCalibration],
        member: int | None = None,
    ) -> Self:
        """Take over the models of all rows, or those of one fold of each question."""
        k = len(self.labels)
        # All questions have the same pool, seed and so landmarks.
        landmarks = next((f.found.landmarks for f in fits if f is not None), None)
        weight, bias = np.zeros((dimension, k)), np.zeros(k)
        curve = np.zeros((0 if landmarks is None else len(landmarks.points), k))
        for fit, calibration, columns in zip(fits, calibrations, self.tree.columns, strict=True):
            if fit is not None:
                parts = zip((weight, bias, curve), fit.model(member), strict=True)
                for whole, part in parts:
                    whole[..., columns] = calibration.slope * part
        self._logits = Logits.of((weight, bias, curve), landmarks)
        self._spread = np.array([[c.level, c.lean] for c in calibrations], np.float32)
        return self

    def _left_out(
        self, x: Floats, fits: Sequence[QuestionFit | None], usual: float
    ) -> VoteFractions:
        """What is said of each row by fits and calibrations that had no part of its votes."""
        # Where a question was not asked, the fit to all rows has not seen any vote of this row.
        said = self.predict(x)
        for place, (fit, columns) in enumerate(zip(fits, self.tree.columns, strict=True)):
            if fit is None:
                continue
            for held in np.unique(fit.found.fold):
                inside = fit.found.fold == held
                calibration = fit.calibration(usual, without=int(held))
                means = calibration.means(fit.found.logits[inside])
                said.means[fit.rows[inside], columns] = means
                said.concentrations[fit.rows[inside], place] = calibration.concentrations(means)
        return said

    def _counts(self, targets: ArrayLike, n: int) -> Doubles:
        counts = np.asarray(targets, np.float64)
        if counts.shape != (n, len(self.labels)):
            raise HeadError(
                f"{n} images and {len(self.labels)} labels need votes "
                f"[{n}, {len(self.labels)}], not {list(counts.shape)}."
            )
        if not (np.isfinite(counts).all() and (counts >= 0).all()):
            raise HeadError("Votes must be finite numbers, 0 or more.")
        return counts

    def _fitted(self) -> Logits:
        if self._logits is None:
            raise HeadError("This head is not fitted; call fit() or load() first.")
        return self._logits
