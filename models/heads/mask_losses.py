"""How wrong the masks of an image are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from models.answers import Mask, Polygon
from models.mask_agreement import instances, ious
from models.opinions import Opinions
from models.rasters import Bools, mask_of

_LABEL_SHARE = 0.5


def mask_loss(
    said: Sequence[Mask | Polygon], target: Opinions, labels: Sequence[str], objects: bool
) -> float:
    """Return 1 - the mean IoU over the true things and the false masks, in [0, 1].

    Masks and truths are matched one to one so that the sum of their IoU is largest. Half of an
    IoU counts whatever the label, half by the share of people who gave that label. What is missed
    and what is not there count 0. Without a thing and a mask the loss is 0, as it is if nobody
    looked.

    Parameters
    ----------
    said : sequence of Mask or Polygon
    target : Opinions
    labels : sequence of str
    objects : bool
        Whether each mask is an object; otherwise all masks of a label are one.

    Raises
    ------
    ValueError
        Sizes of masks do not agree.
    """
    if not len(target):
        return 0.0
    size = target.size or _size(said, target)
    if size is None:
        return float(bool(said))
    truths = instances(target, labels, size, joined=not objects)
    width, height = size
    masks = [mask_of(shape, height, width) for shape in said]
    names = [shape.label for shape in said]
    if not objects:
        masks, names = _together(masks, names)
    if not masks or not truths:
        return float(bool(masks) or bool(truths))
    shared = ious(masks, [truth.pixels for truth in truths])
    places = {label: place for place, label in enumerate(labels)}
    named = np.array(
        [[t.shares[places[name]] if name in places else 0.0 for t in truths] for name in names]
    )
    worth = shared * (1 - _LABEL_SHARE + _LABEL_SHARE * named)
    rows, columns = linear_sum_assignment(-worth)
    matched = worth[rows, columns]
    false = len(masks) - int(np.count_nonzero(matched > 0))
    return float(np.clip(1 - matched.sum() / (len(truths) + false), 0.0, 1.0))


def _together(masks: list[Bools], names: list[str]) -> tuple[list[Bools], list[str]]:
    joined: dict[str, Bools] = {}
    for mask, name in zip(masks, names, strict=True):
        joined[name] = joined[name] | mask if name in joined else mask
    return list(joined.values()), list(joined)


def _size(said: Sequence[Mask | Polygon], target: Opinions) -> tuple[int, int] | None:
    """Width and height of the masks; of polygons alone, enough to hold them; None without any."""
    marked = [shape for _, shape in target.each(Mask)] + [s for s in said if isinstance(s, Mask)]
    if marked:
        height, width = marked[0].pixels.shape
        return width, height
    corners = [s.points for s in said if isinstance(s, Polygon)]
    corners += [shape.points for _, shape in target.each(Polygon)]
    if not corners:
        return None
    reach = np.concatenate([np.asarray(points) for points in corners]).max(axis=0)
    return max(1, int(np.ceil(reach[0]))), max(1, int(np.ceil(reach[1])))
