"""ResNet18 from scratch: the baseline, trained as well as the labels that it is given allow.

The network is that of He et al. 2016 (arXiv 1512.03385) as `transformers` builds it, with weights
drawn at random. `SETTINGS` came out of the search that `docs/label-efficiency.md` describes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from transformers import ResNetConfig, ResNetForImageClassification

from models.augmentation import random_views

# Canvases are larger than views, so that turned and shifted ones find sky in their corners.
MARGIN = 1.3
WARM_UP = 0.1
FEW = 20
GROWTH = 0.75
CHECKS = 12


@dataclass(frozen=True)
class ResNetSettings:
    """How the network sees and learns.

    Parameters
    ----------
    side : int
        Of its input, pixels.
    crop : float
        Side of the central square that it sees, as a fraction of the image's shorter side.
    shown : int
        Views that it is trained on with up to 20 labels; with n, (n / 20)^0.75 times as many.
    batch : int
        Views per step.
    rate, weight_decay : float
        Of AdamW; the rate rises over the first tenth of the steps, then falls to 0 as a cosine.
    smoothing : float
        Of the labels, [0, 1).
    balance : float
        0: every label counts as often as it occurs; 1: all labels count alike.
    photometric : bool
        Also vary seeing, noise, brightness and saturation, not place and orientation only.
    held : float
        Share of the labels that is kept for early stopping.
    held_from : int
        Labels from which on some are kept; with fewer, the last step's weights are used.
    views : int
        Quarter turns (1 or 4) over which its answers are averaged.
    """

    side: int = 64
    crop: float = 0.55
    shown: int = 1200
    batch: int = 32
    rate: float = 1e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
    balance: float = 0.5
    photometric: bool = False
    held: float = 0.15
    held_from: int = 80
    views: int = 4

    @property
    def canvas_side(self) -> int:
        """Side of the canvases from which views are cut, pixels."""
        return round(self.side * MARGIN)

    @property
    def canvas_crop(self) -> float:
        """Side of the canvases as a fraction of the image's shorter side."""
        return min(1.0, self.crop * self.canvas_side / self.side)

    def steps(self, labels: int) -> int:
        """Training steps with this many labels."""
        seen = self.shown * (max(labels, FEW) / FEW) ** GROWTH
        return math.ceil(seen / self.batch)


SETTINGS = ResNetSettings()


def new_network(classes: int, seed: int) -> ResNetForImageClassification:
    """Return a ResNet18 with random weights; 11.2 million of them."""
    torch.manual_seed(seed)
    config = ResNetConfig(
        num_channels=3,
        embedding_size=64,
        hidden_sizes=[64, 128, 256, 512],
        depths=[2, 2, 2, 2],
        layer_type="basic",
        num_labels=classes,
    )
    network = ResNetForImageClassification(config)
    network.to(memory_format=torch.channels_last)
    return network


