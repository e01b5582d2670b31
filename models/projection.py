"""The last linear map of an LVM: from pooled numbers to the directions that labels are about.

Pooled numbers of a network are many and of unequal worth. Two ridge regressions, neither of which
needs a label, find directions from which few votes suffice: what the kinds and parameters of
simulated galaxies look like, and along which directions the measurements of real stamps differ.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.lvm import LVM
from models.simulation import KINDS
from models.stamps import RealStamps, SimulatedStamps, central_views

# Penalty of the regressions, as a fraction of the number of stamps (inputs are standardised).
RIDGE = 0.5
# Principal components of the predicted measurements.
COMPONENTS = 16
BATCH = 64
# Components whose spread is a smaller share of the largest one's are rounding.
SMALLEST = 1e-6

Doubles = NDArray[np.float64]


def with_projection(lvm: LVM, stamps: RealStamps, simulated: SimulatedStamps) -> LVM:
    """Return an LVM with the same network and a projection fitted in closed form.

    Parameters
    ----------
    lvm : LVM
        For 8-bit pictures; a projection it may have is replaced.
    stamps : RealStamps
        Over them every number of the embedding has mean 0 and standard deviation 1.
    simulated : SimulatedStamps
        Their kinds and parameters are the first directions; principal components of the
        measurements of `stamps` are the others.
    """
    crop = lvm.config.preprocessing.crop
    bare = LVM(replace(lvm.config, projection=0))
    kept = {k: v for k, v in lvm.state_dict().items() if not k.startswith("projection.")}
    bare.load_weights(kept, "the LVM")
    real = _pooled(bare, stamps.canvases, crop)
    made = _pooled(bare, simulated.canvases, crop)
    kinds = np.eye(len(KINDS), dtype=np.float32)[simulated.kinds]
    truth = np.concatenate([kinds, simulated.parameters], axis=1)
    weight, bias = compose(real, stamps.measurements, made, truth)
    projected = LVM(replace(lvm.config, projection=len(bias)))
    kept["projection.weight"] = torch.from_numpy(weight)
    kept["projection.bias"] = torch.from_numpy(bias)
    projected.load_weights(kept, "the projection")
    return projected


def compose(
    real: Doubles, measurements: NDArray[np.float32], made: Doubles, truth: NDArray[np.float32],
    components: int = COMPONENTS, ridge: float = RIDGE,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
    """Fit the linear map to truth and to principal components of the measurements.

    Parameters
    ----------
    real : float64 [n, d]
        Pooled numbers of real stamps.
    measurements : float32 [n, m]
        Of these, standardised.
    made : float64 [s, d]
        Pooled numbers of simulated galaxies.
    truth : float32 [s, t]
        What is known of these.
    components : int
        Most components of the predicted measurements; there are fewer where these, or the stamps,
        are fewer.
    ridge : float
        Penalty, as a fraction of the number of stamps.

    Returns
    -------
    weight, bias : float32 [t + components, d] and [t + components]
        Their outputs have mean 0 and standard deviation 1 over the real stamps. The components are
        uncorrelated with each other there, largest first.
    """
    mean, spread = real.mean(axis=0), _spread(real)
    z = (real - mean) / spread
    # Read off simulated galaxies, but centred on real ones: how much a number tells is learned in
    # the simulation, where its zero lies is not.
    knowing = _ridge((made - made.mean(axis=0)) / _spread(made), truth, ridge) / _spread(made).T
    varying = _components(z, _ridge(z, measurements, ridge), components) / spread.T
    weight = np.concatenate([knowing, varying], axis=1)
    outputs = (real - mean) @ weight
    deviation = outputs.std(axis=0)
    # What never changes over the real stamps says nothing about them.
    weight = weight / np.where(deviation > SMALLEST, deviation, np.inf)
    return weight.T.astype(np.float32), (-mean @ weight).astype(np.float32)


def _components(z: Doubles, weight: Doubles, most: int) -> Doubles:
    """Map `[d, k]` from standardised numbers to whitened components of what `weight` predicts."""
    _, sizes, axes = np.linalg.svd(z @ weight, full_matrices=False)
    count = min(most, int((sizes > SMALLEST * sizes[0]).sum()))
    kept, deviations = axes[:count], sizes[:count] / np.sqrt(len(z))
    # An axis has no sign of its own; its largest entry shall be positive.
    signs = np.sign(np.take_along_axis(kept, np.abs(kept).argmax(axis=1)[:, None], axis=1))
    mapped: Doubles = weight @ (kept * signs).T / deviations
    return mapped


def _pooled(lvm: LVM, canvases: NDArray[np.uint8], crop: float) -> Doubles:
    rows = []
    for first in range(0, len(canvases), BATCH):
        views = central_views(canvases[first : first + BATCH], lvm.config.image_size, crop)
        rows.append(lvm.encode(views).pooled.numpy())
    return np.concatenate(rows).astype(np.float64)


def _spread(x: Doubles) -> Doubles:
    """Standard deviations `[1, d]`, never 0."""
    spread: Doubles = x.std(axis=0, keepdims=True) + 1e-6
    return spread


def _ridge(z: Doubles, y: NDArray[np.float32], ridge: float) -> Doubles:
    """Weight `[d, k]` of a linear map from standardised z to what y differs by from its mean."""
    penalised = z.T @ z + ridge * len(z) * np.eye(z.shape[1])
    weight: Doubles = np.linalg.solve(penalised, z.T @ (y - y.mean(axis=0)))
    return weight
