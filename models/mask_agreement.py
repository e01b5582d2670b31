"""What several people's masks of one image have in common: instances, pixels, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.answers import Mask, Polygon, Shape
from models.opinions import Opinions
from models.rasters import mask_of

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

MATCH = 0.3
"""IoU from which two people's masks are taken for the same thing."""

# A person is expected to be right about 19 pixels in 20; worth as many pixels as this.
_PRIOR_RIGHT, _PRIOR_PIXELS = 0.95, 40.0
_ROUNDS = 20
_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Instance:
    """One thing that people marked.

    Attributes
    ----------
    pixels : bool [H, W]
    shares : float64 [k]
        Share of each label among those who marked it; sums to 1.
    support : float
        Share of the people who looked that marked it, in (0, 1].
    """

    pixels: Bools
    shares: Floats
    support: float


def iou(first: Bools, second: Bools) -> float:
    """Intersection over union of two masks of one shape; 0 if both are empty."""
    union = int(np.count_nonzero(first | second))
    return int(np.count_nonzero(first & second)) / union if union else 0.0


def ious(first: Sequence[Bools], second: Sequence[Bools]) -> Floats:
    """Intersection over union of all pairs [n, m]; masks that are apart are not compared."""
    boxes = [[_bounds(mask) for mask in masks] for masks in (first, second)]
    areas = [[int(np.count_nonzero(mask)) for mask in masks] for masks in (first, second)]
    found = np.zeros((len(first), len(second)))
    for i, a in enumerate(boxes[0]):
        for j, b in enumerate(boxes[1]):
            top, left = max(a[0], b[0]), max(a[1], b[1])
            bottom, right = min(a[2], b[2]), min(a[3], b[3])
            if bottom <= top or right <= left:
                continue
            part = np.s_[top:bottom, left:right]
            common = int(np.count_nonzero(first[i][part] & second[j][part]))
            found[i, j] = common / max(areas[0][i] + areas[1][j] - common, 1)
    return found


def staple(votes: Bools) -> Floats:
    """Estimate the probability that each pixel belongs to a thing, and how far to trust whom.

    Parameters
    ----------
    votes : bool [persons, n]
        Whether each person marked each pixel; leave pixels far from the thing out.

    Returns
    -------
    float64 [n]
        Probability that the pixel belongs to it, in [0, 1].

    Notes
    -----
    Expectation maximisation of Warfield et al. (2004), "Simultaneous truth and performance level
    estimation (STAPLE)", with a beta prior on each person's sensitivity and specificity
    (Commowick & Warfield 2010), without which two people or small things make it run away.
    """
    marked = votes.astype(np.float64)
    if len(marked) == 1:
        return marked[0]
    truth = marked.mean(axis=0)
    right, wrong = _PRIOR_RIGHT * _PRIOR_PIXELS, (1 - _PRIOR_RIGHT) * _PRIOR_PIXELS
    share = float(np.clip(truth.mean(), 0.01, 0.99))
    for _ in range(_ROUNDS):
        inside, outside = truth.sum(), (1 - truth).sum()
        sensitivity = (marked @ truth + right) / (inside + right + wrong)
        specificity = ((1 - marked) @ (1 - truth) + right) / (outside + right + wrong)
        odds = np.log(share / (1 - share)) + (
            marked.T @ np.log(sensitivity / (1 - specificity))
            + (1 - marked).T @ np.log((1 - sensitivity) / specificity)
        )
        new = 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
        moved = float(np.abs(new - truth).max(initial=0.0))
        truth = new
        if moved < _TOLERANCE:
            break
    return np.asarray(truth)


