"""What the detection head's answers are worth: calibration, threshold, doubt and loss."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.agreement import Agreed
from models.answers import Shape
from models.boxes import matched, overlaps, strongest
from models.heads.centre_finding import Candidates
from models.scenes import Scene

Array = NDArray[np.float64]

FOLDS = 3
RIGHT = 0.5
"""A shape is right if it overlaps by this much with what people drew (`models.boxes.overlap`)."""

SAME_OBJECT = 0.45
"""Two shapes that overlap by more than this are of one object; the likelier one stays."""


@dataclass(frozen=True, eq=False)
class Found:
    """What the head finds in one scene, likeliest first.

    Attributes
    ----------
    shapes : tuple of m shapes
        In pixels of the image, without label and score.
    place : float64 [m]
        Calibrated probability that people marked this shape, whatever its label.
    names : float64 [m, k]
        Probability of each label if they did.
    heat : float64 [m]
        Answer of the map of centres, before it was judged.
    """

    shapes: tuple[Shape, ...]
    place: Array
    names: Array
    heat: Array

    @classmethod
    def nothing(cls, labels: int) -> Found:
        """Make an empty one."""
        return cls((), np.zeros(0), np.zeros((0, labels)), np.zeros(0))

    def without_rivals(self, least: float) -> Found:
        """Keep what is at least that likely and overlaps with nothing likelier."""
        use = np.flatnonzero(self.place >= least)
        shapes = [self.shapes[i] for i in use]
        kept = use[strongest(overlaps(shapes, shapes), self.place[use], SAME_OBJECT)]
        return Found(
            tuple(self.shapes[i] for i in kept),
            self.place[kept],
            self.names[kept],
            self.heat[kept],
        )

    def said(self, labels: Sequence[str], least: float) -> tuple[Shape, ...]:
        """Return those at least that likely; their score is of shape and label being right."""
        best = self.names.argmax(axis=1) if len(self.shapes) else []
        return tuple(
            replace(shape, label=labels[b], score=float(np.clip(p * names[b], 0, 1)))
            for shape, p, names, b in zip(self.shapes, self.place, self.names, best, strict=True)
            if p >= least
        )


def fold_of(scenes: Sequence[Scene], seed: int) -> NDArray[np.intp]:
    """Deal scenes to `FOLDS` folds or fewer, [n] from 0; the same picture is in one fold only."""
    kinds: dict[bytes, int] = {}
    group = np.array(
        [
            kinds.setdefault(hashlib.sha256(scene.pixels.tobytes()).digest(), len(kinds))
            for scene in scenes
        ]
    )
    order = np.random.default_rng(seed).permutation(len(kinds))
    return np.asarray(order[group] % min(FOLDS, len(kinds)), dtype=np.intp)


def share_right(shapes: Sequence[Shape], heat: Array, truth: Sequence[Agreed]) -> Array:
    """For each shape the share of the people that marked what it matches, [m]; 0 for no match."""
    match = matched(overlaps(shapes, [one.shape for one in truth]), heat, RIGHT)
    return np.array([truth[j].share if j >= 0 else 0.0 for j in match], dtype=np.float64)


def best_threshold(
    place: Sequence[Array], right: Sequence[Array], objects: Sequence[float]
) -> float:
    """Probability from which on to show shapes, for the best F1 over several scenes.

    F1 changes little around its best, so the middle is taken of all thresholds that come within
    half a percent of it.
    """
    p = np.concatenate([*place, np.zeros(0)])
    total = float(np.sum(objects))
    if not len(p) or total <= 0:
        return 0.5
    order = np.argsort(-p, kind="stable")
    hits = np.cumsum(np.concatenate([*right, np.zeros(0)])[order])
    f1 = 2 * hits / (np.arange(1, len(p) + 1) + total)
    good = p[order][f1 >= f1.max() - 0.005]
    return float(np.clip((good.min() + good.max()) / 2, 0.05, 0.95))


def disagreement(shapes: Sequence[Shape], heat: Array, others: Sequence[Candidates]) -> float:
    """Share of shapes that single networks do not see, in [0, 1]; 0 without shapes.

    A network sees a shape if a candidate of its own matches it, half as strong as that of all.
    """
    if not shapes or len(others) < 2:
        return 0.0
    seen = []
    for other in others:
        common = overlaps(shapes, other.shapes) >= RIGHT
        seen.append((common & (other.heat[None] >= heat[:, None] / 2)).any(axis=1))
    return 1.0 - float(np.mean(seen))


def brier(shapes: Sequence[Shape], truth: Sequence[Agreed]) -> float:
    """Brier score of one scene's shapes per object, see `DetectionHead.losses`."""
    scores = np.array([shape.score or 0.0 for shape in shapes], dtype=np.float64)
    match = matched(overlaps(shapes, [one.shape for one in truth]), scores, RIGHT)
    loss = 0.0
    for shape, score, j in zip(shapes, scores, match, strict=True):
        right = truth[j].share * truth[j].labels.get(shape.label, 0.0) if j >= 0 else 0.0
        loss += right * (1 - score) ** 2 + (1 - right) * score**2
    met = set(match.tolist())
    loss += sum(one.share for j, one in enumerate(truth) if j not in met)
    return float(loss / max(1.0, sum(one.share for one in truth)))
