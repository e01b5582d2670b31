"""Accounts of further annotators, made the way people make them: by the invite link."""

from __future__ import annotations

import requests

from ml_backend.demo.account import Account
from ml_backend.demo.label_studio import LabelStudioServer
from ml_backend.errors import DemoError

TIMEOUT = 60.0


def join(server: LabelStudioServer, account: Account) -> str:
    """Log an annotator in, signing up first where needed, and return their API token.

    Raises
    ------
    DemoError
        Label Studio accepts neither the login nor the sign-up.
    """
    with requests.Session() as session:
        if not _login(session, server.url, account):
            _sign_up(session, server, account)
        answer = session.get(f"{server.url}/api/current-user/token", timeout=TIMEOUT)
    token = answer.json().get("token") if answer.ok else None
    if not isinstance(token, str):
        raise DemoError(
            f"Label Studio gives {account.email} no API token (HTTP {answer.status_code}). "
            "Legacy tokens must be enabled in it."
        )
    return token


def _login(session: requests.Session, url: str, account: Account) -> bool:
    _post_form(session, f"{url}/user/login/", account)
    return "sessionid" in session.cookies and _is(session, url, account)


def _sign_up(session: requests.Session, server: LabelStudioServer, account: Account) -> None:
    answer = requests.get(f"{server.url}/api/invite", headers=server.headers(), timeout=TIMEOUT)
    invitation = answer.json().get("invite_url", "") if answer.ok else ""
    if not invitation:
        raise DemoError(f"Label Studio gives no invite link (HTTP {answer.status_code}).")
    address = invitation if invitation.startswith("http") else server.url + invitation
    session.cookies.clear()
    answer = _post_form(session, address, account)
    if not _is(session, server.url, account):
        raise DemoError(
            f"Label Studio refused the sign-up of {account.email} (HTTP {answer.status_code}). "
            f"Its account file is {account.path}."
        )


def _post_form(session: requests.Session, address: str, account: Account) -> requests.Response:
    session.get(address, timeout=TIMEOUT)
    form = {
        "csrfmiddlewaretoken": session.cookies.get("csrftoken", ""),
        "email": account.email,
        "password": account.password,
    }
    return session.post(address, data=form, headers={"Referer": address}, timeout=TIMEOUT)


def _is(session: requests.Session, url: str, account: Account) -> bool:
    answer = session.get(f"{url}/api/current-user/whoami", timeout=TIMEOUT)
    return answer.ok and answer.json().get("email") == account.email
