"""Guessing of passwords, slowed down."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from threading import Lock

FREE_OF_NAME = 5
"""Wrong passwords of one name from one address before waiting begins."""
FREE_OF_ADDRESS = 30
"""Wrong passwords from one address, whatever the names, before waiting begins."""
FIRST_WAIT, LONGEST_WAIT = 10.0, 300.0
"""Seconds; doubled with each further wrong password."""
FORGOTTEN_AFTER = 900.0
"""Seconds without a wrong password."""
MOST_KEPT = 10_000


@dataclass
class _Tries:
    count: int = 0
    last: float = 0.0
    until: float = 0.0


class Throttle:
    """Counts wrong passwords, in memory: a name from an address, and an address alone.

    Both waits end by themselves, so that nobody can lock another person out for long.

    Parameters
    ----------
    clock : callable, optional
        Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._tries: OrderedDict[tuple[str, ...], _Tries] = OrderedDict()

    def begin(self, name: str, address: str) -> int:
        """Count a try before its password is looked at.

        Returns
        -------
        int
            0: it may be looked at; else the seconds to wait, and the try does not count.
        """
        now = self._clock()
        limits = {(name, address): FREE_OF_NAME, (address,): FREE_OF_ADDRESS}
        with self._lock:
            self._forget_old(now)
            wait = max((self._tries[key].until - now for key in limits if key in self._tries),
                       default=0.0)  # fmt: skip
            if wait > 0:
                return ceil(wait)
            for key, free in limits.items():
                tries = self._tries.setdefault(key, _Tries())
                tries.count, tries.last = tries.count + 1, now
                if tries.count >= free:
                    doubled = min(tries.count - free, 20)
                    tries.until = now + min(FIRST_WAIT * 2**doubled, LONGEST_WAIT)
                self._tries.move_to_end(key)
            return 0

    def succeeded(self, name: str, address: str) -> None:
        """Forget the tries of a name from an address; the password was right."""
        with self._lock:
            self._tries.pop((name, address), None)
            tries = self._tries.get((address,))
            if tries is not None:
                # Only this try: else one account of one's own would allow guessing without end.
                tries.count, tries.until = tries.count - 1, 0.0

    def _forget_old(self, now: float) -> None:
        while self._tries:
            key = next(iter(self._tries))
            if len(self._tries) < MOST_KEPT and now - self._tries[key].last < FORGOTTEN_AFTER:
                return
            del self._tries[key]
