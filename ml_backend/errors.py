"""The few errors of the service; each says what happened, why, and what to do."""

from __future__ import annotations


class GalaxyLoopError(Exception):
    """Base of all errors that a person is meant to read."""


class SettingsError(GalaxyLoopError):
    """A setting is missing or cannot be used."""


class LabelConfigError(GalaxyLoopError):
    """A labelling configuration cannot be read or holds nothing that can be answered."""


class LabelStudioError(GalaxyLoopError):
    """Label Studio refused a call, or answered something that cannot be used.

    Parameters
    ----------
    message : str
        What happened and what to do about it.
    status : int or None
        HTTP status, or None where no answer came.
    retryable : bool
        Whether the same call may succeed later (no answer, 429, 5xx).
    """

    def __init__(self, message: str, status: int | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = retryable


class FetchError(GalaxyLoopError):
    """An image address may not be, or could not be, read.

    Parameters
    ----------
    message : str
        What happened and what to do about it.
    retryable : bool
        Whether the same address may be read later (no answer, broken off, 429, 5xx).
    retry_after : float
        Seconds after which the server asks to be tried again; 0: it does not say.
    """

    def __init__(self, message: str, retryable: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after


class StoreError(GalaxyLoopError):
    """The store is broken, full or of another schema version."""


class Busy(GalaxyLoopError):
    """There is more work than may wait; the caller should come back later.

    Parameters
    ----------
    message : str
        What is busy.
    retry_after : int
        Seconds after which a new try makes sense.
    """

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DemoError(GalaxyLoopError):
    """The demo cannot start or cannot go on."""
