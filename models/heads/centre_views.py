"""Random views of scenes with what is marked on them, for the training of the detection head.

The sky has no upright and no mirror side; galaxies come in other sizes, brighter or fainter, and
in other places: objects of one scene are added to the sky of another, as in "Simple Copy-Paste"
(Ghiasi et al. 2021, CVPR).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.heads.centres import Objects

ZOOM = 0.4
"""Sizes change by up to exp(0.4) = 1.5 either way, in half of the views."""
BRIGHTNESS = 0.2
_PASTES = 2
_MARGIN = 1.2


@dataclass(frozen=True, eq=False)
class Example:
    """A picture as the LVM is shown it, float32 [3, h, w], what is marked on it, and a weight."""

    inputs: Tensor
    objects: Objects
    weight: float = 1.0


def random_view(
    example: Example,
    others: Sequence[Example],
    shape: str,
    side: int,
    rng: np.random.Generator,
) -> tuple[Tensor, Objects]:
    """Draw one view.

    Parameters
    ----------
    example : Example
    others : sequence of Example
        Whose objects may be added to it.
    shape : str
        "box", "ellipse" or "point"; points have no extent, so none are added.
    side : int
        Of the view, in pixels of the inputs.
    rng : numpy Generator
        The only source of randomness.

    Returns
    -------
    float32 [3, side, side], Objects
        Objects whose centre lies outside are left out.
    """
    zoom = float(np.exp(rng.uniform(-ZOOM, ZOOM))) if rng.random() < 0.5 else 1.0
    view, objects = _cropped(example, shape, side, zoom, rng)
    if shape != "point" and others:
        for _ in range(int(rng.integers(0, _PASTES + 1))):
            view, objects = _pasted(view, objects, others, shape, rng)
    view, objects = _turned(view, objects, shape, *(rng.random(3) < 0.5))
    return view * float(np.exp(rng.uniform(-BRIGHTNESS, BRIGHTNESS))), objects


def _cropped(
    example: Example, shape: str, side: int, zoom: float, rng: np.random.Generator
) -> tuple[Tensor, Objects]:
    height, width = example.inputs.shape[-2:]
    window = round(side / zoom)
    corner = []
    chosen = None
    if len(example.objects) and rng.random() < 0.7:
        chosen = example.objects.numbers[rng.integers(len(example.objects)), :2]
    for axis, length in enumerate((width, height)):
        free = length - window
        start = rng.uniform(min(free, 0), max(free, 0))
        if chosen is not None and free > 0:
            # Near the middle, so that most of the object is in view.
            start = np.clip(chosen[axis] - window * rng.uniform(0.25, 0.75), 0, free)
        corner.append(round(float(start)))
    left, top = corner
    part = example.inputs[:, max(top, 0) : top + window, max(left, 0) : left + window]
    fill = [max(-left, 0), 0, max(-top, 0), 0]
    fill[1], fill[3] = window - part.shape[2] - fill[0], window - part.shape[1] - fill[2]
    if any(fill):
        part = F.pad(part[None], fill, mode="replicate")[0]
    numbers = example.objects.numbers.copy()
    numbers[:, :2] -= np.array([left, top])
    if window != side:
        part = F.interpolate(part[None], (side, side), mode="bilinear", antialias=True)[0]
        numbers[:, :2] *= side / window
        numbers[:, 2 : 4 if shape == "box" else 3] += np.log(side / window)
    inside = ((numbers[:, :2] >= 0) & (numbers[:, :2] < side)).all(axis=1)
    kept = example.objects
    return part, Objects(numbers[inside], kept.share[inside])


def _pasted(
    view: Tensor,
    objects: Objects,
    others: Sequence[Example],
    shape: str,
    rng: np.random.Generator,
) -> tuple[Tensor, Objects]:
    """Add one object of another picture where none is in the way."""
    donor = others[int(rng.integers(len(others)))]
    if not len(donor.objects):
        return view, objects
    which = int(rng.integers(len(donor.objects)))
    single = slice(which, which + 1)
    one = Objects(donor.objects.numbers[single].copy(), donor.objects.share[single])
    sides = one.sides(shape)[0]
    half = np.ceil(sides / 2 * _MARGIN).astype(int) + 1
    x, y = np.floor(one.numbers[0, :2]).astype(int)
    height, width = donor.inputs.shape[-2:]
    side = view.shape[-1]
    if x < half[0] or y < half[1] or x + half[0] >= width or y + half[1] >= height:
        return view, objects
    if side <= 2 * half.max() + 2:
        return view, objects
    patch = donor.inputs[:, y - half[1] : y + half[1] + 1, x - half[0] : x + half[0] + 1]
    edge = torch.cat([patch[:, 0], patch[:, -1], patch[..., 0], patch[..., -1]], dim=1)
    sky = edge.median(dim=1).values
    noise = 1.48 * (edge - sky[:, None]).abs().median(dim=1).values
    across = (torch.arange(-half[0], half[0] + 1) / (sides[0] / 2)).abs()
    down = (torch.arange(-half[1], half[1] + 1) / (sides[1] / 2)).abs()
    # Fades out between the box around the object and the edge of the patch.
    fade = ((_MARGIN - torch.maximum(across[None], down[:, None])) / (_MARGIN - 1)).clamp(0, 1)
    light = (patch - (sky + 2 * noise)[:, None, None]).clamp_min(0) * fade
    if rng.random() < 0.5:
        light = light.flip(2)
        one = _turned(light, one, shape, False, True, False, about=2.0 * x + 1)[1]
    for _ in range(4):
        to = np.array([rng.integers(h, side - h) for h in half])
        apart = np.abs(objects.numbers[:, :2] - to)
        if (apart > 0.4 * (objects.sides(shape) + sides)).any(axis=1).all():
            break
    else:
        return view, objects
    one.numbers[0, :2] += to - np.array([x, y])
    view = view.clone()
    view[:, to[1] - half[1] : to[1] + half[1] + 1, to[0] - half[0] : to[0] + half[0] + 1] += light
    numbers = np.concatenate([objects.numbers, one.numbers])
    share = np.concatenate([objects.share, one.share])
    return view.clamp_max(float(donor.inputs.max())), Objects(numbers, share)


def _turned(
    view: Tensor,
    objects: Objects,
    shape: str,
    swap: bool,
    mirror: bool,
    flip: bool,
    about: float | None = None,
) -> tuple[Tensor, Objects]:
    """Exchange the axes, mirror left and right, flip up and down: the eight ways a square lies."""
    numbers = objects.numbers.copy()
    side = float(view.shape[-1]) if about is None else about
    if swap:
        view = view.transpose(1, 2)
        numbers[:, :2] = numbers[:, 1::-1]
        if shape == "box":
            numbers[:, 2:4] = numbers[:, 3:1:-1]
        if shape == "ellipse":
            numbers[:, 3] *= -1
    for wanted, axis in ((mirror, 0), (flip, 1)):
        if wanted:
            if about is None:
                view = view.flip(2 - axis)
            numbers[:, axis] = side - numbers[:, axis]
            if shape == "ellipse":
                numbers[:, 4] *= -1
    return view, replace(objects, numbers=numbers)
