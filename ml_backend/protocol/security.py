"""Who may call: basic auth for Label Studio and people, a secret of our own for webhooks."""

from __future__ import annotations

import hmac
from collections.abc import Collection

from flask import Flask, Request, Response, request

from ml_backend.labelstudio.events import SECRET_HEADER
from ml_backend.protocol.problems import Problem


class Gate:
    """Compares credentials in constant time.

    Parameters
    ----------
    user, password : str
        Basic auth; an empty user means that no credentials are asked for.
    webhook_secret : str
        What the header ``X-GalaxyLoop-Secret`` of a webhook must hold.

    Raises
    ------
    ValueError
        If the webhook secret is empty, which would let every webhook in.
    """

    def __init__(self, user: str, password: str, webhook_secret: str) -> None:
        if not webhook_secret:
            raise ValueError("the webhook secret is empty")
        self._user = user
        self._password = password
        self._secret = webhook_secret

    @property
    def asks(self) -> bool:
        """Whether callers must give a user and a password."""
        return bool(self._user)

    def knows(self, request: Request) -> bool:
        """Return whether `request` carries the basic auth that is asked for, if any."""
        if not self.asks:
            return True
        given = request.authorization
        if given is None or given.type != "basic":
            return False
        # Both are always compared, so that the time taken does not tell which was wrong.
        right_user = _same(given.username or "", self._user)
        right_password = _same(given.password or "", self._password)
        return right_user and right_password

    def trusts(self, request: Request) -> bool:
        """Return whether `request` carries the webhook secret."""
        return _same(request.headers.get(SECRET_HEADER, ""), self._secret)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def unauthorised() -> Problem:
    """Return the 401 answer to a call without the right user and password."""
    return Problem(
        401,
        "This call is not allowed.",
        "The user or the password is missing or wrong.",
        "Use BASIC_AUTH_USER and BASIC_AUTH_PASS of the backend; `galaxyloop connect` enters them "
        "into Label Studio.",
        {"WWW-Authenticate": 'Basic realm="GalaxyLoop", charset="UTF-8"'},
    )


def wrong_secret() -> Problem:
    """Return the 401 answer to a webhook without the right secret."""
    return Problem(
        401,
        "This webhook is not accepted.",
        f"The header {SECRET_HEADER} is missing or wrong.",
        "Run `galaxyloop connect` for the project: it writes the secret into Label Studio.",
    )


def register_security(app: Flask, gate: Gate, own: Collection[str] = ()) -> None:
    """Make `app` ask for credentials, but for ``/webhook`` and the endpoints `own`.

    These ask by themselves: for a secret, for a signature in the address, or only programs; and
    ``/dashboard`` has a login of its own.
    """

    @app.before_request
    def _authenticate() -> None:
        if request.path == "/webhook" or request.endpoint in own:
            return
        if request.path == "/dashboard" or request.path.startswith("/dashboard/"):
            return
        if not gate.knows(request):
            raise unauthorised()

    @app.after_request
    def _headers(response: Response) -> Response:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
            "form-action 'self'; frame-ancestors 'none'",
        )
        return response
