"""What a mask head is to learn: people's masks made one truth, as examples to draw."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.answers import Box
from models.boxes import iou
from models.heads.base import HeadError
from models.heads.inputs import check_positive
from models.heads.mask_network import GRID
from models.heads.mask_training import Example
from models.heads.sights import View
from models.mask_agreement import Instance, instances
from models.opinions import Opinions
from models.scenes import Scene
from models.segmentation import mask_to_box

# Boxes of this IoU with a true one mean the same object.
_MEANT = 0.4
# Images up to this many times as large as a window are drawn on one of its size.
_LARGER = 1.5


def region_grid(scenes: Sequence[Scene]) -> int:
    """Return the side that whole images are drawn on, in samples: finer for larger images."""
    return GRID if max(max(scene.size) for scene in scenes) <= _LARGER * GRID else 2 * GRID


@dataclass(frozen=True, eq=False)
class Task:
    """n images with what there is to draw.

    Attributes
    ----------
    views : list of View
    truths : list of list of Instance
        Of each image.
    answered : bool [n]
        Whether anybody looked at it.
    weights : float64 [n]
        Of each image.
    objects : bool
        Whether a truth is an object, or all of a label.
    classes : int
        How many labels there are.
    """

    views: list[View]
    truths: list[list[Instance]]
    answered: NDArray[np.bool_]
    weights: NDArray[np.float64]
    objects: bool
    classes: int

    @classmethod
    def of(
        cls,
        scenes: Sequence[Scene],
        targets: Sequence[Opinions],
        weights: ArrayLike | None,
        labels: Sequence[str],
        objects: bool,
        grid: int = GRID,
    ) -> Task:
        """Check and fuse what people said.

        Raises
        ------
        HeadError
            Numbers of rows do not agree, a weight is not positive, a mask does not fit its
            image, or there is no image that anybody looked at.
        """
        n = len(scenes)
        w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        if w.shape != (n,) or len(targets) != n:
            raise HeadError(
                f"{n} scenes need {n} targets and weights, not {len(targets)} and {list(w.shape)}."
            )
        check_positive(w)
        answered = np.array([len(target) > 0 for target in targets], dtype=np.bool_)
        if not answered.any():
            raise HeadError("There is no labelled image to fit to.")
        truths = []
        for row, (scene, target) in enumerate(zip(scenes, targets, strict=True)):
            try:
                truths.append(instances(target, labels, scene.size, joined=not objects))
            except ValueError as error:
                raise HeadError(
                    f"A mask of image {row} does not fit it: {error}. Was the image replaced by "
                    "one of another size? Then mark it anew or leave it out."
                ) from None
        views = [View(scene, grid) for scene in scenes]
        return cls(views, truths, answered, w, objects, len(labels))

    def examples(self, rows: Sequence[int]) -> tuple[list[Example], NDArray[np.float64]]:
        """Return what there is to draw on some of the images, and how much each counts."""
        found: list[Example] = []
        counts: list[float] = []
        for row in rows:
            if not self.answered[row]:
                continue
            if self.objects:
                for truth in self.truths[row]:
                    found.append(Example.of_object(row, truth.pixels, truth.shares))
                    # What only some people marked counts less.
                    counts.append(self.weights[row] * truth.support)
            else:
                found.append(Example.of_regions(row, self.planes(row)))
                counts.append(self.weights[row])
        return found, np.array(counts)

    def planes(self, row: int) -> NDArray[np.bool_]:
        """Return the regions of each label of an image, bool [k, H, W]."""
        width, height = self.views[row].scene.size
        planes = np.zeros((self.classes, height, width), dtype=np.bool_)
        for truth in self.truths[row]:
            planes[int(truth.shares.argmax())] |= truth.pixels
        return planes

    def boxes(self, labels: Sequence[str]) -> list[Opinions]:
        """Return the boxes of the truths as one person's opinion, for a detector to learn."""
        found = []
        for truths, answered, view in zip(self.truths, self.answered, self.views, strict=True):
            boxes: list[Box] = []
            for truth in truths:
                boxes.append(mask_to_box(truth.pixels, labels[int(truth.shares.argmax())]))
            people = [boxes] if answered else []
            found.append(Opinions.of(*people, size=view.scene.size))
        return found

    def box_errors(self, proposals: Sequence[Sequence[Box]]) -> NDArray[np.float64]:
        """Return how far the edges of boxes lie from those of the truths they mean, [m, 4].

        Left, top, right and bottom, as shares of the true box's sides. Boxes of an IoU of
        `_MEANT` or more with a truth are looked at; give boxes of a detector that never saw them.
        """
        found = []
        for truths, boxes in zip(self.truths, proposals, strict=True):
            around = np.array([box.bounds for box in boxes]).reshape(-1, 4)
            for truth in truths:
                if not len(around):
                    continue
                true = np.array(mask_to_box(truth.pixels).bounds)
                shared = iou(around, true[None])[:, 0]
                best = int(shared.argmax())
                if shared[best] >= _MEANT:
                    found.append((around[best] - true) / np.tile(true[2:] - true[:2], 2))
        return np.array(found).reshape(-1, 4)

    def folds(self, seed: int) -> NDArray[np.int64]:
        """Return which of two halves each image is in; equal images are in the same one."""
        seen: dict[bytes, int] = {}
        digests = [hashlib.sha256(view.scene.pixels.tobytes()).digest() for view in self.views]
        group = np.array([seen.setdefault(digest, len(seen)) for digest in digests])
        # Images with something to draw are shared out evenly.
        full = np.array([bool(truths) for truths in self.truths])
        place = np.random.default_rng(seed).permutation(int(group.max()) + 1)
        fold = np.zeros(len(group), dtype=np.int64)
        for kind in (True, False):
            members = sorted(set(group[full == kind].tolist()), key=lambda g: place[g])
            for at, member in enumerate(members):
                fold[group == member] = (at + (not kind)) % 2
        return fold
