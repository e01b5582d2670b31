"""Votes opened and closed task by task, within a time, whatever Label Studio answers."""

from __future__ import annotations

from typing import Any

import pytest

from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio.overlap import Change, Served, closing, counting, opening, steer


class Tasks:
    """Takes patches, as Label Studio does; answers and failures may be set by task."""

    def __init__(self) -> None:
        self.patched: list[tuple[int, dict[str, Any]]] = []
        self.fails: dict[int, LabelStudioError] = {}
        self.keeps: dict[int, dict[str, Any]] = {}
        self.now = 0.0

    def update_task(self, task: int, **fields: Any) -> dict[str, Any]:
        self.now += 1.0
        if task in self.fails:
            raise self.fails[task]
        self.patched.append((task, fields))
        return {"id": task, **fields, **self.keeps.get(task, {})}

    def clock(self) -> float:
        return self.now


def test_exactly_one_more_vote_is_opened_and_nothing_where_one_is() -> None:
    assert opening(Served(1, True, 1, 1)) == Change(1, 2, False)
    assert opening(Served(1, False, 2, 1)) is None
    # Open by its flag, but full: nobody gets it.
    assert opening(Served(1, False, 2, 2)) == Change(1, 3, False)
    # Open for more than one: its votes were deleted, or somebody raised it.
    assert opening(Served(1, False, 3, 0)) == Change(1, 1, False)
    # Closed by hand without a vote.
    assert opening(Served(1, True, 1, 0)) == Change(1, 1, False)


def test_closing_lowers_the_overlap_to_what_is_there() -> None:
    assert closing(Served(1, False, 9, 3)) == Change(1, 3, True)
    assert closing(Served(1, False, 1, 0)) == Change(1, 1, True)
    assert closing(Served(1, True, 5, 2)) is None


@pytest.mark.parametrize(
    ("mode", "places"),
    [("REQUEUE_FOR_OTHERS", 2), ("REQUEUE_FOR_ME", 5), ("IGNORE_SKIPPED", 5), ("", 2)],
)
def test_skips_take_places_where_label_studio_says_so(mode: str, places: int) -> None:
    assert counting(annotations=3, known=1, skips=3, skip_queue=mode) == places
    assert counting(annotations=0, known=2, skips=0, skip_queue=mode) == 0


def test_the_best_come_first_and_every_fourth_closes() -> None:
    tasks = Tasks()
    opened = [Change(n, 2, False) for n in range(1, 8)]
    closed = [Change(n, 1, True) for n in (11, 12, 13)]
    report = steer(tasks, opened, closed, seconds=100, clock=tasks.clock)
    assert [task for task, _ in tasks.patched] == [1, 2, 3, 11, 4, 5, 6, 12, 7, 13]
    assert (report.opened, report.closed, report.left, report.problem) == (7, 3, 0, "")
    assert "Opened 7 tasks for one more vote and closed 3 (10.0 s, 1.00 s each)." in str(report)


def test_what_does_not_fit_into_the_time_is_left() -> None:
    tasks = Tasks()
    report = steer(tasks, [Change(n, 2, False) for n in range(9)], [], seconds=4, clock=tasks.clock)
    assert (report.opened, report.left) == (4, 5)
    assert "5 more wait for the next round" in str(report)
    assert steer(tasks, [Change(1, 2, False)], [], seconds=0, clock=tasks.clock).left == 1
    nothing = steer(tasks, [], [], seconds=4, clock=tasks.clock)
    assert str(nothing) == ""


def test_a_task_that_vanished_costs_only_its_call() -> None:
    tasks = Tasks()
    tasks.fails[2] = LabelStudioError("not found", status=404)
    report = steer(tasks, [Change(n, 2, False) for n in (1, 2, 3)], [], 100, tasks.clock)
    assert (report.opened, report.gone, report.left, report.problem) == (2, (2,), 0, "")


def test_a_refusal_and_an_answer_that_differs_are_told_and_the_rest_goes_on() -> None:
    tasks = Tasks()
    tasks.fails[1] = LabelStudioError("overlap is no number", status=400)
    tasks.keeps[2] = {"overlap": 1}
    report = steer(tasks, [Change(n, 2, False) for n in (1, 2, 3)], [], 100, tasks.clock)
    assert report.refused == (1, 2)
    assert report.opened == 1
    assert "overlap is no number" in report.problem


def test_where_label_studio_fails_the_rest_waits() -> None:
    tasks = Tasks()
    tasks.fails[2] = LabelStudioError("it does not answer", status=503, retryable=True)
    report = steer(tasks, [Change(n, 2, False) for n in (1, 2, 3)], [], 100, tasks.clock)
    assert (report.opened, report.left) == (1, 2)
    assert "it does not answer" in report.problem
    assert [change.task_id for change in report.done] == [1]


def test_a_task_that_label_studio_stumbles_over_does_not_keep_the_others() -> None:
    tasks = Tasks()
    wanted = [Change(n, 2, False) for n in range(1, 7)]
    tasks.fails[1] = LabelStudioError("it failed", status=500, retryable=True)
    report = steer(tasks, wanted, [], 100, tasks.clock)
    assert (report.opened, report.refused, report.left) == (5, (1,), 0)
    tasks.fails |= {n: tasks.fails[1] for n in range(1, 7)}
    report = steer(tasks, wanted, [], 100, tasks.clock)
    assert (report.opened, report.refused, report.left) == (0, (1, 2), 4)
