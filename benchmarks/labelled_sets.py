"""Real galaxies with people's labels, from the folders below ``GALAXYLOOP_DATA``."""

from __future__ import annotations

import csv
import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.images import read_image, to_rgb8
from models.throughput import encode_images
from models.vision_encoder import VisionEncoder

SETS = ("gz1_sdss_6class", "gz2_sdss_votes", "decals_rings")

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledSet:
    """The galaxies of one set whose label is known.

    Attributes
    ----------
    name : str
        One of `SETS`.
    files : tuple of Path [n]
    labels : tuple of str [k]
        What a galaxy may be called, sorted.
    truth : int64 [n]
        Index into `labels`.
    """

    name: str
    files: tuple[Path, ...]
    labels: tuple[str, ...]
    truth: Rows

    def __len__(self) -> int:
        return len(self.files)

    @property
    def onehot(self) -> NDArray[np.float32]:
        """The labels as float32 [n, k]."""
        return np.eye(len(self.labels), dtype=np.float32)[self.truth]

    def describe(self) -> str:
        """Name, size and how many galaxies each label has."""
        counts = zip(self.labels, np.bincount(self.truth, minlength=len(self.labels)), strict=True)
        return f"{self.name}: {len(self)} (" + ", ".join(f"{k} {n}" for k, n in counts) + ")"


def data_folder() -> Path | None:
    """Return the folder named by ``GALAXYLOOP_DATA``; None, with a message, where there is none."""
    root = os.environ.get("GALAXYLOOP_DATA", "")
    if root and Path(root).is_dir():
        return Path(root)
    print(
        "GALAXYLOOP_DATA does not name a folder; it must hold the real galaxies "
        f"({', '.join(SETS)}). Nothing measured.",
        file=sys.stderr,
    )
    return None


def label_of(name: str, row: dict[str, str]) -> str | None:
    """Return the label of a galaxy in its set, None where it is left out."""
    if name == "gz1_sdss_6class":
        found = row["class_name"]
        hands = "_anticlockwise", "_clockwise"
        for hand in hands:
            found = found.removesuffix(hand)
        return None if found == "dont_know" else found
    if name == "decals_rings":
        return "ring" if float(row["ring"]) > 0.5 else "no ring"
    found = row["class_vote"]
    return None if found in ("", "uncertain") else found


def read_set(name: str, root: Path) -> LabelledSet:
    """Read which galaxies a set has and what they are."""
    folder = root / name
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        pairs = [(folder / row["file"], label_of(name, row)) for row in csv.DictReader(file)]
    known = [(path, label) for path, label in pairs if label is not None]
    labels = tuple(sorted({label for _, label in known}))
    truth = np.array([labels.index(label) for _, label in known], dtype=np.int64)
    return LabelledSet(name, tuple(path for path, _ in known), labels, truth)


def split(count: int, seed: int) -> tuple[Rows, Rows]:
    """Hold a third out: return the rows of that third and of the pool, both in random order."""
    held, pool = np.split(np.random.default_rng(seed).permutation(count), [count // 3])
    return held, pool


def embeddings_of(data: LabelledSet, lvm: VisionEncoder) -> NDArray[np.float16]:
    """Encode a set once, [n, d]; kept in the temporary folder of the system by the LVM's identity.

    They are rounded to float16, as the service's store keeps them.
    """
    kept = _kept(data, f"embeddings-{lvm.identity}")
    if kept.exists():
        return np.asarray(np.load(kept, allow_pickle=False))
    print(f"Encoding {len(data)} galaxies of {data.name}...", file=sys.stderr)
    images = (read_image(path.read_bytes()) for path in data.files)
    table = np.stack(list(encode_images(lvm, images))).astype(np.float16)
    np.save(kept, table, allow_pickle=False)
    return table


def canvases_of(data: LabelledSet, side: int, crop: float) -> NDArray[np.uint8]:
    """Decode a set once into small pictures, uint8 [n, side, side, 3].

    Parameters
    ----------
    data : LabelledSet
    side : int
        Of the pictures, pixels.
    crop : float
        Side of the central square that they show, as a fraction of the shorter side, (0, 1].
    """
    kept = _kept(data, f"canvases-{side}-{crop:.4f}")
    if kept.exists():
        return np.asarray(np.load(kept, allow_pickle=False))
    print(f"Reading {len(data)} galaxies of {data.name}...", file=sys.stderr)
    pictures = np.zeros((len(data), side, side, 3), dtype=np.uint8)
    for picture, path in zip(pictures, data.files, strict=True):
        rgb = to_rgb8(read_image(path.read_bytes()))
        height, width = rgb.shape[:2]
        half = crop * min(height, width) / 2
        box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
        # Pillow's bilinear filter grows with the scale, so small structure is averaged.
        small = Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR, box=box)
        picture[:] = np.asarray(small)
    np.save(kept, pictures, allow_pickle=False)
    return pictures


def _kept(data: LabelledSet, what: str) -> Path:
    listing = "\n".join(map(str, data.files)).encode()
    of_files = hashlib.blake2b(listing, digest_size=6).hexdigest()
    return Path(tempfile.gettempdir()) / f"galaxyloop-{data.name}-{of_files}-{what}.npy"
