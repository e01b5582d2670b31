"""Places in a taxonomy: what it is, as deep as the evidence reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.answers import Answer, Paths
from models.heads.base import Floats, Head, HeadError
from models.heads.questions import Question
from models.heads.tree import DecisionTreeHead
from models.heads.vote_fractions import VoteFractions
from models.opinions import Opinions

Path = tuple[str, ...]

THRESHOLD = 0.5
"""A place is answered if it is more probable than this."""
# No place has an empty name, so it can stand for "none of these".
_ELSE = ""
_FLOOR = 1e-7


class TaxonomyHead(Head):
    """Probabilities of all places; a parent's is never below the sum of its children's.

    Each person has one vote, shared evenly among the places that she chose; who chose none voted
    for "none of them". A vote for a place counts for all above it and says nothing about those
    below. Which child of a place it is, is a question to those votes that went below it (see
    `DecisionTreeHead`). Where there is an only child, votes that stayed at its parent are against
    it, since no brother is there to take them.

    Parameters
    ----------
    paths : sequence of tuple of str
        The places, as the names from the root to each; parents that are missing are added.
    threshold : float
        For `answers`, in [0.5, 1): below one half, two places beside each other might pass.
    leaves_only : bool
        Whether `answers` may name only places without children.
    """

    kind = "taxonomy"

    def __init__(
        self, paths: Sequence[Path], threshold: float = THRESHOLD, leaves_only: bool = False
    ) -> None:
        self.paths = _with_parents(paths)
        if not 0.5 <= threshold < 1:
            raise HeadError(f"The threshold of a taxonomy lies in [0.5, 1), not at {threshold}.")
        self.threshold, self.leaves_only = threshold, leaves_only
        super().__init__([_label(path) for path in self.paths])
        self._place = {path: place for place, path in enumerate(self.paths)}
        inner = {path[:-1] for path in self.paths}
        self._shown = np.array([not leaves_only or path not in inner for path in self.paths])
        self._tree = DecisionTreeHead(_questions(self.paths))
        columns = {label: column for column, label in enumerate(self._tree.labels)}
        self._columns = [columns[f"{_label(path[:-1])}/{_label(path[-1:])}"] for path in self.paths]
        # Of parents with a column against all of their children.
        self._against = {
            path: columns[f"{_label(path)}/{_ELSE}"]
            for path in [(), *self.paths]
            if f"{_label(path)}/{_ELSE}" in columns
        }

    @property
    def dimension(self) -> int:
        """Length d of the embeddings that the head takes."""
        return self._tree.dimension

    def fit(
        self,
        seen: ArrayLike,
        targets: Sequence[Opinions],
        weights: ArrayLike | None = None,
        *,
        pool: ArrayLike | None = None,
        seed: int = 0,
    ) -> Self:
        """Fit to the `Paths` of people (see `Head.fit`); images that nobody saw are left out."""
        x = np.asarray(seen)
        shares = self._shares(targets, len(x) if x.ndim else 0)
        votes = np.zeros((len(shares), len(self._tree.labels)))
        for path, place in self._place.items():
            # From the leaves up, votes are handed on to all places above.
            for depth in range(1, len(path) + 1):
                votes[:, self._columns[self._place[path[:depth]]]] += shares[:, place]
        for path, column in self._against.items():
            votes[:, column] = shares[:, self._place[path] if path else -1]
        self._tree.fit(x, votes, weights, pool=pool, seed=seed)
        self.out_of_fold = self._chances(self._tree.out_of_fold)
        self.committee = tuple(
            self._holding(member)
            for member in self._tree.committee
            if isinstance(member, DecisionTreeHead)
        )
        return self

    def predict(self, seen: ArrayLike) -> Floats:
        """Return the probability of each place or one below it, ``[n, k]`` in [0, 1]."""
        return self._chances(self._tree.predict(seen))

    def uncertainty(self, seen: ArrayLike) -> Floats:
        """Return the expected information over the taxonomy (see `DecisionTreeHead`)."""
        return self._tree.uncertainty(seen)

    def answers(self, seen: ArrayLike) -> list[tuple[Answer, ...]]:
        """Return the deepest place above the threshold, with its probability; () if none is."""
        found: list[tuple[Answer, ...]] = []
        for row in self.predict(seen):
            likely = np.flatnonzero((row > self.threshold) & self._shown)
            if not len(likely):
                found.append(())
                continue
            best = max(likely, key=lambda place: (len(self.paths[place]), row[place]))
            found.append((Paths.of(self.paths[best], score=float(min(row[best], 1.0))),))
        return found

    def losses(self, said: Floats, targets: Sequence[Opinions]) -> Floats:
        """Return minus the log probability of what each person chose, mean in nats, ``[n]``.

        0 where nobody answered.
        """
        shares = self._shares(targets, len(said))
        p = np.asarray(said, np.float64)
        tops = [place for path, place in self._place.items() if len(path) == 1]
        none = 1 - p[:, tops].sum(axis=1, keepdims=True)
        each = -np.log(np.clip(np.hstack([p, none]), _FLOOR, 1))
        people = shares.sum(axis=1)
        return np.asarray((shares * each).sum(axis=1) / np.where(people > 0, people, 1), np.float32)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the tensors of the tree; paths, threshold and leaves_only."""
        return self._tree.state()[0], {
            "paths": [list(path) for path in self.paths],
            "threshold": self.threshold,
            "leaves_only": self.leaves_only,
        }

    @classmethod
    def restore(
        cls, labels: Sequence[str], tensors: dict[str, NDArray[Any]], values: dict[str, Any]
    ) -> Self:
        """Build a head from its `state`."""
        paths, threshold = values.get("paths"), values.get("threshold")
        if not (
            isinstance(paths, list)
            and all(isinstance(path, list) for path in paths)
            and isinstance(threshold, float)
            and isinstance(values.get("leaves_only"), bool)
        ):
            raise HeadError(
                "A taxonomy head needs paths, threshold and leaves_only; its file lacks one. Roll "
                "back to another version."
            )
        head = cls([tuple(path) for path in paths], threshold, values["leaves_only"])
        if head.labels != tuple(labels):
            raise HeadError(
                f"The labels {tuple(labels)} are not those of the paths, {head.labels}. Roll back "
                "to another version."
            )
        tree = head._tree
        head._tree = type(tree).restore(tree.labels, tensors, {"questions": tree.tree.plain()})
        return head

    def _chances(self, said: VoteFractions) -> Floats:
        chances = np.empty((len(said), len(self.paths)))
        for path, place in self._place.items():  # parents come first
            above = chances[:, self._place[path[:-1]]] if len(path) > 1 else 1.0
            chances[:, place] = above * said.means[:, self._columns[place]]
        return chances.astype(np.float32)

    def _holding(self, tree: DecisionTreeHead) -> Self:
        head = type(self)(self.paths, self.threshold, self.leaves_only)
        head._tree = tree
        return head

    def _shares(self, targets: Sequence[Opinions], n: int) -> NDArray[np.float64]:
        """Votes for each place itself and, last, for none, [n, k + 1]."""
        if len(targets) != n:
            raise HeadError(f"{n} images need as many opinions, not {len(targets)}.")
        shares = np.zeros((n, len(self.paths) + 1))
        for row, opinions in enumerate(targets):
            chosen: list[list[Path]] = [[] for _ in range(len(opinions))]
            for person, answer in opinions.each(Paths):
                chosen[person] += answer.paths
            for paths in chosen:
                for path in paths or [()]:
                    if path and path not in self._place:
                        raise HeadError(
                            f"Somebody chose {path}, which is no place of this taxonomy; leave "
                            "the answer out or add the place."
                        )
                    shares[row, self._place.get(path, -1)] += 1 / max(len(paths), 1)
        return shares


def _with_parents(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Each place once, parents before children, missing parents added."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path or not all(isinstance(name, str) and name for name in path):
            raise HeadError(f"A place in a taxonomy is a path of names, not {path!r}.")
        for depth in range(1, len(path) + 1):
            found[tuple(path[:depth])] = None
    if not found:
        raise HeadError("A taxonomy needs at least one place.")
    return tuple(found)


def _label(path: Path) -> str:
    """The path as one text; a slash inside a name is marked, so that no two are alike."""
    return "/".join(name.replace("\\", "\\\\").replace("/", "\\/") for name in path)


def _questions(paths: tuple[Path, ...]) -> list[Question]:
    """Which child it is, of each place that has some, and at the root."""
    children: dict[Path, list[str]] = {(): []}
    for path in paths:
        children.setdefault(path[:-1], []).append(_label(path[-1:]))
    return [
        Question(
            _label(parent),
            (*names, *([_ELSE] if not parent or len(names) == 1 else [])),
            ((_label(parent[:-1]), _label(parent[-1:])),) if parent else (),
        )
        for parent, names in children.items()
    ]
