"""Why Label Studio refused a call, in words that say what to do."""

from __future__ import annotations

import json
from typing import Literal

import httpx

from ml_backend.errors import LabelStudioError

TokenKind = Literal["none", "legacy", "personal", "access"]

NEW_TOKEN = (
    "Make a new one (Account & Settings, Personal Access Token) and set LABEL_STUDIO_API_KEY to it."
)
RETRYABLE = frozenset({429, 500, 502, 503, 504})


def refusal(
    response: httpx.Response, where: str, token_kind: TokenKind, secret: str
) -> LabelStudioError:
    """Return the error for an answer of status 400 or more.

    Parameters
    ----------
    response : httpx.Response
        The answer.
    where : str
        Method and address of the call.
    token_kind : {"none", "legacy", "personal", "access"}
        Kind of token that was sent.
    secret : str
        Taken out of what is shown.
    """
    status = response.status_code
    detail = error_text(response).replace(secret or "\n", "[token]")
    said = f"{where} answered {status}: {detail}."
    if status == 401:
        return LabelStudioError(f"{said} {token_advice(token_kind, detail)}", status=status)
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
    return LabelStudioError(f"{said} {advice}", status=status, retryable=status in RETRYABLE)


def token_advice(token_kind: TokenKind, detail: str = "") -> str:
    """Say what to do about a token that is not accepted."""
    if token_kind == "none":
        return "Set LABEL_STUDIO_API_KEY to a token (Account & Settings in Label Studio)."
    if token_kind in ("none", "access"):
        return (
            "This is an access token, which lives five minutes; set LABEL_STUDIO_API_KEY to "
            "the personal access token itself."
        )
    if token_kind == "legacy" and "legacy" in detail.lower():
        return (
            "Legacy tokens are off in this organisation: use a personal access token, or turn "
            "them on (Organization, API Tokens Settings; at the first start "
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true)."
        )
    return "The token is wrong or was reset; copy it anew to LABEL_STUDIO_API_KEY."


def retry_after(response: httpx.Response) -> float:
    """Return the seconds that an answer asks to wait, 0 if it does not say."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def error_text(response: httpx.Response, limit: int = 400) -> str:
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
