"""What a scene is in numbers: the LVM's embedding of its middle, and quick measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from models.photometry import MEASURED, quick_measurements
from models.scenes import Scene

_AT_ONCE = 16
# Several numbers are asked of one scene; each takes milliseconds to describe.
_KNOWN: WeakKeyDictionary[Scene, NDArray[np.float32]] = WeakKeyDictionary()


def scene_features(scenes: Sequence[Scene]) -> NDArray[np.float32]:
    """Describe scenes of one LVM by a row each.

    Parameters
    ----------
    scenes : sequence of n Scene
        With their galaxy in the middle, as stamps have it. Their maps are not made.

    Returns
    -------
    float32 [n, MEASURED + d]
        `quick_measurements`, then the LVM's embedding of the central square that it is shown of
        stamps (`Preprocessing.crop`).

    Raises
    ------
    ValueError
        If something is no scene, values are not finite, or the scenes are of several LVMs.
    """
    scenes = list(scenes)
    for place, scene in enumerate(scenes):
        if not isinstance(scene, Scene):
            raise ValueError(f"Row {place} is a {type(scene).__name__}, not a scene.")
        if scene.lvm is not scenes[0].lvm and scene.lvm.identity != scenes[0].lvm.identity:
            raise ValueError("The scenes were made with several LVMs; make them with one.")
    if not scenes:
        return np.zeros((0, MEASURED), dtype=np.float32)
    new = [scene for scene in dict.fromkeys(scenes) if scene not in _KNOWN]
    if new:
        rows = np.hstack([[quick_measurements(scene) for scene in new], list(_embedded(new))])
        _KNOWN.update(zip(new, np.asarray(rows, dtype=np.float32), strict=True))
    return np.stack([_KNOWN[scene] for scene in scenes])


def _embedded(scenes: Sequence[Scene]) -> Iterator[NDArray[Any]]:
    lvm = scenes[0].lvm
    seen = lvm.preprocessing
    for start in range(0, len(scenes), _AT_ONCE):
        stamps = []
        for scene in scenes[start : start + _AT_ONCE]:
            width, height = scene.size
            half = seen.crop * min(width, height) / 2
            bounds = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
            stamps.append(scene.crop(bounds, seen.size))
        with torch.inference_mode():
            yield from lvm.encode(torch.stack(stamps)).pooled.float().numpy()
