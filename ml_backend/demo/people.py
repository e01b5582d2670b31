"""Simulated people: they annotate through Label Studio's API, each with an own account."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np

from ml_backend.errors import DemoError
from ml_backend.labelstudio.client import LabelStudioClient

TYPICAL_LEAD_TIME = 3.0
MOST_REOPENINGS = 50


@dataclass(frozen=True)
class Question:
    """What is asked and what is known.

    Parameters
    ----------
    control, image : str
        Names of the Choices and of the Image tag.
    classes : tuple of str
        The choices.
    truth : mapping of int to str
        The right choice per task id.
    """

    control: str
    image: str
    classes: tuple[str, ...]
    truth: Mapping[int, str]


class Annotator:
    """One simulated person.

    Parameters
    ----------
    client : LabelStudioClient
        With the person's own token.
    project : int
        Label Studio's id.
    question : Question
        What is asked.
    error_rate : float
        Probability in [0, 1] of answering one of the wrong choices, all alike.
    seed : int
        Decides, with `number` and the task, the answer: no matter in which order tasks come.
    number : int
        Which person this is.
    """

    def __init__(
        self,
        client: LabelStudioClient,
        project: int,
        question: Question,
        error_rate: float,
        seed: int,
        number: int,
    ) -> None:
        self._client = client
        self._project = project
        self._question = question
        self._error_rate = error_rate
        self._seed = (seed, number)

    def answer(self, task: int) -> tuple[str, float]:
        """Return the choice and the time (seconds) that this person takes for a task.

        Raises
        ------
        DemoError
            The truth of the task is not known.
        """
        right = self._question.truth.get(task)
        if right is None:
            raise DemoError(
                f"Label Studio served task {task}, which is not from the labels file. "
                "Take foreign tasks out of the project, or use another --data-dir."
            )
        rng = np.random.default_rng([*self._seed, task])
        lead_time = float(TYPICAL_LEAD_TIME * rng.lognormal(0.0, 0.4))
        if rng.random() >= self._error_rate:
            return right, lead_time
        wrong = [label for label in self._question.classes if label != right]
        return wrong[int(rng.integers(len(wrong)))], lead_time

    def annotate_next(self, asking: AbstractContextManager[Any] | None = None) -> int | None:
        """Take the next task, answer and submit it as the editor does.

        Parameters
        ----------
        asking : context manager, optional
            Held while the task is asked for.

        Returns
        -------
        int or None
            The task's id; None if Label Studio has no task for this person.
        """
        with asking or nullcontext():
            task = self._client.next_task(self._project)
        if task is None:
            return None
        choice, lead_time = self.answer(task["id"])
        shown = _shown_prediction(task)
        self._client.create_annotation(
            task["id"],
            [self._region(choice, shown)],
            lead_time=round(lead_time, 3),
            parent_prediction=shown["id"] if shown else None,
            parent_annotation=None,
            draft_id=0,
            started_at=(datetime.now(UTC) - timedelta(seconds=lead_time)).isoformat(),
            unique_id=str(uuid4()),
            project=self._project,
        )
        return int(task["id"])

    def _region(self, choice: str, shown: dict[str, Any] | None) -> dict[str, Any]:
        for region in (shown or {}).get("result") or []:
            if region.get("from_name") == self._question.control and region.get("value", {}).get(
                "choices"
            ) == [choice]:
                # Accepted as it was filled in.
                return {**region, "origin": "prediction"}
        return {
            "id": uuid4().hex[:10],
            "type": "choices",
            "from_name": self._question.control,
            "to_name": self._question.image,
            "value": {"choices": [choice]},
            "origin": "manual",
        }


class NoTaskLeft(DemoError):
    """Label Studio has no task left for these people.

    Parameters
    ----------
    done, wanted : int
        Annotations that were submitted before, and those asked for.
    """

    def __init__(self, done: int, wanted: int) -> None:
        super().__init__(
            f"Label Studio has no task left for these people ({done} of {wanted} done)."
        )
        self.done = done


class Crew:
    """Several people who annotate at the same time, but ask for tasks in turns.

    Label Studio picks a task and locks it in two steps; on SQLite two people who ask within
    the same tenths of a second can get the same one. People seldom do; programs would often.

    Parameters
    ----------
    people : sequence of Annotator
        Each works in a thread of its own.
    reopen : callable
        Called with a number of votes when the queue is empty: opens up to so many tasks for
        one more vote each and returns how many.
    """

    def __init__(self, people: Sequence[Annotator], reopen: Callable[[int], int]) -> None:
        self._people = people
        self._reopen = reopen
        self._stop = threading.Event()
        self._asking = threading.Lock()

    def annotate(self, votes: int, submitted: Callable[[], None] = lambda: None) -> int:
        """Submit exactly `votes` annotations, together; return how many.

        Raises
        ------
        NoTaskLeft
            Nothing is left to annotate for these people.
        """
        done, in_vain = 0, 0
        for _ in range(MOST_REOPENINGS):
            count = self._burst(votes - done, submitted)
            done += count
            if done >= votes or self._stop.is_set():
                return done
            # What is open may be open to others alone.
            in_vain = 0 if count else in_vain + 1
            if in_vain == 2 or not self._reopen(votes - done):
                break
        raise NoTaskLeft(done, votes)

    def stop(self) -> None:
        """Let everybody finish the task at hand and no more."""
        self._stop.set()

    def _burst(self, votes: int, submitted: Callable[[], None]) -> int:
        permits = _Permits(votes)

        def work(person: Annotator) -> int:
            count = 0
            while not self._stop.is_set() and permits.take():
                try:
                    task = person.annotate_next(self._asking)
                except BaseException:
                    permits.close()
                    permits.give_back(used=True)
                    raise
                permits.give_back(used=task is not None)
                if task is None:
                    break
                count += 1
                submitted()
            return count

        with ThreadPoolExecutor(len(self._people)) as pool:
            try:
                return sum(pool.map(work, self._people))
            except BaseException:
                # Ctrl-C, or one of them failed: nobody begins another task.
                self.stop()
                permits.close()
                raise


class _Permits:
    """So many submissions and not one more.

    Who finds none left waits while others are at work: theirs may come back unused.
    """

    def __init__(self, count: int) -> None:
        self._left = count
        self._out = 0
        self._closed = False
        self._changed = threading.Condition()

    def take(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._left > 0 or self._out == 0 or self._closed)
            if self._left < 1 or self._closed:
                return False
            self._left -= 1
            self._out += 1
            return True

    def give_back(self, used: bool) -> None:
        with self._changed:
            self._out -= 1
            if not used:
                self._left += 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._left = 0
            self._closed = True
            self._changed.notify_all()


def _shown_prediction(task: dict[str, Any]) -> dict[str, Any] | None:
    """Return the prediction that fills the form: the newest that was served."""
    predictions = [p for p in task.get("predictions") or [] if isinstance(p, dict)]
    return max(predictions, key=lambda p: p["id"]) if predictions else None
