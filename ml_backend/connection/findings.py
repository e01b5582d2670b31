"""What the doctor says: findings, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ml_backend.errors import GalaxyLoopError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    check : str
        What was looked at, in a few words.
    ok : bool
        Whether it is as it should be.
    problem, remedy : str
        What is wrong, and the one thing to do; empty where it is `ok`.
    """

    check: str
    ok: bool
    problem: str = ""
    remedy: str = ""


class Trouble(Exception):
    """Raised by a check that finds something wrong.

    Parameters
    ----------
    problem, remedy : str
        As in `Finding`.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def look(check: str, function: Callable[[], object]) -> Finding:
    """Run one check; an error of ours is a finding too, so that the others still run."""
    try:
        function()
    except Trouble as trouble:
        return Finding(check, False, trouble.problem, trouble.remedy)
    except GalaxyLoopError as error:
        return Finding(check, False, str(error), "Do what the message says, then look again.")
    return Finding(check, True)
