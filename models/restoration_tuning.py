"""Tuning the network that restores to what people accepted and marked."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.degradation import Degradations, PsfBank, pairs_of
from models.restoration_network import PLANES, RestorationNetwork
from models.restorer import Restored, Restorer, prepared

LEAST_TUNED = 8
"""Accepted images below which tuning would only learn them by heart."""
_MIDDLE, _SIDE, _BATCH, _RATE, _ANCHOR = 96, 48, 8, 1e-4, 1e-3
_EASY = Degradations(masked=0.15, neighbours=0.0, noise=(0.02, 0.2))


@dataclass(frozen=True)
class Reviewed:
    """The middle of one restoration and what people said of it.

    Attributes
    ----------
    values, image : float32 [bands, h, w]
        What was restored, and the restoration, without sky.
    accepted : float
        Share of the people who accept, in [0, 1].
    artefacts : float32 [h, w]
        Share of the people who marked each pixel.
    """

    values: NDArray[np.float32]
    image: NDArray[np.float32]
    accepted: float
    artefacts: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        values: NDArray[np.float32],
        restored: Restored,
        accepted: float,
        artefacts: NDArray[np.float32],
    ) -> Reviewed:
        """Keep the middle of an image, `_MIDDLE` pixels on a side at most."""
        tops = [max(0, (length - _MIDDLE) // 2) for length in values.shape[1:]]
        part = tuple(slice(top, top + _MIDDLE) for top in tops)
        sky = np.median(restored.image, axis=(1, 2), keepdims=True)
        return cls(
            (values - sky)[:, *part].copy(),
            (restored.image - sky)[:, *part].copy(),
            accepted,
            artefacts[part].copy(),
        )


def tuned(
    restorer: Restorer, reviewed: Sequence[Reviewed], steps: int, seed: int
) -> Restorer | None:
    """Tune a copy of the network, or return None where that is no better.

    Accepted restorations are taken as clean and degraded anew; pixels marked as artefacts do not
    count there. In images with marked artefacts the network is drawn, in those pixels, towards
    the Wiener filter, which invents nothing. Weights are held near where they were. Every fourth
    accepted image is kept aside and decides.

    Parameters
    ----------
    restorer : Restorer
    reviewed : sequence of Reviewed
    steps : int
    seed : int
    """
    good = [one for one in reviewed if one.accepted >= 0.5 and min(one.values.shape[1:]) >= 16]
    marked = [one for one in reviewed if one.artefacts.any() and min(one.values.shape[1:]) >= 16]
    if len(good) < LEAST_TUNED:
        return None
    aside, used = good[::4], [one for place, one in enumerate(good) if place % 4]
    network = copy.deepcopy(restorer.network).train()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    bank = PsfBank(_EASY.fwhm)
    optimiser = torch.optim.Adam(network.parameters(), lr=_RATE)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * (1 - step / steps)
        loss = _accepted_loss(network, _crops(used, _BATCH, rng), bank, generator).mean()
        if marked:
            loss = loss + 0.1 * _artefact_loss(network, marked[int(rng.integers(len(marked)))])
        held = zip(network.parameters(), before, strict=True)
        loss = loss + _ANCHOR * sum(((now - then) ** 2).sum() for now, then in held)
        if not torch.isfinite(loss):
            return None
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimiser.step()
    network.half().float().eval()
    scores = []
    for one in (network, restorer.network):
        check = torch.Generator().manual_seed(seed + 1)
        crops = _crops(aside, max(16, len(aside)), np.random.default_rng(seed + 1))
        with torch.inference_mode():
            scores.append(_accepted_loss(one, crops, bank, check))
    gain = (scores[1] - scores[0]).numpy()
    if gain.mean() <= gain.std() / np.sqrt(len(gain)):
        return None
    return Restorer(network, restorer.factor, restorer.blur)


def _accepted_loss(
    network: RestorationNetwork,
    crops: tuple[Tensor, Tensor],
    bank: PsfBank,
    generator: torch.Generator,
) -> Tensor:
    clean, artefacts = crops
    pairs = pairs_of(clean, _EASY, bank, generator, singles=0.0)
    ready = prepared(pairs.observed, pairs.bad, pairs.psf)
    said, deviation = network(
        ready.planes, ready.filters.wiener, ready.filters.tikhonov, pairs.bad, pairs.fwhm
    )
    weight = (1 - artefacts) * (~pairs.bad.all(dim=(2, 3), keepdim=True))
    total = weight.sum((1, 2, 3)).clamp(min=1)
    squares = (said - pairs.clean / ready.noise) ** 2 * weight
    error = 0.5 * torch.log(squares.sum((1, 2, 3)) / total + 1e-3)
    scaled = 0.5 * squares.detach() * torch.exp(-2 * deviation) + deviation * weight
    return error + 0.1 * scaled.sum((1, 2, 3)) / total


def _artefact_loss(network: RestorationNetwork, one: Reviewed) -> Tensor:
    values = torch.from_numpy(_three(one.values))[None]
    bad = ~torch.isfinite(values)
    ready = prepared(values.nan_to_num(0.0), bad, None)
    said, _ = network(
        ready.planes, ready.filters.wiener, ready.filters.tikhonov, bad, torch.zeros(1)
    )
    where = torch.from_numpy(one.artefacts)[None, None] * ~bad
    departure = torch.asinh((said - ready.filters.wiener) ** 2)
    return (departure * where).sum() / where.sum().clamp(min=1)


def _crops(rows: Sequence[Reviewed], n: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    clean = torch.full((n, PLANES, _SIDE, _SIDE), torch.nan)
    artefacts = torch.zeros(n, 1, _SIDE, _SIDE)
    for place in range(n):
        one = rows[int(rng.integers(len(rows)))]
        image = _three(one.image)
        short = [max(0, _SIDE - length) for length in image.shape[1:]]
        pads = [(extra // 2, extra - extra // 2) for extra in short]
        image = np.pad(image, [(0, 0), *pads], mode="symmetric")
        marks = np.pad(one.artefacts, pads, mode="symmetric")
        top, left = ((length - _SIDE) // 2 for length in image.shape[1:])
        turns = int(rng.integers(4))
        part = (slice(top, top + _SIDE), slice(left, left + _SIDE))
        clean[place] = torch.from_numpy(np.rot90(image[:, *part], turns, (1, 2)).copy())
        artefacts[place, 0] = torch.from_numpy(np.rot90(marks[part], turns).copy())
    return clean, artefacts


def _three(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.full((PLANES, *planes.shape[1:]), np.nan, dtype=np.float32)
    out[: min(len(planes), PLANES)] = planes[:PLANES]
    return out
