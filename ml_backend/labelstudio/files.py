"""Local files, read without being held up or filled up by them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ml_backend.errors import FetchError


def read_file(path: Path, named: str, max_bytes: int) -> tuple[bytes, os.stat_result]:
    """Read a regular file that is no link.

    Parameters
    ----------
    path : Path
        Resolved.
    named : str
        What to call it in messages.
    max_bytes : int
        Most that is read.

    Returns
    -------
    bytes, os.stat_result
        Its content, and what it was when it was opened.

    Raises
    ------
    FetchError
        It is missing, no regular file, may not be read or is too large.
    """
    try:
        # Non-blocking, so that a named pipe does not hold us up.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise FetchError(f"The local file {named!r} is no regular file.")
            data = file.read(max_bytes + 1)
    except IsADirectoryError:
        raise FetchError(f"The local file {named!r} is no regular file.") from None
    except FileNotFoundError:
        raise FetchError(f"The local file {named!r} does not exist.") from None
    except OSError as error:
        raise FetchError(
            f"The local file {named!r} cannot be read: {error.strerror}. Check its rights."
        ) from None
    if len(data) > max_bytes:
        raise FetchError(
            f"The local file {named!r} is larger than {max_bytes} bytes. Make it smaller, or "
            "raise GALAXYLOOP_IMAGE_MAX_BYTES."
        )
    return data, status


def find_file(folders: Sequence[Path], named: str) -> Path | None:
    """Find a local file of Label Studio in one of the folders that we may read.

    Parameters
    ----------
    folders : sequence of Path
        Allowed folders.
    named : str
        Path relative to Label Studio's root, of which ours may be a subfolder.

    Returns
    -------
    Path or None
        Resolved; None where it lies in none of them.

    Raises
    ------
    FetchError
        The name leads out of the folder, by itself or by a link.
    """
    relative = Path(named.lstrip("/"))
    if not relative.parts:
        raise FetchError(f"The local file {named!r} names no file.")
    if ".." in relative.parts:
        raise FetchError(
            f"The local file {named!r} leads out of its folder; write it without '..'."
        )
    for folder in folders:
        root = folder.resolve()
        tries = [root / relative]
        if relative.parts[0] == root.name:
            tries.append(root.parent / relative)
        for path in tries:
            if not os.path.lexists(path):
                continue
            real = Path(os.path.realpath(path))
            if not real.is_relative_to(root):
                raise FetchError(
                    f"The local file {named!r} is a link out of {folder}. Put the file "
                    "itself there, or name its folder in GALAXYLOOP_IMAGE_FOLDERS."
                )
            return real
    return None
