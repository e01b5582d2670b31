"""Local files, read without being held up or filled up by them."""

from __future__ import annotations

import os
import stat
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
