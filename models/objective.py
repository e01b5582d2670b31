"""What pre-training asks of embeddings: contrast and measurements of stamps, simulated truth."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Objective(nn.Module):
    """The three terms of the encoder's loss, with the small networks that only training needs.

    Parameters
    ----------
    dimension : int
        Length of an embedding.
    kinds, parameters : int
        Number of simulated kinds, and of parameters per simulated galaxy.
    measurements : int
        Number of measurements per real stamp.
    """

    def __init__(self, dimension: int, kinds: int, parameters: int, measurements: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(
            nn.BatchNorm1d(dimension), nn.Linear(dimension, 512), nn.BatchNorm1d(512), nn.GELU(),
            nn.Linear(512, 128),
        )  # fmt: skip
        # Linear, so that what is asked for lies open for linear heads.
        self.reader = nn.Sequential(
            nn.BatchNorm1d(dimension, affine=False), nn.Linear(dimension, kinds + parameters)
        )
        self.meter = nn.Sequential(
            nn.BatchNorm1d(dimension, affine=False), nn.Linear(dimension, measurements)
        )
        self.kinds = kinds

    def contrast(self, pooled: Tensor, temperature: float) -> Tensor:
        """Cross entropy of finding the other view; rows i and i + n/2 are views of one stamp."""
        z = F.normalize(self.projector(pooled), dim=1)
        n = len(z)
        similarity = z @ z.T / temperature
        similarity = similarity.masked_fill(torch.eye(n, dtype=torch.bool), -math.inf)
        return F.cross_entropy(similarity, (torch.arange(n) + n // 2) % n)

    def truth(self, pooled: Tensor, kinds: Tensor, parameters: Tensor) -> Tensor:
        """Cross entropy of the kind and Huber loss of the standardised parameters."""
        read = self.reader(pooled)
        error = F.smooth_l1_loss(read[:, self.kinds :], parameters, beta=0.5)
        return F.cross_entropy(read[:, : self.kinds], kinds) + 2 * error

    def measured(self, pooled: Tensor, measurements: Tensor) -> Tensor:
        """Huber loss of the standardised measurements."""
        return F.smooth_l1_loss(self.meter(pooled), measurements, beta=0.5)
