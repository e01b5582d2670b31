"""The dashboard's own login: who reads, who may act, and forms that only we have made."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import structlog
from flask import Blueprint, Flask, Response, abort, g, redirect, render_template, request, session
from flask import url_for as address_of
from markupsafe import Markup

from ml_backend.dashboard.throttle import Throttle
from ml_backend.dashboard.visits import IDLE, Visits
from ml_backend.store.accounts import MOST_PASSWORD
from ml_backend.store.dashboard_tables import Account
from ml_backend.store.database import Store

PREFIX = "/dashboard"
F = TypeVar("F", bound=Callable[..., Any])
_FILES = ("dashboard.static", "site.script")

log = structlog.get_logger(__name__)


def register_login(app: Flask, store: Store, secret: str, throttle: Throttle | None = None) -> None:
    """Make all pages below ``/dashboard`` ask who is there.

    Parameters
    ----------
    app : Flask
    store : Store
        Has the accounts.
    secret : str
        Signs the cookie.
    throttle : Throttle, optional
        Slows guessing down.
    """
    visits = Visits(store.accounts)
    app.secret_key = secret
    app.config.update(
        SESSION_COOKIE_NAME="galaxyloop",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH=PREFIX,
        SESSION_COOKIE_SECURE=store.settings.browser_url.startswith("https://"),
        PERMANENT_SESSION_LIFETIME=IDLE,
        # Pages renew the cookie, see below. A picture that comes late, after the next login, must
        # not bring the cookie of the visit before back.
        SESSION_REFRESH_EACH_REQUEST=False,
    )
    app.register_blueprint(_create(store, visits, throttle or Throttle()))
    app.jinja_env.globals.update(csrf_field=csrf_field, current_account=current_account)

    @app.before_request
    def _who() -> Response | None:
        if not inside() or request.endpoint in _FILES:
            return None
        if request.method == "POST" and request.headers.get("Sec-Fetch-Site") == "cross-site":
            abort(403, "The form was sent by another site.")
        g.account = visits.account()
        if g.account is not None or request.endpoint == "login.login":
            if g.account is not None and wants_page():
                session.modified = True
            return None
        if request.method != "GET" or not wants_page():
            abort(401, "Nobody is logged in, or the visit has ended. Log in and try again.")
        return redirect(address_of("login.login", then=request.full_path.rstrip("?")))  # type: ignore[return-value]


def inside() -> bool:
    """Tell whether the request is for the dashboard."""
    return request.path == PREFIX or request.path.startswith(f"{PREFIX}/")


def wants_page() -> bool:
    """Tell whether a browser wants a page, rather than one of our scripts data."""
    # Browsers name text/html for pages, and */* or images for all else.
    accepted = [kind for kind, _ in request.accept_mimetypes]
    return not accepted or "text/html" in accepted


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
        check_form()
        return view(*args, **kwargs)

    return guarded  # type: ignore[return-value]


def check_form() -> None:
    """Answer 403 unless the form is one that we have made for this visit (``csrf_field``)."""
    given = request.form.get("csrf") or request.headers.get("X-CSRF-Token", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), _token().encode()):
        abort(403, "The form is too old. Load the page again.")


def csrf_field() -> Markup:
    """Return the hidden field that every form with an effect must carry."""
    return Markup('<input type="hidden" name="csrf" value="{}">').format(_token())


def _token() -> str:
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(24)
    return str(session["csrf"])


def _create(store: Store, visits: Visits, throttle: Throttle) -> Blueprint:
    blueprint = Blueprint("login", __name__, url_prefix=PREFIX, template_folder="templates")

    @blueprint.route("/login", methods=["GET", "POST"])
    def login() -> Any:
        then = _inside(request.args.get("then", ""))
        if request.method == "GET":
            if current_account() is not None:
                return redirect(then)
            return _form(store)
        name, password = request.form.get("name", ""), request.form.get("password", "")
        address = request.remote_addr or ""
        wait = throttle.begin(name[:200], address)
        if wait:
            problem = f"Too many wrong passwords. Try again in {wait} seconds."
            return _form(store, problem), 429, {"Retry-After": str(wait)}
        # No account can have such names; a database may not even take them.
        possible = name.isprintable() and len(name) <= 100 and len(password) <= MOST_PASSWORD
        account = store.accounts.check(*((name, password) if possible else ("", "")))
        if account is None:
            log.warning("login_failed", address=address)
            return _form(store, "The name or the password is wrong."), 403
        throttle.succeeded(name[:200], address)
        visits.begin(account)
        store.accounts.note(account.name, "login")
        return redirect(then)

    @blueprint.post("/logout")
    def logout() -> Any:
        check_form()
        visits.end()
        return redirect(address_of("login.login"))

    return blueprint


def _form(store: Store, problem: str = "") -> str:
    anybody = bool(store.accounts.listing())
    return render_template("dashboard/login.html", problem=problem, anybody=anybody)


def _inside(address: str) -> str:
    """Return `address` if it is one of our pages, else the first page (no open redirects)."""
    ours = address == PREFIX or address.startswith(f"{PREFIX}/")
    return address if ours and "\\" not in address and address.isprintable() else f"{PREFIX}/"
