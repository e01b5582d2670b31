"""The dashboard's own login: who reads, who may act, and forms that only we have made."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from flask import Blueprint, Flask, Response, abort, g, redirect, render_template, request, session
from flask import url_for as address_of
from markupsafe import Markup

from ml_backend.store.dashboard_tables import Account
from ml_backend.store.database import Store

PREFIX = "/dashboard"
F = TypeVar("F", bound=Callable[..., Any])
_OPEN = ("login.", "dashboard.static", "site.script")


def register_login(app: Flask, store: Store, secret: str) -> None:
    """Make all pages below ``/dashboard`` ask who is there.

    Parameters
    ----------
    app : Flask
    store : Store
        Has the accounts.
    secret : str
        Signs the cookie.
    """
    app.secret_key = secret
    app.config.update(
        SESSION_COOKIE_NAME="galaxyloop",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH=PREFIX,
    )
    app.register_blueprint(_create(store))
    app.jinja_env.globals.update(csrf_field=csrf_field, current_account=current_account)

    @app.before_request
    def _who() -> Response | None:
        if not request.path.startswith(PREFIX):
            return None
        name = session.get("account")
        g.account = store.accounts.get(name) if isinstance(name, str) else None
        if g.account is not None or (request.endpoint or "").startswith(_OPEN):
            return None
        return redirect(address_of("login.login", then=request.full_path))  # type: ignore[return-value]


def current_account() -> Account | None:
    """Return who is logged in, None where nobody is."""
    account: Account | None = g.get("account")
    return account


def acting(view: F) -> F:
    """Let only managers into a view, and only with a form that we have made (``csrf_field``)."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        account = current_account()
        if account is None or account.role != "manager":
            abort(403, "Only an account with the role 'manager' may do this.")
        given = request.form.get("csrf") or request.headers.get("X-CSRF-Token", "")
        if not hmac.compare_digest(given.encode(), _token().encode()):
            abort(403, "The form is too old. Load the page again.")
        return view(*args, **kwargs)

    return guarded  # type: ignore[return-value]


def csrf_field() -> Markup:
    """Return the hidden field that every form with an effect must carry."""
    return Markup('<input type="hidden" name="csrf" value="{}">').format(_token())


def _token() -> str:
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    return str(session["csrf"])


def _create(store: Store) -> Blueprint:
    blueprint = Blueprint("login", __name__, url_prefix=PREFIX, template_folder="templates")

    @blueprint.route("/login", methods=["GET", "POST"])
    def login() -> Any:
        problem = ""
        if request.method == "POST":
            account = store.accounts.check(
                request.form.get("name", ""), request.form.get("password", "")
            )
            if account is not None:
                session.clear()
                session["account"] = account.name
                return redirect(_inside(request.args.get("then", "")))
            problem = "The name or the password is wrong."
        page = render_template(
            "dashboard/login.html", problem=problem, anybody=bool(store.accounts.listing())
        )
        return page, 403 if problem else 200

    @blueprint.post("/logout")
    def logout() -> Any:
        session.clear()
        return redirect(address_of("login.login"))

    return blueprint


def _inside(address: str) -> str:
    """Return `address` if it is one of our pages, else the first page (no open redirects)."""
    inside = address.startswith(PREFIX) and not address.startswith("//") and "\\" not in address
    return address if inside else PREFIX
