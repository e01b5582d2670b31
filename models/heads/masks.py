"""A head that draws masks: of objects one by one, or of regions of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.answers import Answer, Box, Mask, Polygon
from models.heads.base import Floats, Head, HeadError
from models.heads.detection import DetectionHead
from models.heads.mask_answers import as_masks, as_polygons, likely, name_of, scored
from models.heads.mask_drawing import Drawing, draw_found, draw_objects, draw_regions, draw_under
from models.heads.mask_folds import Experience, experience_of
from models.heads.mask_losses import mask_loss
from models.heads.mask_network import GRID, MaskNetwork
from models.heads.mask_scores import MaskScores
from models.heads.mask_state import (
    checked_counts,
    checked_number,
    checked_vector,
    network_from,
    network_tensors,
    part_of,
    prefixed,
)
from models.heads.mask_task import Task, region_grid
from models.heads.mask_training import network_for, steps_for, train
from models.heads.sights import Prompt, View, checked_scenes
from models.mask_agreement import marks_regions
from models.opinions import Opinions
from models.scenes import Scene

Drawn = tuple[Mask | Polygon, ...]

# Side of the window around a point by that of most objects.
_POINT_SIDES = 2.2
_THRESHOLDS = np.arange(0.1, 0.9, 0.05)


class MaskHead(Head):
    """Masks of what the labels name.

    Objects: a `DetectionHead` proposes boxes, a small U-Net on the LVM's maps of a window around
    each box draws the mask and tells its label; both learn from the same masks. Regions (all of a
    label on an image is one mask): the U-Net sees the whole image and draws one mask per label.

    Parameters
    ----------
    labels : sequence of str
    shape : {"mask", "polygon"}
        What `predict` gives: masks of pixels, or polygons (without holes; where a mask has
        several parts, one each of a region, the largest one of an object).
    instances : bool, optional
        Whether each mask is an object (True) or a region (False); told from the masks if left out.
    steps : int, optional
        Batches of 16 windows that the network learns from, and half as many as the detector does;
        chosen by the numbers of masks and images if left out.
    """

    kind = "masks"
    sees = "scene"

    def __init__(
        self,
        labels: Sequence[str],
        shape: Literal["mask", "polygon"] = "mask",
        *,
        instances: bool | None = None,
        steps: int | None = None,
    ) -> None:
        super().__init__(labels)
        if shape not in ("mask", "polygon"):
            raise HeadError(f"A mask head answers with 'mask' or 'polygon', not {shape!r}.")
        if steps is not None and steps < 1:
            raise HeadError(f"A mask head learns in at least one step, not {steps}.")
        self.shape = shape
        self.instances = instances
        self.steps = steps
        self.threshold = 0.5
        self._objects = True
        self._grid = GRID
        self._point_side = 2.0 * GRID
        self._scores = MaskScores()
        self._network: MaskNetwork | None = None
        self._detector: DetectionHead | None = None

    @property
    def dimension(self) -> int:
        """Channels of the LVM's maps, all together."""
        return sum(self._drawer().channels)

    @property
    def objects(self) -> bool:
        """Whether the fitted head draws objects one by one, and can be asked for one."""
        return self._network is not None and self._objects

    def fit(
        self,
        seen: Sequence[Scene],
        targets: Sequence[Opinions],
        weights: ArrayLike | None = None,
        *,
        pool: Any = None,
        seed: int = 0,
    ) -> Self:
        """Fit to people's masks and polygons (see `Head.fit`).

        Images that nobody looked at are left out. Half the network's steps again go to two
        networks that each see half of the images, by which scores are calibrated.
        """
        scenes = checked_scenes(seen)
        if not scenes:
            raise HeadError("There is no labelled image to fit to.")
        if not isinstance(targets, Sequence) or not all(isinstance(t, Opinions) for t in targets):
            raise HeadError("A mask head learns from Opinions (models.opinions), nothing else.")
        given = self.instances
        self._objects = not marks_regions(targets) if given is None else given
        self._grid = GRID if self._objects else region_grid(scenes)
        task = Task.of(scenes, targets, weights, self.labels, self._objects, self._grid)
        examples, counts = task.examples(range(len(scenes)))
        if self._objects and examples:
            largest = float(np.percentile([example.side() for example in examples], 80))
            self._point_side = _POINT_SIDES * max(largest, 8.0)
        steps = self.steps or steps_for(len(examples), self._objects)
        side = self._point_side
        planes = 1 if self._objects else len(self.labels)
        network = fresh = network_for(scenes[0], len(self.labels), planes, seed)
        self._detector, proposals = None, None
        if examples and self._objects:
            boxes = task.boxes(self.labels)
            looks = None if self.steps is None else 2 * self.steps
            detector = DetectionHead(self.labels, shape="box", steps=looks)
            self._detector = detector.fit(scenes, boxes, task.weights, seed=seed)
            proposals = [likely(row) for row in detector.out_of_fold]
        if examples:
            network = train(
                fresh,
                task.views,
                examples,
                counts,
                steps=steps,
                point_side=side,
                seed=seed,
                errors=None if proposals is None else task.box_errors(proposals),
            )
        self._network = network.eval()
        found = experience_of(
            fresh,
            task,
            proposals,
            steps=max(1, steps // 2),
            point_side=side,
            seed=seed + 1,
        )
        self._scores = found.scores()
        self.out_of_fold = self._without_themselves(found)
        self.threshold = self._best_threshold(self.out_of_fold, targets)
        return self

    def predict(
        self, seen: Sequence[Scene], proposals: Sequence[Sequence[Box]] | None = None
    ) -> list[Drawn]:
        """Draw what is on each scene.

        Parameters
        ----------
        proposals : n sequences of Box, optional
            Where objects are, instead of what this head's own detector finds.

        Returns
        -------
        list of tuple of Mask or Polygon
            By score (the expected IoU with the truth), best first, doubtful ones included.
        """
        scenes = self._checked(seen)
        if proposals is not None and len(proposals) != len(scenes):
            raise HeadError(
                f"{len(scenes)} scenes need as many rows of boxes, not {len(proposals)}."
            )
        rows = self._looked(scenes, proposals)
        return [self._said(row, self._scores) for row in rows]

    def uncertainty(self, seen: Sequence[Scene]) -> Floats:
        """Return the entropy in bits of the pixels inside the objects, averaged by their scores.

        Of an image with no object in sight, how doubtful the detector is of that.
        """
        scenes = self._checked(seen)
        doubts = np.zeros(len(scenes), dtype=np.float32)
        empty = []
        for row, drawings in enumerate(self._looked(scenes)):
            kept = scored(drawings, self._scores, distinct=self._objects)
            masses = np.array([score for _, score in kept])
            if masses.sum() > 0:
                each = np.array([drawing.doubt for drawing, _ in kept])
                doubts[row] = float(each @ masses / masses.sum())
            else:
                empty.append(row)
        if empty and self._detector is not None:
            doubts[empty] = self._detector.uncertainty([scenes[row] for row in empty])
        return np.clip(doubts, 0.0, 1.0)

    def answers(self, seen: Sequence[Scene]) -> list[tuple[Answer, ...]]:
        """Return the masks with a score above the threshold that did best out of fold."""
        return [
            tuple(mask for mask in row if (mask.score or 0.0) >= self.threshold)
            for row in self.predict(seen)
        ]

    def losses(self, said: Sequence[Drawn], targets: Sequence[Opinions]) -> Floats:
        """Return 1 - the mean IoU over true and false masks, in [0, 1].

        Masks above the threshold count. A mask is matched to the truth that it shares most with;
        what is missed, and what is not there, counts 0; half of the IoU is for the right label.
        An image where nothing is and nothing is said has the loss 0.
        """
        if len(said) != len(targets):
            raise HeadError(f"{len(said)} rows of masks need as many targets, not {len(targets)}.")
        found = []
        for row, target in zip(said, targets, strict=True):
            shown = [mask for mask in row if (mask.score or 0.0) >= self.threshold]
            try:
                found.append(mask_loss(shown, target, self.labels, self._objects))
            except ValueError as error:
                raise HeadError(f"Masks cannot be compared: {error}.") from None
        return np.array(found, dtype=np.float32)

    def prompted(
        self, scene: Scene, box: Box | None = None, point: tuple[float, float] | None = None
    ) -> Mask:
        """Draw the object in a box, or under a point where no box is given, at once.

        Returns
        -------
        Mask
            With the label of the box, or the likeliest one; it may have no pixel.
        """
        if not self.objects:
            raise HeadError("This head draws regions, no objects; ask it for the whole image.")
        (scene,) = self._checked([scene])
        view = View(scene)
        if box is not None:
            (drawing,) = draw_objects(self._drawer(), view, [Prompt.of_box(box)])
        elif point is not None:
            drawing = draw_under(self._drawer(), view, point, self._point_side)
        else:
            raise HeadError("Ask for a box or a point.")
        label = (
            box.label
            if box is not None and box.label in self.labels
            else name_of(drawing, self.labels)
        )
        return Mask(drawing.pixels, label=label, score=self._scores.of_asked(drawing.quality))

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the networks' weights, the calibration, and how to build them."""
        network = self._drawer()
        tensors = prefixed("network", network_tensors(network))
        tensors |= {"found": self._scores.found, "asked": self._scores.asked}
        values: dict[str, Any] = {
            "shape": self.shape,
            "objects": self._objects,
            "threshold": self.threshold,
            "grid": self._grid,
            "point_side": self._point_side,
            "channels": list(network.channels),
            "levels": list(network.levels),
            "detector": None,
        }
        if self._detector is not None:
            inner, values["detector"] = self._detector.state()
            tensors |= prefixed("detector", inner)
        return tensors, values

    @classmethod
    def restore(
        cls, labels: Sequence[str], tensors: dict[str, NDArray[Any]], values: dict[str, Any]
    ) -> Self:
        """Build a head from its `state`."""
        shape, objects = values.get("shape"), values.get("objects")
        inner = values.get("detector")
        if shape not in ("mask", "polygon") or not isinstance(objects, bool):
            raise HeadError("A mask head lacks its shape or whether it draws objects; roll back.")
        if inner is not None and not isinstance(inner, dict):
            raise HeadError("The detector of a mask head cannot be read; roll back.")
        head = cls(labels, shape, instances=objects)
        head._objects = objects
        head.threshold = checked_number(values, "threshold", 0.0, 1.0)
        head._point_side = checked_number(values, "point_side", 1.0, 1e5)
        head._scores = MaskScores(
            checked_vector(tensors, "found", 3), checked_vector(tensors, "asked", 2)
        )
        (head._grid,) = checked_counts({"grid": [values.get("grid")]}, "grid", 2 * GRID)
        if head._grid % GRID:
            raise HeadError(f"A mask head cannot draw on a grid of {head._grid}; roll back.")
        channels = checked_counts(values, "channels")
        levels = checked_counts(values, "levels", 5)
        planes = 1 if objects else len(head.labels)
        weights = part_of("network", tensors)
        head._network = network_from(weights, channels, levels, len(head.labels), planes)
        if inner is not None:
            head._detector = DetectionHead.restore(labels, part_of("detector", tensors), inner)
        return head

    def _drawer(self) -> MaskNetwork:
        if self._network is None:
            raise HeadError("This head is not fitted; call fit() or load() first.")
        return self._network

    def _checked(self, seen: Sequence[Scene]) -> list[Scene]:
        """Return the scenes, if the head is fitted and they can be seen."""
        self._drawer()
        return checked_scenes(seen)

    def _looked(
        self, scenes: Sequence[Scene], proposals: Sequence[Sequence[Box]] | None = None
    ) -> list[list[Drawing]]:
        network = self._drawer()
        if not self._objects:
            drawn = [draw_regions(network, View(scene, self._grid)) for scene in scenes]
            return [[drawing for drawing in row if not drawing.empty] for row in drawn]
        if proposals is None:
            if self._detector is None:
                return [[] for _ in scenes]
            proposals = [likely(row) for row in self._detector.predict(scenes)]
        pairs = zip(scenes, proposals, strict=True)
        return [draw_found(network, View(scene), boxes) for scene, boxes in pairs]

    def _said(self, drawings: Sequence[Drawing], scores: MaskScores) -> Drawn:
        kept = scored(drawings, scores, distinct=self._objects)
        if self.shape == "mask":
            return as_masks(kept, self.labels)
        return as_polygons(kept, self.labels, parts=not self._objects)

    def _without_themselves(self, found: Experience) -> list[Drawn]:
        """Return what is said of each training image by networks and scores that never saw it."""
        said: list[Drawn] = [() for _ in found.rows]
        for held in np.unique(found.fold):
            scores = found.scores(without=int(held))
            for row in np.flatnonzero(found.fold == held).tolist():
                said[row] = self._said(found.rows[row], scores)
        return said

    def _best_threshold(self, said: Sequence[Drawn], targets: Sequence[Opinions]) -> float:
        """Return the score from which masks are worth showing: where the losses are least."""
        costs = []
        for threshold in _THRESHOLDS:
            self.threshold = float(threshold)
            costs.append(float(self.losses(said, targets).mean()))
        # Of equally good ones the middle, which is a half where nothing can be told.
        best = np.flatnonzero(np.array(costs) <= min(costs) + 1e-6)
        return float(_THRESHOLDS[best[len(best) // 2]])
