"""What annotators see: image files copied, rendered or simulated into a folder that is served."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ml_backend.demo.labels import DemoImage
from models.images import ImageError, encode_png, read_image, to_rgb8
from models.simulation import KINDS, simulate

SHOWN_AS_THEY_ARE = (".jpg", ".jpeg", ".png", ".webp")
SIMULATED_COLUMN = "morphology"
SIMULATED_SIZE = 128


@dataclass(frozen=True)
class Picture:
    """An image that is served.

    Parameters
    ----------
    image : DemoImage
        Where it comes from.
    name : str
        Path below the served folder.
    """

    image: DemoImage
    name: str


def address(folder: str, name: str) -> str:
    """Return the local-files address of `name` in the served subfolder `folder`.

    Relative, so that it holds when Label Studio moves to another port; any character may
    stand in a name.
    """
    return f"/data/local-files/?d={quote(f'{folder}/{name}', safe='/')}"


def place(
    images: Sequence[DemoImage],
    folder: Path,
    done: Callable[[], None] = lambda: None,
) -> tuple[list[Picture], list[str]]:
    """Bring images into `folder`: what browsers show is copied, the rest is rendered to PNG.

    What is there already is kept, so an interrupted run is taken up.

    Parameters
    ----------
    images : sequence of DemoImage
        The images.
    folder : Path
        Made if it is missing.
    done : callable
        Called after each image.

    Returns
    -------
    pictures, problems : list of Picture, list of str
        Images that cannot be rendered are left out and named in `problems`.
    """
    pictures: list[Picture] = []
    problems: list[str] = []
    taken: set[str] = set()
    for index, image in enumerate(images):
        name = _served_name(image, index, taken)
        taken.add(name.casefold())
        target = folder / name
        try:
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                _bring(image.path, target)
            pictures.append(Picture(image, name))
        except ImageError as error:
            problems.append(f"{image.key}: {error}")
        except OSError as error:
            problems.append(f"{image.key}: {error.strerror or error}")
        done()
    return pictures, problems


def simulate_folder(
    folder: Path, count: int, seed: int, done: Callable[[], None] = lambda: None
) -> Path:
    """Write `count` simulated galaxies to `folder`, and their labels (file, morphology) beside it.

    Galaxy i depends on `seed` and i only; what is there already is kept.

    Returns
    -------
    Path
        The labels file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(count):
        block, position = divmod(index, len(KINDS))
        order = np.random.default_rng([seed, block, 0]).permutation(len(KINDS))
        kind = KINDS[order[position]]
        # A name must not tell the answer.
        name = f"galaxy-{index:05d}.png"
        if not (folder / name).exists():
            rng = np.random.default_rng([seed, block, position + 1])
            galaxy = simulate(rng, kind, size=SIMULATED_SIZE)
            _write(folder / name, encode_png(galaxy.rgb))
        rows.append((f"{folder.name}/{name}", kind))
        done()
    # Beside, not inside: what is inside may be served.
    labels = folder.with_name(f"{folder.name}-labels.csv")
    with labels.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", SIMULATED_COLUMN))
        writer.writerows(rows)
    return labels


def _served_name(image: DemoImage, index: int, taken: Iterable[str]) -> str:
    path = Path(image.key)
    name = image.key
    try:
        name.encode()
    except UnicodeEncodeError:
        name = f"image-{index}{path.suffix}"
    if path.suffix.lower() not in SHOWN_AS_THEY_ARE:
        name += ".png"
    return f"{index}/{name}" if name.casefold() in taken else name


def _bring(source: Path, target: Path) -> None:
    if source.suffix.lower() in SHOWN_AS_THEY_ARE:
        draft = target.with_name(target.name + ".draft")
        shutil.copyfile(source, draft)
        draft.replace(target)
    else:
        _write(target, encode_png(to_rgb8(read_image(source.read_bytes()))))


def _write(target: Path, data: bytes) -> None:
    draft = target.with_name(target.name + ".draft")
    draft.write_bytes(data)
    draft.replace(target)
