"""Training of the network that restores, on pairs made of clean stamps and simulated galaxies.

``python -m models.restoration_training --data DIR --out DIR`` made the weights that are shipped.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.blur import BlurEstimator
from models.degradation import Degradations, Pairs, PsfBank, pairs_of
from models.restoration_filters import noise_of
from models.restoration_network import RestorationNetwork, RestorationShape
from models.restoration_stamps import (
    Sampler,
    cube_stamps,
    picture_stamps,
    simulated_scenes,
    single_band_stamps,
)
from models.restorer import Ready, Restorer, prepared
from models.throughput import has_fast_bfloat16

SHARES = {"sdss": 0.34, "legacy": 0.2, "cubes": 0.04, "single": 0.2, "simulated": 0.22}
_LEAST_ERROR = 1e-4


@dataclass(frozen=True)
class Training:
    """How the network is trained.

    Attributes
    ----------
    steps, batch, side : int
        Steps, crops per step, and their side in pixels.
    rate : float
        Largest learning rate of AdamW; falls to 0 as a cosine.
    minutes : float
        After so many the rate falls to 0 over what time is left.
    seed : int
        Of weights, crops and degradations.
    """

    steps: int = 6000
    batch: int = 32
    side: int = 64
    rate: float = 2e-3
    minutes: float = 30.0
    seed: int = 0


def train(
    sampler: Sampler,
    how: Training | None = None,
    shape: RestorationShape | None = None,
    report: Callable[[str], None] = print,
    start: RestorationNetwork | None = None,
) -> RestorationNetwork:
    """Train a network.

    The loss of a crop is half the logarithm of its mean squared error (so a decibel counts the
    same on every crop, as in the mean of PSNRs), and the Gaussian likelihood of the deviation.

    Parameters
    ----------
    sampler : Sampler
        Of clean stamps.
    how, shape : optional
    report : callable
        Told losses now and then.
    start : RestorationNetwork, optional
        Whose weights and shape to begin with.
    """
    how = how or Training()
    torch.manual_seed(how.seed)
    network = RestorationNetwork(shape if start is None else start.shape)
    if start is not None:
        network.load_state_dict(start.state_dict())
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    )
    degradations = Degradations()
    bank = PsfBank(degradations.fwhm)
    rng = np.random.default_rng(how.seed)
    generator = torch.Generator().manual_seed(how.seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=how.rate, weight_decay=1e-4)
    low = has_fast_bfloat16(torch.device("cpu"))
    began, sums, counted = time.monotonic(), torch.zeros(2), 0
    for step in range(how.steps):
        passed = (time.monotonic() - began) / (60 * how.minutes)
        progress = max(step / how.steps, passed)
        if progress >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = how.rate * min(1, (step + 1) / 100) * _falling(progress)
        pairs = pairs_of(sampler.draw(how.batch, rng), degradations, bank, generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            error, likelihood, filtered = losses(network, pairs)
        loss = 0.5 * error.mean() + 0.1 * likelihood.mean()
        if not torch.isfinite(loss):
            continue
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(network)
        sums += torch.tensor(
            [float((filtered - error.detach()).mean()), float(likelihood.detach().mean())]
        )
        counted += 1
        if step % 100 == 99:
            gain, fit = (sums / counted).tolist()
            seconds = time.monotonic() - began
            report(
                f"step {step + 1} {seconds:.0f} s: {10 / math.log(10) * gain:.2f} dB above the "
                f"Wiener filter, likelihood {fit:.3f}"
            )
            sums, counted = torch.zeros(2), 0
    network.load_state_dict(average.module.state_dict())
    report(f"{step + 1} steps in {time.monotonic() - began:.0f} s")
    return network.eval()


def losses(network: RestorationNetwork, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Return log mean squared errors, likelihoods, and the Wiener filter's log errors, each [n]."""
    ready, sky = _ready(pairs)
    said, log_deviation = network(
        ready.planes, ready.filters.wiener, ready.filters.tikhonov, pairs.bad, pairs.fwhm
    )
    truth = (pairs.clean - sky) / ready.noise
    here = (~pairs.bad.all(dim=(2, 3), keepdim=True)).float()
    counted = here.expand_as(truth).sum((1, 2, 3)).clamp(min=1)
    squares = (said - truth) ** 2 * here
    error = torch.log(squares.sum((1, 2, 3)) / counted + _LEAST_ERROR)
    before = ((ready.filters.wiener - truth) ** 2 * here).sum((1, 2, 3)) / counted
    scaled = squares.detach() * torch.exp(-2 * log_deviation)
    likelihood = ((0.5 * scaled + log_deviation) * here).sum((1, 2, 3)) / counted
    return error, likelihood, torch.log(before + _LEAST_ERROR)


