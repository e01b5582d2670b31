"""The arm that fine-tunes: a tuned LVM takes over only where the service's own trial lets it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from labelled_sets import LabelledSet, canvases_of, embeddings_of, split
from numpy.typing import NDArray
from simulated_loop import CONTROL, LoopOptions, People, label_galaxies

from ml_backend.loop.training import train
from ml_backend.loop.trial import judge, withheld, without
from models.finetuning import FinetuningOptions, finetune
from models.frame import Frame
from models.heads import Head
from models.images import read_image
from models.last_stage import check_tunable
from models.lvm import LVM
from models.metrics import macro_auc
from models.throughput import encode_images
from models.vision_encoder import VisionEncoder

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TuningSettings:
    """When and how the LVM is tuned.

    Attributes
    ----------
    fewest : int
        Labels below which the LVM stays as it is.
    options : FinetuningOptions
    """

    fewest: int = 160
    options: FinetuningOptions = field(default_factory=FinetuningOptions)


def run_tuned(
    data: LabelledSet,
    seed: int,
    numbers: list[int],
    lvm: VisionEncoder,
    prior: Head | None,
    options: LoopOptions,
    settings: TuningSettings,
) -> Iterator[tuple[int, float, float]]:
    """Label as the active arm does; yield number, macro AUC held out, processor seconds.

    The galaxies that are asked for are those of the active arm, so that the two differ in the
    LVM alone. The held-out third serves for the AUC only.
    """
    network = check_tunable(lvm)
    table = embeddings_of(data, lvm)
    held, pool = split(len(data), seed)
    people = People(data.labels, data.truth[pool])
    wanted = [number for number in numbers if number > 0]
    start = time.process_time()
    for rows, head in label_galaxies(table[pool], people, wanted, options, seed, prior):
        answers = head.predict(table[held])
        if len(rows) >= settings.fewest:
            better = _challenge(data, network, table, pool, people, rows, prior, seed, settings)
            if better is not None:
                tuned, points = better
                answers = tuned.predict(points[held])
        found = macro_auc(answers, data.onehot[held])
        yield len(rows), found, time.process_time() - start
        start = time.process_time()


def _challenge(
    data: LabelledSet,
    lvm: LVM,
    table: NDArray[np.float16],
    pool: Rows,
    people: People,
    rows: Rows,
    prior: Head | None,
    seed: int,
    settings: TuningSettings,
) -> tuple[Head, NDArray[np.float16]] | None:
    """Tune, train and compare; return the head and the embeddings that won, None if none did."""
    frame = Frame.of(lvm.preprocessing)
    canvases = canvases_of(data, frame.side, frame.crop)
    seen = rows[~withheld(rows, seed)]
    shown = pool[seen]
    made = finetune(lvm, canvases[shown], data.onehot[shown], options=settings.options, seed=seed)
    if made.lvm is None:
        _say(data, rows, made.reason)
        return None
    images = (read_image(path.read_bytes()) for path in data.files)
    points = np.stack(list(encode_images(made.lvm, images))).astype(np.float16)
    votes, ids = {CONTROL: people.votes(rows)}, np.arange(len(pool))
    priors = None if prior is None else {CONTROL: prior}
    before = train(votes, ids, table[pool], priors=priors, seed=seed)
    # The prior knows the embeddings of the untuned LVM only.
    after = train(votes, ids, points[pool], seed=seed)
    decision = judge(before.unseen, after.unseen, without(votes, seen))
    _say(data, rows, f"{made.reason} {decision.reason}")
    return (after.heads[CONTROL], points) if decision.promote else None


def _say(data: LabelledSet, rows: Rows, text: str) -> None:
    print(f"{data.name}, {len(rows)} labels: {text}", file=sys.stderr, flush=True)