def fused_pixels(masks: Sequence[Bools]) -> Bools:
    """Return the pixels that people agree on; never empty where anybody marked a pixel."""
    if len(masks) == 1:
        return masks[0].copy()
    union = np.any(masks, axis=0)
    top, left, bottom, right = _bounds(union)
    if bottom <= top:
        return union
    # About as much sky as thing, so that neither rules the other.
    margin = max(2, (bottom - top + right - left) // 8)
    height, width = union.shape
    part = np.s_[
        max(0, top - margin) : min(height, bottom + margin),
        max(0, left - margin) : min(width, right + margin),
    ]
    votes = np.stack([mask[part] for mask in masks])
    truth = staple(votes.reshape(len(votes), -1)).reshape(votes.shape[1:])
    # Two people's doubt is settled by the half of the votes where the estimate says nothing.
    agreed = np.zeros_like(union)
    agreed[part] = truth > 0.5
    if not agreed.any():
        agreed[part] = votes.mean(axis=0) >= 0.5
    return agreed if agreed.any() else union


def instances(
    opinions: Opinions, labels: Sequence[str], size: tuple[int, int], *, joined: bool = False
) -> list[Instance]:
    """Find what people marked on an image, each thing once.

    Masks and polygons with the labels of the control (or none) count; two masks of different
    people that overlap by `MATCH` or more mean the same thing. A thing is kept if at least half of
    the people who looked marked it.

    Parameters
    ----------
    opinions : Opinions
    labels : sequence of str
    size : (int, int)
        Width and height of the image, in pixels.
    joined : bool
        Whether all that a person marked with one label is one thing (regions, not objects).

    Raises
    ------
    ValueError
        A mask is not as large as the image.
    """
    width, height = size
    people = len(opinions)
    groups: list[list[tuple[int, Bools, int]]] = []
    marks = sorted(_marks(opinions, labels, height, width, joined), key=lambda m: -m[1].sum())
    for person, pixels, label in marks:
        best, at = MATCH, -1
        for place, group in enumerate(groups):
            if any(other == person for other, _, _ in group):
                continue
            if joined and group[0][2] != label:
                continue
            near = float(np.mean(ious([pixels], [mask for _, mask, _ in group])))
            if near >= best or (joined and at < 0):
                best, at = near, place
        if at < 0:
            groups.append([(person, pixels, label)])
        else:
            groups[at].append((person, pixels, label))
    found = []
    for group in groups:
        support = len(group) / people
        if support < 0.5:
            continue
        shares = np.bincount([label for _, _, label in group], minlength=len(labels))
        pixels = fused_pixels([mask for _, mask, _ in group])
        found.append(Instance(pixels, shares / shares.sum(), support))
    return found


def marks_regions(targets: Sequence[Opinions]) -> bool:
    """Tell whether masks mean regions ("tidal feature") rather than objects one by one.

    They do if nobody marked two of a label on one image, and most masks of pixels are scattered
    over several parts, or most marks cover over 40 % of the image.
    """
    from scipy.ndimage import label as parts_of

    scattered, wide, count = 0, 0, 0
    for opinions in targets:
        for answers in opinions.by_person:
            shapes = [a for a in answers if isinstance(a, Mask | Polygon)]
            names = [shape.label for shape in shapes]
            if len(set(names)) < len(names):
                return False
            for shape in shapes:
                count += 1
                if not isinstance(shape, Mask):
                    continue
                wide += bool(shape.pixels.mean() > 0.4)
                parts, number = parts_of(shape.pixels, np.ones((3, 3)))
                if number > 1:
                    areas = np.sort(np.bincount(parts.ravel())[1:])
                    scattered += bool(areas[:-1].sum() > 0.2 * areas.sum())
    return count > 0 and max(scattered, wide) > count / 2


def _marks(
    opinions: Opinions, labels: Sequence[str], height: int, width: int, joined: bool
) -> list[tuple[int, Bools, int]]:
    """Return (person, pixels, place of the label) of all that has pixels."""
    places = {label: place for place, label in enumerate(labels)}
    found: list[tuple[int, Bools, int]] = []
    for person, shape in opinions.each(Shape):
        if not isinstance(shape, Mask | Polygon) or (shape.label and shape.label not in places):
            continue
        pixels = mask_of(shape, height, width)
        if not pixels.any():
            continue
        label = places.get(shape.label, 0)
        same = [
            i for i, (who, _, what) in enumerate(found) if joined and (who, what) == (person, label)
        ]
        if same:
            found[same[0]] = (person, found[same[0]][1] | pixels, label)
        else:
            found.append((person, pixels, label))
    return found


def _bounds(mask: Bools) -> tuple[int, int, int, int]:
    """Top, left, bottom, right (ends not included); zeros if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
