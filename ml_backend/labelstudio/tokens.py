"""Label Studio's kinds of tokens, and the access tokens that a personal one is exchanged for."""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

TokenKind = Literal["none", "legacy", "personal", "access"]

_LIFETIME = 300.0


def token_kind(api_key: str) -> TokenKind:
    """Tell the kinds of Label Studio tokens apart.

    Parameters
    ----------
    api_key : str
        What was configured.

    Returns
    -------
    {"none", "legacy", "personal", "access"}
        A personal access token is a JWT of type "refresh"; an access token is what it is
        exchanged for and lives 300 s only, so nobody should configure one.
    """
    if not api_key:
        return "none"
    claims = _claims(api_key)
    if claims is None:
        return "legacy"
    return "access" if claims.get("token_type") == "access" else "personal"


class Token:
    """What is sent as ``Authorization``; renews access tokens by itself, in any thread.

    Parameters
    ----------
    api_key : str
        Legacy token or personal access token; empty: nothing is sent.
    renew : callable
        Exchanges a personal access token for an access token.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        api_key: str,
        renew: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kind = token_kind(api_key)
        self._api_key = api_key
        self._renew = renew
        self._clock = clock
        self._lock = threading.Lock()
        self._access = ""
        self._access_until = float("-inf")

    def __repr__(self) -> str:
        return f"Token({self.kind})"

    def header(self) -> str | None:
        """Return the value of the ``Authorization`` header (a secret), None without a token."""
        if self.kind == "none":
            return None
        if self.kind == "legacy":
            return f"Token {self._api_key}"
        if self.kind == "access":
            return f"Bearer {self._api_key}"
        with self._lock:
            if self._clock() >= self._access_until:
                access = self._renew(self._api_key)
                self._access = access
                self._access_until = self._clock() + _lifetime(access) * 0.8
            return f"Bearer {self._access}"

    def forget(self, header: str | None) -> None:
        """Renew at the next call, if `header` is still the one in use."""
        with self._lock:
            if header == f"Bearer {self._access}":
                self._access_until = float("-inf")

    def redact(self, text: str) -> str:
        """Take the tokens out of a text before it is shown."""
        for secret in (self._api_key, self._access):
            if len(secret) > 5:
                text = text.replace(secret, "[token]")
        return text


def _claims(token: str) -> dict[str, Any] | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error):
        return None
    return claims if isinstance(claims, dict) else None


def _lifetime(access: str) -> float:
    # By the server's own clock, so that a wrong clock here does no harm.
    claims = _claims(access) or {}
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, (int, float)) or not isinstance(expires, (int, float)):
        return _LIFETIME
    return max(5.0, float(expires - issued))
