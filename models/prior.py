"""What simulated galaxies teach a head before anyone has voted.

A bank of embeddings of simulated galaxies, with their kinds, lies beside the weights. Where the
labels of a control mean something that the simulation knows (an elliptical, an edge-on disc, "no
merger"...), a head is fitted on the bank, so that a new project has suggestions from its first
minute.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.heads.base import Head
from models.heads.classification import SingleChoiceHead
from models.images import GalaxyImage, encode_png, read_image
from models.simulation import KINDS, simulate
from models.sunet import LVMError
from models.throughput import encode_images
from models.vision_encoder import VisionEncoder

BANK_FILE = "prior.safetensors"
FRAME = 192
EXTENT = (0.035, 0.15)
# Spirals come in most varieties, so they are simulated twice as often.
MIXTURE = (*KINDS, "spiral")
# A label needs this many examples in the bank.
FEWEST = 12

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Bank:
    """Embeddings of simulated galaxies and their kinds.

    Attributes
    ----------
    embeddings : float32 [n, d]
    kinds : int64 [n]
        Index into `KINDS`.
    lvm_identity : str
        Identity of the LVM that made the embeddings.
    """

    embeddings: NDArray[np.float32]
    kinds: NDArray[np.int64]
    lvm_identity: str

    def of_kind(self, *names: str) -> Mask:
        """Which galaxies are of one of these kinds."""
        return np.isin(self.kinds, [KINDS.index(name) for name in names])


# Each meaning with the names it goes by, once words like "galaxy" are dropped. Bars and rings are
# left out although they are simulated: on real rings such a head had an AUC of 0.59 only.
MEANINGS: tuple[tuple[Callable[[Bank], Mask], str], ...] = (
    (
        lambda bank: bank.of_kind("elliptical", "lenticular"),
        "elliptical|ellipticals|early|early type|smooth|round|smooth round|rounded|completely round"
        "|spheroid|spheroidal|featureless|e",
    ),
    (lambda bank: bank.of_kind("lenticular"), "lenticular|lenticulars|s0"),
    (
        lambda bank: bank.of_kind("spiral"),
        "spiral|spirals|face on spiral|spiral face on|face on disk|spiral arms|arms",
    ),
    (
        lambda bank: bank.of_kind("lenticular", "spiral", "edge_on"),
        "disk|disks|disky|smooth or disk",
    ),
    (
        lambda bank: bank.of_kind("spiral", "edge_on"),
        "late|late type|featured|features|features or disk|featured or disk",
    ),
    (
        lambda bank: bank.of_kind("edge_on"),
        "edge on|edgeon|edge on disk|edge on spiral|disk edge on|spiral edge on|edge",
    ),
    (
        lambda bank: bank.of_kind("merger"),
        "merger|mergers|merging|interacting|interaction|merger interacting|merging interacting"
        "|disturbed|irregular|peculiar|tidal",
    ),
)
NAMES = {name: meaning for meaning, names in MEANINGS for name in names.split("|")}
# Answers that say nothing of shape, and shapes that are not simulated as people see them (what they
# call a disc without arms is rarely a lenticular): they may stand beside the others, and get no
# examples.
EVASIONS = frozenset(
    (
        *("dont know", "don t know", "do not know", "unknown", "uncertain", "unsure", "not sure"),
        *("unclear", "cant tell", "can t tell", "other", "problem", "skip"),
        *("artifact", "artefact", "star", "stars", "star or artifact"),
        *("disk no spiral", "disk without spiral", "disk no arms"),
    )
)
FILLERS = frozenset(("galaxy", "galaxies", "a", "an", "the", "is", "has", "it", "yes"))
HANDS = frozenset(("clockwise", "anticlockwise", "counterclockwise", "cw", "ccw", "acw"))
NEGATIONS = frozenset(("no", "not", "non", "without"))


def meaning_of(label: str) -> Callable[[Bank], Mask] | None:
    """Say which simulated galaxies a label means; None where its words are not all known."""
    words = [word for word in _words(label) if word not in FILLERS]
    negated = bool(words) and words[0] in NEGATIONS
    if negated:
        words = words[1:]
    if "spiral" in words or "spirals" in words:
        words = [word for word in words if word not in HANDS]
    meaning = NAMES.get(" ".join(words))
    if meaning is None or not negated:
        return meaning
    return lambda bank: ~meaning(bank)


def _words(label: str) -> list[str]:
    """Lower-case words of a label: ``edgeOnDisc``, ``edge_on_disc`` and ``Edge-on disc`` alike."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    words = re.findall(r"[a-z0-9]+", spaced.lower())
    return ["disk" + word[4:] if word.startswith("disc") else word for word in words]


