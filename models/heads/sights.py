"""Sights: what a mask network is shown of one window of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from models.answers import Box
from models.heads.base import HeadError
from models.heads.mask_network import GRID, SIGHT
from models.scenes import Scene
from models.windows import Window

BOX_FACTOR = 1.7
"""Side of the window by the longer side of the box that is asked for."""

# Width of the point's spot, as a fraction of the window's side.
_SPOT = 0.03
# Sky noise is told from every fourth row and column; 8-bit pictures are rounded to whole numbers.
_STEP = 4
_LEAST_NOISE = 2.0


@dataclass(frozen=True, eq=False)
class Prompt:
    """What is asked for, and the window that it is looked for in.

    Attributes
    ----------
    window : Window
    box : (left, top, right, bottom) or None
        In fractions of the window's side.
    point : (x, y) or None
        In fractions of the window's side.
    """

    window: Window
    box: tuple[float, float, float, float] | None = None
    point: tuple[float, float] | None = None

    @classmethod
    def of_box(cls, box: Box) -> Prompt:
        """Ask for the object in a box."""
        window = Window.around(box, BOX_FACTOR)
        left, top, right, bottom = box.bounds
        return cls(window, (*window.place(left, top), *window.place(right, bottom)))

    @classmethod
    def of_point(cls, x: float, y: float, side: float) -> Prompt:
        """Ask for the object under a point, in a window of a side in pixels."""
        return cls(Window(x, y, side), point=(0.5, 0.5))

    @classmethod
    def of_image(cls, width: int, height: int) -> Prompt:
        """Ask for regions of a whole image."""
        window = Window(width / 2, height / 2, float(max(width, height)))
        return cls(window, (0.0, 0.0, 1.0, 1.0))

    def drawn(self, grid: int) -> Tensor:
        """Return the prompt as an image, float32 [3, grid, grid]: box, point, and which it is."""
        centres = (torch.arange(grid, dtype=torch.float32) + 0.5) / grid
        channels = torch.zeros(3, grid, grid)
        if self.box is not None:
            left, top, right, bottom = self.box
            # An edge that cuts a sample gives it the part that is inside.
            across = _inside(centres, left, right, grid)
            channels[0] = across[None, :] * _inside(centres, top, bottom, grid)[:, None]
            channels[2] = 1.0
        if self.point is not None:
            x, y = self.point
            apart = (centres[None, :] - x) ** 2 + (centres[:, None] - y) ** 2
            channels[1] = torch.exp(-apart / (2 * _SPOT**2))
        return channels


class View:
    """A scene as a mask network looks at it.

    Parameters
    ----------
    scene : Scene
    grid : int
        Side of a window, in samples.
    """

    def __init__(self, scene: Scene, grid: int = GRID) -> None:
        self.scene, self.grid = scene, grid
        self._pixels = torch.from_numpy(np.ascontiguousarray(scene.pixels)).permute(2, 0, 1)

    @cached_property
    def _sky(self) -> tuple[Tensor, Tensor]:
        few = self._pixels[:, ::_STEP, ::_STEP].float().flatten(1)
        level = few.median(dim=1).values[:, None, None]
        spread = 1.4826 * (few - level[:, :, 0]).abs().median(dim=1).values[:, None, None]
        return level, spread.clamp_min(_LEAST_NOISE)

    @cached_property
    def _shift(self) -> tuple[Tensor, Tensor] | None:
        """Factor and offset from pixels to the LVM's input, where it is no more than that."""
        how = self.scene.lvm.preprocessing
        if how.kind != "rgb8" or self.scene.inputs.shape != self._pixels.shape:
            return None
        mean, std = (torch.tensor(value)[:, None, None] for value in (how.mean, how.std))
        factor, offset = 1 / (255 * std), -mean / std
        few = self._pixels[:, ::_STEP, ::_STEP].float() * factor + offset
        same = torch.allclose(few, self.scene.inputs[:, ::_STEP, ::_STEP], atol=1e-5)
        return (factor, offset) if same else None

    def look(self, prompt: Prompt) -> tuple[Tensor, Tensor]:
        """Look at a window.

        Returns
        -------
        float32 [SIGHT, grid, grid]
            Colours above the sky and the prompt. Colours are asinh of the value above the median
            of the image in units of twice its scatter, which keeps both faint edges and bright
            cores in sight.
        float32 [3, side, side]
            What the LVM is shown.
        """
        level, spread = self._sky
        pixels = prompt.window.sample(self._pixels, self.grid)
        colours = torch.asinh((pixels - level) / (2 * spread))
        sight = torch.cat([colours, prompt.drawn(self.grid)])
        assert len(sight) == SIGHT
        side = self.scene.lvm.preprocessing.size * self.grid // GRID
        if self._shift is not None and side == self.grid:
            return sight, pixels * self._shift[0] + self._shift[1]
        return sight, prompt.window.sample(self.scene.inputs, side, self.scene.scale)


def shown(views: Sequence[View], prompts: Sequence[Prompt]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Look at n windows of scenes of one LVM.

    Returns
    -------
    float32 [n, SIGHT, g, g], tuple of float32 [n, c, h, w]
        What the network draws on, and the LVM's maps.
    """
    looks = [view.look(prompt) for view, prompt in zip(views, prompts, strict=True)]
    sight, inputs = (torch.stack(parts) for parts in zip(*looks, strict=True))
    with torch.inference_mode():
        maps = views[0].scene.lvm.maps(inputs)
    # Contiguous: the backward pass of GroupNorm crashes on channels-last input without gradient.
    kept = torch.contiguous_format
    return sight, tuple(level.float().clone(memory_format=kept) for level in maps)


def checked_scenes(seen: object) -> list[Scene]:
    """Return the scenes, all of one LVM and finite.

    Raises
    ------
    HeadError
        They are no scenes, not finite, or of several LVMs.
    """
    if not isinstance(seen, Sequence) or not all(isinstance(scene, Scene) for scene in seen):
        raise HeadError("A mask head sees a list of scenes (models.scenes.Scene), nothing else.")
    scenes = list(seen)
    for row, scene in enumerate(scenes):
        if not torch.isfinite(scene.inputs).all():
            raise HeadError(
                f"Scene {row} holds values that are not finite; read the image again or leave it "
                "out."
            )
        if scene.lvm is not scenes[0].lvm:
            raise HeadError("Scenes of several LVMs cannot be learned together; use one LVM.")
    return scenes


def _inside(centres: Tensor, low: float, high: float, grid: int) -> Tensor:
    reach = torch.minimum(centres - low, high - centres) * grid + 0.5
    return reach.clamp(0.0, 1.0)
