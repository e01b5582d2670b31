"""From the maps of the detection head's networks to candidates in one scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from models.agreement import ellipse_numbers, ellipse_of
from models.answers import Box, Ellipse, Point, Shape
from models.boxes import overlaps, strongest
from models.heads.base import HeadError
from models.heads.centre_training import maps_of
from models.heads.centres import NUMBERS, STRIDE, Centres, Objects, cell_centres, true_numbers
from models.scenes import Scene

Array = NDArray[np.float64]

SHAPES: dict[str, type[Shape]] = {"box": Box, "ellipse": Ellipse, "point": Point}
FAINTEST = 0.04
"""Answers of the centre map below this are no candidates."""
MOST = 60
"""Candidates of one scene."""
RIVALS = 0.65
"""Of candidates that overlap by more than this only the strongest is judged."""
_SMALLEST = 64
"""Smaller pictures are filled up to this side before they are looked at, in pixels."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """What may be in a scene, best first.

    Attributes
    ----------
    shapes : tuple of m shapes
        In pixels of the image, without label and score.
    heat : float64 [m]
        Answer of the centre map, in (0, 1); not calibrated.
    """

    shapes: tuple[Shape, ...]
    heat: Array


def look(scene: Scene, nets: Sequence[Centres], keep: bool = True) -> list[tuple[Array, Array]]:
    """Return each network's maps of a scene: heat [h, w] in (0, 1), raw numbers [p, h, w].

    Parameters
    ----------
    keep : bool
        Leave the feature maps with the scene, for other heads.

    Raises
    ------
    HeadError
        The feature maps are those of another LVM.
    """
    inputs = scene.inputs[None]
    width, height = (max(0, _SMALLEST - side) for side in (inputs.shape[3], inputs.shape[2]))
    if width or height:
        inputs = F.pad(inputs, (0, width, 0, height), mode="replicate")
    plain = keep and not (width or height)
    pyramid = scene.pyramid if plain else [m[0] for m in maps_of(scene.lvm, inputs, not keep)]
    found = tuple(level.shape[0] for level in pyramid)
    if found != nets[0].channels:
        raise HeadError(
            f"This head takes feature maps of {list(nets[0].channels)} channels, not "
            f"{list(found)}. Were they made by another LVM? Then train anew."
        )
    maps = []
    with torch.inference_mode():
        for net in nets:
            said = net(inputs, [level[None] for level in pyramid])[0].double()
            # A picture that was filled up has cells beyond its edge.
            cells = [-(-side // STRIDE) for side in scene.inputs.shape[-2:]]
            said = said[:, : cells[0], : cells[1]]
            maps.append((said[0].sigmoid().numpy(), said[1:].numpy()))
    return maps


def read(maps: Sequence[tuple[Array, Array]], shape: str, scene: Scene) -> Candidates:
    """Find the candidates in the mean of several networks' maps."""
    heat, raw = (np.mean([pair[part] for pair in maps], axis=0) for part in (0, 1))
    return candidates(heat, raw, shape, scene.scale)


def candidates(heat: Array, raw: Array, shape: str, scale: tuple[float, float]) -> Candidates:
    """Read the peaks of the maps; of rivals for one object the strongest stays."""
    grid = torch.from_numpy(heat)[None, None]
    peaks = (F.max_pool2d(grid, 3, 1, 1)[0, 0].numpy() == heat) & (heat > FAINTEST)
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-heat[rows, columns], kind="stable")[: 2 * MOST]
    rows, columns = rows[order], columns[order]
    numbers = _around(heat, raw, rows, columns)
    found = [shape_of(row, shape, scale) for row in numbers]
    strength = heat[rows, columns]
    kept = strongest(overlaps(found, found), strength, RIVALS)[:MOST]
    return Candidates(tuple(found[i] for i in kept), strength[kept])


def _around(heat: Array, raw: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
    """Numbers of shapes [m, p] as the cells around each peak tell them, weighted by their heat."""
    total, weight = np.zeros((len(rows), len(raw))), np.zeros((len(rows), 1))
    centres = cell_centres(*heat.shape)
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            r = (rows + row).clip(0, heat.shape[0] - 1)
            c = (columns + column).clip(0, heat.shape[1] - 1)
            w = heat[r, c][:, None]
            total += w * true_numbers(raw[:, r, c].T, centres[:, r, c].T)
            weight += w
    return np.asarray(total / weight)


def shape_of(numbers: Array, shape: str, scale: tuple[float, float]) -> Shape:
    """Make an answer, in pixels of the image, of numbers [p] in pixels of the inputs."""
    x, y = float(numbers[0] * scale[0]), float(numbers[1] * scale[1])
    if shape == "point":
        return Point(x, y)
    if shape == "ellipse":
        mean = float(numbers[2] + np.log(scale[0] * scale[1]) / 2)
        return ellipse_of(x, y, mean, float(numbers[3]), float(numbers[4]))
    width, height = (float(side) for side in np.exp(numbers[2:4]) * np.array(scale))
    return Box(x - width / 2, y - height / 2, width, height)


def objects_of(
    shapes: Sequence[Shape], share: Sequence[float], shape: str, scale: tuple[float, float]
) -> Objects:
    """Undo `shape_of` for several; turned boxes become the upright ones around them."""
    rows = []
    for one in shapes:
        if isinstance(one, Box):
            left, top, right, bottom = one.bounds
            sides = np.log([(right - left) / scale[0], (bottom - top) / scale[1]])
            row = [(left + right) / 2, (top + bottom) / 2, *sides]
        elif isinstance(one, Ellipse):
            row = list(ellipse_numbers(one))
            row[2] -= np.log(scale[0] * scale[1]) / 2
        else:
            assert isinstance(one, Point)
            row = [one.x, one.y]
        rows.append([row[0] / scale[0], row[1] / scale[1], *row[2:]])
    numbers = np.array(rows, dtype=np.float64).reshape(-1, NUMBERS[shape])
    return Objects(numbers, np.array(share, dtype=np.float64))
