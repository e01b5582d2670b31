"""The learning curve: what each published version is worth on images that nobody annotates."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml_backend.demo.pictures import Picture
from ml_backend.errors import DemoError, FetchError
from ml_backend.loop.encoding import ImageJob, encode, image_limits, load_lvm
from ml_backend.settings import Settings
from ml_backend.store.embeddings import EmbeddingStore
from models.heads.base import Head
from models.metrics import accuracy, macro_auc

HEADING = f"{'votes':>6}  {'macro AUC':>9}  {'accuracy':>8}  {'round':>8}  version"


@dataclass(frozen=True)
class CurvePoint:
    """One point of the curve.

    Parameters
    ----------
    votes : int
        Votes that the round had.
    macro_auc : float or None
        Mean one-versus-rest area under the ROC curve, in [0, 1].
    accuracy : float or None
        Share of held-out images whose most probable class is right, in [0, 1].
    round_seconds : float or None
        From the start of the round to its publication.
    model_version : str
        Version that is published then.
    """

    votes: int
    macro_auc: float | None
    accuracy: float | None
    round_seconds: float | None
    model_version: str

    def row(self) -> str:
        """Return a line of the table under :data:`HEADING`."""
        seconds = "-" if self.round_seconds is None else f"{self.round_seconds:.1f} s"
        return (
            f"{self.votes:>6}  {_shown(self.macro_auc):>9}  {_shown(self.accuracy):>8}  "
            f"{seconds:>8}  {self.model_version}"
        )


class Curve:
    """The points so far, in a JSON file that is whole at every moment.

    Parameters
    ----------
    files : sequence of Path
        Each gets all points; the first is read to go on from.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        self.points: list[CurvePoint] = []
        if self._files and self._files[0].exists():
            try:
                kept = json.loads(self._files[0].read_text())
                self.points = [CurvePoint(**entry) for entry in kept]
            except (OSError, ValueError, TypeError) as error:
                raise DemoError(
                    f"{self._files[0]} is no learning curve ({type(error).__name__}). "
                    "Remove it to begin a new one."
                ) from error
        self.write()

    def add(self, point: CurvePoint) -> None:
        """Add a point (one per number of votes, the last counts) and write the files."""
        rest = [known for known in self.points if known.votes != point.votes]
        self.points = sorted([*rest, point], key=lambda known: known.votes)
        self.write()

    def write(self) -> None:
        """Write the files, each whole or not at all.

        Raises
        ------
        DemoError
            A file cannot be written.
        """
        text = json.dumps([asdict(point) for point in self.points], indent=2, allow_nan=False)
        for file in self._files:
            draft = file.with_name(f".{file.name}.{os.getpid()}")
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                draft.write_text(text + "\n")
                draft.replace(file)
            except OSError as error:
                raise DemoError(f"{file} cannot be written: {error.strerror}.") from error


class HeldOut:
    """The held-out images: encoded once, then every version is measured on them.

    Parameters
    ----------
    settings : Settings
        Name the LVM and the limits of images.
    classes : sequence of str
        All classes, also such as have no held-out image.
    """

    def __init__(self, settings: Settings, classes: Sequence[str]) -> None:
        self._settings = settings
        self._classes = tuple(classes)
        self._rows: npt.NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._truth: npt.NDArray[np.float64] = np.empty((0, len(self._classes)))

    def encode(
        self,
        pictures: Sequence[Picture],
        root: Path,
        kept: Path,
        done: Callable[[int], None] = lambda count: None,
    ) -> list[str]:
        """Encode the pictures below `root` as the worker would; return what could not be.

        Embeddings are kept in the folder `kept`, apart from the backend's own, so that
        nothing of these images can reach the model.
        """
        lvm = load_lvm(self._settings)
        embeddings = EmbeddingStore(kept, lvm.identity, lvm.dimension)
        hashes: dict[int, str] = {}
        problems: list[str] = []
        jobs = [ImageJob(i, str(root / picture.name)) for i, picture in enumerate(pictures)]
        try:
            for batch in encode(jobs, _Files(), lvm, embeddings, image_limits(self._settings)):
                new = [item for item in batch if item.embedding is not None]
                if new:
                    embeddings.add(
                        [item.content_hash or "" for item in new],
                        np.stack([item.embedding for item in new if item.embedding is not None]),
                    )
                for item in batch:
                    if item.content_hash:
                        hashes[item.task_id] = item.content_hash
                    else:
                        problems.append(f"{pictures[item.task_id].image.key}: {item.problem}")
                done(len(batch))
            order = sorted(hashes)
            rows, _ = embeddings.get([hashes[index] for index in order])
            self._rows = rows.astype(np.float32)
        finally:
            embeddings.close()
        places = [self._classes.index(pictures[index].image.label or "") for index in order]
        self._truth = np.eye(len(self._classes))[places]
        return problems

    def measure(self, head: Head | None) -> tuple[float | None, float | None]:
        """Return (macro AUC, accuracy) of a head; without one every class is as probable.

        Raises
        ------
        DemoError
            The head does not know the classes.
        """
        if head is None:
            # No ranking and a blind guess.
            return 0.5, 1.0 / len(self._classes)
        missing = set(self._classes) - set(head.labels)
        if missing:
            raise DemoError(f"The published version knows no {', '.join(sorted(missing))}.")
        columns = [head.labels.index(label) for label in self._classes]
        probabilities = head.predict(self._rows)[:, columns]
        return (
            _finite(macro_auc(probabilities, self._truth)),
            _finite(accuracy(probabilities, self._truth)),
        )


class _Files:
    """Reads held-out pictures from the disk."""

    def fetch(self, address: str) -> bytes:
        try:
            return Path(address).read_bytes()
        except OSError as error:
            raise FetchError(f"{address} cannot be read: {error.strerror}.") from error


def _finite(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
