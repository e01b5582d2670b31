"""Image addresses in task data -> file bytes, from allowed places only, within limits."""

from __future__ import annotations

import os
import re
import threading
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urljoin

import requests

from ml_backend.errors import FetchError, LabelStudioError
from ml_backend.labelstudio.addresses import (
    HostRules,
    Permission,
    PrivateAddress,
    session,
    shown,
    split_address,
)
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.data_uris import decode
from ml_backend.labelstudio.files import find_file, read_file
from ml_backend.pictures.addresses import PictureAddresses
from ml_backend.settings import Settings

_CHUNK = 64 * 1024
_MOST_REDIRECTS = 4
_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
_UPLOADS = "/data/upload/"
_LOCAL_FILES = "/data/local-files/"
# What Label Studio serves of a task's files; everything else of it is none of an image's business.
_FILE_PATHS = re.compile(r"/(data/(upload|local-files)|storage-data|tasks/\d+/(resolve|presign))/")


class ImageFetcher:
    """Reads images by the addresses that Label Studio tasks hold; safe to share between threads.

    Parameters
    ----------
    settings : Settings
        Allowed hosts and folders, limits of size and time.
    client : LabelStudioClient
        Gives Label Studio's address, and the token for files that Label Studio keeps.
    pictures : PictureAddresses, optional
        Tells what lies behind the addresses of our own pictures: the image is read, not the
        picture.
    """

    def __init__(
        self,
        settings: Settings,
        client: LabelStudioClient,
        pictures: PictureAddresses | None = None,
    ) -> None:
        self._client = client
        self._pictures = pictures
        self._rules = HostRules(client.url, settings.image_hosts)
        self._folders = tuple(Path(folder) for folder in settings.image_folders)
        self._max_bytes = settings.image_max_bytes
        self._timeout = settings.image_timeout
        self._local = threading.local()

    def fetch(self, address: str) -> bytes:
        """Read one image file.

        Parameters
        ----------
        address : str
            ``data:`` URI; ``http(s)://`` on Label Studio or an allowed host; ``/data/upload/...``
            and ``/data/local-files/?d=...`` of Label Studio (with or without its host), the latter
            read straight from an allowed folder where it lies in one. Of the address of one of our
            pictures, the file that it is drawn of.

        Returns
        -------
        bytes
            The file as it is; whether it is an image is for the reader to decide.

        Raises
        ------
        FetchError
            The address is not allowed, leads nowhere, or the file is too large or too slow.
        """
        if not isinstance(address, str) or not address.strip():
            raise FetchError("The task names no image: its field is empty or no text.")
        address = address.strip()
        if address[:5].lower() == "data:":
            return decode(address, self._max_bytes)
        if self._pictures is not None:
            address = self._pictures.source(address)
        address = address.replace(" ", "%20")
        parts = split_address(address)
        if parts.scheme:
            if parts.scheme not in ("http", "https"):
                raise FetchError(_foreign_scheme(parts.scheme))
        elif not _FILE_PATHS.match(parts.path) or parts.netloc:
            raise FetchError(
                f"{shown(address)} is no address that can be read. Use http(s)://, a data: URI, "
                "or what Label Studio writes itself (/data/upload/..., /data/local-files/?d=...)."
            )
        if parts.path == _LOCAL_FILES:
            found = self._find(parts)
            if found is not None:
                return read_file(*found, self._max_bytes)[0]
        return self._download(self._absolute(address, parts))

    def stamp(self, address: str) -> str:
        """Return something that changes when a file in an allowed folder does, else "".

        Raises
        ------
        FetchError
            As `fetch` for the same address, where that can be told without reading.
        """
        address = address.strip().replace(" ", "%20")
        if not address.startswith(("/", "http")):
            return ""
        parts = split_address(address)
        found = self._find(parts) if parts.path == _LOCAL_FILES else None
        try:
            status = os.stat(found[0]) if found else None
        except OSError:
            return ""
        return f"{status.st_size} {status.st_mtime_ns}" if status else ""

    def _find(self, parts: SplitResult) -> tuple[Path, str] | None:
        named = parse_qs(parts.query).get("d", [""])[0]
        if not named or "\0" in named:
            raise FetchError(f"{shown(parts.geturl())} names no file (its ?d= is missing or odd).")
        path = find_file(self._folders, named)
        return None if path is None else (path, named)

    def _absolute(self, address: str, parts: SplitResult) -> str:
        kept = parts.path.startswith((_UPLOADS, _LOCAL_FILES))
        # Label Studio writes its own host into addresses, which may be another name than ours.
        if not parts.scheme or (kept and self._rules.permission(parts) is None):
            tail = f"?{parts.query}" if parts.query else ""
            return f"{self._client.url}{parts.path}{tail}"
        return address

    def _download(self, address: str) -> bytes:
        deadline = time.monotonic() + self._timeout
        for _ in range(_MOST_REDIRECTS + 1):
            permission, header = self._permit(address)
            response = self._get(address, permission, header, deadline)
            with response:
                if not response.is_redirect:
                    return self._content(response, address, deadline)
                try:
                    address = urljoin(address, response.headers["Location"])
                except ValueError:
                    raise FetchError(f"{shown(address)} redirects to no valid address.") from None
        raise FetchError(f"{shown(address)} redirects without end.")

    def _permit(self, address: str) -> tuple[Permission, str | None]:
        parts = split_address(address)
        if parts.scheme not in ("http", "https"):
            raise FetchError(_foreign_scheme(parts.scheme))
        permission = self._rules.permission(parts)
        if permission is None:
            raise FetchError(
                f"Images may not be fetched from {parts.netloc}. If they should be, add "
                f"{parts.netloc} to GALAXYLOOP_IMAGE_HOSTS and restart."
            )
        header = None
        if self._rules.is_label_studio(parts) and _FILE_PATHS.search(parts.path):
            try:
                header = self._client.authorization()
            except LabelStudioError as error:
                raise FetchError(str(error)) from None
        return permission, header

    def _get(
        self, address: str, permission: Permission, header: str | None, deadline: float
    ) -> requests.Response:
        def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
            if header:
                request.headers["Authorization"] = header
            return request

        left = max(0.1, deadline - time.monotonic())
        try:
            response = self._session(permission).get(
                address,
                auth=authorize,  # also keeps ~/.netrc out
                timeout=left,
                stream=True,
                allow_redirects=False,
                headers={"Accept": "image/*, application/fits, */*;q=0.5"},
            )
        except requests.Timeout:
            raise FetchError(self._too_slow(address), retryable=True) from None
        except (requests.RequestException, OSError, ValueError) as error:
            raise _failed(address, error) from None
        if response.status_code >= 400:
            status = response.status_code
            response.close()
            advice = "Check the address in the task's data."
            if header and status in (401, 403):
                advice = "Check LABEL_STUDIO_API_KEY, and that its account may see the project."
            elif header and status == 404 and _LOCAL_FILES in address:
                advice = (
                    "Serving local files is off in Label Studio, or the file is in no storage of "
                    "it; or name its folder in GALAXYLOOP_IMAGE_FOLDERS."
                )
            raise FetchError(
                f"{shown(address)} answered {status}. {advice}",
                retryable=status in _RETRYABLE,
                retry_after=_seconds(response.headers.get("Retry-After", "")),
            )
        return response

    def _content(self, response: requests.Response, address: str, deadline: float) -> bytes:
        if "text/html" in response.headers.get("Content-Type", ""):
            raise FetchError(
                f"{shown(address)} answered with a web page (a login?), not with an image."
            )
        try:
            announced = int(response.headers.get("Content-Length", "0"))
        except ValueError:
            announced = 0
        if announced > self._max_bytes:
            raise FetchError(self._too_large(shown(address)))
        data = bytearray()
        try:
            for chunk in response.iter_content(_CHUNK):
                data += chunk
                if len(data) > self._max_bytes:
                    raise FetchError(self._too_large(shown(address)))
                if time.monotonic() > deadline:
                    raise FetchError(self._too_slow(address), retryable=True)
        except (requests.RequestException, OSError) as error:
            raise _failed(address, error) from None
        if not data:
            raise FetchError(f"{shown(address)} is empty (0 bytes).")
        return bytes(data)

    def _session(self, permission: Permission) -> requests.Session:
        made: requests.Session | None = getattr(self._local, permission, None)
        if made is None:
            made = session(permission)
            setattr(self._local, permission, made)
        return made

    def _too_large(self, what: str) -> str:
        return (
            f"{what} is larger than {self._max_bytes} bytes. Make it smaller, or raise "
            "GALAXYLOOP_IMAGE_MAX_BYTES."
        )

    def _too_slow(self, address: str) -> str:
        return (
            f"{shown(address)} did not arrive within {self._timeout:g} s. Check its server, or "
            "raise GALAXYLOOP_IMAGE_TIMEOUT."
        )


def _foreign_scheme(scheme: str) -> str:
    advice = "Use http(s)://, a data: URI, or let Label Studio keep the file."
    if scheme in ("s3", "gs", "azure-blob"):
        advice = "Import the tasks through Label Studio's cloud storage with pre-signed URLs."
    return f"Images may not be read from {scheme}: addresses. {advice}"


def _failed(address: str, error: Exception) -> FetchError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PrivateAddress):
            return FetchError(
                f"{shown(address)} is refused: {cause}. Name the host itself to allow it."
            )
        reason = getattr(cause, "reason", None)
        inner = next((arg for arg in cause.args if isinstance(arg, BaseException)), None)
        cause = reason if isinstance(reason, BaseException) else inner or cause.__context__
    return FetchError(
        f"{shown(address)} cannot be read ({type(error).__name__}). Check the address.",
        retryable=not isinstance(error, ValueError),
    )


def _seconds(text: str) -> float:
    """Return the seconds that a Retry-After header asks for; 0 if it says nothing."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0
