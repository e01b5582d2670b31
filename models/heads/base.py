"""The contract of all heads, and how one is kept on disk."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from models.answers import Answer, Labels
from models.metrics import log_losses

Floats = NDArray[np.float32]

_FORMAT = 1
_CONFIG = "head.json"
_TENSORS = "head.safetensors"
_KINDS: dict[str, type[Head]] = {}


class HeadError(ValueError):
    """A head cannot be fitted, used, written or read; the message says why and what to do."""


class Head(ABC):
    """One downstream task: from what the LVM made of images to what people would answer.

    A subclass names its `kind`, and is then found by `load_head`. The rows of everything that a
    head takes and gives are images.

    Attributes
    ----------
    sees : {"embedding", "scene"}
        What a head is given for n images: their embeddings ``[n, d]``, or n
        `models.scenes.Scene` (pixels and feature maps).
    labels : tuple of str
        The labels of the control, in the order of the columns where there are columns; a head that
        needs none has the name of what it tells, e.g. ``("value",)``.
    out_of_fold : [n] rows as `predict` gives them, or None
        After `fit`: what is said of the n training rows, each by a model that never saw the row.
        Not written to disk.
    committee : tuple of Head
        After `fit`: the models of the folds, each fitted without a part of the rows; may be empty.
        Not written to disk.
    """

    kind: ClassVar[str] = ""
    sees: ClassVar[Literal["embedding", "scene"]] = "embedding"

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        if len(self.labels) < 1:
            raise HeadError("A head needs at least one label; the control has none.")
        if len(set(self.labels)) != len(self.labels):
            raise HeadError(f"The labels of a head must differ; these repeat: {self.labels}.")
        self.out_of_fold: Any = None
        self.committee: tuple[Head, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.kind:
            _KINDS[cls.kind] = cls

    @abstractmethod
    def fit(
        self,
        seen: Any,
        targets: Any,
        weights: ArrayLike | None = None,
        *,
        pool: Any = None,
        seed: int = 0,
    ) -> Self:
        """Fit to what people said.

        Parameters
        ----------
        seen : n rows of what the head sees
        targets : n rows
            Fractions ``[n, k]`` for a `ProbabilityHead`, else `models.opinions.Opinions`.
        weights : [n], positive, optional
            Weight of each row in votes; 1 each if left out.
        pool : m rows of what the head sees, optional
            Unlabelled images of the project.
        seed : int
            Seed of all that is random; the same one gives the same head.

        Raises
        ------
        HeadError
            If shapes do not agree, a value is not finite or out of range, or n is 0.
        """

    @abstractmethod
    def predict(self, seen: Any) -> Any:
        """Return n rows of what the head says, in a form of its own."""

    @abstractmethod
    def uncertainty(self, seen: Any) -> Floats:
        """Return how doubtful the head is, ``[n]`` in [0, 1]; larger is more doubtful."""

    @abstractmethod
    def answers(self, seen: Any) -> list[tuple[Answer, ...]]:
        """Return what is shown to people: for each image its answers with calibrated scores."""

    @abstractmethod
    def losses(self, said: Any, targets: Any) -> Floats:
        """Return how wrong rows of `predict` (or `out_of_fold`) are, ``[n]``, 0 or more.

        The gate compares two heads of a control by the mean of the paired differences, so only
        differences of the same targets matter.
        """

    @abstractmethod
    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return what `restore` needs: arrays by name, and json-able values."""

    @classmethod
    @abstractmethod
    def restore(
        cls, labels: Sequence[str], tensors: dict[str, NDArray[Any]], values: dict[str, Any]
    ) -> Self:
        """Build a head from its `state`; a `HeadError` says what does not fit."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length d of the embeddings (channels of the feature maps) that the head takes.

        A `HeadError` if it is not fitted.
        """

    def save(self, folder: str | Path) -> None:
        """Write ``head.json`` and ``head.safetensors`` into `folder` (made if missing)."""
        folder = Path(folder)
        tensors, values = self.state()
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            folder / _TENSORS,
        )
        config = {
            "format": _FORMAT,
            "kind": self.kind,
            "labels": list(self.labels),
            "values": values,
        }
        text = json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / _CONFIG).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a head of this class from `folder`.

        Raises
        ------
        HeadError
            If a file is missing or broken, or holds another kind of head.
        """
        head = load_head(folder)
        if not isinstance(head, cls):
            raise HeadError(f"{folder} holds a head of kind '{head.kind}', not '{cls.kind}'.")
        return head


class ProbabilityHead(Head):
    """A head that answers a list of labels: from embeddings ``[n, d]`` to probabilities ``[n, k]``.

    Targets are the fractions of the votes that named each label, in [0, 1]; where exactly one
    label is right (`exclusive`), rows sum to 1.
    """

    exclusive: ClassVar[bool]

    @abstractmethod
    def predict(self, seen: ArrayLike) -> Floats:
        """Return calibrated probabilities ``[n, k]`` in [0, 1], finite for finite embeddings."""

    def answers(self, seen: ArrayLike) -> list[tuple[Answer, ...]]:
        """Return the likeliest label; of several that may be right, those above one half."""
        found: list[tuple[Answer, ...]] = []
        for row in self.predict(seen):
            best = int(row.argmax())
            chosen = [best] if self.exclusive else np.flatnonzero(row > 0.5).tolist()
            sure = float(row[best] if self.exclusive else np.maximum(row, 1 - row).mean())
            named = tuple(self.labels[place] for place in chosen)
            found.append((Labels(named, score=min(sure, 1.0)),) if named else ())
        return found

    def losses(self, said: Floats, targets: ArrayLike) -> Floats:
        """Return the log losses in nats, of several labels their mean."""
        losses = log_losses(np.asarray(said, np.float64), np.asarray(targets), self.exclusive)
        return np.asarray(losses.reshape(len(said), -1).mean(axis=1), np.float32)


def load_head(folder: str | Path) -> Head:
    """Read a head of any kind from `folder`.

    Raises
    ------
    HeadError
        If a file is missing or broken, or the kind or format is not known.
    """
    folder = Path(folder)
    advice = "Roll back to another version or let the next round write a new one."
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HeadError(f"Cannot read {folder / _CONFIG}: {error}. {advice}") from None
    if not isinstance(config, dict) or config.get("format") != _FORMAT:
        raise HeadError(f"{folder / _CONFIG} is not a head of format {_FORMAT}. {advice}")
    labels, values = config.get("labels"), config.get("values")
    if (
        not isinstance(labels, list)
        or not all(isinstance(label, str) for label in labels)
        or not isinstance(values, dict)
    ):
        raise HeadError(f"{folder / _CONFIG} lacks its labels or values. {advice}")
    cls = _KINDS.get(str(config.get("kind")))
    if cls is None:
        raise HeadError(
            f"{folder / _CONFIG} names the kind {config.get('kind')!r}; known are "
            f"{sorted(_KINDS)}. It may come from a newer release."
        )
    try:
        tensors = load_file(folder / _TENSORS)
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise HeadError(f"Cannot read {folder / _TENSORS}: {error}. {advice}") from None
    return cls.restore(labels, tensors, values)
