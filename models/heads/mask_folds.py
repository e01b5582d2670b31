"""What mask networks say of images that they never saw, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.answers import Box
from models.heads.mask_drawing import Drawing, draw_found, draw_objects, draw_regions
from models.heads.mask_network import MaskNetwork
from models.heads.mask_scores import MaskScores
from models.heads.mask_task import Task
from models.heads.mask_training import train
from models.heads.sights import Prompt
from models.mask_agreement import ious
from models.segmentation import mask_to_box

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Experience:
    """Masks by networks that never saw the image.

    Attributes
    ----------
    rows : list of list of Drawing
        Of each image; none where no network could learn without it.
    overlaps : list of float64 arrays
        IoU of each drawing with the truth that it shares most with.
    asked : list of (qualities, overlaps)
        Of each image, of masks in the boxes of the truths.
    fold : int64 [n]
        Which half the image is in.
    """

    rows: list[list[Drawing]]
    overlaps: list[Doubles]
    asked: list[tuple[Doubles, Doubles]]
    fold: NDArray[np.int64]

    def scores(self, without: int | None = None) -> MaskScores:
        """Calibrate scores on the images of all folds, or on those of the others."""
        used = [row for row, fold in enumerate(self.fold) if fold != without]
        drawn = [d for row in used for d in self.rows[row]]
        overlaps = _joined([self.overlaps[row] for row in used])
        # Regions have no box that was found; they are told from the quality alone.
        by_box = np.array([d.detected is not None for d in drawn], dtype=np.bool_)
        quality = np.array([d.quality for d in drawn])
        detected = np.array([d.detected or 0.0 for d in drawn])
        asked = [_joined([self.asked[row][place] for row in used]) for place in (0, 1)]
        return MaskScores().fit(
            (quality[by_box], detected[by_box], overlaps[by_box]),
            (
                np.concatenate([asked[0], quality[~by_box]]),
                np.concatenate([asked[1], overlaps[~by_box]]),
            ),
        )


def experience_of(
    fresh: MaskNetwork,
    task: Task,
    proposals: Sequence[Sequence[Box]] | None,
    *,
    steps: int,
    point_side: float,
    seed: int,
) -> Experience:
    """Train a network on each half of the images and let it draw on the other.

    Parameters
    ----------
    fresh : MaskNetwork
        Of random weights.
    task : Task
    proposals : n sequences of Box, optional
        Of objects, by a detector that never saw the image either.
    steps : int
        Of each network.
    """
    n = len(task.views)
    errors = None if proposals is None else task.box_errors(proposals)
    fold = task.folds(seed)
    rows: list[list[Drawing]] = [[] for _ in range(n)]
    overlaps: list[Doubles] = [np.zeros(0) for _ in range(n)]
    asked: list[tuple[Doubles, Doubles]] = [(np.zeros(0), np.zeros(0)) for _ in range(n)]
    for held in np.unique(fold):
        examples, weights = task.examples(np.flatnonzero(fold != held).tolist())
        if not examples:
            continue
        network = train(
            fresh,
            task.views,
            examples,
            weights,
            steps=steps,
            point_side=point_side,
            seed=seed,
            errors=errors,
        )
        for row in np.flatnonzero(fold == held).tolist():
            view = task.views[row]
            truths = [truth.pixels for truth in task.truths[row]]
            if not task.objects:
                drawn = draw_regions(network, view)
                planes = task.planes(row)
                rows[row] = [drawing for drawing in drawn if not drawing.empty]
                overlaps[row] = np.array(
                    [_iou(d, planes[k]) for k, d in enumerate(drawn) if not d.empty]
                )
                continue
            if proposals is not None:
                rows[row] = draw_found(network, view, proposals[row])
                shared = ious([d.pixels for d in rows[row]], truths)
                overlaps[row] = shared.max(axis=1, initial=0.0)
            prompts = [Prompt.of_box(mask_to_box(pixels)) for pixels in truths]
            given = draw_objects(network, view, prompts)
            asked[row] = (
                np.array([drawing.quality for drawing in given]),
                np.array([_iou(d, t) for d, t in zip(given, truths, strict=True)]),
            )
    return Experience(rows, overlaps, asked, fold)


def _iou(drawing: Drawing, truth: NDArray[np.bool_]) -> float:
    return float(ious([drawing.pixels], [truth])[0, 0])


def _joined(arrays: Sequence[Doubles]) -> Doubles:
    return np.concatenate([np.zeros(0), *arrays])