def calibration(network: RestorationNetwork, sampler: Sampler, seed: int, batches: int) -> float:
    """Factor on deviations so that two thirds (0.6827) of the errors lie within one of them.

    On stamps without masks and neighbours, with noise that is worth removing.
    """
    degradations = Degradations((0.05, 0.2), masked=0.0, neighbours=0.0)
    bank = PsfBank(degradations.fwhm)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    ratios: list[NDArray[np.float32]] = []
    for _ in range(batches):
        pairs = pairs_of(sampler.draw(16, rng), degradations, bank, generator, 0.1)
        with torch.inference_mode():
            ready, sky = _ready(pairs)
            said, deviation = network(
                ready.planes, ready.filters.wiener, ready.filters.tikhonov, pairs.bad, pairs.fwhm
            )
        ratio = (said - (pairs.clean - sky) / ready.noise).abs() * torch.exp(-deviation)
        here = ~pairs.bad.all(dim=(2, 3), keepdim=True).expand_as(ratio)
        ratios.append(ratio[here].numpy()[::7])
    return float(np.quantile(np.concatenate(ratios), 0.6827))


def fit_blur(sampler: Sampler, seed: int, steps: int = 1500) -> BlurEstimator:
    """Fit what tells the width of a PSF: cross-entropy of blurred or not, and its error in px."""
    torch.manual_seed(seed)
    blur = BlurEstimator()
    optimiser = torch.optim.AdamW(blur.parameters(), lr=3e-3, weight_decay=1e-3)
    degradations = Degradations(masked=0.0, neighbours=0.0)
    bank = PsfBank(degradations.fwhm)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * _falling(step / steps)
        pairs = pairs_of(sampler.draw(48, rng), degradations, bank, generator)
        sky = pairs.observed.flatten(2).median(2).values[..., None, None]
        noise = noise_of(pairs.observed)
        gone = pairs.bad.all(dim=(2, 3), keepdim=True)
        planes = torch.where(gone, 0.0, (pairs.observed - sky) / torch.where(gone, 1.0, noise))
        logit, width = blur(planes)
        there = (pairs.fwhm > 0).float()
        loss = F.binary_cross_entropy_with_logits(logit, there)
        loss = loss + (there * F.smooth_l1_loss(width, pairs.fwhm, reduction="none")).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return blur.eval()


def samplers(
    data: Sequence[Path], seed: int, simulated: int, side: int, most: int | None = None
) -> tuple[Sampler, Sampler]:
    """Make samplers of the stamps in folders (see the model card): of all, and of real ones."""
    sets: dict[str, list[NDArray[np.float32]]] = {name: [] for name in SHARES}
    for root in data:
        for folder in ("sdss_unlabelled", "gz1_sdss_6class", "gz2_sdss_votes"):
            sets["sdss"] += picture_stamps(root / folder, folder, most=most).training
        sets["legacy"] += picture_stamps(root / "decals_rings", "rings").training
        sets["cubes"] += cube_stamps(root / "lvm_decals_fits" / "fits", "cubes").training
        galaxies = root / "cosmos_hst_stamps" / "galaxies.fits"
        if galaxies.is_file():
            sets["single"] += single_band_stamps(galaxies, "hst").training
    real = list(sets.values())[:-1] if any(sets.values()) else None
    if simulated:
        sets["simulated"] = [scene.numpy() for scene in simulated_scenes(simulated, seed)]
    every = Sampler(list(sets.values()), list(SHARES.values()), side)
    shares = list(SHARES.values())[:-1]
    return every, every if real is None else Sampler(real, shares, side)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and write a folder of weights."""
    parser = argparse.ArgumentParser(prog="models.restoration_training", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of stamps")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--steps", type=int, default=Training.steps)
    parser.add_argument("--minutes", type=float, default=Training.minutes)
    parser.add_argument("--batch", type=int, default=Training.batch)
    parser.add_argument("--width", type=int, default=RestorationShape.width)
    parser.add_argument("--rate", type=float, default=Training.rate)
    parser.add_argument("--start", type=Path, help="folder of weights to begin with")
    parser.add_argument("--most", type=int, help="pictures per folder at most")
    parser.add_argument("--simulated", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    how = Training(
        asked.steps, asked.batch, rate=asked.rate, minutes=asked.minutes, seed=asked.seed
    )
    start = Restorer.load(asked.start) if asked.start is not None else None
    sampler, real = samplers(asked.data, asked.seed, asked.simulated, how.side, asked.most)
    network = train(
        sampler, how, RestorationShape(asked.width), lambda line: print(line, flush=True),
        None if start is None else start.network,
    )  # fmt: skip
    factor = calibration(network, real, asked.seed + 1, 25)
    kept = None if start is None else start.blur
    Restorer(network, factor, kept or fit_blur(sampler, asked.seed + 2)).save(asked.out)
    print(f"deviations times {factor:.3f}; written to {asked.out}")


def _ready(pairs: Pairs) -> tuple[Ready, Tensor]:
    """Prepare pairs; of every other one the median counts as sky, as where sky is not known."""
    sky = pairs.observed.flatten(2).median(2).values[..., None, None]
    sky[::2] = 0.0
    return prepared(pairs.observed - sky, pairs.bad, pairs.psf), sky


def _falling(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


if __name__ == "__main__":
    main()
