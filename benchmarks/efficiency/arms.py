"""The arms: ways from a number of labels to answers for galaxies that nobody has labelled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from labelled_sets import LabelledSet, canvases_of, embeddings_of, split
from numpy.typing import NDArray
from simulated_loop import LoopOptions, People, label_galaxies, prior_of
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from efficiency import resnet
from efficiency.results import digest
from efficiency.tuned import TuningSettings, run_tuned
from ml_backend.loop import acquisition
from ml_backend.loop.acquisition import audit_order
from models.heads import Head
from models.metrics import macro_auc
from models.prior import BANK_FILE
from models.vision_encoder import VisionEncoder

FEWEST = 5
# Of the logistic regression on random features, inverse strength of its penalty.
RANDOM_FEATURES_C = 0.1

Step = tuple[int, float, float]


@dataclass(frozen=True)
class Encoder:
    """An LVM, its folder, and what its prior was fitted to for each list of labels."""

    lvm: VisionEncoder
    folder: Path

    def prior(self, labels: tuple[str, ...]) -> Head | None:
        """Return the head that knows simulated galaxies only, where the labels allow one."""
        return prior_of(labels, self.folder)


@dataclass(frozen=True)
class Arm:
    """One way.

    Attributes
    ----------
    name : str
        As it is asked for and kept.
    title : str
        As it is shown.
    settings : str
        Digest of how it works.
    lvm : str
        Identity of its LVM; empty where it has none.
    numbers : callable
        Takes the size of a pool, returns the numbers of labels to try, rising.
    run : callable
        Takes a set, a seed and numbers of labels; yields number, macro AUC on the held-out third
        and processor seconds.
    """

    name: str
    title: str
    settings: str
    lvm: str
    numbers: Callable[[int], list[int]]
    run: Callable[[LabelledSet, int, list[int]], Iterator[Step]]


def doublings(pool: int, fewest: int = FEWEST) -> list[int]:
    """5, 10, 20, 40... and the whole pool."""
    found = []
    while fewest < pool:
        found.append(fewest)
        fewest *= 2
    return [*found, pool]


def fourfolds(pool: int) -> list[int]:
    """20, 80, 320... and the whole pool, for an arm that takes minutes each time."""
    return [*(n for n in (20, 80, 320, 1280) if n < 0.9 * pool), pool]


def with_nothing(pool: int) -> list[int]:
    """As `doublings`, and before the first label."""
    return [0, *doublings(pool)]


def _in_random_order(data: LabelledSet, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Held-out rows, and the pool in the order of the audit arm: the same for all arms."""
    held, pool = split(len(data), seed)
    return held, pool[audit_order(np.arange(len(pool)), seed)]


def _run_resnet(
    data: LabelledSet, seed: int, numbers: list[int], settings: resnet.ResNetSettings
) -> Iterator[Step]:
    canvases = canvases_of(data, settings.canvas_side, settings.canvas_crop)
    held, order = _in_random_order(data, seed)
    for number in numbers:
        start = time.process_time()
        rows = order[:number]
        network = resnet.train(canvases[rows], data.truth[rows], len(data.labels), seed, settings)
        answers = resnet.predict(network, canvases[held], settings)
        found = macro_auc(answers, data.onehot[held])
        yield number, found, time.process_time() - start


def _run_random_features(
    data: LabelledSet, seed: int, numbers: list[int], settings: resnet.ResNetSettings
) -> Iterator[Step]:
    canvases = canvases_of(data, settings.canvas_side, settings.canvas_crop)
    held, order = _in_random_order(data, seed)
    start = time.process_time()
    features = resnet.random_features(canvases, seed, settings)
    for number in numbers:
        rows = order[:number]
        answers = np.zeros((len(held), len(data.labels)))
        # The regression knows only the labels that it has seen; two are the fewest it takes.
        if len(np.unique(data.truth[rows])) > 1:
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=RANDOM_FEATURES_C, max_iter=500)
            )
            model.fit(features[rows], data.truth[rows])
            answers[:, model.classes_] = model.predict_proba(features[held])
        yield number, macro_auc(answers, data.onehot[held]), time.process_time() - start
        start = time.process_time()


