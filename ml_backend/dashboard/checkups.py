"""The doctor's findings, looked up in the background so that no page waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock, Thread
from typing import Any, Protocol

import structlog

log = structlog.get_logger(__name__)

FRESH = timedelta(seconds=60)


class Finding(Protocol):
    """One finding of the doctor; `problem` and `remedy` are empty where it is `ok`."""

    @property
    def check(self) -> str:
        """What was looked at."""
        ...

    @property
    def ok(self) -> bool:
        """Whether it is as it should be."""
        ...

    @property
    def problem(self) -> str:
        """What is wrong."""
        ...

    @property
    def remedy(self) -> str:
        """The one thing to do."""
        ...


@dataclass(frozen=True)
class Checkup:
    """What the doctor found, and when; `failure` says why it could not look."""

    findings: tuple[Finding, ...]
    at: datetime
    failure: str = ""


class Checkups:
    """Runs the doctor, one run at a time, and keeps the latest result.

    Parameters
    ----------
    check : callable
        Returns the findings; may take seconds (it asks Label Studio).
    now : callable, optional
        Clock, with a zone.
    """

    def __init__(
        self,
        check: Callable[[], Sequence[Finding]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._check = check
        self._now = now
        self._running = Lock()
        self._latest: Checkup | None = None

    def latest(self) -> Checkup | None:
        """Return the latest result at once and start a new run where it is old or missing."""
        latest = self._latest
        if latest is None or self._now() - latest.at > FRESH:
            self.begin()
        return latest

    @property
    def busy(self) -> bool:
        """Whether somebody looks now."""
        return self._running.locked()

    def begin(self) -> None:
        """Look now, in the background, unless somebody does already."""
        if not self._running.locked():
            Thread(target=self.run, name="doctor", daemon=True).start()

    def as_json(self) -> dict[str, Any]:
        """Look now, and return what was found as JSON."""
        checkup = self.run()
        keys = ("check", "ok", "problem", "remedy")
        return {
            "checked_at": checkup.at.isoformat(timespec="seconds"),
            "failure": checkup.failure or None,
            "findings": [{key: getattr(one, key) for key in keys} for one in checkup.findings],
        }

    def run(self) -> Checkup:
        """Look now; who comes while somebody looks waits for that result."""
        asked = self._now()
        with self._running:
            if self._latest is None or self._latest.at < asked:
                self._latest = self._look()
            return self._latest

    def _look(self) -> Checkup:
        try:
            return Checkup(tuple(self._check()), self._now())
        except Exception as error:
            log.exception("doctor_failed")
            return Checkup(
                (), self._now(), f"The checks could not be run ({type(error).__name__})."
            )
