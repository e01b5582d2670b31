"""The detection head: boxes, ellipses or points of objects, with label and calibrated score.

Where objects are, small networks on the LVM's feature maps tell (`models.heads.centres`), one for
each fold of the scenes. What they are, a classification head tells from the LVM's embedding of the
object alone: a few tens of objects suffice for that, where a network on maps needs thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.agreement import Agreed, agreed
from models.answers import Answer, Shape
from models.heads.base import Floats, Head, HeadError
from models.heads.centre_finding import SHAPES, Candidates, look, objects_of, read
from models.heads.centre_training import default_steps, train
from models.heads.centre_views import Example
from models.heads.centres import Centres, arrays_of, net_of
from models.heads.classification import SingleChoiceHead
from models.heads.detection_scores import Found, brier, disagreement, fold_of
from models.heads.inputs import check_positive
from models.heads.judging import Judge, features
from models.heads.left_out import LOWEST, learn_from_left_out
from models.heads.naming import embeddings, told_by
from models.opinions import Opinions
from models.scenes import Scene


class DetectionHead(Head):
    """Finds objects of one shape in scenes.

    Parameters
    ----------
    labels : sequence of str
        ``("",)`` where the tag has none.
    shape : {"box", "ellipse", "point"}
        What people draw. Turned boxes are learned as the upright ones around them.
    steps : int, optional
        Of training; by default some 50 times the root of the number of scenes.

    Attributes
    ----------
    threshold : float
        Shapes at least this likely are shown to people: of all thresholds the one with the best F1
        on scenes that were left out.
    """

    kind = "detection"
    sees = "scene"

    def __init__(self, labels: Sequence[str], shape: str = "box", steps: int | None = None) -> None:
        super().__init__(labels)
        if shape not in SHAPES:
            raise HeadError(f"A detection head finds {sorted(SHAPES)}, not {shape!r}.")
        if steps is not None and steps < 1:
            raise HeadError(f"Training takes at least 1 step, not {steps}.")
        self.shape = shape
        self.steps = steps
        self.threshold = 0.5
        self._nets: tuple[Centres, ...] = ()
        self._names: SingleChoiceHead | None = None
        self._judge = Judge.plain(0)

    @property
    def dimension(self) -> int:
        """Channels of all feature maps together."""
        return sum(self._fitted()[0].channels)

    def fit(
        self,
        seen: Sequence[Scene],
        targets: Sequence[Opinions],
        weights: ArrayLike | None = None,
        *,
        pool: Any = None,
        seed: int = 0,
    ) -> Self:
        """Fit to what people drew (see `Head.fit`).

        Scenes at which nobody looked are left aside; several people's shapes are fused by
        `models.agreement`. `pool` is not used.
        """
        scenes, truths, w = self._checked(seen, targets, weights)
        looked = np.array([len(opinions) > 0 for opinions in targets])
        used = np.flatnonzero(looked)
        examples = [
            Example(
                scene.inputs,
                objects_of(
                    [one.shape for one in truth],
                    [one.share for one in truth],
                    self.shape,
                    scene.scale,
                ),
                float(weight / w[used].mean()),
            )
            for scene, truth, weight in zip(scenes, truths, w, strict=True)
        ]
        folds = np.full(len(scenes), -1)
        folds[used] = fold_of([scenes[i] for i in used], seed)
        lvm = scenes[0].lvm
        steps = self.steps or default_steps(len(used))
        kept = [examples[i] for i in used]
        nets = train(kept, folds[used], lvm, self.shape, steps, seed)
        # Built from plain arrays as when they are read again, so that both say the same.
        self._nets = tuple(net_of(net.channels, self.shape, arrays_of(net)) for net in nets)
        left = learn_from_left_out(
            self._nets, scenes, truths, w, folds, self.labels, self.shape, seed
        )
        self._names, self._judge, self.threshold = left.names, left.judge, left.threshold
        self.out_of_fold = left.rows
        self.committee = tuple(
            self._member(net, *part) for net, part in zip(self._nets, left.members, strict=False)
        )
        return self

    def found(self, seen: Sequence[Scene]) -> list[Found]:
        """Return what is found in each scene, with probabilities of place and label apart."""
        nets = self._fitted()
        return [
            self._judged(scene, read(look(scene, nets), self.shape, scene))
            for scene in _scenes(seen)
        ]

    def predict(self, seen: Sequence[Scene]) -> list[tuple[Shape, ...]]:
        """Return for each scene its shapes that are at least `LOWEST` likely, likeliest first.

        Their score is the calibrated probability that people drew it and gave it this label.
        """
        return [found.said(self.labels, LOWEST) for found in self.found(seen)]

    def answers(self, seen: Sequence[Scene]) -> list[tuple[Answer, ...]]:
        """Return the shapes that are shown to people, see `threshold`."""
        return [found.said(self.labels, self.threshold) for found in self.found(seen)]

    def uncertainty(self, seen: Sequence[Scene]) -> Floats:
        """Return ``1 - exp(-e) (1 - d / 2)`` of each scene.

        e is the expected number of errors in the answers: shapes that are wrong, and shapes below
        the threshold that are right. d is the share of the shapes that single networks of the folds
        do not see.
        """
        nets = self._fitted()
        doubts = []
        for scene in _scenes(seen):
            maps = look(scene, nets)
            found = self._judged(scene, read(maps, self.shape, scene))
            shown = found.place >= self.threshold
            mine = found.said(self.labels, self.threshold)
            wrong = sum(1 - (shape.score or 0.0) for shape in mine)
            errors = float(wrong + found.place[~shown].sum())
            single = [read([one], self.shape, scene) for one in maps]
            apart = disagreement(mine, found.heat[shown], single)
            doubts.append(1 - np.exp(-errors) * (1 - apart / 2))
        return np.array(doubts, dtype=np.float32).clip(0, 1)

    def losses(self, said: Sequence[Sequence[Shape]], targets: Sequence[Opinions]) -> Floats:
        """Return the Brier score of each scene's shapes, per object that people marked.

        A shape that matches (overlap of one half, best score first) costs ``(1 - score)^2`` if its
        label is right, ``score^2`` if not, like one that matches nothing; an object that was missed
        costs 1. What only a share of the people marked or named counts by this share.
        """
        if len(said) != len(targets):
            raise HeadError(f"{len(said)} rows need as many targets, not {len(targets)}.")
        kind = SHAPES[self.shape]
        rows = [brier(a, agreed(b, kind)) for a, b in zip(said, targets, strict=True)]
        return np.array(rows, dtype=np.float32)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the networks' weights, those of the labels' head, and the calibration."""
        tensors: dict[str, NDArray[Any]] = {}
        for place, net in enumerate(self._fitted()):
            tensors |= {f"net{place}.{name}": value for name, value in arrays_of(net).items()}
        tensors |= {f"judge.{name}": value for name, value in self._judge.arrays().items()}
        if self._names is not None:
            named, _ = self._names.state()
            tensors |= {f"names.{name}": value for name, value in named.items()}
        values = {
            "shape": self.shape,
            "steps": self.steps,
            "channels": list(self._nets[0].channels),
            "networks": len(self._nets),
            "threshold": float(self.threshold),
            "named": self._names is not None,
        }
        return tensors, values

    @classmethod
    def restore(
        cls, labels: Sequence[str], tensors: dict[str, NDArray[Any]], values: dict[str, Any]
    ) -> Self:
        """Build a head from its `state`."""
        try:
            head = cls(labels, values["shape"], values["steps"])
            channels = [int(c) for c in values["channels"]]
            count = int(values["networks"])
            head.threshold = float(values["threshold"])
            if not 0 <= head.threshold <= 1:
                raise ValueError(f"the threshold is {head.threshold}")
            if not (1 <= count <= 16 and 1 <= len(channels) <= 16):
                raise ValueError(f"{count} networks of {len(channels)} levels are none")
            if not all(1 <= c <= 8192 for c in channels):
                raise ValueError(f"{channels} are no channels")
            parts: dict[str, dict[str, NDArray[Any]]] = {}
            for name, value in tensors.items():
                part, _, rest = name.partition(".")
                parts.setdefault(part, {})[rest] = value
            names = parts.pop("names", None)
            if (names is not None) != bool(values["named"]):
                raise ValueError("the part that tells labels is missing, or one too many")
            head._judge = Judge.read(parts.pop("judge", {}))
            wanted = {f"net{place}" for place in range(count)}
            if set(parts) != wanted:
                raise ValueError(f"it holds the parts {sorted(parts)}, not {sorted(wanted)}")
            head._nets = tuple(
                net_of(channels, head.shape, parts[f"net{place}"]) for place in range(count)
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise HeadError(
                f"The file is no whole detection head: {error}. Roll back to another version."
            ) from None
        if names is not None:
            head._names = SingleChoiceHead.restore(labels, names, {})
        return head

    def _judged(self, scene: Scene, found: Candidates) -> Found:
        """Look at each candidate alone: how likely it is right, and its label."""
        shown = embeddings(scene, found.shapes)
        if shown.shape[1] != len(self._judge.middle) - 1:
            raise HeadError(
                f"This head takes embeddings of {len(self._judge.middle) - 1} numbers, not "
                f"{shown.shape[1]}. Were they made by another LVM? Then train anew."
            )
        place = self._judge.probability(features(found.heat, found.shapes, shown))
        names = told_by(self._names, self.labels, shown)
        return Found(found.shapes, place, names, found.heat).without_rivals(LOWEST)

    def _member(self, net: Centres, names: SingleChoiceHead | None, judge: Judge) -> DetectionHead:
        one = DetectionHead(self.labels, self.shape, self.steps)
        one._nets, one._names, one._judge = (net,), names, judge
        one.threshold = self.threshold
        return one

    def _fitted(self) -> tuple[Centres, ...]:
        if not self._nets:
            raise HeadError("This head is not fitted; call fit() or load() first.")
        return self._nets

    def _checked(
        self, seen: Sequence[Scene], targets: Sequence[Opinions], weights: ArrayLike | None
    ) -> tuple[list[Scene], list[list[Agreed]], NDArray[np.float64]]:
        scenes = _scenes(seen)
        w = np.ones(len(scenes)) if weights is None else np.asarray(weights, dtype=np.float64)
        if len(targets) != len(scenes) or w.shape != (len(scenes),):
            raise HeadError(
                f"{len(scenes)} scenes need as many targets and weights, not {len(targets)} and "
                f"{list(w.shape)}."
            )
        if not all(isinstance(opinions, Opinions) for opinions in targets):
            raise HeadError("The targets of a detection head are models.opinions.Opinions.")
        if not any(len(opinions) for opinions in targets):
            raise HeadError("There is no labelled row to fit to.")
        check_positive(w)
        return scenes, [agreed(opinions, SHAPES[self.shape]) for opinions in targets], w


def _scenes(seen: Sequence[Scene]) -> list[Scene]:
    scenes = list(seen)
    for place, scene in enumerate(scenes):
        if not isinstance(scene, Scene):
            raise HeadError(f"A detection head sees scenes; row {place} is a {type(scene)}.")
        if not scene.inputs.isfinite().all():
            raise HeadError(
                f"Scene {place} is not finite (NaN or infinite); read its image again or leave it "
                "out."
            )
    return scenes
