"""The way to Label Studio: one call through its SDK, with time limit, retries, readable errors.

The SDK keeps the connection and the tokens (a personal access token is exchanged for access tokens
of 300 s and renewed). Its endpoint methods are not used: they lack `next` and the paged task list,
and parse every answer into models that an unforeseen field breaks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx

from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio.refusals import (
    NEW_TOKEN,
    RETRYABLE,
    TokenKind,
    refusal,
    retry_after,
    token_advice,
)

if TYPE_CHECKING:
    from label_studio_sdk.core.client_wrapper import SyncClientWrapper

_LONGEST_WAIT = 10.0
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "PATCH", "DELETE"})


class Transport:
    """Calls to one Label Studio, usable from several threads.

    Parameters
    ----------
    url : str
        Address of Label Studio, with no path of its API.
    api_key : str
        Legacy token or personal access token; both kinds are recognised.
    timeout : float
        Seconds without a byte after which a call is given up.
    attempts : int
        Tries of a call that may be repeated without harm.
    sleep, now : callables
        Wait for seconds; seconds since 1970.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        timeout: float = 60.0,
        attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.url = url.rstrip("/")
        self._api_key = api_key
        self._timeout = timeout
        self._attempts = max(1, attempts)
        self._sleep = sleep
        self._now = now
        self._lock = threading.Lock()
        self._sdk: SyncClientWrapper | None = None

    def __repr__(self) -> str:
        return f"Transport({self.url!r}, {self.token_kind} token)"

    @property
    def token_kind(self) -> TokenKind:
        """A personal access token is a JWT; an access token is what it is exchanged for."""
        if not self._api_key:
            return "none"
        from jwt import InvalidTokenError, decode

        try:
            claims = decode(self._api_key, options={"verify_signature": False})
        except InvalidTokenError:
            return "legacy"
        return "access" if claims.get("token_type") == "access" else "personal"

    def authorization(self) -> str | None:
        """Return the value of the ``Authorization`` header (a secret), None without a token.

        Raises
        ------
        LabelStudioError
            No access token was given for the personal access token.
        """
        if not self._api_key:
            return None
        try:
            return self._authorized().get_headers()["Authorization"]
        except _Failed as error:
            raise error.failure from None

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        idempotent: bool | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Make one call and return its decoded JSON (None for an empty answer).

        Parameters
        ----------
        method, path : str
            HTTP method; path from the root, e.g. ``/api/projects/``.
        params : mapping, optional
            Query string.
        body : json-able, optional
            Sent as JSON.
        idempotent : bool, optional
            Whether the call may be repeated after it may have arrived; by default every method
            but POST.
        timeout : float, optional
            Seconds, instead of the transport's own.

        Raises
        ------
        LabelStudioError
            With the HTTP status, and `retryable` where the same call may succeed later.
        """
        may_repeat = method in _IDEMPOTENT if idempotent is None else idempotent
        renewed = False
        attempt = 1
        while True:
            try:
                return self._once(method, path, params, body, timeout)
            except _NotSent as error:
                failure, wait = error.failure, 0.0
            except _Failed as error:
                failure, wait = error.failure, error.retry_after
                if failure.status == 401 and self.token_kind == "personal" and not renewed:
                    # The access token may have run out on the way, or the clocks differ.
                    renewed = True
                    self._forget()
                    continue
                if not may_repeat and failure.status != 429:
                    raise failure from None
            if not failure.retryable or attempt >= self._attempts:
                raise failure from None
            self._sleep(min(_LONGEST_WAIT, max(wait, 0.25 * 2 ** (attempt - 1))))
            attempt += 1

    def health(self, timeout: float = 5.0) -> httpx.Response:
        """Ask ``/health``, which needs no token."""
        where = f"GET {self.url}/health"
        try:
            response = httpx.get(f"{self.url}/health", timeout=timeout)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(where, error) from None
        if response.status_code != 200:
            raise refusal(response, where, self.token_kind, self._api_key)
        return response

    def clock_skew(self) -> float:
        """Return by how many seconds the server's clock is ahead of ours; 0 if it does not say."""
        try:
            said = parsedate_to_datetime(self.health().headers["Date"])
        except (LabelStudioError, KeyError, ValueError):
            return 0.0
        return said.timestamp() - self._now()

    def _authorized(self) -> SyncClientWrapper:
        """Return the SDK's client with a token that is good now."""
        # Slow to import, so only where Label Studio is really called.
        from label_studio_sdk.client import LabelStudio
        from label_studio_sdk.core.api_error import ApiError

        if self.token_kind in ("none", "access"):
            raise _Failed(LabelStudioError(token_advice(self.token_kind), status=401))
        try:
            with self._lock:
                if self._sdk is None:
                    # Its own retries would also repeat a POST that may have arrived.
                    self._sdk = LabelStudio(  # type: ignore[no-untyped-call]
                        base_url=self.url,
                        api_key=self._api_key,
                        timeout=self._timeout,
                        max_retries=0,
                        follow_redirects=False,
                    )._client_wrapper
                sdk = self._sdk
            sdk.get_headers()
        except ApiError as error:
            raise _Failed(self._no_access(f"({error.status_code})", error.status_code)) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _NotSent(self._unreachable(self.url, error)) from None
        except ValueError:
            raise _Failed(self._no_access("(an answer that is none)")) from None
        return sdk

    def _forget(self) -> None:
        with self._lock:
            self._sdk = None

    def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        body: Any,
        timeout: float | None,
    ) -> Any:
        where = f"{method} {self.url}{path}"
        limit = timeout or self._timeout
        sdk = self._authorized()
        try:
            response = sdk.httpx_client.request(
                path.lstrip("/"),
                method=method,
                params=dict(params or {}),
                json=body,
                request_options={"timeout": limit},
            )
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _NotSent(self._unreachable(where, error)) from None
        except httpx.TimeoutException:
            raise _Failed(
                LabelStudioError(
                    f"Label Studio did not answer {where} within {limit:g} s. It is overloaded or "
                    "hangs; look at its log, or raise GALAXYLOOP_LABEL_STUDIO_TIMEOUT.",
                    retryable=True,
                )
            ) from None
        except (httpx.RemoteProtocolError, httpx.ReadError):
            raise _Failed(
                LabelStudioError(
                    f"The answer to {where} broke off. Label Studio, or a proxy before it, closed "
                    "the connection; try again and look at its log.",
                    retryable=True,
                )
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LabelStudioError(
                f"{where} cannot be called: {str(error)[:200]}. Check LABEL_STUDIO_URL."
            ) from None
        return self._decode(response, where)

    def _unreachable(self, where: str, error: Exception) -> LabelStudioError:
        return LabelStudioError(
            f"Label Studio cannot be reached ({where}: {type(error).__name__}). Check that it runs "
            "and that LABEL_STUDIO_URL is right as seen from here.",
            retryable=True,
        )

    def _no_access(self, said: str, status: int | None = None) -> LabelStudioError:
        return LabelStudioError(
            f"Label Studio at {self.url} gave no access token for the personal access token "
            f"{said}. It has run out, was revoked, or belongs to another Label Studio. "
            f"{NEW_TOKEN}",
            status=status,
            retryable=status in RETRYABLE,
        )

    def _decode(self, response: httpx.Response, where: str) -> Any:
        status = response.status_code
        if 300 <= status < 400:
            raise LabelStudioError(
                f"{where} was redirected to {response.headers.get('Location', 'nowhere')!r}. Set "
                "LABEL_STUDIO_URL to the final address (scheme, host and path).",
                status=status,
            )
        if status >= 400:
            raise _Failed(
                refusal(response, where, self.token_kind, self._api_key), retry_after(response)
            )
        if status == 204 or not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise _Failed(
                LabelStudioError(
                    f"{where} answered {status} with something that is not JSON. Check that "
                    "LABEL_STUDIO_URL leads to Label Studio and not to a login page or a proxy.",
                    status=status,
                    retryable=True,
                )
            ) from None


class _Failed(Exception):
    """The call arrived, or may have."""

    def __init__(self, failure: LabelStudioError, retry_after: float = 0.0) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.retry_after = retry_after


class _NotSent(_Failed):
    """The call certainly did not arrive: repeating it does no harm."""
