"""How far a long command is, on a terminal or in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType

import click
from tqdm import tqdm

LINE_SECONDS = 30.0


class Meter:
    """A bar on a terminal; elsewhere a line every half minute.

    Parameters
    ----------
    what : str
        What is being done.
    clock : callable
        Seconds; time as it passes.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._clock = what, clock
        self._bar: tqdm[None] | None = None
        self._first: tuple[float, int] | None = None
        self._said = 0.0

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, done: int, total: int) -> None:
        """Say that `done` of `total` are done; the first call says where we begin."""
        now = self._clock()
        if self._first is None:
            self._first, self._said = (now, done), now
            if sys.stderr.isatty():
                self._bar = tqdm(
                    total=total, initial=done, desc=self._what, unit=" images", file=sys.stderr
                )
            return
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif now - self._said >= LINE_SECONDS:
            self._said = now
            began, before = self._first
            rate = (done - before) / (now - began)
            left = f", {(total - done) / rate:,.0f} s left" if rate > 0 else ""
            click.echo(f"{self._what}: {done:,} of {total:,}, {rate:,.1f} images/s{left}", err=True)
