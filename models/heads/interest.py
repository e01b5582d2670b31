"""The head for objects of interest: from one example on, and better with each mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from models.answers import Labels, Stars
from models.heads.base import Floats, HeadError, ProbabilityHead
from models.heads.classification import SingleChoiceHead
from models.heads.features import as_kept, taken
from models.heads.inputs import check_positive, finite_rows
from models.heads.linear import Doubles, folds_of
from models.opinions import Opinions
from models.similarity import Standard

# Galaxies of the pool that stand beside the negatives: with few of those, what is common is what
# interesting ones differ from.
_COMMON = 3.0
# Before marks tell: how much likeness and the linear head count, how sure that is (standard
# deviations), and that one of five is of interest, which two votes say.
_EXPECTED = np.array([0.7, 0.6, 0.0])
_WIDTHS = np.array([0.4, 0.4, 2.0])
_RATE, _RATE_VOTES = 0.2, 2.0


class InterestHead(ProbabilityHead):
    """Whether a galaxy is of interest: likeness to the examples, and what marks tell apart.

    Likeness is the direction from what is common (the pool's mean and the negatives) to the
    examples. Where both kinds are marked, a linear head with landmarks joins it; how much each
    counts is fitted to rows that neither saw. Unmarked galaxies of the pool count as mostly not
    of interest, with the weight of two votes; examples alone leave the rate at one of five.

    Parameters
    ----------
    labels : sequence of two str
        What is of interest, and what is not.
    positive : str, optional
        Which of them is of interest; by default the first.
    most : int
        Largest number of stars; targets may be Opinions with Stars: 1 is not of interest at all.
    """

    kind = "interest"
    exclusive = True

    def __init__(
        self,
        labels: Sequence[str] = ("interesting", "not interesting"),
        *,
        positive: str | None = None,
        most: int = 5,
    ) -> None:
        super().__init__(labels)
        if len(self.labels) != 2:
            raise HeadError(
                f"Interest has two labels, what is and what is not; these are {self.labels}."
            )
        self.positive = self.labels[0] if positive is None else positive
        if self.positive not in self.labels:
            raise HeadError(f"{self.positive!r} is none of the labels {self.labels}.")
        if most < 2:
            raise HeadError("A rating needs two stars or more.")
        self.most = most
        # Of the likeness: [d] and its bias; of the sum: likeness, linear head, bias.
        self._direction: Doubles | None = None
        self._origin = 0.0
        self._sum = _EXPECTED
        self._linear: SingleChoiceHead | None = None

    @property
    def dimension(self) -> int:
        """Length d of the embeddings that the head takes."""
        return len(self._fitted())

    def fit(
        self,
        seen: ArrayLike,
        targets: ArrayLike | Sequence[Opinions],
        weights: ArrayLike | None = None,
        *,
        pool: ArrayLike | None = None,
        seed: int = 0,
    ) -> Self:
        """Fit to marks (see `Head.fit`): fractions ``[n, 2]``, or Opinions with Labels or Stars.

        Rows that nobody marked are left out.
        """
        x = finite_rows(seen, "embeddings")
        n = len(x)
        w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        if n == 0:
            raise HeadError("There is no labelled row to fit to.")
        liked = self._fractions(targets)
        if liked.shape != (n,) or w.shape != (n,):
            raise HeadError(
                f"{n} embeddings need {n} targets and weights, not {len(liked)} and "
                f"{list(w.shape)}."
            )
        check_positive(w)
        used = np.flatnonzero(np.isfinite(liked))
        if not len(used):
            raise HeadError("Nobody marked any of these images.")
        basis = None if pool is None else finite_rows(pool, "pool", x.shape[1])
        if basis is not None and not len(basis):
            basis = None
        chance = self._learn(x[used], liked[used], w[used], basis, seed)
        self.out_of_fold = self.predict(x)
        self.out_of_fold[used] = self._columns(chance)
        return self

    def _learn(
        self, x: Floats, liked: Doubles, w: Doubles, pool: Floats | None, seed: int
    ) -> Doubles:
        """Fit; return what is said of each row by models that never saw it."""
        n = len(x)
        around = x if pool is None else np.vstack([pool, x])
        standard = Standard.of(around)
        points = standard.apply(x)
        targets = np.stack([liked, 1 - liked], axis=1)
        # The folds are those of the linear head, so that neither saw the row.
        count = max(2, min(n, 10 if n < 20 else 5))
        fold = folds_of(x, targets, count, seed)
        linear = None
        if liked.min() < 0.5 < liked.max():
            linear = SingleChoiceHead(("yes", "no")).fit(x, targets, w, pool=pool, seed=seed)
        terms = np.zeros((n, 2))
        if linear is not None:
            terms[:, 1] = logit(linear.out_of_fold[:, 0])
        directions = []
        for held in range(count):
            rows = fold == held
            direction = _direction(points[~rows], liked[~rows], w[~rows], standard, around)
            directions.append(direction)
            terms[rows, 0] = points[rows] @ direction
        direction = _direction(points, liked, w, standard, around)
        chance = np.empty(n)
        sums = []
        for held in range(count):
            rows = fold == held
            sums.append(_weigh(terms[~rows], liked[~rows], w[~rows]))
            chance[rows] = expit(terms[rows] @ sums[-1][:2] + sums[-1][2])
        self._set(standard, direction, _weigh(terms, liked, w), linear)
        others: list[SingleChoiceHead | None] = [None] * count
        if linear is not None:
            others = [one for one in linear.committee if isinstance(one, SingleChoiceHead)]
        self.committee = tuple(
            self._like()._set(standard, part, total, other)
            for part, total, other in zip(directions, sums, others, strict=False)
        )
        return chance

    def predict(self, seen: ArrayLike) -> Floats:
        """Return calibrated probabilities ``[n, 2]`` in the order of the labels."""
        return self._columns(self.interest(seen))

    def interest(self, seen: ArrayLike) -> Doubles:
        """Return how probably each galaxy is of interest, ``[n]`` in (0, 1)."""
        direction = self._fitted()
        x = np.asarray(seen)
        if x.ndim != 2 or x.shape[1] != len(direction):
            raise HeadError(
                f"This head takes embeddings [n, {len(direction)}], not {list(x.shape)}. Were they "
                "made by another LVM? Then encode the images again and train anew."
            )
        if not np.isfinite(x).all():
            bad = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
            raise HeadError(f"Embedding {bad} is not finite (NaN or infinite); encode it again.")
        total = (x @ direction - self._origin) * self._sum[0] + self._sum[2]
        if self._linear is not None and len(x):
            told = self._linear.logits(x).astype(np.float64)
            total = total + self._sum[1] * (told[:, 0] - told[:, 1])
        return np.asarray(expit(np.clip(total, -15, 15)))

    def uncertainty(self, seen: ArrayLike) -> Floats:
        """Return one minus the distance of the two probabilities."""
        return np.asarray(1 - np.abs(2 * self.interest(seen) - 1), dtype=np.float32)

    def losses(self, said: Floats, targets: ArrayLike | Sequence[Opinions]) -> Floats:
        """Return the log losses in nats; 0 for rows that nobody marked."""
        liked = self._fractions(targets)
        if len(liked) != len(said):
            raise HeadError(f"{len(said)} predictions do not go with {len(liked)} targets.")
        asked = np.isfinite(liked)
        found = np.zeros(len(said), dtype=np.float32)
        found[asked] = super().losses(said[asked], self._columns(liked[asked]))
        return found

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the likeness's direction, the weights of the sum, and the linear head, if any."""
        tensors = {"direction": self._fitted().astype(np.float32)}
        tensors["sum"] = np.append(self._sum, self._origin).astype(np.float32)
        if self._linear is not None:
            own, _ = self._linear.state()
            tensors |= {f"linear.{name}": value for name, value in own.items()}
        return tensors, {"positive": self.positive, "most": self.most}

    @classmethod
    def restore(
        cls, labels: Sequence[str], tensors: dict[str, NDArray[Any]], values: dict[str, Any]
    ) -> Self:
        """Build a head from its `state`."""
        try:
            head = cls(labels, positive=values["positive"], most=int(values["most"]))
        except (KeyError, TypeError, ValueError) as error:
            raise HeadError(f"The head's values cannot be used: {error}.") from None
        head._direction = taken(tensors, "direction", (None,))
        total = taken(tensors, "sum", (4,))
        head._sum, head._origin = total[:3], float(total[3])
        own = {
            name.removeprefix("linear."): value
            for name, value in tensors.items()
            if name.startswith("linear.")
        }
        if own:
            head._linear = SingleChoiceHead.restore(("yes", "no"), own, {})
            if head._linear.dimension != head.dimension:
                raise HeadError("The parts of this head do not fit; roll back to another version.")
        return head

    def _set(
        self,
        standard: Standard,
        direction: Doubles,
        total: Doubles,
        linear: SingleChoiceHead | None,
    ) -> Self:
        acting = direction / standard.scale
        self._direction = as_kept(acting)
        self._origin = float(np.float32(standard.mean @ self._direction))
        self._sum = as_kept(total)
        self._linear = linear
        return self

    def _like(self) -> Self:
        return type(self)(self.labels, positive=self.positive, most=self.most)

    def _columns(self, chance: Doubles) -> Floats:
        columns = [chance, 1 - chance]
        ordered = columns if self.positive == self.labels[0] else columns[::-1]
        return np.stack(ordered, axis=1).astype(np.float32)

    def _fractions(self, targets: ArrayLike | Sequence[Opinions]) -> Doubles:
        """How much each image was liked, [n] in [0, 1]; NaN where nobody said."""
        if isinstance(targets, Sequence):
            people = [row for row in targets if isinstance(row, Opinions)]
            if people and len(people) == len(targets):
                return np.array([self._liked(row) for row in people], dtype=np.float64)
        t = np.asarray(targets, dtype=np.float64)
        if t.size == 0:
            return np.zeros(0)
        if t.ndim != 2 or t.shape[1] != 2:
            raise HeadError(f"Targets must be fractions [n, 2] or Opinions, not {list(t.shape)}.")
        if not (np.isfinite(t).all() and t.min() >= 0 and t.max() <= 1 + 1e-6):
            raise HeadError("Targets must be finite fractions between 0 and 1.")
        if np.abs(t.sum(axis=1) - 1).max() > 1e-3:
            raise HeadError("Targets of a single choice must sum to 1 in each row.")
        return t[:, self.labels.index(self.positive)].clip(0, 1)

    def _liked(self, opinions: Opinions) -> float:
        given = []
        for answers in opinions.by_person:
            stars = [a.value for a in answers if isinstance(a, Stars)]
            named = [a for a in answers if isinstance(a, Labels)]
            if stars:
                given.append(min((stars[0] - 1) / (self.most - 1), 1.0))
            else:
                # Who looked and marked nothing found nothing of interest.
                given.append(float(any(self.positive in a.labels for a in named)))
        return float(np.mean(given)) if given else np.nan

    def _fitted(self) -> Doubles:
        if self._direction is None:
            raise HeadError("This head is not fitted; call fit() or load() first.")
        return self._direction


def _direction(
    points: Doubles, liked: Doubles, weights: Doubles, standard: Standard, around: Floats
) -> Doubles:
    """Direction of the likeness, of unit spread over the pool; 0 where there is no example."""
    up, down = weights * liked, weights * (1 - liked)
    if up.sum() <= 0:
        return np.zeros(points.shape[1])
    # The pool's mean is the origin of `points`.
    wanted = up @ points / up.sum() - down @ points / (down.sum() + _COMMON)
    spread = float((standard.apply(around[:2048]) @ wanted).std())
    return np.asarray(wanted / spread) if spread > 1e-9 else np.zeros(points.shape[1])


def _weigh(terms: Doubles, liked: Doubles, weights: Doubles) -> Doubles:
    """Fit the weights of likeness and linear head, and the bias, [3]."""
    if not len(liked) or liked.min() >= 0.5:
        # Examples alone do not tell how many there are.
        return np.append(_EXPECTED[:2], logit(_RATE))
    x = np.vstack([np.hstack([terms, np.ones((len(terms), 1))]), [[0.0, 0.0, 1.0]]])
    t, w = np.append(liked, _RATE), np.append(weights, _RATE_VOTES)

    def loss(theta: Doubles) -> tuple[float, Doubles]:
        z = x @ theta
        off = (theta - _EXPECTED) / _WIDTHS
        value = -np.sum(w * (t * log_expit(z) + (1 - t) * log_expit(-z))) + 0.5 * off @ off
        return float(value), x.T @ (w * (expit(z) - t)) + off / _WIDTHS

    bounds = [(0.0, 5.0), (0.0, 5.0), (-8.0, 8.0)]
    best = minimize(loss, _EXPECTED.copy(), jac=True, bounds=bounds, method="L-BFGS-B")
    return np.asarray(best.x)
