"""Images that stand in a task themselves, as ``data:`` URIs."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote, unquote_to_bytes

from ml_backend.errors import FetchError


def decode(address: str, max_bytes: int) -> bytes:
    """Return the content of a ``data:`` URI, in base64 or with percent signs.

    Raises
    ------
    FetchError
        It is empty, broken, or larger than `max_bytes`.
    """
    too_large = (
        f"The data: URI is larger than {max_bytes} bytes. Make it smaller, or raise "
        "GALAXYLOOP_IMAGE_MAX_BYTES."
    )
    head, comma, content = address.partition(",")
    if not comma:
        raise FetchError("The data: URI has no comma, so no content.")
    # Base64 grows by a third, percent signs threefold: too long in any case.
    if len(content) > 3 * max_bytes + 4:
        raise FetchError(too_large)
    if head.lower().endswith(";base64"):
        try:
            # Spaces stand for "+" where an address was decoded once too often.
            text = unquote(content).strip().replace(" ", "+")
            data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise FetchError(
                f"The data: URI holds broken base64 ({error}). Import the task again."
            ) from None
    else:
        data = unquote_to_bytes(content)
    if len(data) > max_bytes:
        raise FetchError(too_large)
    if not data:
        raise FetchError("The data: URI is empty.")
    return data
