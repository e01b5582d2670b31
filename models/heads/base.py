"""The contract of all heads, and how one is kept on disk."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

Floats = NDArray[np.float32]

_FORMAT = 1
_CONFIG = "head.json"
_TENSORS = "head.safetensors"
_KINDS: dict[str, type[Head]] = {}


class HeadError(ValueError):
    """A head cannot be fitted, used, written or read; the message says why and what to do."""


class Head(ABC):
    """One downstream task on embeddings: from ``[n, d]`` to probabilities ``[n, k]``.

    A subclass names its `kind`, and is then found by `load_head`.

    Attributes
    ----------
    labels : tuple of str
        The k labels, in the order of the columns of targets and probabilities.
    out_of_fold : float32 [n, k] or None
        After `fit`: calibrated probabilities of the n training rows, each by a model that
        never saw the row. Not written to disk.
    committee : tuple of Head
        After `fit`: the models of the folds, each fitted without a part of the rows. Not
        written to disk.
    """

    kind: ClassVar[str] = ""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        if len(self.labels) < 1:
            raise HeadError("A head needs at least one label; the control has none.")
        if len(set(self.labels)) != len(self.labels):
            raise HeadError(f"The labels of a head must differ; these repeat: {self.labels}.")
        self.out_of_fold: Floats | None = None
        self.committee: tuple[Head, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.kind:
            _KINDS[cls.kind] = cls

    @abstractmethod
    def fit(
        self,
        embeddings: ArrayLike,
        targets: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        pool: ArrayLike | None = None,
        seed: int = 0,
    ) -> Self:
        """Fit to consensus fractions.

        Parameters
        ----------
        embeddings : [n, d]
            Finite; float16 is accepted and computed on in float32.
        targets : [n, k] in [0, 1]
            Fractions of the votes that named each label (rows sum to 1 for single choice).
        weights : [n], positive, optional
            Weight of each row in votes; 1 each if left out.
        pool : [m, d], optional
            Unlabelled embeddings of the project, for the statistics of the features.
        seed : int
            Seed of the folds.

        Raises
        ------
        HeadError
            If shapes do not agree, a value is not finite or out of range, or n is 0.
        """

    @abstractmethod
    def predict(self, embeddings: ArrayLike) -> Floats:
        """Return calibrated probabilities ``[n, k]`` in [0, 1], finite for finite embeddings."""

    @abstractmethod
    def uncertainty(self, embeddings: ArrayLike) -> Floats:
        """Return how doubtful the head is, ``[n]`` in [0, 1]; larger is more doubtful."""

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
        """Length d of the embeddings that the head takes; a `HeadError` if it is not fitted."""

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
