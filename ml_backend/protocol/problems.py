"""Error answers: what happened, why, and what to do; as JSON, or as a page of the dashboard."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from flask import Flask, Response, jsonify
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from ml_backend.errors import Busy, GalaxyLoopError, StoreError

log = structlog.get_logger(__name__)


class Problem(Exception):
    """A request that cannot be answered as asked.

    Parameters
    ----------
    status : int
        HTTP status.
    what, why, remedy : str
        What happened, why, and what the caller can do about it.
    headers : dict of str to str, optional
        Further response headers.
    """

    def __init__(
        self,
        status: int,
        what: str,
        why: str,
        remedy: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{what} {why}")
        self.status = status
        self.what = what
        self.why = why
        self.remedy = remedy
        self.headers = headers or {}

    def response(self) -> Response:
        """Return the answer for this problem."""
        answer = jsonify(status=self.status, error=self.what, why=self.why, what_to_do=self.remedy)
        answer.status_code = self.status
        answer.headers.update(self.headers)
        return answer


def busy(error: Busy) -> Problem:
    """Return the 503 answer for an overload, with ``Retry-After`` in seconds."""
    return Problem(
        503,
        "The backend is busy.",
        str(error),
        f"Ask again in {error.retry_after} seconds.",
        {"Retry-After": str(error.retry_after)},
    )


# What to do about the HTTP errors that Flask raises by itself.
_REMEDIES = {
    404: "Label Studio needs only /health, /setup, /predict, /webhook and /versions; "
    "people open / in a browser.",
    405: "Use the method that the Allow header names.",
    413: "Send less at once, or raise GALAXYLOOP_MAX_BODY_BYTES.",
}


def _store_failed(why: str) -> Problem:
    log.error("store_failed", problem=why)
    return Problem(
        503,
        "The store cannot be used.",
        why,
        "See the log of the backend; `galaxyloop doctor` checks the store and the disk.",
        {"Retry-After": "30"},
    )


Shown = Callable[[int, str, str, str], Response | None]
"""Makes a page of status, what happened, why, and what to do; None where JSON is wanted."""


def register_problems(app: Flask, shown: Shown | None = None) -> None:
    """Make `app` answer every error as a `Problem`; what was not foreseen is logged once.

    Parameters
    ----------
    app : Flask
    shown : callable, optional
        Answers people, for whom JSON is no answer.
    """

    def answer(problem: Problem) -> Response:
        page = shown(problem.status, problem.what, problem.why, problem.remedy) if shown else None
        if page is None:
            return problem.response()
        page.headers.update(problem.headers)
        return page

    @app.errorhandler(Problem)
    def _problem(error: Problem) -> Response:
        return answer(error)

    @app.errorhandler(Busy)
    def _busy(error: Busy) -> Response:
        return answer(busy(error))

    @app.errorhandler(StoreError)
    def _store(error: StoreError) -> Response:
        return answer(_store_failed(str(error)))

    @app.errorhandler(SQLAlchemyError)
    def _database(error: SQLAlchemyError) -> Response:
        # The driver's own words: the whole message repeats the statement and its values.
        return answer(_store_failed(str(getattr(error, "orig", None) or type(error).__name__)))

    @app.errorhandler(GalaxyLoopError)
    def _ours(error: GalaxyLoopError) -> Response:
        log.warning("request_failed", problem=str(error))
        return answer(
            Problem(
                502,
                "The request could not be carried out.",
                str(error),
                "`galaxyloop doctor` names what to change.",
            )
        )

    @app.errorhandler(HTTPException)
    def _http(error: HTTPException) -> Response:
        status = error.code or 500
        headers = {
            name: value
            for name, value in error.get_headers()
            if name.lower() in ("allow", "location", "retry-after")
        }
        return answer(
            Problem(
                status,
                f"{error.name}.",
                error.description or "",
                _REMEDIES.get(status, "Change the request and send it again."),
                headers,
            )
        )

    @app.errorhandler(Exception)
    def _unforeseen(error: Exception) -> Response:
        log.exception("request_crashed", kind=type(error).__name__)
        return answer(
            Problem(
                500,
                "The backend failed on this request.",
                f"An unforeseen {type(error).__name__}.",
                "The log of the backend has the details; nobody else is affected.",
            )
        )
