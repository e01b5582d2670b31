"""How many requests of a kind are at work at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from ml_backend.errors import Busy


class Admission:
    """Lets in so many requests at once and sends the rest away, instead of letting them pile up.

    Parameters
    ----------
    most : int
        Requests at work at once.
    what : str
        What they make, for the message.
    """

    def __init__(self, most: int, what: str) -> None:
        self._what = what
        self._places = BoundedSemaphore(most)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one place.

        Raises
        ------
        Busy
            If none is free; nobody waits here, since a waiting request keeps a thread from
            answering ``/health``.
        """
        if not self._places.acquire(blocking=False):
            raise Busy(f"As many {self._what} are at work as may be at once.", retry_after=2)
        try:
            yield
        finally:
            self._places.release()
