"""What the demo says on the terminal: lines, and a bar for every long step."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tqdm import tqdm

# Where nobody watches, a bar is a line in a log: few are enough.
_MOST_OFTEN = 0.1 if sys.stderr.isatty() else 10.0


class Terminal:
    """Lines and one progress bar at a time, on standard output and standard error."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def say(self, line: str = "") -> None:
        """Print a line above the bar."""
        if self._bar is None:
            print(line, flush=True)
        else:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def bar(self, what: str, total: int, unit: str = "") -> Callable[[int], None]:
        """Begin a bar, ending the one before; the answer moves it on by so many."""
        self.end()
        bar = tqdm(
            total=total,
            desc=what,
            unit=unit or "it",
            leave=True,
            mininterval=_MOST_OFTEN,
            file=sys.stderr,
        )
        self._bar = bar

        def step(count: int) -> None:
            bar.update(count)
            if bar.total and bar.n >= bar.total and self._bar is bar:
                self.end()

        return step

    def fraction(self, what: str) -> Callable[[float, str], None]:
        """Begin a bar for a share in [0, 1] with a changing message."""
        self.end()
        bar = tqdm(
            total=100,
            desc=what,
            leave=True,
            mininterval=_MOST_OFTEN,
            file=sys.stderr,
            bar_format="{desc} {bar} {n:.0f} % [{elapsed}] {postfix}",
        )
        self._bar = bar

        def show(share: float, message: str) -> None:
            bar.set_postfix_str(message, refresh=False)
            bar.update(max(0.0, min(100.0, 100 * share)) - bar.n)

        return show

    def waiting(self, what: str) -> Callable[[], None]:
        """Begin a clock for a step of unknown length; call the answer now and then."""
        self.end()
        bar = tqdm(
            desc=what,
            leave=True,
            mininterval=_MOST_OFTEN,
            file=sys.stderr,
            bar_format="{desc} [{elapsed}]",
        )
        self._bar = bar

        def tick() -> None:
            bar.update(0)

        return tick

    def end(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
