"""The way to Label Studio: one HTTP call with token, time limit, retries and readable errors."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests.auth import AuthBase

from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio.tokens import Token

_CONNECT_TIMEOUT = 5.0
_LONGEST_WAIT = 10.0
_NEW_TOKEN = (
    "Make a new one (Account & Settings, Personal Access Token) and set LABEL_STUDIO_API_KEY to it."
)
_RETRYABLE = frozenset({429, 500, 502, 503, 504})
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "PATCH", "DELETE"})


class _Bearer(AuthBase):
    """Set our header; an auth object also keeps ~/.netrc from replacing it."""

    def __init__(self, header: str | None) -> None:
        self._header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._header:
            request.headers["Authorization"] = self._header
        return request


class Transport:
    """Calls to one Label Studio, usable from several threads.

    Parameters
    ----------
    url : str
        Address of Label Studio, with no path of its API.
    api_key : str
        Legacy token or personal access token (both kinds are recognised). A personal access
        token is exchanged for access tokens (300 s) when needed.
    timeout : float
        Seconds without a byte after which a call is given up.
    attempts : int
        Tries of a call that may be repeated without harm.
    sleep, clock, now : callables
        Wait for seconds; monotonic seconds; seconds since 1970.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        timeout: float = 60.0,
        attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.url = url.rstrip("/")
        self.token = Token(api_key, self._renew, clock)
        self._timeout = timeout
        self._attempts = max(1, attempts)
        self._sleep = sleep
        self._now = now
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"Transport({self.url!r}, {self.token.kind} token)"

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        idempotent: bool | None = None,
        timeout: float | None = None,
        authenticate: bool = True,
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
        authenticate : bool
            Whether the token is sent.

        Raises
        ------
        LabelStudioError
            With the HTTP status, and `retryable` where the same call may succeed later.
        """
        may_repeat = method in _IDEMPOTENT if idempotent is None else idempotent
        renewed = False
        attempt = 1
        while True:
            header = self.token.header() if authenticate else None
            try:
                return self._once(method, path, params, body, timeout, header)
            except _NotSent as error:
                failure, wait = error.failure, 0.0
            except _Failed as error:
                failure, wait = error.failure, error.retry_after
                if failure.status == 401 and self.token.kind == "personal" and not renewed:
                    # The access token may have run out on the way, or the server restarted.
                    renewed = True
                    self.token.forget(header)
                    continue
                if not may_repeat and failure.status != 429:
                    raise failure from None
            if not failure.retryable or attempt >= self._attempts:
                raise failure from None
            self._sleep(min(_LONGEST_WAIT, max(wait, 0.25 * 2 ** (attempt - 1))))
            attempt += 1

    def clock_skew(self) -> float:
        """Return by how many seconds the server's clock is ahead of ours; 0 if it does not say."""
        try:
            response = self._session().get(
                f"{self.url}/health", auth=_Bearer(None), timeout=self._timeout, stream=True
            )
            response.close()
            said = parsedate_to_datetime(response.headers["Date"])
        except (requests.RequestException, KeyError, ValueError):
            return 0.0
        return said.timestamp() - self._now()

    def _renew(self, api_key: str) -> str:
        try:
            answer = Transport(self.url, "", self._timeout, self._attempts, self._sleep).call(
                "POST", "/api/token/refresh/", body={"refresh": api_key}, idempotent=True
            )
        except LabelStudioError as error:
            if error.status != 401:
                raise
            raise LabelStudioError(
                f"Label Studio at {self.url} does not know the personal access token (401). It was "
                f"revoked, or belongs to another Label Studio. {_NEW_TOKEN}",
                status=401,
            ) from None
        access = answer.get("access") if isinstance(answer, dict) else None
        if not isinstance(access, str) or not access:
            raise LabelStudioError(
                f"Label Studio at {self.url} gave no access token for the personal access token. "
                + _NEW_TOKEN
            )
        return access

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
        return session

    def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        body: Any,
        timeout: float | None,
        header: str | None,
    ) -> Any:
        where = f"{method} {self.url}{path}"
        limit = timeout or self._timeout
        try:
            response = self._session().request(
                method,
                f"{self.url}{path}",
                params=params,
                json=body,
                auth=_Bearer(header),
                timeout=(min(_CONNECT_TIMEOUT, limit), limit),
                allow_redirects=False,
            )
        except (requests.ConnectTimeout, requests.exceptions.ProxyError) as error:
            raise _NotSent(self._unreachable(where, error)) from None
        except requests.Timeout:
            raise _Failed(
                LabelStudioError(
                    f"Label Studio did not answer {where} within {limit:g} s. It is overloaded or "
                    "hangs; look at its log, or raise GALAXYLOOP_LABEL_STUDIO_TIMEOUT.",
                    retryable=True,
                )
            ) from None
        except requests.exceptions.ChunkedEncodingError:
            raise _Failed(self._half(where)) from None
        except requests.ConnectionError as error:
            failure = self._unreachable(where, error)
            raise (_NotSent(failure) if "refused" in str(error) else _Failed(failure)) from None
        except requests.RequestException as error:
            raise LabelStudioError(
                f"{where} cannot be called: {self.token.redact(str(error))[:200]}. "
                "Check LABEL_STUDIO_URL."
            ) from None
        return self._decode(response, where)

    def _unreachable(self, where: str, error: Exception) -> LabelStudioError:
        return LabelStudioError(
            f"Label Studio cannot be reached ({where}: {type(error).__name__}). Check that it runs "
            "and that LABEL_STUDIO_URL is right as seen from here.",
            retryable=True,
        )

    def _half(self, where: str) -> LabelStudioError:
        return LabelStudioError(
            f"The answer to {where} broke off. Label Studio, or a proxy before it, closed the "
            "connection; try again and look at its log.",
            retryable=True,
        )

    def _decode(self, response: requests.Response, where: str) -> Any:
        status = response.status_code
        if 300 <= status < 400:
            raise LabelStudioError(
                f"{where} was redirected to {response.headers.get('Location', 'nowhere')!r}. Set "
                "LABEL_STUDIO_URL to the final address (scheme, host and path).",
                status=status,
            )
        if status >= 400:
            raise _Failed(self._refused(response, where), _retry_after(response))
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

    def _refused(self, response: requests.Response, where: str) -> LabelStudioError:
        status = response.status_code
        detail = self.token.redact(error_text(response))
        said = f"{where} answered {status}: {detail}."
        if status == 401:
            return LabelStudioError(f"{said} {self._token_advice(detail)}", status=status)
        if status == 403:
            advice = "The account of LABEL_STUDIO_API_KEY may not do this, or a setting forbids it."
        elif status == 404:
            advice = "It does not exist, or belongs to another organisation than our account."
        elif status == 429:
            advice = "Too many calls; try again later."
        elif status >= 500:
            advice = "Label Studio failed; look at its log (a locked SQLite passes by itself)."
        else:
            advice = "Label Studio does not accept what was sent."
        return LabelStudioError(f"{said} {advice}", status=status, retryable=status in _RETRYABLE)

    def _token_advice(self, detail: str) -> str:
        if self.token.kind == "none":
            return "Set LABEL_STUDIO_API_KEY to a token (Account & Settings in Label Studio)."
        if self.token.kind == "access":
            return (
                "This is an access token, which lives five minutes; set LABEL_STUDIO_API_KEY to "
                "the personal access token itself."
            )
        if self.token.kind == "legacy" and "legacy" in detail.lower():
            return (
                "Legacy tokens are off in this organisation: use a personal access token, or turn "
                "them on (Organization, API Tokens Settings; at the first start "
                "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true)."
            )
        return "The token is wrong or was reset; copy it anew to LABEL_STUDIO_API_KEY."


class _Failed(Exception):
    """The call arrived, or may have."""

    def __init__(self, failure: LabelStudioError, retry_after: float = 0.0) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.retry_after = retry_after


class _NotSent(_Failed):
    """The call certainly did not arrive: repeating it does no harm."""


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _retry_after(response: requests.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def error_text(response: requests.Response, limit: int = 400) -> str:
    """Return what an error answer says, without markup, at most `limit` characters."""
    try:
        content = response.json()
    except ValueError:
        kind = response.headers.get("Content-Type", "")
        return "a page, no reason" if "html" in kind else (response.text.strip()[:limit] or "-")
    if isinstance(content, dict):
        parts = [content.get("detail"), content.get("validation_errors"), content.get("error")]
        told = [part if isinstance(part, str) else json.dumps(part) for part in parts if part]
        text = "; ".join(told) or json.dumps(content)
    else:
        text = json.dumps(content)
    return text[:limit].rstrip(". ")
