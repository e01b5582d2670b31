"""Publishing an order: killed anywhere, refused in part, changed by others."""

from __future__ import annotations

from typing import Any

import pytest

from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio.queue import (
    LARGEST_AT_ONCE,
    UNCERTAINTY_SAMPLING,
    order_problem,
    publish,
    remove_old_versions,
)


class Killed(BaseException):
    """The process ends here."""


class LabelStudio:
    """What of Label Studio publishing meets: no upsert, silent drops, one bad task refuses all."""

    def __init__(self, tasks: int = 20) -> None:
        self.tasks = set(range(1, tasks + 1))
        self.rows: list[dict[str, Any]] = []
        self.state: dict[str, Any] = {
            "model_version": "",
            "sampling": UNCERTAINTY_SAMPLING,
            "maximum_annotations": 1,
        }
        self.switches: list[str] = []
        self.single_deletions = 0
        self.calls = 0
        self.killed_at: int | None = None

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.killed_at:
            raise Killed

    def project(self, project: int) -> dict[str, Any]:
        self._count()
        return dict(self.state)

    def update_project(self, project: int, **fields: Any) -> None:
        self._count()
        if fields["model_version"] not in {row["model_version"] for row in self.rows}:
            raise LabelStudioError("unknown version", status=400)
        self.state.update(fields)
        self.switches.append(fields["model_version"])

    def import_predictions(self, project: int, predictions: list[dict[str, Any]]) -> int:
        self._count()
        if any(item["task"] not in self.tasks for item in predictions):
            raise LabelStudioError("no such task", status=400)
        good = [item for item in predictions if item["result"] != ["bad"]]
        for item in good:
            self.rows.append({"id": len(self.rows) + 1000, **item})
        return len(good)

    def predictions(self, project: int, version: str | None = None) -> list[dict[str, Any]]:
        self._count()
        return [dict(row) for row in self.rows if row["model_version"] == version]

    def model_versions(self, project: int) -> dict[str, int]:
        self._count()
        counts: dict[str, int] = {}
        for row in self.rows:
            counts[row["model_version"]] = counts.get(row["model_version"], 0) + 1
        return counts

    def delete_prediction(self, prediction: int) -> None:
        self._count()
        self.single_deletions += 1
        self.rows = [row for row in self.rows if row["id"] != prediction]

    def delete_version(self, project: int, version: str) -> int:
        self._count()
        left = [row for row in self.rows if row["model_version"] != version]
        count = len(self.rows) - len(left)
        self.rows = left
        return count

    def task_ids(self, project: int) -> set[int]:
        self._count()
        return set(self.tasks)

    def tasks_by_score(self, project: int, limit: int) -> list[dict[str, Any]]:
        self._count()
        current = [row for row in self.rows if row["model_version"] == self.state["model_version"]]
        current.sort(key=lambda row: row["score"])
        return [{"id": row["task"]} for row in current[:limit]]

    def next_task(self, project: int) -> dict[str, Any] | None:
        first = self.tasks_by_score(project, 1)[0]["id"]
        shown = [row for row in self.rows if row["task"] == first]
        return {"id": first, "queue": "Active learning or random queue", "predictions": shown}


def order(*tasks: int, result: Any = ()) -> list[dict[str, Any]]:
    return [
        {"task": task, "result": list(result), "score": place / len(tasks)}
        for place, task in enumerate(tasks)
    ]


def stored(studio: LabelStudio, version: str) -> list[int]:
    rows = [row for row in studio.rows if row["model_version"] == version]
    return [row["task"] for row in sorted(rows, key=lambda row: row["score"])]


def test_an_order_is_published() -> None:
    studio = LabelStudio()
    report = publish(studio, 1, "v1", order(5, 3, 9), ask_next=True)  # type: ignore[arg-type]
    assert stored(studio, "v1") == [5, 3, 9]
    assert studio.switches == ["v1"]
    assert (report.imported, report.already_there, report.refused, report.gone) == (3, 0, (), ())
    assert report.in_order
    assert report.problem == ""


def test_killed_at_any_call_and_started_again_it_ends_the_same() -> None:
    whole = LabelStudio()
    publish(whole, 1, "v1", order(5, 3, 9, 4))  # type: ignore[arg-type]
    for step in range(1, whole.calls + 1):
        studio = LabelStudio()
        studio.killed_at = step
        with pytest.raises(Killed):
            publish(studio, 1, "v1", order(5, 3, 9, 4))  # type: ignore[arg-type]
        report = publish(studio, 1, "v1", order(5, 3, 9, 4))  # type: ignore[arg-type]
        assert stored(studio, "v1") == [5, 3, 9, 4]
        assert studio.switches == ["v1"]
        assert report.in_order


def test_half_an_import_and_duplicates_are_set_right() -> None:
    studio = LabelStudio()
    wanted = order(5, 3, 9, 4)
    begun = [{**item, "model_version": "v1"} for item in wanted[:2]]
    studio.import_predictions(1, begun)
    studio.import_predictions(1, begun[:1])
    studio.import_predictions(1, [{**wanted[2], "score": 0.01, "model_version": "v1"}])
    report = publish(studio, 1, "v1", wanted)  # type: ignore[arg-type]
    assert stored(studio, "v1") == [5, 3, 9, 4]
    assert (report.imported, report.already_there) == (2, 2)


