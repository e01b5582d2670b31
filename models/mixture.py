"""Real and simulated stamps, mixed by weight: which ones a step of the training sees."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.canvases import read_canvases, write_canvases
from models.frame import Canvas, Frame
from models.stamp_sources import SIMULATED, CanvasSource, Report, Source, SourceName, real_source
from models.stamps import SimulatedStamps, Standard, simulated_stamps
from models.stretch import sky_level

# Stamps of a mixture over which the projection is fitted.
REPRESENTATIVES = 4096


@dataclass(frozen=True)
class Mixture:
    """Sources of stamps and their weights.

    Attributes
    ----------
    frame : Frame
        What a canvas is.
    sources : tuple of Source
        Of stamps that are taken as real: contrasted, measured, reconstructed.
    weights : tuple of float
        Of each source.
    simulated : SimulatedStamps
        Galaxies whose truth is asked for; may be none.
    simulated_weight : float
        Theirs, on the scale of `weights`.
    """

    frame: Frame
    sources: tuple[Source, ...]
    weights: tuple[float, ...]
    simulated: SimulatedStamps
    simulated_weight: float

    @property
    def standard(self) -> Standard:
        """Mean and variance of the measurements over the mixture."""
        total = sum(self.weights)
        parts = [Standard.of(source.sample_measured) for source in self.sources]
        return Standard.mixed(parts, [weight / total for weight in self.weights])

    @property
    def fingerprint(self) -> list[str]:
        """What the mixture is made of, a line per source."""
        lines = [
            f"{hashlib.sha256(source.fingerprint.encode()).hexdigest()[:16]}:{weight:g}"
            for source, weight in zip(self.sources, self.weights, strict=True)
        ]
        return [*lines, f"{SIMULATED} {len(self.simulated.kinds)}:{self.simulated_weight:g}"]

    def simulated_per_step(self, batch: int, parts: int) -> int:
        """Simulated galaxies beside `batch` real stamps: by weight, a multiple of the parts."""
        if not len(self.simulated.kinds) or not self.simulated_weight:
            return 0
        wanted = batch * self.simulated_weight / sum(self.weights)
        return max(2, round(wanted / parts)) * parts

    def plan(self, seed: int, step: int, batch: int) -> list[tuple[int, int]]:
        """Draw the real stamps of a step, as pairs of source and row; none comes twice.

        Raises
        ------
        ValueError
            A source holds fewer stamps than a step takes of it.
        """
        drawn: list[tuple[int, int]] = []
        before, after = self._taken(step * batch), self._taken((step + 1) * batch)
        for index, source in enumerate(self.sources):
            count = after[index] - before[index]
            if count < 0:
                raise ValueError(
                    f"A batch of {batch} is too small to mix {len(self.sources)} sources."
                )
            if count > len(source):
                raise ValueError(
                    f"Each step takes {count} different stamps of source {index + 1}, which holds "
                    f"{len(source)}; lower --batch or the weight of this source."
                )
            rows = source.rows(_sub_seed(seed, index), step, before[index], count)
            drawn.extend((index, row) for row in rows.tolist())
        return drawn

    def _taken(self, drawn: int) -> list[int]:
        """How many of all stamps drawn so far came from each source.

        The weights are met exactly in the long run, and the answer needs no history. Sources but
        the heaviest one are rounded down, so that no step takes a negative number.
        """
        exact = [Fraction(weight) for weight in self.weights]
        total = sum(exact)
        heaviest = exact.index(max(exact))
        taken = [int(drawn * weight / total) for weight in exact]
        taken[heaviest] = drawn - (sum(taken) - taken[heaviest])
        return taken

    def read(
        self, plan: Sequence[tuple[int, int]], measuring: bool
    ) -> tuple[Canvas, NDArray[np.float32]]:
        """Canvases `[n, side, side, 3]` of planned stamps, and raw measurements (or `[n, 0]`)."""
        pairs = [self.sources[index].read(row, measuring) for index, row in plan]
        canvases: Canvas = np.stack([canvas for canvas, _ in pairs])
        if not measuring:
            return canvases, np.zeros((len(pairs), 0), dtype=np.float32)
        return canvases, np.stack([row for _, row in pairs if row is not None])

    def representatives(self, cache: Path) -> Canvas:
        """Stamps that stand for the mixture: all of a single folder, else a sample by weight."""
        if len(self.sources) == 1:
            path = self.sources[0].sample_path
        else:
            total = sum(self.weights)
            chosen = []
            for source, weight in zip(self.sources, self.weights, strict=True):
                share = max(1, round(REPRESENTATIVES * weight / total))
                chosen.append((source, min(share, len(source.sample_measured))))
            # An address of its own for every mixture, so that a cache may be shared.
            name = hashlib.sha256("\n".join(self.fingerprint).encode()).hexdigest()[:16]
            path = cache / f"representatives-{name}.npy"
            if not path.exists():
                items = (
                    read_canvases(source.sample_path)[row]
                    for source, n in chosen
                    for row in range(n)
                )
                write_canvases(path, sum(n for _, n in chosen), items, self.frame)
        return read_canvases(path)


def open_mixture(
    names: Sequence[SourceName], frame: Frame, count: int, seed: int, cache: Path, report: Report,
    ratio: float = 0.5,
) -> Mixture:  # fmt: skip
    """Open all sources; where none is real, simulated galaxies are taken as real too.

    Parameters
    ----------
    names : sequence of SourceName
        What to mix.
    frame : Frame
        What a canvas is.
    count, seed : int
        Number of simulated galaxies, and of their random numbers.
    cache : Path
        Folder of the canvases.
    report : callable
        Told how far we are.
    ratio : float
        Weight of simulated galaxies that `names` does not name, as a share of that of all real
        sources.

    Raises
    ------
    ValueError
        No source is named, one is named twice, or holds nothing to train on.
    """
    listed = [item.name for item in names]
    if not listed:
        raise ValueError("Name at least one source of stamps.")
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is named twice; give it one weight.")
    real = [item for item in names if item.name != SIMULATED]
    weight = {item.name: item.weight for item in names}.get(SIMULATED)
    sources: list[Source] = [real_source(item.name, frame, cache, report) for item in real]
    weights = [item.weight for item in real]
    if weight is None:
        weight = ratio * sum(weights)
    if not real and not (weight and count):
        raise ValueError("Without real stamps there must be simulated ones (--simulated above 0).")
    noise = _sky_noise(sources[0]) if _needs_noise(frame) and sources else 1.0
    made = count if weight else 0
    simulated = simulated_stamps(made, seed, cache, report, frame, noise)
    if not real:
        assert isinstance(simulated.canvases, np.memmap)
        sources = [CanvasSource(Path(str(simulated.canvases.filename)), frame, report)]
        weights = [weight / ratio]
    return Mixture(frame, tuple(sources), tuple(weights), simulated, weight)


def _needs_noise(frame: Frame) -> bool:
    return frame.preprocessing.kind == "flux" and frame.preprocessing.stretch == "linear"


def _sky_noise(source: Source) -> float:
    """Noise of the sky in the middle band of a source, as the LVM sees it."""
    canvases = read_canvases(source.sample_path)[:64]
    return float(np.median([sky_level(item[..., 1])[1] for item in canvases])) or 1.0


def _sub_seed(seed: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])
