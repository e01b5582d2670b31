"""What the detection head learns from scenes that its networks did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.agreement import Agreed
from models.answers import Shape
from models.boxes import overlaps
from models.heads.centre_finding import look, read
from models.heads.centres import Centres
from models.heads.classification import SingleChoiceHead
from models.heads.detection_scores import RIGHT, Found, best_threshold, share_right
from models.heads.judging import Judge, features
from models.heads.naming import Named, embeddings, told_by
from models.scenes import Scene

Array = NDArray[np.float64]

LOWEST = 0.05
"""Less likely shapes are not even said by `DetectionHead.predict`."""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Calibration and labels of a detection head.

    Attributes
    ----------
    names : SingleChoiceHead or None
        Tells the labels; learned from the objects of all scenes.
    judge : Judge
        Tells how likely candidates are right; learned from those of all scenes.
    threshold : float
        From which probability of place on shapes are shown.
    rows : list of tuple of Shape
        What is said of each scene by what never saw it; empty where all saw it.
    members : list of (SingleChoiceHead or None, Judge)
        For each fold: what was learned without it. Empty if there is one fold.
    """

    names: SingleChoiceHead | None
    judge: Judge
    threshold: float
    rows: list[tuple[Shape, ...]]
    members: list[tuple[SingleChoiceHead | None, Judge]]


def learn_from_left_out(
    nets: Sequence[Centres],
    scenes: Sequence[Scene],
    truths: Sequence[list[Agreed]],
    weights: Array,
    folds: NDArray[np.intp],
    labels: Sequence[str],
    shape: str,
    seed: int,
) -> LeftOut:
    """Calibrate on what each network finds in the scenes of its fold; learn the labels.

    Parameters
    ----------
    nets : one for each fold
    scenes, truths, weights : n rows
    folds : int [n]
        -1 where nobody looked at a scene, so that no network saw it.
    """
    alone = len(nets) == 1
    rows = np.flatnonzero(folds >= 0)
    found, shown, named = [], [], Named.of(len(labels))
    for i, (scene, truth) in enumerate(zip(scenes, truths, strict=True)):
        if not alone:
            blind = nets if folds[i] < 0 else (nets[folds[i]],)
            found.append(read(look(scene, blind, keep=False), shape, scene))
            shown.append(embeddings(scene, found[i].shapes))
        if len(labels) > 1 and folds[i] >= 0:
            votes = [(one.shape, _votes(one, labels)) for one in truth]
            named.add(scene, i, votes, weights[i])
    names = named.head(labels, rows, seed)
    said: list[tuple[Shape, ...]] = [() for _ in scenes]
    if alone:
        # A network knows its own scene by heart, so nothing can be calibrated on it.
        return LeftOut(names, Judge.plain(scenes[0].lvm.dimension), 0.5, said, [])
    asked = [features(f.heat, f.shapes, s) for f, s in zip(found, shown, strict=True)]
    right = [_meant(f.shapes, truth) for f, truth in zip(found, truths, strict=True)]

    def judge_from(of: NDArray[np.intp]) -> Judge:
        votes = np.concatenate([np.full(len(right[i]), weights[i]) for i in of])
        return Judge.of(
            np.concatenate([asked[i] for i in of]), np.concatenate([right[i] for i in of]), votes
        )

    judged: list[Found] = [Found.nothing(len(labels)) for _ in scenes]
    members = []
    for fold in range(-1, len(nets)):
        # What was left out must tell neither its own calibration nor its labels.
        others = rows[folds[rows] != fold]
        own_names, own = named.head(labels, others, seed), judge_from(others)
        for i in np.flatnonzero(folds == fold):
            place = own.probability(asked[i])
            told = told_by(own_names, labels, shown[i])
            judged[i] = Found(found[i].shapes, place, told, found[i].heat).without_rivals(LOWEST)
            said[i] = judged[i].said(labels, LOWEST)
        if fold >= 0:
            members.append((own_names, own))
    threshold = best_threshold(
        [judged[i].place for i in rows],
        [share_right(judged[i].shapes, judged[i].place, truths[i]) for i in rows],
        [sum(one.share for one in truths[i]) for i in rows],
    )
    return LeftOut(names, judge_from(rows), threshold, said, members)


def _meant(shapes: Sequence[Shape], truth: Sequence[Agreed]) -> Array:
    """For each shape the share of the people that marked what it lies on, [m].

    Rivals for one object are all right here: which of them stays is decided after judging.
    """
    if not truth or not shapes:
        return np.zeros(len(shapes))
    common = overlaps(shapes, [one.shape for one in truth])
    share = np.array([one.share for one in truth])[common.argmax(axis=1)]
    return np.asarray(np.where(common.max(axis=1) >= RIGHT, share, 0.0))


def _votes(one: Agreed, labels: Sequence[str]) -> Array:
    """Share of each of our labels, summing to 1; or zeros where none of them was given."""
    votes = np.array([one.labels.get(label, 0.0) for label in labels])
    return votes / votes.sum() if votes.sum() > 0 else votes