class SimulationPrior:
    """Heads from simulated galaxies.

    Parameters
    ----------
    bank : Bank
        Embeddings of the LVM whose embeddings the heads will see.
    """

    def __init__(self, bank: Bank) -> None:
        self.bank = bank

    def head_for(self, labels: Sequence[str]) -> Head | None:
        """Fit a single-choice head for labels whose names the simulation understands.

        A galaxy that several labels fit counts for the most special of them (the one that fits
        fewest); equally special ones share it.

        Parameters
        ----------
        labels : sequence of str
            The labels of a control, in its order.

        Returns
        -------
        Head or None
            None where a label means nothing to the simulation, where fewer than two mean
            something, or where the labels cannot be told apart.
        """
        names = tuple(labels)
        if len(set(names)) != len(names):
            return None
        fits = np.zeros((len(self.bank.kinds), len(names)), dtype=bool)
        known = 0
        for column, name in enumerate(names):
            meaning = meaning_of(name)
            if meaning is not None:
                fits[:, column] = meaning(self.bank)
                known += 1
            elif " ".join(_words(name)) not in EVASIONS:
                return None
        support = fits.sum(axis=0)
        if known < 2 or (fits == fits[:, :1]).all():
            return None
        special = np.where(fits, support, len(fits) + 1)
        targets = (fits & (special == special.min(axis=1, keepdims=True))).astype(np.float32)
        rows = np.flatnonzero(targets.any(axis=1))
        targets = targets[rows] / targets[rows].sum(axis=1, keepdims=True)
        examples = targets.sum(axis=0)
        if (examples[support > 0] < FEWEST / 2).any() or (examples > 0).sum() < known:
            return None
        return SingleChoiceHead(names).fit(self.bank.embeddings[rows], targets)

    @classmethod
    def build(cls, lvm: VisionEncoder, count: int = 1000, seed: int = 0) -> SimulationPrior:
        """Simulate galaxies, encode them, and keep their kinds."""
        kinds = [KINDS.index(MIXTURE[index % len(MIXTURE)]) for index in range(count)]

        def images() -> Iterator[GalaxyImage]:
            rng = np.random.default_rng(seed)
            for kind in kinds:
                galaxy = simulate(rng, KINDS[kind], FRAME, None, EXTENT)
                yield read_image(encode_png(galaxy.rgb))

        embeddings = np.stack(list(encode_images(lvm, images())))
        return cls(Bank(embeddings, np.array(kinds, dtype=np.int64), lvm.identity))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the bank into the folder of its LVM."""
        arrays: dict[str, NDArray[Any]] = {
            "embeddings": self.bank.embeddings.astype(np.float16),
            "kinds": self.bank.kinds,
        }
        save_file(arrays, Path(folder) / BANK_FILE, metadata={"lvm": self.bank.lvm_identity})

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> SimulationPrior:
        """Read the bank beside an LVM.

        Raises
        ------
        LVMError
            There is none, or it is broken; the entry is named.
        """
        path = Path(folder) / BANK_FILE
        if not path.is_file():
            raise LVMError(f"{folder} holds no {BANK_FILE}; this LVM has no simulated examples.")
        try:
            with safe_open(path, framework="np") as file:
                identity = (file.metadata() or {}).get("lvm", "")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise LVMError(f"{path} cannot be read: {error}.") from None
        shapes = {"embeddings": 2, "kinds": 1}
        for name, dimensions in shapes.items():
            if name not in arrays:
                raise LVMError(f"{path} lacks the entry {name}.")
            values = arrays[name]
            if values.ndim != dimensions or len(values) != len(arrays["embeddings"]):
                raise LVMError(f"{path}: the entry {name} has shape {list(values.shape)}.")
            if not np.isfinite(values).all():
                raise LVMError(f"{path}: the entry {name} holds values that are not finite.")
        kinds = arrays["kinds"]
        if not np.isin(kinds, range(len(KINDS))).all():
            raise LVMError(f"{path}: the kinds are not those of this simulation.")
        embeddings = arrays["embeddings"].astype(np.float32)
        return cls(Bank(embeddings, kinds.astype(np.int64), identity))
