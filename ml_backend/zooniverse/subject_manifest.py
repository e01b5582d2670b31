"""Manifests: tasks of ours as subjects for Zooniverse, with their images."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from ml_backend.errors import GalaxyLoopError
from ml_backend.zooniverse.classifications import ZooniverseError
from ml_backend.zooniverse.subjects import TASK

MOST_BYTES = 1_000_000
"""Largest image that Zooniverse takes without a special permission (its guide says 1 MB; smaller
ones load sooner)."""

MANIFEST = "manifest.csv"
_SIDES = (1024, 800, 640, 512, 400)


class Fetcher(Protocol):
    """Fetches the image of an address."""

    def fetch(self, address: str) -> bytes: ...


def write_manifest(
    folder: Path,
    tasks: Iterable[Mapping[str, Any]],
    image_field: str,
    fetcher: Fetcher | None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[int, list[str]]:
    """Write ``manifest.csv`` and, with a fetcher, the images that it names.

    `panoptes subject-set upload-subjects` takes the file. Fields whose names begin with ``#`` are
    not shown to volunteers; all of ours do, since they may give the answer away.

    Parameters
    ----------
    folder : Path
        Images that are there are not made again.
    tasks : iterable of dict
        With ``id`` and ``data``, in the order wanted.
    image_field : str
        Key of the data that holds the image's address.
    fetcher : Fetcher, optional
        None: the address itself stands in the manifest, for subjects that stay where they are.

    Returns
    -------
    (int, list of str)
        Subjects written, and what was left out and why.

    Raises
    ------
    ZooniverseError
        The folder cannot be written.
    """
    left_out: list[str] = []
    rows: list[dict[str, str]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, task in enumerate(tasks):
            progress(number)
            data = task["data"] if isinstance(task.get("data"), Mapping) else {}
            address = data.get(image_field)
            if not isinstance(address, str) or not address:
                left_out.append(f"task {task['id']}: no image")
                continue
            image = address
            if fetcher is not None:
                image = f"task-{task['id']}.jpg"
                try:
                    _draw(folder / image, address, fetcher)
                except (GalaxyLoopError, ValueError, OSError) as error:
                    left_out.append(f"task {task['id']}: {error}")
                    continue
            elif not address.startswith(("http://", "https://")):
                left_out.append(f"task {task['id']}: its image has no public address (--images)")
                continue
            rows.append({"image": image, TASK: str(task["id"]), **_fields(data, image_field)})
        names = list(dict.fromkeys(name for row in rows for name in row)) or ["image", TASK]
        made = folder / f".{MANIFEST}.{os.getpid()}"
        with made.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(rows)
        made.replace(folder / MANIFEST)
    except OSError as error:
        raise ZooniverseError(f"{folder} cannot be written ({error.strerror}).") from error
    return len(rows), left_out


def _fields(data: Mapping[str, Any], image_field: str) -> dict[str, str]:
    found = {}
    for name, value in data.items():
        plain = isinstance(value, str | int | float) and len(str(value)) <= 200
        if name == image_field or not plain or str(value).startswith("data:"):
            continue
        found["#" + re.sub(r"[^\w .-]", "_", str(name))[:60]] = str(value)
    return found


def _draw(path: Path, address: str, fetcher: Fetcher) -> None:
    """Draw an image as a JPEG that is small enough; nothing is done where it is there."""
    if path.exists():
        return
    from models.images import read_image, to_rgb8

    picture = Image.fromarray(to_rgb8(read_image(fetcher.fetch(address))))
    for side in _SIDES:
        file = io.BytesIO()
        small = picture.copy()
        small.thumbnail((side, side))
        small.save(file, "JPEG", quality=92)
        if file.tell() <= MOST_BYTES:
            break
    made = path.with_name(f".{path.name}.{os.getpid()}")
    made.write_bytes(file.getvalue())
    made.replace(path)
