"""Errors inside the dashboard, as pages that say what to do."""

from __future__ import annotations

from flask import Response, make_response, render_template

from ml_backend.dashboard.login import inside, wants_page

_TITLES = {
    401: "Log in first",
    403: "This is not allowed",
    404: "There is no such page",
    405: "This address takes no such request",
    413: "That was too much at once",
    429: "Too many requests",
    500: "Something went wrong here",
    502: "Label Studio could not be asked",
    503: "The store cannot be used",
}
_REMEDIES = {
    401: "Log in; what you had typed may have to be entered again.",
    403: "Go back and load the page again. Acting needs an account with the role 'manager': "
    "`galaxyloop accounts add NAME --role manager` makes one.",
    404: "The list of projects leads to all pages.",
    405: "Go back and use the page's own buttons.",
    500: "Load the page again. If it stays, the log of the backend says why; nothing was lost.",
    502: "See the page Health, which says what is wrong with Label Studio; then try again.",
}


def problem_page(status: int, what: str, why: str, remedy: str) -> Response | None:
    """Return the page for an error; None outside the dashboard and where no page is wanted."""
    if not inside() or not wants_page():
        return None
    page = render_template(
        "dashboard/problem.html",
        title=_TITLES.get(status, what.rstrip(".")),
        why=why,
        remedy=_REMEDIES.get(status, remedy),
        status=status,
    )
    return make_response(page, status)
