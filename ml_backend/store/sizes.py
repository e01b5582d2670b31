"""How much room the store takes, part by part."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ml_backend.settings import Settings

_FOLDERS = {
    "embeddings": "embeddings",
    "versions": "model versions",
    "lvms": "tuned LVMs",
    "pictures": "drawn pictures",
}


@dataclass(frozen=True)
class Sizes:
    """Bytes of each part, and of the disk that holds the data folder."""

    parts: tuple[tuple[str, int], ...]
    free: int
    disk: int


def sizes(settings: Settings) -> Sizes:
    """Measure the data folder; what vanishes meanwhile is left out."""
    folder = settings.model_dir.resolve()
    parts = []
    if settings.store_url.startswith("sqlite"):
        database = Path(settings.store_url.partition(":///")[2])
        parts.append(("database", sum(_size(path) for path in _with_journals(database))))
    parts += [(said, _below(folder / name)) for name, said in _FOLDERS.items()]
    disk = shutil.disk_usage(folder)
    return Sizes(tuple(parts), disk.free, disk.total)


def _with_journals(database: Path) -> list[Path]:
    return [database.with_name(database.name + ending) for ending in ("", "-wal", "-shm")]


def _below(folder: Path) -> int:
    return sum(_size(Path(root, name)) for root, _, names in os.walk(folder) for name in names)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
