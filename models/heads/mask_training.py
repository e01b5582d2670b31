"""How a mask network learns: prompts drawn anew at every step, turned and mirrored at will."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.heads.mask_network import GRID, MaskNetwork, level_of
from models.heads.sights import BOX_FACTOR, Prompt, View, shown
from models.scenes import Scene
from models.windows import Window

BATCH = 16
_RATE = 3e-3
_MOST_STEPS = 300
_DECAY = 0.05
_AVERAGED = 0.98
_BOX_SHARE = 0.65
# Boxes of a detector, or a person, miss the edges by about this part of the sides.
_JITTER = 0.05
_LABEL_WEIGHT, _QUALITY_WEIGHT = 0.3, 0.3


@dataclass(frozen=True, eq=False)
class Example:
    """One thing to draw.

    Attributes
    ----------
    row : int
        Of its scene.
    planes : bool tensor [p, h, w]
        Its pixels (or those of each label) in a part of the image, framed by pixels that are out.
    corner : (int, int)
        x and y of that part in the image.
    shares : float32 tensor [k]
        Share of each label.
    edge : float64 [n, 2] or None
        Corners (x, y) in the image that its convex hull is among; None: the whole image is meant.
    """

    row: int
    planes: Tensor
    corner: tuple[int, int]
    shares: Tensor
    edge: NDArray[np.float64] | None

    @classmethod
    def of_object(cls, row: int, pixels: NDArray[np.bool_], shares: NDArray[Any]) -> Example:
        """Make one of a mask that is not empty."""
        rows = np.flatnonzero(pixels.any(axis=1))
        columns = np.flatnonzero(pixels.any(axis=0))
        top, left = int(rows[0]), int(columns[0])
        part = pixels[top : rows[-1] + 1, left : columns[-1] + 1]
        held = np.flatnonzero(part.any(axis=1))
        first = part.argmax(axis=1)[held]
        last = part.shape[1] - part[:, ::-1].argmax(axis=1)[held]
        xs, ys = np.concatenate([first, first, last, last]), np.tile(held, 4)
        ys = ys + np.tile(np.repeat([0, 1], len(held)), 2)
        edge = np.stack([xs + left, ys + top], axis=1).astype(np.float64)
        framed = torch.from_numpy(np.pad(part, 1))[None]
        return cls(
            row, framed, (left - 1, top - 1), torch.tensor(shares, dtype=torch.float32), edge
        )

    @classmethod
    def of_regions(cls, row: int, planes: NDArray[np.bool_]) -> Example:
        """Make one of the regions [k, H, W] of all labels."""
        framed = torch.from_numpy(np.pad(planes, ((0, 0), (1, 1), (1, 1))))
        shares = torch.from_numpy(planes.any(axis=(1, 2)).astype(np.float32))
        return cls(row, framed, (-1, -1), shares, None)

    def truth(self, window: Window, grid: int) -> Tensor:
        """Return the pixels in a window, float32 [p, grid, grid] in [0, 1]."""
        x, y = self.corner
        moved = Window(window.x - x, window.y - y, window.side, window.turn, window.mirrored)
        return moved.sample(self.planes, grid)

    def side(self) -> float:
        """Longer side of its upright box, in pixels; 0 if it has none."""
        return 0.0 if self.edge is None else float(np.ptp(self.edge, axis=0).max())


def steps_for(examples: int, objects: bool) -> int:
    """Return how many steps to take by default: more for more examples, within minutes."""
    most, each, least = (_MOST_STEPS, 0.6, 100) if objects else (_MOST_STEPS, 2.0, 100)
    return int(np.clip(each * examples, least, most))


def network_for(scene: Scene, classes: int, planes: int, seed: int) -> MaskNetwork:
    """Make a network of random weights that fits the LVM of a scene."""
    size = scene.lvm.preprocessing.size
    with torch.inference_mode():
        maps = scene.lvm.maps(torch.zeros(1, 3, size, size))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskNetwork(
            [level.shape[1] for level in maps],
            [level_of(size, level.shape[-1]) for level in maps],
            classes,
            planes,
        )


def train(
    network: MaskNetwork,
    views: Sequence[View],
    examples: Sequence[Example],
    weights: NDArray[np.float64],
    *,
    steps: int,
    point_side: float,
    seed: int,
    errors: NDArray[np.float64] | None = None,
) -> MaskNetwork:
    """Return a trained copy of a network.

    Parameters
    ----------
    views : sequence of View
        Of the scenes, by `Example.row`.
    examples : sequence of Example
        At least one.
    weights : [number of examples]
        How often each is drawn, in proportion; above 0.
    steps : int
        Batches of `BATCH` windows, or as many pixels in fewer and finer ones.
    point_side : float
        Side in pixels of the window that is looked at for a point.
    seed : int
    errors : float64 [m, 4], optional
        How far the edges of a detector's boxes lay from the true ones, see
        `models.heads.mask_task.box_errors`; a third of the boxes are drawn as wrong as these.
    """
    rng = np.random.default_rng(seed)
    net = deepcopy(network).train()
    averaged = deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _RATE, total_steps=max(steps, 2), pct_start=0.15
    )
    count = max(1, BATCH * GRID**2 // views[0].grid ** 2)
    order = _order(len(examples), weights, steps * count, rng)
    for step in range(steps):
        batch = [examples[i] for i in order[step * count : (step + 1) * count]]
        seen = [views[example.row] for example in batch]
        prompts = [
            _prompt(e, view, point_side, errors, rng) for e, view in zip(batch, seen, strict=True)
        ]
        truth = torch.stack(
            [e.truth(p.window, v.grid) for e, p, v in zip(batch, prompts, seen, strict=True)]
        )
        sight, maps = shown(seen, prompts)
        logits, quality, label = net(sight.contiguous(memory_format=torch.channels_last), maps)
        shares = torch.stack([example.shares for example in batch])
        loss = _loss(logits, quality, label, truth, shares)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            kept = min(_AVERAGED, (step + 1) / (step + 10))
            for mean, value in zip(averaged.parameters(), net.parameters(), strict=True):
                mean.lerp_(value, 1 - kept)
    return averaged.eval()


def _order(
    count: int, weights: NDArray[np.float64], wanted: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw examples in proportion to their weights, evenly: not one twice while another waits."""
    share = np.cumsum(weights / weights.sum())
    rounds = []
    for _ in range(math.ceil(wanted / count)):
        places = (np.arange(count) + rng.random()) / count
        rounds.append(
            rng.permutation(np.searchsorted(share, places, side="right").clip(0, count - 1))
        )
    return np.concatenate(rounds)[:wanted]


