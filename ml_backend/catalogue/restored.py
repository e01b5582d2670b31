"""Restored pictures of imported galaxies: drawn now, or at a signed address when asked for."""

from __future__ import annotations

from collections.abc import Callable

from ml_backend.catalogue.pictures import PictureFolder, address_of
from ml_backend.errors import FetchError
from models.images import GalaxyImage


def restored_picture(
    name: str, image: GalaxyImage, folder: PictureFolder, prefix: str | None
) -> str:
    """Restore an image, keep its picture, and return the address that a task holds.

    Parameters
    ----------
    name : str
        The galaxy's id.
    image : GalaxyImage
    folder : PictureFolder
    prefix : str or None
        See `address_of`.

    Raises
    ------
    ImageError
        The image is too small or too large to be restored.
    """
    # Restoring needs torch, which nothing else of an import does.
    from models.restored_files import draw_restored, restored_image

    done, _ = restored_image(image)
    return address_of(folder.keep_restored(name, draw_restored(image, done)), prefix)


def restored_elsewhere(address: str, sign: Callable[[str], str] | None) -> str:
    """Return where the backend will restore an image that is not read now.

    Parameters
    ----------
    address : str
        Of the image, http(s).
    sign : callable or None
        Makes the address of a restored picture.

    Raises
    ------
    FetchError
        There is no such address.
    """
    if sign is None:
        raise FetchError("Its image lies elsewhere and nobody can sign an address to restore it.")
    try:
        return sign(address)
    except ValueError as error:
        raise FetchError(f"It has no restored picture: {error}") from None
