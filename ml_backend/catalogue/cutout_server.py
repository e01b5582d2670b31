"""Cut-outs from a survey's server, asked for politely."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from ml_backend.catalogue.cutout_address import Template
from ml_backend.catalogue.footprint import centre, coverage
from ml_backend.catalogue.positions import Position
from ml_backend.errors import FetchError, GalaxyLoopError
from models.images import GalaxyImage, ImageError, ImageLimits, read_image

LONGEST_WAIT = 300.0
"""Seconds that are waited for a server that says when to come back."""
ATTEMPTS = 4
_FIRST_PAUSE = 1.0
_FAILURES_IN_A_ROW = 20


class ServerUnavailable(GalaxyLoopError):
    """The server does not want to be asked, or fails every time; what is done so far is kept."""


class Fetcher(Protocol):
    """What reads an address (a part of `ImageFetcher`)."""

    def fetch(self, address: str) -> bytes: ...


class Pace:
    """Lets threads pass at most so often; all of them wait when the server asks for it.

    Parameters
    ----------
    rate : float
        Passes per second.
    clock, sleep : callables
        Seconds; wait for seconds (by default, until `stop`).
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._stopped = threading.Event()
        self._step, self._clock, self._sleep = 1 / rate, clock, sleep or self._stopped.wait
        self._lock = threading.Lock()
        self._next = clock()

    def wait(self) -> None:
        """Wait for the next turn; `ServerUnavailable` after `stop`."""
        while True:
            if self._stopped.is_set():
                raise ServerUnavailable("The import was stopped.")
            with self._lock:
                now = self._clock()
                if self._next <= now:
                    self._next = now + self._step
                    return
                left = self._next - now
            self._sleep(left)

    def stop(self) -> None:
        """Let nobody pass any more, and those who wait go."""
        self._stopped.set()

    def pause(self, seconds: float) -> None:
        """Let nobody pass for so long."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)


class CutoutServer:
    """Fetches cut-outs; safe to share between threads.

    Parameters
    ----------
    template : Template
    fetcher : Fetcher
        Follows redirects to allowed hosts only, within limits of size and time.
    pace : Pace
    limits : ImageLimits
    least : float
        Least share of the cut-out that must be covered, in [0, 1].
    """

    def __init__(
        self,
        template: Template,
        fetcher: Fetcher,
        pace: Pace,
        limits: ImageLimits | None = None,
        least: float = 0.9,
    ) -> None:
        self._template, self._fetcher, self._pace = template, fetcher, pace
        self._limits, self._least = limits or ImageLimits(), least
        self._lock = threading.Lock()
        self._failures = 0

    def cut(self, position: Position, name: str) -> tuple[bytes, str]:
        """Return the file of one galaxy, and its address.

        Failures that may pass (no answer, broken off, 429, 5xx, half an image) are tried again,
        each time after twice the pause or when the server says.

        Raises
        ------
        FetchError
            This cut-out is not to be had.
        ServerUnavailable
            Nor is any other, for now.
        """
        address = self._template.address(position, name)
        for attempt in range(1, ATTEMPTS + 1):
            self._pace.wait()
            try:
                data = self._fetcher.fetch(address)
                image = read_image(data, self._limits)
            except FetchError as error:
                failure = error
            except ImageError as error:
                # Half a file arrives where the server does not announce its length.
                failure = FetchError(str(error), retryable=True)
            else:
                self._check(image, position)
                self._count(failed=False)
                return data, address
            if not failure.retryable:
                raise failure
            if failure.retry_after > LONGEST_WAIT:
                raise ServerUnavailable(
                    f"{self._template.host} asks to be left alone for {failure.retry_after:,.0f} "
                    "s. Run the same command again then; what is done is kept."
                )
            if attempt < ATTEMPTS:
                self._pace.pause(max(failure.retry_after, _FIRST_PAUSE * 2 ** (attempt - 1)))
        self._count(failed=True)
        raise failure

    def stop(self) -> None:
        """Ask for no more; threads that wait give up."""
        self._pace.stop()

    def _count(self, failed: bool) -> None:
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            if self._failures >= _FAILURES_IN_A_ROW:
                raise ServerUnavailable(
                    f"{self._template.host} failed for {self._failures} galaxies in a row. Run the "
                    "same command again later; what is done is kept."
                )

    def _check(self, image: GalaxyImage, position: Position) -> None:
        share = coverage(image)
        if share < self._least or not share:
            raise FetchError(
                f"The server has too little there: {100 * share:.0f} % of the cut-out is covered, "
                f"at least {100 * self._least:.0f} % are asked for."
            )
        found = centre(image)
        if found is not None and image.pixel_scale:
            away = found.separation(position)
            if away > image.pixel_scale * max(image.pixels.shape[1:]) / 2:
                raise FetchError(
                    f"The server sent another place, {away:,.0f} arcsec away; check the address."
                )
