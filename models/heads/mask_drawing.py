"""Masks drawn by a mask network: from prompts to pixels of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from scipy.ndimage import label as parts_of
from torch import Tensor

from models.answers import Box
from models.heads.base import HeadError
from models.heads.mask_network import MaskNetwork
from models.heads.sights import Prompt, View, shown
from models.segmentation import mask_to_box, segment_at

_BATCH = 16
# Parts smaller than this share of the largest are specks.
_SPECK = 0.05
# Boxes of a detector are not exact; the box of what is drawn is nearer to the truth.
_LOOKS = 2


@dataclass(frozen=True, eq=False)
class Drawing:
    """One mask as the network draws it.

    Attributes
    ----------
    part : bool [h, w]
        The pixels of a part of the image, outside of which there are none.
    corner : (int, int)
        Row and column of that part in the image.
    size : (int, int)
        Width and height of the image.
    quality : float
        IoU with the truth that the network expects, as logit.
    labels : float64 [k]
        Probability of each label; sums to 1 of an object.
    doubt : float
        Entropy of its pixels in bits, averaged inside it, in [0, 1].
    detected : float or None
        Score of the box that it was looked for in; None where a person asked.
    name : str
        Label of that box, if any.
    """

    part: NDArray[np.bool_]
    corner: tuple[int, int]
    size: tuple[int, int]
    quality: float
    labels: NDArray[np.float64]
    doubt: float
    detected: float | None = None
    name: str = ""

    @property
    def empty(self) -> bool:
        """Whether it has no pixel."""
        return not self.part.any()

    @property
    def pixels(self) -> NDArray[np.bool_]:
        """The mask, bool [H, W]."""
        whole = np.zeros(self.size[::-1], dtype=np.bool_)
        top, left = self.corner
        whole[top : top + self.part.shape[0], left : left + self.part.shape[1]] = self.part
        return whole

    def box(self) -> Box | None:
        """Return the box around it; None if it is empty."""
        if self.empty:
            return None
        box = mask_to_box(self.part)
        top, left = self.corner
        return replace(box, x=box.x + left, y=box.y + top)


def draw_objects(
    network: MaskNetwork, view: View, prompts: Sequence[Prompt], looks: int = 1
) -> list[Drawing]:
    """Draw the objects that are asked for.

    Parameters
    ----------
    looks : int
        How often each is looked at; from the second look on, the box of what was drawn is asked
        for.
    """
    found: list[Drawing] = []
    for start in range(0, len(prompts), _BATCH):
        asked = list(prompts[start : start + _BATCH])
        drawn = _drawn(network, view, asked)
        for _ in range(looks - 1):
            boxes = [drawing.box() for drawing in drawn]
            again = [place for place, box in enumerate(boxes) if box is not None]
            if not again:
                break
            nearer = [Prompt.of_box(box) for box in boxes if box is not None]
            for place, drawing in zip(again, _drawn(network, view, nearer), strict=True):
                # A second look that loses the object is no better than the first.
                if not drawing.empty:
                    drawn[place] = drawing
        found.extend(drawn)
    return found


def draw_found(network: MaskNetwork, view: View, boxes: Sequence[Box]) -> list[Drawing]:
    """Draw what a detector proposes; what turns out to be empty is left out."""
    drawn = draw_objects(network, view, [Prompt.of_box(box) for box in boxes], looks=_LOOKS)
    return [
        replace(drawing, detected=box.score, name=box.label)
        for drawing, box in zip(drawn, boxes, strict=True)
        if not drawing.empty
    ]


def draw_under(
    network: MaskNetwork, view: View, point: tuple[float, float], side: float
) -> Drawing:
    """Draw the object under a point: of two drawings the one that the network thinks better of.

    One is looked for around the point, in a window of a side in pixels; the other in the box of
    what `segment_at` cuts out there. Both are looked at twice.
    """
    prompts = [Prompt.of_point(*point, side)]
    cut_out = segment_at(view.scene.pixels, *point)
    if cut_out.any():
        prompts.append(Prompt.of_box(mask_to_box(cut_out)))
    drawn = draw_objects(network, view, prompts, looks=2)
    return max(drawn, key=lambda drawing: (not drawing.empty, drawing.quality))


def draw_regions(network: MaskNetwork, view: View) -> list[Drawing]:
    """Draw the regions of each label on the whole image: k drawings."""
    width, height = view.scene.size
    prompt = Prompt.of_image(width, height)
    with torch.inference_mode():
        logits, quality, label = network(*_shown(network, view, [prompt]))
    pasted, corner = prompt.window.paste(logits[0], height, width)
    told = label[0].sigmoid().double().numpy()
    return [
        Drawing(
            np.asarray(pasted[plane].numpy() > 0),
            corner,
            (width, height),
            float(quality[0, plane]),
            np.eye(network.classes)[plane] * told[plane],
            _doubt(logits[0, plane]),
        )
        for plane in range(network.planes)
    ]


def _drawn(network: MaskNetwork, view: View, prompts: Sequence[Prompt]) -> list[Drawing]:
    width, height = view.scene.size
    with torch.inference_mode():
        logits, quality, label = network(*_shown(network, view, prompts))
    told = label.softmax(dim=1).double().numpy()
    found = []
    for place, prompt in enumerate(prompts):
        pasted, corner = prompt.window.paste(logits[place], height, width)
        part = _without_specks(pasted[0].numpy() > 0)
        doubt = _doubt(logits[place, 0])
        size = (width, height)
        found.append(Drawing(part, corner, size, float(quality[place, 0]), told[place], doubt))
    return found


def _shown(
    network: MaskNetwork, view: View, prompts: Sequence[Prompt]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    sight, maps = shown([view] * len(prompts), prompts)
    channels = tuple(level.shape[1] for level in maps)
    if channels != network.channels:
        raise HeadError(
            f"This head takes maps of {network.channels} channels, not {channels}. Were they made "
            "by another LVM? Then train anew."
        )
    return sight, maps


def _without_specks(pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, count = parts_of(pixels)
    if count == 0:
        return pixels
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept = areas >= max(_SPECK * areas.max(), 1)
    return np.asarray(binary_fill_holes(kept[parts]))


def _doubt(logits: Tensor) -> float:
    """Entropy in bits of pixels, averaged with their probabilities of being inside as weights."""
    p = logits.double().sigmoid().clamp(1e-6, 1 - 1e-6)
    entropy = -(p * p.log2() + (1 - p) * (1 - p).log2())
    return float(((entropy * p).sum() / p.sum()).clamp(0.0, 1.0))
