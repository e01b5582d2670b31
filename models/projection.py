"""The last linear map of an LVM: from pooled numbers to what can be measured, or was simulated.

Pooled numbers of a network are many and of unequal worth. A ridge regression from them to the
measurements of real stamps and the truth of simulated ones (no labels) gives embeddings whose
directions mean something, and from which few votes suffice.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.lvm import LVM
from models.simulation import KINDS
from models.stamps import RealStamps, SimulatedStamps, central_views

RIDGE = 0.5
BATCH = 64


def with_projection(
    lvm: LVM, stamps: RealStamps, simulated: SimulatedStamps, ridge: float = RIDGE
) -> LVM:
    """Return an LVM with the same network and a projection fitted in closed form.

    Parameters
    ----------
    lvm : LVM
        For 8-bit pictures; a projection it may have is replaced.
    stamps : RealStamps
        Their measurements are the first directions.
    simulated : SimulatedStamps
        Their kinds and parameters are the others.
    ridge : float
        Penalty, as a fraction of the number of stamps (pooled numbers are standardised).
    """
    crop = lvm.config.preprocessing.crop
    bare = LVM(replace(lvm.config, projection=0))
    kept = {k: v for k, v in lvm.state_dict().items() if not k.startswith("projection.")}
    bare.load_weights(kept, "the LVM")
    real = _pooled(bare, stamps.canvases, crop)
    made = _pooled(bare, simulated.canvases, crop)
    kinds = np.eye(len(KINDS), dtype=np.float32)[simulated.kinds] * 2 - 0.5
    truth = np.concatenate([kinds, simulated.parameters], axis=1)

    parts = [_ridge(real, stamps.measurements, ridge), _ridge(made, truth, ridge)]
    weight = np.concatenate([part[0] for part in parts])
    bias = np.concatenate([part[1] for part in parts])
    projected = LVM(replace(lvm.config, projection=len(bias)))
    kept["projection.weight"] = torch.from_numpy(weight)
    kept["projection.bias"] = torch.from_numpy(bias)
    projected.load_weights(kept, "the projection")
    return projected


def _pooled(lvm: LVM, canvases: NDArray[np.uint8], crop: float) -> NDArray[np.float64]:
    rows = []
    for first in range(0, len(canvases), BATCH):
        views = central_views(canvases[first : first + BATCH], lvm.config.image_size, crop)
        rows.append(lvm.encode(views).pooled.numpy())
    return np.concatenate(rows).astype(np.float64)


def _ridge(
    x: NDArray[np.float64], y: NDArray[np.float32], ridge: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight `[k, d]` and bias `[k]` of a linear map from raw x to y."""
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    z, centre = (x - mean) / spread, y.mean(axis=0)
    penalised = z.T @ z + ridge * len(z) * np.eye(z.shape[1])
    weight = np.linalg.solve(penalised, z.T @ (y - centre)) / spread[:, None]
    return weight.T.astype(np.float32), (centre - mean @ weight).astype(np.float32)
