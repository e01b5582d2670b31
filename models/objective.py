"""What pre-training asks of the embeddings: contrast of real stamps, truth of simulated ones."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Objective(nn.Module):
    """The two terms of the encoder's loss, with the small networks that only training needs.

    Parameters
    ----------
    dimension : int
        Length of an embedding.
    kinds, parameters : int
        Number of simulated kinds, and of parameters per simulated galaxy.
    """

    def __init__(self, dimension: int, kinds: int, parameters: int) -> None:
        super().__init__()
        self.projector = nn.Sequential(
            nn.BatchNorm1d(dimension), nn.Linear(dimension, 512), nn.BatchNorm1d(512), nn.GELU(),
            nn.Linear(512, 128),
        )  # fmt: skip
        self.reader = nn.Sequential(
            nn.BatchNorm1d(dimension), nn.Linear(dimension, 256), nn.GELU(),
            nn.Linear(256, kinds + parameters),
        )  # fmt: skip
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