def _loss(logits: Tensor, quality: Tensor, label: Tensor, truth: Tensor, shares: Tensor) -> Tensor:
    cross = F.binary_cross_entropy_with_logits(logits, truth)
    p = logits.sigmoid()
    common = (p * truth).sum(dim=(2, 3))
    dice = 1 - (2 * common + 1) / (p.sum(dim=(2, 3)) + truth.sum(dim=(2, 3)) + 1)
    with torch.no_grad():
        said, true = logits > 0, truth > 0.5
        union = (said | true).sum(dim=(2, 3))
        overlap = (said & true).sum(dim=(2, 3)) / union.clamp_min(1)
        counts = (union > 0).float()
    worth = F.binary_cross_entropy_with_logits(quality, overlap, weight=counts)
    if logits.shape[1] == 1:
        named = -(shares * F.log_softmax(label, dim=1)).sum(dim=1).mean()
    else:
        named = F.binary_cross_entropy_with_logits(label, shares)
    return cross + dice.mean() + _QUALITY_WEIGHT * worth + _LABEL_WEIGHT * named


def _prompt(
    example: Example,
    view: View,
    point_side: float,
    errors: NDArray[np.float64] | None,
    rng: np.random.Generator,
) -> Prompt:
    """Ask for an example as a person or a detector might, in a turned and mirrored window."""
    mirrored = bool(rng.random() < 0.5)
    if example.edge is None:
        width, height = view.scene.size
        side = max(width, height) * rng.uniform(0.7, 1.1)
        x, y = (
            width / 2 + rng.uniform(-0.15, 0.15) * width,
            height / 2 + rng.uniform(-0.15, 0.15) * height,
        )
        return Prompt(Window(x, y, side, 90.0 * rng.integers(4), mirrored), (0.0, 0.0, 1.0, 1.0))
    turn = float(rng.uniform(0, 360))
    if rng.random() >= _BOX_SHARE:
        inside = example.planes[0].nonzero().numpy()
        # Twice as likely to be the nearer to the middle of two: people point at middles.
        picks = inside[rng.integers(len(inside), size=2)]
        middle = inside.mean(axis=0)
        row, column = picks[np.argmin(((picks - middle) ** 2).sum(axis=1))]
        x, y = column + 0.5 + example.corner[0], row + 0.5 + example.corner[1]
        side = point_side * math.exp(rng.normal(0, 0.35))
        return Prompt(Window(float(x), float(y), side, turn, mirrored), point=(0.5, 0.5))
    frame = Window(0.0, 0.0, 1.0, turn, mirrored)
    places = np.array([frame.place(x, y) for x, y in example.edge]) - 0.5
    low, high = places.min(axis=0), places.max(axis=0)
    extent = np.maximum(high - low, 1.0)
    # A third of the boxes are exact: people draw these, and a second look is asked with these.
    moved: NDArray[np.float64] = np.zeros(4)
    kind = rng.random()
    if kind < 1 / 3 and errors is not None and len(errors):
        moved = errors[rng.integers(len(errors))]
    elif kind < 2 / 3:
        moved = rng.normal(0, _JITTER, 4)
    low = low + moved[:2] * extent
    high = np.maximum(high + moved[2:] * extent, low + 1.0)
    side = max(float((high - low).max()), 8.0) * BOX_FACTOR
    if rng.random() < 0.5:
        side *= math.exp(rng.normal(0, 0.08))
    middle = (low + high) / 2
    unit = Window(0.0, 0.0, 1.0, turn, mirrored)
    x, y = (float(v) for v in _image_place(unit, middle))
    box = tuple(
        float(v) for v in np.concatenate([(low - middle) / side, (high - middle) / side]) + 0.5
    )
    return Prompt(Window(x, y, side, turn, mirrored), (box[0], box[1], box[2], box[3]))


def _image_place(unit: Window, place: NDArray[np.float64]) -> tuple[float, float]:
    """Return where in the image a place in the frame of a turned unit window lies."""
    turn = math.radians(unit.turn)
    right, down = (-place[0] if unit.mirrored else place[0]), place[1]
    return (
        right * math.cos(turn) - down * math.sin(turn),
        right * math.sin(turn) + down * math.cos(turn),
    )
