"""The last linear map of an LVM: from pooled numbers to an embedding that is short and even.

Pooled numbers of a network are many and say much the same. Their principal components over real
stamps, cut off where little is left, keep what tells galaxies apart; strong components stay strong,
because few labels suffice along them. Learners standardise what they are given, which would make
every component count alike, so the components are turned into each other by a fixed rotation:
distances stay, and all numbers of an embedding have about the same spread.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.frame import Canvas, central_views
from models.lvm import LVM
from models.throughput import embed, plan_for

COMPONENTS = 64
BATCH = 256
# Components whose spread is a smaller share of the largest one's are rounding.
SMALLEST = 1e-6

Doubles = NDArray[np.float64]


def with_projection(lvm: LVM, canvases: Canvas, components: int = COMPONENTS) -> LVM:
    """Return an LVM with the same network and a projection fitted in closed form.

    Parameters
    ----------
    lvm : LVM
        A projection that it may have is replaced.
    canvases : uint8 or float32 [n, side, side, 3]
        Real stamps, as `Frame.of(lvm.preprocessing)` draws them.
    components : int
        Most numbers of an embedding; there are fewer where stamps or directions are fewer.
    """
    bare = LVM(replace(lvm.config, projection=0))
    kept = {k: v for k, v in lvm.state_dict().items() if not k.startswith("projection.")}
    bare.load_weights(kept, "the LVM")
    weight, bias = compose(_pooled(bare, canvases), components)
    projected = LVM(replace(lvm.config, projection=len(bias)))
    kept["projection.weight"] = torch.from_numpy(weight)
    kept["projection.bias"] = torch.from_numpy(bias)
    projected.load_weights(kept, "the projection")
    return projected


def compose(
    pooled: Doubles, components: int = COMPONENTS
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit the map from pooled numbers to turned principal components.

    Parameters
    ----------
    pooled : float64 [n, d]
        Pooled numbers of real stamps.
    components : int
        Most of them.

    Returns
    -------
    weight, bias : float32 [k, d] and [k]
        Over the stamps the outputs have mean 0 and a mean square of 1. Distances between them are
        those in the space of the k leading components of the standardised numbers.

    Raises
    ------
    ValueError
        The stamps are all alike, so nothing tells them apart.
    """
    mean, spread = pooled.mean(axis=0), pooled.std(axis=0)
    # What hardly changes says nothing; its rounding must not be blown up.
    spread = np.where(spread > SMALLEST * max(spread.max(initial=0.0), 1e-30), spread, np.inf)
    z = (pooled - mean) / spread
    _, sizes, axes = np.linalg.svd(z, full_matrices=False)
    count = min(components, int((sizes > SMALLEST * max(sizes[0], 1e-30)).sum()))
    if not count:
        raise ValueError("The stamps are all alike: a projection needs some that differ.")
    scale = np.sqrt((sizes[:count] ** 2).sum() / len(z) / count)
    # The signs of axes are the solver's whim; with the largest entry positive they are ours.
    kept = axes[:count]
    kept = kept * np.sign(np.take_along_axis(kept, np.abs(kept).argmax(axis=1)[:, None], axis=1))
    weight = _rotation(count) @ kept / scale / spread
    return weight.astype(np.float32), (-weight @ mean).astype(np.float32)


def _rotation(count: int) -> Doubles:
    """Return always the same orthogonal matrix [count, count], with no axis of its own."""
    q, r = np.linalg.qr(np.random.default_rng(0).normal(size=(count, count)))
    return np.asarray(q * np.sign(np.diag(r)))


def _pooled(lvm: LVM, canvases: Canvas) -> Doubles:
    crop, size = lvm.config.preprocessing.crop, lvm.config.image_size
    # Exact, so that the same stamps give the same map on any hardware.
    plan = replace(plan_for(lvm), precision=torch.float32)
    rows = [
        embed(lvm, central_views(canvases[first : first + BATCH], size, crop), plan)
        for first in range(0, len(canvases), BATCH)
    ]
    return np.concatenate(rows).astype(np.float64)