def test_tasks_that_are_not_in_the_order_leave_its_version() -> None:
    studio = LabelStudio()
    for task in (7, 3):
        studio.import_predictions(
            1, [{"task": task, "result": [], "score": 0.4, "model_version": "v1"}]
        )
    report = publish(studio, 1, "v1", order(5, 3, 9))  # type: ignore[arg-type]
    assert stored(studio, "v1") == [5, 3, 9]
    assert report.in_order


def test_deleted_tasks_and_refused_results_do_not_stop_the_others() -> None:
    studio = LabelStudio()
    wanted = order(5, 77, 3, 9)
    wanted[2]["result"] = ["bad"]
    report = publish(studio, 1, "v1", wanted)  # type: ignore[arg-type]
    assert stored(studio, "v1") == [5, 9]
    assert (report.gone, report.refused, report.imported) == ((77,), (3,), 2)
    assert report.in_order


def test_nothing_is_switched_where_nothing_was_stored() -> None:
    studio = LabelStudio()
    publish(studio, 1, "v1", order(1, 2))  # type: ignore[arg-type]
    with pytest.raises(LabelStudioError, match="none of 2"):
        publish(studio, 1, "v2", order(3, 4, result=["bad"]))  # type: ignore[arg-type]
    assert studio.state["model_version"] == "v1"


@pytest.mark.parametrize(
    ("predictions", "said"),
    [
        ([], "nothing"),
        (order(1) + order(1), "two predictions"),
        ([{"task": 1, "result": [], "score": None}], "score"),
        ([{"task": 1, "result": [], "score": float("nan")}], "score"),
        ([{"task": 1, "result": [], "score": 1.5}], "score"),
    ],
)
def test_what_would_break_the_queue_is_not_sent(predictions: Any, said: str) -> None:
    studio = LabelStudio()
    with pytest.raises(ValueError, match=said):
        publish(studio, 1, "v1", predictions)  # type: ignore[arg-type]
    assert studio.calls == 0


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("sampling", "Sequential sampling", "sampling"),
        ("maximum_annotations", 3, "maximum_annotations"),
    ],
)
def test_an_order_that_people_do_not_get_is_reported(field: str, value: Any, said: str) -> None:
    studio = LabelStudio()
    studio.state[field] = value
    report = publish(studio, 1, "v1", order(1, 2))  # type: ignore[arg-type]
    assert not report.in_order
    assert said in report.problem


def test_a_version_changed_by_somebody_is_noticed() -> None:
    studio = LabelStudio()
    publish(studio, 1, "v1", order(1, 2))  # type: ignore[arg-type]
    studio.state["model_version"] = "GalaxyLoop"
    assert "GalaxyLoop" in order_problem(studio, 1, "v1")  # type: ignore[arg-type]


def test_foreign_predictions_of_the_same_version_are_noticed() -> None:
    studio = LabelStudio()
    publish(studio, 1, "v1", order(1, 2, 3))  # type: ignore[arg-type]
    studio.import_predictions(1, [{"task": 9, "result": [], "score": 0.1, "model_version": "v1"}])
    assert "same version name" in order_problem(studio, 1, "v1", order(1, 2, 3))  # type: ignore[arg-type]


def test_equal_scores_may_be_served_in_any_order() -> None:
    studio = LabelStudio()
    same = [{"task": task, "result": [], "score": 0.5} for task in (3, 1, 2)]
    assert publish(studio, 1, "v1", same).in_order  # type: ignore[arg-type]
    assert order_problem(studio, 1, "v1", list(reversed(same))) == ""  # type: ignore[arg-type]


def many(studio: LabelStudio, version: str, count: int) -> None:
    studio.tasks |= set(range(1, count + 1))
    studio.import_predictions(
        1,
        [
            {"task": task, "result": [], "score": 0.5, "model_version": version}
            for task in range(1, count + 1)
        ],
    )


def test_old_versions_go_and_the_current_one_and_strangers_stay() -> None:
    studio = LabelStudio()
    for version in ("v1", "v2", "stranger"):
        many(studio, version, 5)
    studio.state["model_version"] = "v2"
    assert remove_old_versions(studio, 1, {"v1", "v2"}) == 5  # type: ignore[arg-type]
    assert set(studio.model_versions(1)) == {"v2", "stranger"}
    assert studio.single_deletions == 0


def test_large_versions_go_in_slices_while_nobody_waits() -> None:
    studio = LabelStudio()
    many(studio, "v1", LARGEST_AT_ONCE + 50)
    allowed = iter([True, True, False])
    deleted = remove_old_versions(studio, 1, ["v1"], lambda: next(allowed), 20)  # type: ignore[arg-type]
    assert deleted == 40
    assert studio.model_versions(1) == {"v1": LARGEST_AT_ONCE + 10}
    assert remove_old_versions(studio, 1, ["v1"]) == LARGEST_AT_ONCE + 10  # type: ignore[arg-type]
    assert studio.single_deletions == 50
    assert studio.rows == []