def _run_lvm(
    data: LabelledSet, seed: int, numbers: list[int], encoder: Encoder, options: LoopOptions
) -> Iterator[Step]:
    table = embeddings_of(data, encoder.lvm)
    held, pool = split(len(data), seed)
    prior = encoder.prior(data.labels)
    start = time.process_time()
    if 0 in numbers:
        guess = np.full((len(held), len(data.labels)), 1 / len(data.labels))
        answers = prior.predict(table[held]) if prior is not None else guess
        yield 0, macro_auc(answers, data.onehot[held]), time.process_time() - start
    people = People(data.labels, data.truth[pool])
    wanted = [number for number in numbers if number > 0]
    for rows, head in label_galaxies(table[pool], people, wanted, options, seed, prior):
        found = macro_auc(head.predict(table[held]), data.onehot[held])
        yield len(rows), found, time.process_time() - start
        start = time.process_time()


def _resnet_arm(
    name: str,
    title: str,
    run: Callable[[LabelledSet, int, list[int], resnet.ResNetSettings], Iterator[Step]],
    numbers: Callable[[int], list[int]],
    **more: Any,
) -> Arm:
    settings = resnet.SETTINGS
    return Arm(
        name,
        title,
        digest({**asdict(settings), **more}),
        "",
        numbers,
        lambda data, seed, wanted: run(data, seed, wanted, settings),
    )


def _lvm_arm(name: str, title: str, encoder: Encoder, options: LoopOptions) -> Arm:
    return Arm(
        name,
        title,
        digest(asdict(options), _loop_files(encoder.folder)),
        encoder.lvm.identity,
        with_nothing,
        lambda data, seed, wanted: _run_lvm(data, seed, wanted, encoder, options),
    )


def _tuned_arm(encoder: Encoder, options: LoopOptions, settings: TuningSettings) -> Arm:
    folder = Path(resnet.__file__).parents[2] / "models"
    files = [
        folder / name
        for name in ("finetuning.py", "finetuning_options.py", "last_stage.py", "augmentation.py")
    ]
    files.append(Path(acquisition.__file__).parent / "trial.py")
    return Arm(
        "lvm_finetuned",
        "LVM tuned where the gate lets it + head, active learning",
        digest({**asdict(options), **asdict(settings)}, [*_loop_files(encoder.folder), *files]),
        encoder.lvm.identity,
        lambda pool: [n for n in doublings(pool) if n >= settings.fewest],
        lambda data, seed, wanted: run_tuned(
            data, seed, wanted, encoder.lvm, encoder.prior(data.labels), options, settings
        ),
    )


def _loop_files(folder: Path) -> list[Path]:
    """What decides, besides the LVM, what the loop learns: a change makes its results stale."""
    loop = Path(acquisition.__file__).parent
    heads = Path(resnet.__file__).parents[2] / "models" / "heads"
    names = ("acquisition.py", "diversity.py", "uncertainty.py", "training.py")
    fitted = (
        "base.py",
        "classification.py",
        "crossfit.py",
        "inputs.py",
        "landmarks.py",
        "linear.py",
    )
    files = [*(loop / name for name in names), *(heads / name for name in fitted)]
    bank = folder / BANK_FILE
    return files + ([bank] if bank.is_file() else [])


def all_arms(encoder: Encoder) -> dict[str, Arm]:
    """Return the arms by name, in the order in which they are run: the quick ones first."""
    arms = (
        _lvm_arm("lvm_active", "LVM + head, active learning", encoder, LoopOptions(active=True)),
        _tuned_arm(encoder, LoopOptions(active=True), TuningSettings()),
        _lvm_arm("lvm_random", "LVM + head, random labels", encoder, LoopOptions(active=False)),
        _resnet_arm(
            "random_features",
            "untrained ResNet18 + logistic regression",
            _run_random_features,
            doublings,
            c=RANDOM_FEATURES_C,
        ),
        _resnet_arm("resnet18", "ResNet18 from scratch", _run_resnet, fourfolds),
    )
    return {arm.name: arm for arm in arms}
