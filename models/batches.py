"""What each step of a pre-training is given, read ahead while the one before is computed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from models.augmentation import random_views
from models.flux_views import flux_views
from models.frame import Canvas, Frame
from models.masking import draw_hidden
from models.mixture import Mixture
from models.schedule import Schedule

# Batches that wait, made, for the network.
AHEAD = 2


@dataclass(frozen=True)
class Part:
    """One part of a batch.

    Attributes
    ----------
    seed : int
        Of what is random in the network.
    views : float32 [2 r + s, 3, size, size]
        First and second views of r real stamps, and one of each of s simulated ones; only the
        first views where embeddings are not looked at.
    measurements : float32 [r, MEASUREMENTS]
        Standardised; `[r, 0]` where they are not asked for.
    hidden : bool [r, h, h]
        Patches of the first views that are hidden from the reconstruction.
    """

    seed: int
    views: Tensor
    measurements: Tensor
    hidden: Tensor

    @property
    def first_views(self) -> Tensor:
        """One view of each real stamp."""
        return self.views[: len(self.measurements)]


@dataclass(frozen=True)
class Batch:
    """One step: the parts of this process, and the truth of the simulated ones of all parts.

    Attributes
    ----------
    parts : list of Part
    kinds : int64 [parts, s]
    parameters : float32 [parts, s, p]
    """

    parts: list[Part]
    kinds: Tensor
    parameters: Tensor


class Batches(Dataset[Batch]):
    """Batches by the number of their step; each follows from it and the seed alone.

    Parameters
    ----------
    mixture : Mixture
        Of stamps.
    schedule : Schedule
        Sizes, terms and seed.
    rank, count : int
        This process, and how many there are; they share the parts evenly.

    Raises
    ------
    ValueError
        The parts cannot be shared evenly, or a source has fewer stamps than a step takes.
    """

    def __init__(self, mixture: Mixture, schedule: Schedule, rank: int = 0, count: int = 1) -> None:
        if schedule.parts % count:
            raise ValueError(
                f"{count} processes cannot share {schedule.parts} parts of a batch evenly; "
                "choose --accumulate so that they can."
            )
        self.mixture, self.schedule = mixture, schedule
        share = schedule.parts // count
        self.local = range(rank * share, (rank + 1) * share)
        self.measuring = schedule.measured_weight > 0
        self.standard = mixture.standard
        self.simulated = mixture.simulated_per_step(schedule.batch, schedule.parts)
        if not schedule.truth_weight:
            self.simulated = 0
        if schedule.discriminates and not (
            schedule.contrast_weight or schedule.measured_weight or self.simulated
        ):
            raise ValueError("The truth term needs simulated galaxies; the mixture has none.")
        mixture.plan(schedule.seed, 0, schedule.batch)

    def __getitem__(self, step: int) -> Batch:
        schedule, stamps = self.schedule, self.mixture.simulated
        plan = self.mixture.plan(schedule.seed, step, schedule.batch)
        discriminating = schedule.discriminates and step < schedule.encoder_steps
        rng = np.random.default_rng((schedule.seed, step, 1))
        wanted = self.simulated if discriminating else 0
        others = rng.choice(max(1, len(stamps.kinds)), wanted, wanted > len(stamps.kinds))
        # A mixture comes source by source; parts shall be alike.
        real = [plan[i] for i in rng.permutation(len(plan))]
        r, s = len(real) // schedule.parts, wanted // schedule.parts
        parts = [
            self._part(step, index, real[index * r : (index + 1) * r],
                       others[index * s : (index + 1) * s], discriminating)
            for index in self.local
        ]  # fmt: skip
        shape = (schedule.parts, s)
        parameters = stamps.parameters[others].reshape(*shape, stamps.parameters.shape[1])
        kinds = stamps.kinds[others].reshape(shape)
        return Batch(parts, torch.from_numpy(kinds), torch.from_numpy(parameters))

    def _part(
        self, step: int, index: int, plan: list[tuple[int, int]], others: NDArray[np.int64],
        discriminating: bool,
    ) -> Part:  # fmt: skip
        schedule, frame = self.schedule, self.mixture.frame
        words = np.random.SeedSequence((schedule.seed, step, index)).generate_state(2)
        generator = Generator().manual_seed(int(words[0]))
        canvases, raw = self.mixture.read(plan, self.measuring and discriminating)
        rows = self.standard.apply(raw) if raw.shape[1] else raw
        size = schedule.size_at(step)
        if discriminating:
            parts = [
                canvases,
                canvases,
                *(self.mixture.simulated.canvases[i][None] for i in others),
            ]
            canvases = np.concatenate(parts)
        views = views_of(canvases, frame, size, generator)
        masking = schedule.reconstruction_weight > 0 and step < schedule.encoder_steps
        ratio = schedule.mask_ratio if masking else 0.0
        patch = schedule.mask_patch if masking else size
        hidden = draw_hidden(len(plan), size, patch, ratio, generator)
        return Part(int(words[1]), views, torch.from_numpy(rows), hidden)


def views_of(canvases: Canvas, frame: Frame, size: int, generator: Generator) -> Tensor:
    """Random views `[n, 3, size, size]` of canvases, as suits what the LVM is given."""
    stamps = torch.from_numpy(np.ascontiguousarray(canvases))
    if frame.preprocessing.kind == "flux" and frame.preprocessing.stretch == "linear":
        return flux_views(stamps, size, frame.view_crop, generator)
    if stamps.dtype != torch.uint8:
        # Stretched flux lies between 0 and 1, a picture between 0 and 255.
        stamps = stamps * 255
    return random_views(stamps, size, frame.view_crop, generator)


class _Careful(Dataset[Batch | Exception]):
    """Hands errors that a person should read on as they are, without a worker's stack trace."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Batch | Exception:
        try:
            return self.batches[step]
        except (ValueError, OSError) as error:
            return error


def read_ahead(batches: Batches, first: int, last: int, workers: int = 0) -> Iterator[Batch]:
    """Make the batches of steps `first` to `last` in time.

    Parameters
    ----------
    batches : Batches
        Where they come from.
    first, last : int
        Steps, the last one excluded.
    workers : int
        Processes that make them; 0: a thread of this one.
    """
    if workers:
        loader = DataLoader(
            _Careful(batches), batch_size=None, sampler=range(first, last), num_workers=workers,
            prefetch_factor=AHEAD,
        )  # fmt: skip
        for batch in loader:
            if isinstance(batch, Exception):
                raise batch
            yield batch
        return
    with ThreadPoolExecutor(1, "batches") as pool:
        waiting: list[Future[Batch]] = []
        try:
            for step in range(first, last):
                while len(waiting) < AHEAD and step + len(waiting) < last:
                    waiting.append(pool.submit(batches.__getitem__, step + len(waiting)))
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
