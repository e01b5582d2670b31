"""Signed addresses of pictures: what a task holds so that a browser may ask us to draw an image."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from itsdangerous import BadSignature, Signer

from ml_backend.errors import FetchError

LONGEST = 4096
"""Characters of a token; browsers and proxies take longer addresses, but not all of them."""
LOOKS = ("lupton", "asinh", "zscale")
RESTORED = ("restored", "uncertainty")
"""Looks of what restoration makes of an image; those of tokens that also open a FITS file of it."""
_PATH = re.compile(r"/pictures/([A-Za-z0-9_=.-]+)\.(?:png|fits)")
_FRAGMENT = re.compile(r"(?:.*&)?extension=([^&]+)(?:&.*)?")


@dataclass(frozen=True)
class Wanted:
    """What an address asks for.

    Attributes
    ----------
    source : str
        Address of the image, as `ImageFetcher.fetch` takes it; ``#extension=...`` chooses one of
        several images in it.
    look : str
        One of `LOOKS` or `RESTORED`.
    band : str or None
        Of a grey look; None: the middle one.
    until : int or None
        Seconds since 1970 (UTC) after which nothing is drawn any more; None: always.
    """

    source: str
    look: str = "lupton"
    band: str | None = None
    until: int | None = None


class PictureAddresses:
    """Makes addresses of pictures and reads those that it (or another with its secret) made.

    An ``<img>`` sends no headers, so the address itself is the permission to see this one image in
    this one look: it carries an HMAC (SHA-256) over what it asks for.

    Parameters
    ----------
    secret : str
        Of this backend alone; whoever knows it can have any image drawn that the backend may read.
    base : str
        Address of the backend in people's browsers.
    days : float
        For which new addresses are good; 0: always.
    now : callable
        Seconds since 1970.

    Raises
    ------
    ValueError
        The secret is empty.
    """

    def __init__(
        self, secret: str, base: str, days: float = 0, now: Callable[[], float] = time.time
    ) -> None:
        if not secret:
            raise ValueError("the secret of pictures is empty")
        self._base = base.rstrip("/")
        self._seconds = days * 86_400
        self._now = now
        self._signer = Signer(
            secret, b"galaxyloop.pictures", key_derivation="hmac", digest_method=hashlib.sha256
        )

    def address(
        self,
        source: str,
        look: str = "lupton",
        band: str | None = None,
        *,
        extension: int | str | None = None,
    ) -> str:
        """Return the address of a picture, for a task's data.

        Parameters
        ----------
        source : str
            Where the image lies, as Label Studio's tasks would name it: ``http(s)://``,
            ``/data/local-files/?d=...``, ``/data/upload/...``.
        look, band
            See `Wanted`.
        extension : int or str, optional
            Extension of a FITS file, stamp of an HDF5 file; appended to `source`.

        Raises
        ------
        ValueError
            There is no such look, or the source is a data: URI, a picture already, or too long.
        """
        if look not in LOOKS + RESTORED:
            raise ValueError(f"There is no look {look!r}; there are {', '.join(LOOKS + RESTORED)}.")
        if band is not None and look in RESTORED:
            raise ValueError(f"The look {look!r} shows all bands; it takes none.")
        if source[:5].lower() == "data:" or token_in(source):
            raise ValueError("A picture is drawn of a file, not of a data: URI or a picture.")
        if extension is not None:
            source = with_extension(source, extension)
        until = int(self._now() + self._seconds) if self._seconds else None
        asked = {"s": source, "l": look, "b": band, "u": until}
        text = json.dumps({key: value for key, value in asked.items() if value is not None})
        payload = base64.urlsafe_b64encode(text.encode()).rstrip(b"=")
        token = self._signer.sign(payload).decode("ascii")
        if len(token) > LONGEST:
            raise ValueError(f"The address {source[:60]!r}... is too long for a picture.")
        return f"{self._base}/pictures/{token}.png"

    def fits_address(self, source: str, *, extension: int | str | None = None) -> str:
        """Return the address of the restored image as a FITS file, with its deviations.

        Parameters and errors are those of `address`.
        """
        picture = self.address(source, RESTORED[0], extension=extension)
        return picture.removesuffix(".png") + ".fits"

    def side_by_side(self, source: str, extension: int | str | None = None) -> dict[str, str]:
        """Return the addresses of all looks, as ``labeling_configs/looks.xml`` names them.

        Returns
        -------
        dict of str to str
            ``image`` (in colour), ``image_asinh``, ``image_zscale``.
        """
        return {
            "image" if look == LOOKS[0] else f"image_{look}": self.address(
                source, look, extension=extension
            )
            for look in LOOKS
        }

    def read(self, token: str) -> Wanted | None:
        """Return what a token asks for; None where it was not signed with our secret."""
        if len(token) > LONGEST or not token.isascii():
            return None
        try:
            payload = self._signer.unsign(token)
        except BadSignature:
            return None
        return _unpacked(payload.decode("ascii"))

    def source(self, address: str) -> str:
        """Return what lies behind the address of a picture; any other address as it is.

        Until when it may be shown does not matter here: the image is learned from, not shown.

        Raises
        ------
        FetchError
            It leads to our pictures, but was not signed with our secret.
        """
        token = token_in(address)
        if token is None:
            return address
        wanted = self.read(token)
        if wanted is not None:
            return wanted.source
        if address.startswith(f"{self._base}/"):
            raise FetchError(
                "The address of this picture was not signed by this backend, or its secret was "
                "changed since. Import the task again."
            )
        return address


def token_in(address: str) -> str | None:
    """Return the token of an address that looks like one of a picture, else None."""
    try:
        found = _PATH.fullmatch(urlsplit(address).path)
    except ValueError:
        return None
    return found.group(1) if found else None


def with_extension(source: str, extension: int | str) -> str:
    """Return an address that chooses one of several images in a file.

    Raises
    ------
    ValueError
        The extension has characters that an address cannot hold here.
    """
    text = str(extension)
    if not text or re.search(r"[\x00-\x20\x7f&#%\\]", text):
        raise ValueError(f"The extension {text[:40]!r} cannot stand in an address; use its number.")
    return f"{source.split('#')[0]}#extension={text}"


def extension_of(address: str) -> int | str | None:
    """Return the extension that an address chooses, also that of the source of a picture.

    Signatures are not looked at: the choice alone opens nothing.
    """
    token = token_in(address)
    if token is not None:
        wanted = _unpacked(token.rpartition(".")[0])
        address = wanted.source if wanted is not None else ""
    found = _FRAGMENT.fullmatch(address.partition("#")[2])
    if found is None:
        return None
    text = unquote(found.group(1))
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text


def _unpacked(payload: str) -> Wanted | None:
    try:
        data = base64.b64decode(payload + "=" * (-len(payload) % 4), b"-_", validate=True)
        asked = json.loads(data)
        wanted = Wanted(asked["s"], asked["l"], asked.get("b"), asked.get("u"))
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    kinds = (
        isinstance(wanted.source, str),
        isinstance(wanted.look, str),
        isinstance(wanted.band, str | None),
        isinstance(wanted.until, int | None),
    )
    return wanted if all(kinds) else None