def train(
    canvases: NDArray[np.uint8],
    truth: NDArray[np.int64],
    classes: int,
    seed: int,
    settings: ResNetSettings = SETTINGS,
) -> ResNetForImageClassification:
    """Train a network from scratch.

    Parameters
    ----------
    canvases : uint8 [n, canvas_side, canvas_side, 3]
    truth : int64 [n]
        In [0, classes); nothing but these galaxies is learned from or looked at.
    classes : int
    seed : int
        Of weights, order and views.
    settings : ResNetSettings

    Returns
    -------
    ResNetForImageClassification
        In evaluation mode, with the weights of the check that had the least log loss on the part
        kept for early stopping, or of the last step where nothing was kept.
    """
    rng = np.random.default_rng([seed, len(truth)])
    generator = Generator().manual_seed(seed)
    learned, kept = stopping_part(truth, rng, settings)
    network = new_network(classes, seed)
    steps = settings.steps(len(truth))
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.rate, weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, steps))
    weights = label_weights(truth, classes, settings.balance)
    pictures, answers = torch.from_numpy(canvases), torch.from_numpy(truth)
    queue = np.zeros(0, dtype=np.int64)
    best, best_loss = {}, math.inf
    for step in range(steps):
        network.train()
        while len(queue) < settings.batch:
            queue = np.append(queue, rng.permutation(learned))
        rows, queue = torch.from_numpy(queue[: settings.batch]), queue[settings.batch :]
        views = training_views(pictures[rows], settings, generator)
        loss = F.cross_entropy(
            network(views.to(memory_format=torch.channels_last)).logits,
            answers[rows],
            weight=weights,
            label_smoothing=settings.smoothing,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        # What comes before half of the steps has too high a rate to be the best.
        check = (step + 1) % max(steps // CHECKS, 1) == 0 or step + 1 == steps
        if len(kept) and check and step >= steps // 2:
            answered = predict(network, canvases[kept], replace(settings, views=1))
            chosen = answered[np.arange(len(kept)), truth[kept]]
            importance = weights.numpy()[truth[kept]]
            found = float(np.average(-np.log(chosen.clip(1e-7)), weights=importance))
            if found < best_loss:
                best_loss = found
                best = {name: value.clone() for name, value in network.state_dict().items()}
    if best:
        network.load_state_dict(best)
    return network.eval()


@torch.inference_mode()
def predict(
    network: ResNetForImageClassification,
    canvases: NDArray[np.uint8],
    settings: ResNetSettings = SETTINGS,
) -> NDArray[np.float32]:
    """Return probabilities [n, classes], averaged over the quarter turns."""
    network.eval()
    found = [
        torch.stack([network(view).logits.softmax(1) for view in turned]).mean(0)
        for turned in turned_centres(canvases, settings)
    ]
    return np.asarray(torch.cat(found).numpy(), dtype=np.float32)


@torch.inference_mode()
def random_features(
    canvases: NDArray[np.uint8], seed: int, settings: ResNetSettings = SETTINGS
) -> NDArray[np.float32]:
    """Return what the pooled layer of an untrained network says of galaxies, float32 [n, 512].

    Only the statistics of its normalisations are those of the galaxies; without them the values
    would grow from layer to layer.
    """
    network = new_network(2, seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    network.train()
    for turned in turned_centres(
        canvases[:: max(len(canvases) // 256, 1)], replace(settings, views=1)
    ):
        network(turned[0])
    network.eval()
    found = []
    for turned in turned_centres(canvases, settings):
        pooled = [network.resnet(view).pooler_output.flatten(1) for view in turned]
        found.append(torch.stack(pooled).mean(0))
    return np.asarray(torch.cat(found).numpy(), dtype=np.float32)


def stopping_part(
    truth: NDArray[np.int64], rng: np.random.Generator, settings: ResNetSettings
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keep a share of each label for early stopping, of a label with few galaxies none."""
    if len(truth) < settings.held_from:
        return np.arange(len(truth)), np.zeros(0, dtype=np.int64)
    kept = []
    for label in np.unique(truth):
        rows = rng.permutation(np.flatnonzero(truth == label))
        kept.append(rows[: int(settings.held * len(rows))])
    apart = np.sort(np.concatenate(kept))
    return np.setdiff1d(np.arange(len(truth)), apart), apart


def rate_at(step: int, steps: int) -> float:
    """Share of the peak rate: up over the first tenth, then down as a cosine."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))


def label_weights(truth: NDArray[np.int64], classes: int, balance: float) -> Tensor:
    """Weight of each label in the loss; 1 for an average galaxy, 0 for a label without one."""
    counts = np.bincount(truth, minlength=classes).astype(np.float64)
    weights = np.where(counts > 0, counts.clip(1) ** -balance, 0.0)
    return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)


def training_views(canvases: Tensor, settings: ResNetSettings, generator: Generator) -> Tensor:
    if settings.photometric:
        return random_views(canvases, settings.side, 1 / MARGIN, generator)
    return _turned_anyhow(canvases, settings.side, generator)


def _turned_anyhow(canvases: Tensor, side: int, generator: Generator) -> Tensor:
    """Any rotation, mirrored or not, shifted by up to 5 %, zoomed by up to 15 %; nothing else."""
    images = canvases.permute(0, 3, 1, 2).float() / 255
    draws = torch.rand(len(images), 5, generator=generator)
    angle, mirror = 2 * math.pi * draws[:, 0], torch.where(draws[:, 1] < 0.5, -1.0, 1.0)
    zoom = (0.85 + 0.3 * draws[:, 2]) / MARGIN
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    first = torch.stack([cos * mirror, -sin, 0.1 * draws[:, 3] - 0.05], dim=1)
    second = torch.stack([sin * mirror, cos, 0.1 * draws[:, 4] - 0.05], dim=1)
    shape = [len(images), 3, side, side]
    grid = F.affine_grid(torch.stack([first, second], dim=1), shape, align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def turned_centres(canvases: NDArray[np.uint8], settings: ResNetSettings) -> list[list[Tensor]]:
    """Batches of the centres of canvases, each in the quarter turns asked for."""
    side, whole = settings.side, canvases.shape[1]
    first = (whole - side) // 2
    centres = canvases[:, first : first + side, first : first + side]
    batches = []
    for start in range(0, len(centres), 128):
        images = torch.from_numpy(np.ascontiguousarray(centres[start : start + 128]))
        images = (images.permute(0, 3, 1, 2).float() / 255).contiguous(
            memory_format=torch.channels_last
        )
        batches.append([torch.rot90(images, turns, (2, 3)) for turns in range(settings.views)])
    return batches
