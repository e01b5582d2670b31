"""The folder of cut-outs and of the pictures that people see, kept from run to run."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ml_backend.bulk.items import SourceError, listed
from models.images import GalaxyImage, encode_png, to_rgb8
from models.pictures import picture_format

MOST_EMBEDDED = 2000
"""Pictures that are put into the tasks themselves; more would make Label Studio slow."""
_MANIFEST = "import.json"
_LOCK = ".lock"
_SHOWN = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
_MIME = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


class PictureFolder:
    """Files by galaxy; each appears whole or not at all.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    facts : dict
        What the files depend on (size, bands, where from), json-able.
    restart : bool
        Throw away what was made with other facts.

    Raises
    ------
    SourceError
        It was made with other facts, is used by another run, or cannot be written.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], restart: bool = False) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock: BinaryIO = (folder / _LOCK).open("ab")
        except OSError as error:
            raise SourceError(f"{folder} cannot be written: {error.strerror}.") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise SourceError(
                f"Another import uses {folder} now. Wait for its end, or name another folder with "
                "--pictures."
            ) from None
        try:
            self._begin(facts, restart)
        except BaseException:
            self.close()
            raise

    def _begin(self, facts: dict[str, Any], restart: bool) -> None:
        manifest = self.folder / _MANIFEST
        if not manifest.exists():
            self._refuse_foreign()
        kept = _json(manifest) if manifest.exists() else facts
        if kept != facts:
            if not restart:
                names = kept.keys() | facts.keys() if isinstance(kept, dict) else {"everything"}
                other = [
                    n for n in names if not isinstance(kept, dict) or kept.get(n) != facts.get(n)
                ]
                raise SourceError(
                    f"The cut-outs in {self.folder} were made otherwise ({listed(other)} "
                    "differ). Name another folder with --pictures, or make all anew with --restart."
                )
            for name in ("cutouts", "pictures"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("cutouts", "pictures"):
            (self.folder / name).mkdir(exist_ok=True)
        self._write(manifest, json.dumps(facts, indent=1).encode())

    def _refuse_foreign(self) -> None:
        """Touch no files of somebody else: a later restart would delete them."""
        for name in ("cutouts", "pictures"):
            with contextlib.suppress(OSError):
                if any((self.folder / name).iterdir()):
                    raise SourceError(
                        f"{self.folder / name} holds files that no import made. Name another "
                        "folder with --pictures."
                    )

    def close(self) -> None:
        """Let others use the folder."""
        self._lock.close()

    def cutout(self, name: str, suffix: str) -> bytes | None:
        """Return the kept cut-out of a galaxy, None if there is none."""
        try:
            return self._cutout(name, suffix).read_bytes()
        except OSError:
            return None

    def keep_cutout(self, name: str, suffix: str, data: bytes) -> None:
        """Keep a cut-out as it came."""
        self._write(self._cutout(name, suffix), data)

    def _cutout(self, name: str, suffix: str) -> Path:
        return self.folder / "cutouts" / (file_name(name) + suffix)

    def keep_picture(self, name: str, data: bytes, image: GalaxyImage) -> Path:
        """Keep what a browser can show: the file itself if it can, else drawn as PNG.

        Parameters
        ----------
        name : str
            The galaxy's id.
        data : bytes
            The file of `image`.
        image : GalaxyImage
        """
        kind = picture_format(data)
        if kind in _SHOWN and image.kind == "rgb8":
            suffix = _SHOWN[kind]
        else:
            suffix, data = ".png", b""
        path = self.folder / "pictures" / (file_name(name) + suffix)
        data = data or encode_png(to_rgb8(image))
        if not path.exists() or path.read_bytes() != data:
            self._write(path, data)
        return path

    def keep_restored(self, name: str, picture: NDArray[np.uint8]) -> Path:
        """Keep the picture uint8 [H, W, 3] of a galaxy's restored image."""
        path = self.folder / "pictures" / f"{file_name(name)}.restored.png"
        data = encode_png(picture)
        if not path.exists() or path.read_bytes() != data:
            self._write(path, data)
        return path

    def _write(self, path: Path, data: bytes) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_bytes(data)
            os.replace(draft, path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise SourceError(
                f"{path} cannot be written: {error.strerror}. Run the same command again; what is "
                "done is kept."
            ) from None


def address_of(picture: Path, prefix: str | None) -> str:
    """Return the address of a picture as a task holds it.

    Parameters
    ----------
    picture : Path
    prefix : str or None
        What stands before its file name, e.g. ``https://host/galaxies/`` or
        ``/data/local-files/?d=galaxies/``; None: the picture itself, as a data URI.
    """
    if prefix is None:
        kind = _MIME[picture.suffix]
        return f"data:{kind};base64,{base64.b64encode(picture.read_bytes()).decode()}"
    return prefix + quote(picture.name, safe="")


def file_name(name: str) -> str:
    """Return a file name for an id, of letters that any system takes; different for each id."""
    plain = re.sub(r"[^A-Za-z0-9+-]", "_", name)[:80]
    if plain == name and not name.startswith("-"):
        return name
    return f"{plain.lstrip('-')}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:10]}"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
