"""Votes task by task: open one more where it is wanted, close what has enough.

Label Studio's overlap of single tasks is steered, and the project's ``maximum_annotations`` stays
1: above 1 begun tasks are served at random before ours. What Label Studio 1.23 does, by its source
(``tasks/models.py``, ``tasks/mixins.py``) and as seen on a running one:

* A task is served while ``is_labeled`` is false and fewer than ``overlap`` people have it: those
  who hold its lock, and those whose annotation counts (see `counting`). So
  ``overlap = counting + 1`` with ``is_labeled = false`` opens exactly one more vote, to somebody
  who has none on it, and the task closes by itself with it.
* Each saved, edited or deleted annotation computes ``is_labeled`` anew: as many different people
  as ``overlap``. A task that is closed by ``is_labeled`` alone would open again with the next
  edit, so its overlap is lowered to what it has.
* A patch moves the task's ``updated_at``, so the next reconciliation reads back what holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ml_backend.errors import LabelStudioError

IGNORE_SKIPPED = "IGNORE_SKIPPED"
REQUEUE_FOR_ME = "REQUEUE_FOR_ME"

_CLOSE_EVERY = 4
_MOST_STUMBLES = 2
"""Answers 500 after which Label Studio itself is taken to be ill."""


class TaskClient(Protocol):
    """What is asked of Label Studio here (a part of its client)."""

    def update_task(self, task: int, **fields: Any) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Served:
    """How Label Studio serves one task.

    Attributes
    ----------
    task_id : int
    is_labeled : bool
        It is not served any more.
    overlap : int
        Annotations that are wanted.
    counting : int
        Annotations that count against `overlap` when somebody asks for a task.
    """

    task_id: int
    is_labeled: bool
    overlap: int
    counting: int

    @property
    def open(self) -> bool:
        """Whether somebody who has no annotation on it may get it."""
        return not self.is_labeled and self.counting < self.overlap


@dataclass(frozen=True)
class Change:
    """What a task is to be patched with."""

    task_id: int
    overlap: int
    is_labeled: bool


@dataclass(frozen=True)
class SteerReport:
    """What `steer` did.

    Attributes
    ----------
    opened, closed : int
        Tasks patched.
    gone : tuple of int
        Tasks that do not exist any more.
    refused : tuple of int
        Tasks whose patch Label Studio refused or did not keep.
    left : int
        Patches that wait for the next round.
    seconds : float
    problem : str
        Why it ended early, or what was refused; empty if all is well.
    done : tuple of Change
        What holds in Label Studio now.
    """

    opened: int
    closed: int
    gone: tuple[int, ...]
    refused: tuple[int, ...]
    left: int
    seconds: float
    problem: str
    done: tuple[Change, ...]

    def __str__(self) -> str:
        patched = self.opened + self.closed
        if not (patched or self.left or self.problem):
            return ""
        each = f", {self.seconds / patched:.2f} s each" if patched else ""
        later = f" {self.left} more wait for the next round." if self.left else ""
        problem = f" {self.problem}" if self.problem else ""
        return (
            f"Opened {self.opened} tasks for one more vote and closed {self.closed} "
            f"({self.seconds:.1f} s{each}).{later}{problem}"
        )


def counting(annotations: int, known: int, skips: int, skip_queue: str) -> int:
    """Return how many annotations Label Studio counts when it gives out a task.

    Parameters
    ----------
    annotations : int
        Those that are not skips (``total_annotations``).
    known : int
        Those of them flagged as ground truth, which take nobody's place.
    skips : int
        ``cancelled_annotations``.
    skip_queue : str
        The project's mode. By default (``REQUEUE_FOR_OTHERS``) another person's skip counts for
        nothing; in the other two modes it takes a place like an answer, so that one more place
        has to be opened for each. A skip is never a vote for us.
    """
    places = max(annotations - known, 0)
    return places + skips if skip_queue in (IGNORE_SKIPPED, REQUEUE_FOR_ME) else places


def opening(task: Served) -> Change | None:
    """Return the patch that opens exactly one more vote; None where just that one is open."""
    exact = not task.is_labeled and task.overlap == task.counting + 1
    return None if exact else Change(task.task_id, task.counting + 1, False)


def closing(task: Served) -> Change | None:
    """Return the patch that closes a task, whatever its count; None where it is closed."""
    return None if task.is_labeled else Change(task.task_id, max(task.counting, 1), True)


def steer(
    client: TaskClient,
    opened: Sequence[Change],
    closed: Sequence[Change],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> SteerReport:
    """Patch tasks, the best first, within a time.

    Every fourth patch closes a task while there are any to close: an open task that has enough
    votes wastes one, and a closed one that wants a vote only waits.

    Parameters
    ----------
    client : LabelStudioClient
    opened, closed : sequence of Change
        Each in the order of importance.
    seconds : float
        No patch begins after so long (one takes about 0.16 s on SQLite).
    clock : callable
        Seconds that never run backwards.

    Raises
    ------
    LabelStudioError
        Never: where Label Studio fails the rest is left, and the report says why.
    """
    began = clock()
    wanted = _interleaved(opened, closed)
    done: list[Change] = []
    gone: list[int] = []
    refused: list[int] = []
    problem = ""
    stumbled = 0
    for change in wanted:
        if clock() - began >= seconds:
            break
        try:
            answer = client.update_task(
                change.task_id, overlap=change.overlap, is_labeled=change.is_labeled
            )
        except LabelStudioError as error:
            if error.status == 404:
                gone.append(change.task_id)
                continue
            # One task that Label Studio stumbles over must not keep the others for ever.
            stumbled += error.status == 500
            if error.status == 400 or (error.status == 500 and stumbled <= _MOST_STUMBLES):
                refused.append(change.task_id)
                problem = problem or f"Label Studio refuses to change a task: {error}"
                continue
            problem = f"Opening and closing tasks ended early: {error}"
            break
        kept = (answer.get("overlap"), answer.get("is_labeled"))
        if kept == (change.overlap, change.is_labeled):
            done.append(change)
        else:
            refused.append(change.task_id)
            problem = problem or (
                f"Label Studio did not keep the overlap of task {change.task_id}. Its version may "
                "not be supported (1.23 is)."
            )
    handled = len(done) + len(gone) + len(refused)
    return SteerReport(
        opened=sum(not change.is_labeled for change in done),
        closed=sum(change.is_labeled for change in done),
        gone=tuple(gone),
        refused=tuple(refused),
        left=len(wanted) - handled,
        seconds=clock() - began,
        problem=problem,
        done=tuple(done),
    )


def _interleaved(opened: Sequence[Change], closed: Sequence[Change]) -> list[Change]:
    first, second = list(opened), list(closed)
    merged: list[Change] = []
    while first and second:
        merged += [*first[: _CLOSE_EVERY - 1], second.pop(0)]
        del first[: _CLOSE_EVERY - 1]
    return merged + first + second
