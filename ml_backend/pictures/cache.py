"""What was drawn, on disk, up to a size; what was not asked for the longest goes first."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)
_START, _END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
_FITS_START, _FITS_BLOCK = b"SIMPLE  =", 2880
# How full the cache is left when room was made: not at every picture.
_LEFT = 0.9


class PictureCache:
    """PNG, JPEG and FITS files by key; safe to share between threads, harmless between processes.

    A disk that is full or read-only costs the cache, never a picture.

    Parameters
    ----------
    folder : Path
        Made when the first picture is kept. Everything in it may be deleted at any time.
    most_bytes : int
        Largest total size; 0 keeps nothing.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most = most_bytes
        self._bytes: int | None = None
        self._lock = threading.Lock()

    def get(self, key: str, kind: str = "png") -> bytes | None:
        """Return a file ("png", "jpg" or "fits"), or None; what is in pieces is thrown away."""
        path = self._path(key, kind)
        try:
            data = path.read_bytes()
            if _whole(data, kind):
                os.utime(path)
                return data
            path.unlink()
        except OSError:
            pass
        return None

    def put(self, key: str, data: bytes, kind: str = "png") -> None:
        """Keep a file and drop old ones where the limit is passed."""
        if len(data) > self._most:
            return
        path = self._path(key, kind)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(data)
            draft.replace(path)
        except OSError as error:
            _log.warning("picture_not_kept", reason=error.strerror)
            with suppress(OSError):
                draft.unlink()
            return
        with self._lock:
            if self._bytes is None:
                self._bytes = sum(size for _, size, _ in self._listing())
            else:
                self._bytes += len(data)
            if self._bytes > self._most:
                self._make_room()

    def _make_room(self) -> None:
        listing = sorted(self._listing())
        left = sum(size for _, size, _ in listing)
        for _, size, path in listing:
            if left <= _LEFT * self._most:
                break
            with suppress(OSError):
                path.unlink()
                left -= size
        self._bytes = left

    def _listing(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self._folder.glob("*/*"):
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return found

    def _path(self, key: str, kind: str) -> Path:
        return self._folder / key[:2] / f"{key}.{kind}"


def _whole(data: bytes, kind: str) -> bool:
    if kind == "fits":
        return data.startswith(_FITS_START) and len(data) % _FITS_BLOCK == 0
    if kind == "jpg":
        return data.startswith(_JPEG_START) and data.endswith(_JPEG_END)
    return data.startswith(_START) and data.endswith(_END)
