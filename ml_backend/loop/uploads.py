"""Images from outside: encoded as the project's own are, and kept nowhere."""

from __future__ import annotations

import base64
import binascii

import numpy as np
import numpy.typing as npt

from ml_backend.errors import FetchError, StoreError
from ml_backend.loop.encoding import image_limits, load_lvm
from ml_backend.loop.project_lvm import lvm_in_use
from ml_backend.store.database import Store
from models.images import ImageError, ImageLimits, read_image
from models.throughput import encode_images

Singles = npt.NDArray[np.float32]

MOST_BYTES = 16 * 2**20
MOST_PIXELS = 16_000_000
"""An uploaded image is decoded by the process that serves, so it is held smaller than a task's."""


def encode_upload(store: Store, project_id: int, data: bytes, lvm_identity: str) -> Singles:
    """Return the embedding of an image file.

    Parameters
    ----------
    store : Store
    project_id : int
    data : bytes
        The whole file, as somebody sent it.
    lvm_identity : str
        LVM that the project's galaxies are encoded by.

    Returns
    -------
    float32 [d]

    Raises
    ------
    FetchError
        The file is no image that is read, or too large.
    StoreError
        The LVM of the project is not there.
    """
    given = image_limits(store.settings)
    limits = ImageLimits(min(given.max_bytes, MOST_BYTES), min(given.max_pixels, MOST_PIXELS))
    try:
        image = read_image(data, limits)
    except ImageError as error:
        raise FetchError(str(error)) from None
    used = lvm_in_use(store, project_id, load_lvm(store.settings))
    if used.identity != lvm_identity:
        raise StoreError(
            "The galaxies were encoded by another LVM than the one in use. Wait until the next "
            "round has encoded them anew."
        )
    (row,) = encode_images(used.lvm, [image], 1)
    if not np.isfinite(row).all():
        raise FetchError("The LVM finds nothing in this image that it can describe.")
    return np.asarray(row, np.float32)


def packed(row: Singles) -> str:
    """Return an embedding as text that a form can carry."""
    half = np.clip(row, -65504, 65504).astype("<f2")
    return base64.urlsafe_b64encode(half.tobytes()).decode("ascii")


def unpacked(text: str, dimension: int) -> Singles:
    """Return the embedding that a form carries.

    Raises
    ------
    StoreError
        It is none of that length, or holds NaN or infinity.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    row = np.frombuffer(data, "<f2").astype(np.float32) if len(data) == 2 * dimension else None
    if row is None or not np.isfinite(row).all():
        raise StoreError("What the form carries is no image of this project. Upload it again.")
    return row
