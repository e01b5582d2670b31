"""Pre-training of an LVM without labels: what stays the same in the sky, and what we simulated.

The encoder learns from up to four terms. *Contrast* (SimCLR, Chen et al. 2020, arXiv 2002.05709):
two views of one real stamp shall be nearer to each other than to all other stamps. *Measured*: a
real stamp's measurements (`models/measurements.py`) and, *Truth*: a simulated galaxy's kind and
parameters shall be readable off the embedding by a linear map. *Reconstruction*: encoder and
decoder give back an image of which patches were hidden (`models/masking.py`; L1, as in arXiv
2405.10890). Afterwards the decoder alone may learn to give images back, the encoder held fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from models.devices import Processes
from models.frame import Frame
from models.lvm import LVM, LVMConfig
from models.mixture import Mixture, open_mixture
from models.projection import with_projection
from models.schedule import Schedule
from models.stamp_sources import SourceName
from models.trainer import Trainer


def run_pretraining(
    data: Sequence[str | SourceName], out: str | Path, config: LVMConfig,
    schedule: Schedule | None = None, report: Callable[[str], None] = print,
    start: LVM | None = None, device: str = "cpu", workers: int = 0,
) -> LVM:  # fmt: skip
    """Pre-train an LVM and save it.

    Under `torchrun` every process calls this with the same arguments.

    Parameters
    ----------
    data : sequence of str or SourceName
        Folders of images (JPEG, PNG, TIFF, WebP, FITS), HDF5 files of stamps, "simulated"; a
        number behind a colon is a weight.
    out : path
        Checkpoints, the cached stamps, curves, and at the end the LVM in ``out/lvm``. If it holds
        a stopped training with the same options, that one is resumed.
    config : LVMConfig
        The LVM to train.
    schedule : Schedule, optional
        How long and how.
    report : callable
        Told the progress, one line at a time.
    start : LVM, optional
        Its weights are the first ones, instead of random ones.
    device : str
        "auto", "cpu" or "cuda".
    workers : int
        Processes that make batches; 0: a thread.

    Returns
    -------
    LVM
        The trained one, as saved.

    Raises
    ------
    ValueError
        A source is missing or holds nothing to train on, or `out` holds another training.
    FloatingPointError
        The loss is no longer finite.
    OSError
        Something cannot be written.
    """
    out, schedule = Path(out), schedule or Schedule()
    names = [item if isinstance(item, SourceName) else SourceName.parse(item) for item in data]
    processes = Processes.join(device)
    tell = report if processes.first else _silent
    try:
        mixture = _open_in_turn(
            names, Frame.of(config.preprocessing), schedule, out, tell, processes
        )
        model = Trainer(
            config, schedule, mixture, out, tell, start, processes, workers
        ).run()  # fmt: skip
        if processes.first:
            model = model.cpu()
            if schedule.project:
                model = with_projection(model, mixture.representatives(out / "cache"))
            model.save_pretrained(out / "lvm")
        processes.wait()
    finally:
        processes.leave()
    return model


def _open_in_turn(
    names: list[SourceName], frame: Frame, schedule: Schedule, out: Path,
    report: Callable[[str], None], processes: Processes,
) -> Mixture:  # fmt: skip
    """Let the first process fill the caches that the others then find."""
    cache = out / "cache"
    if not processes.first:
        processes.wait()
    mixture = open_mixture(
        names, frame, schedule.simulated, schedule.seed, cache, report, schedule.simulated_ratio
    )
    if processes.first:
        processes.wait()
    return mixture


def _silent(line: str) -> None:
    """Say nothing: the first process speaks for all."""
