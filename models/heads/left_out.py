"""What the detection head learns from scenes that its networks did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.agreement import Agreed
from models.answers import Shape
from models.heads.centre_finding import look, read
from models.heads.centres import Centres
from models.heads.classification import SingleChoiceHead
from models.heads.detection_scores import (
    Found,
    best_threshold,
    calibrated,
    curve_of,
    share_right,
)
from models.heads.naming import Named, embeddings, told_by
from models.scenes import Scene

Array = NDArray[np.float64]
Curve = tuple[float, float]

LOWEST = 0.05
"""Less likely shapes are not even said by `DetectionHead.predict`."""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Calibration and labels of a detection head.

    Attributes
    ----------
    names : SingleChoiceHead or None
        Tells the labels; learned from the objects of all scenes.
    curve : (float, float)
        Slope and offset of the calibration of place.
    threshold : float
        From which probability of place on shapes are shown.
    rows : list of tuple of Shape
        What is said of each scene by what never saw it; empty where all saw it.
    members : list of (SingleChoiceHead or None, curve)
        For each fold: labels and calibration learned without it. Empty if there is one fold.
    """

    names: SingleChoiceHead | None
    curve: Curve
    threshold: float
    rows: list[tuple[Shape, ...]]
    members: list[tuple[SingleChoiceHead | None, Curve]]


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
        blind = nets if alone or folds[i] < 0 else (nets[folds[i]],)
        found.append(read(look(scene, blind, keep=False), shape, scene))
        told = len(labels) > 1 and not alone
        shown.append(embeddings(scene, found[i].shapes) if told else None)
        if len(labels) > 1 and folds[i] >= 0:
            votes = [(one.shape, _votes(one, labels)) for one in truth]
            named.add(scene, i, votes, weights[i])
    names = named.head(labels, rows, seed)
    said: list[tuple[Shape, ...]] = [() for _ in scenes]
    if alone:
        # A network knows its own scene by heart, so nothing can be calibrated on it.
        return LeftOut(names, (1.0, 0.0), 0.5, said, [])
    right = [
        share_right(one.shapes, one.heat, truth) for one, truth in zip(found, truths, strict=True)
    ]

    def curve_from(of: NDArray[np.intp]) -> Curve:
        return curve_of([found[i].heat for i in of], [right[i] for i in of], weights[of])

    place = [np.zeros(0)] * len(scenes)
    members = []
    for fold in range(-1, len(nets)):
        # What was left out must tell neither its own calibration nor its labels.
        others = rows[folds[rows] != fold]
        own_names, own = named.head(labels, others, seed), curve_from(others)
        for i in np.flatnonzero(folds == fold):
            place[i] = calibrated(found[i].heat, own)
            told_names = told_by(own_names, labels, shown[i], len(place[i]))
            said[i] = Found(found[i].shapes, place[i], told_names).said(labels, LOWEST)
        if fold >= 0:
            members.append((own_names, own))
    threshold = best_threshold(
        [place[i] for i in rows],
        [right[i] for i in rows],
        [sum(one.share for one in truths[i]) for i in rows],
    )
    return LeftOut(names, curve_from(rows), threshold, said, members)


def _votes(one: Agreed, labels: Sequence[str]) -> Array:
    """Share of each of our labels, summing to 1; or zeros where none of them was given."""
    votes = np.array([one.labels.get(label, 0.0) for label in labels])
    return votes / votes.sum() if votes.sum() > 0 else votes
