"""The calls of Label Studio's API that we make; what holds for each is said where it stands.

What was seen with Label Studio 1.23.2 and matters to callers:

* `tasks` lists every annotation of a task, skipped ones (``was_cancelled``) too. The list of one
  task's annotations hides skipped ones: do not use it.
* A task's ``updated_at`` moves when an annotation of it is created, edited, skipped or **deleted**
  (by the API, or by the Data Manager's bulk action), so `tasks(updated_since=...)` finds all four.
  A deleted annotation is simply missing from the list. Importing predictions does not move it;
  deleting a single prediction does.
* Listed annotations lack the snapshot of the prediction that was on show; `shown_predictions` gets
  it from an export.
* Deleted tasks are found only by listing all ids (`task_ids`).
* Label Studio calls its ML backends for `task` where the task has no prediction, for `next_task`
  where the project's model version is a backend's title, and for the calls about backends; for
  nothing else here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio.administration import Administration
from ml_backend.labelstudio.calls import Json

# Naming fields makes Label Studio's lists five times as fast; it applies the names to the
# annotations inside, too, so theirs must be named with them.
_TASK_FIELDS = (
    "id", "inner_id", "data", "meta", "created_at", "updated_at", "is_labeled", "overlap",
    "total_annotations", "cancelled_annotations", "total_predictions", "project",
)  # fmt: skip
_ANNOTATION_FIELDS = (
    "annotations", "result", "was_cancelled", "ground_truth", "completed_by", "updated_by",
    "lead_time", "draft_created_at", "parent_prediction", "parent_annotation", "import_id", "task",
)  # fmt: skip
_IMPORT_BATCH = 1000
_EXPORT_BATCH = 200


class LabelStudioClient(Administration):
    """Label Studio's API for one account; safe to share between threads.

    Every method raises `LabelStudioError` where Label Studio does not do what is asked.
    """

    def import_tasks(self, project: int, tasks: Sequence[Json]) -> list[int]:
        """Create tasks and return their ids, in order.

        Parameters
        ----------
        project : int
            Id of the project.
        tasks : sequence of dict
            Each ``{"data": {...}}``, optionally with ``annotations`` and ``predictions``. Imported
            annotations cause no webhook.
        """
        ids: list[int] = []
        for start in range(0, len(tasks), _IMPORT_BATCH):
            batch = list(tasks[start : start + _IMPORT_BATCH])
            answer = self._object(
                self._call(
                    "POST",
                    f"/api/projects/{project}/import",
                    params={"return_task_ids": "true"},
                    body=batch,
                ),
                "the import of tasks",
            )
            made = self._list(answer.get("task_ids"), "the import of tasks")
            if len(made) != len(batch):
                raise LabelStudioError(
                    f"Label Studio made {len(made)} of {len(batch)} tasks in project {project}. "
                    "Look at its log, and check the tasks' data against the labelling "
                    "configuration."
                )
            ids += made
        return ids

    def tasks(
        self,
        project: int,
        updated_since: datetime | None = None,
        page_size: int = 200,
        annotations: bool = True,
    ) -> Iterator[Json]:
        """Iterate over a project's tasks in the order of their ids.

        Parameters
        ----------
        project : int
            Id of the project.
        updated_since : datetime, optional
            Only tasks whose ``updated_at`` is this or later (with a time zone; without one it is
            taken as UTC). A slow transaction becomes visible only after its time stamp: begin a
            few seconds before the latest ``updated_at`` seen.
        page_size : int
            Tasks per call.
        annotations : bool
            Also list the annotations of each task, skipped ones too.

        Yields
        ------
        dict
            ``id``, ``data``, ``updated_at``, ``is_labeled``, ``overlap``, ``total_annotations``,
            ``cancelled_annotations``, ...; ``annotations`` where asked for, in no fixed order. No
            predictions: `predictions` lists those.

        Notes
        -----
        Pages begin behind the last id seen, so tasks that are deleted or changed meanwhile make
        no other task be left out.
        """
        items = []
        if updated_since is not None:
            since = _utc(updated_since)
            items.append(_filter("updated_at", "greater_or_equal", "Datetime", since))
        fields = (*_TASK_FIELDS, *(_ANNOTATION_FIELDS if annotations else ()))
        return self._pages(project, items, page_size, fields)

    def task_ids(self, project: int, page_size: int = 1000) -> set[int]:
        """Return the ids of all tasks of a project (about 1 ms each)."""
        return {task["id"] for task in self._pages(project, [], page_size, ("id",))}

    def tasks_by_score(self, project: int, limit: int) -> list[Json]:
        """Return the first tasks in the order of the current version's score, ascending.

        Labelled tasks are among them (``is_labeled``); nothing is locked. Tasks with no
        prediction of the project's ``model_version`` are left out; no annotations are listed.
        """
        scored = _filter("predictions_score", "greater_or_equal", "Number", 0)
        query = {
            "filters": {"conjunction": "and", "items": [scored]},
            "ordering": ["tasks:predictions_score"],
        }
        return self._task_page(project, query, limit, ("id", "is_labeled"))

    def task(self, task: int) -> Json:
        """Return one task with everything; a task with no prediction makes Label Studio ask its
        ML backends, so prefer `tasks`.
        """
        return self._object(self._call("GET", f"/api/tasks/{task}/"), "the task")

    def update_task(self, task: int, **fields: Any) -> Json:
        """Change fields of a task, e.g. ``overlap`` or ``is_labeled``."""
        return self._object(self._call("PATCH", f"/api/tasks/{task}/", body=fields), "the task")

    def import_predictions(self, project: int, predictions: Sequence[Json]) -> int:
        """Store predictions and return how many were stored.

        Parameters
        ----------
        project : int
            Id of the project.
        predictions : sequence of dict
            ``{"task": id, "result": [...], "score": float, "model_version": str}``.

        Returns
        -------
        int
            May be less than was sent: Label Studio drops what does not fit the labelling
            configuration without a word. Sending the same predictions twice stores them twice. A
            task that does not exist (any more) refuses the whole call (status 400).
        """
        answer = self._object(
            self._call(
                "POST", f"/api/projects/{project}/import/predictions", body=list(predictions)
            ),
            "the import of predictions",
        )
        created = answer.get("created")
        if not isinstance(created, int):
            raise LabelStudioError(
                "Label Studio did not say how many predictions it stored. Its version may not be "
                "supported (1.23 is)."
            )
        return created

    def predictions(self, project: int, model_version: str | None = None) -> list[Json]:
        """Return a project's predictions, of one version if it is named.

        Label Studio sends all versions in one answer (0.2 s for 1,000) and cannot filter, so the
        filter is applied here; `model_versions` is the cheap way to count.
        """
        answer = self._call("GET", "/api/predictions/", params={"project": project})
        rows = self._list(answer, "the predictions")
        if model_version is None:
            return rows
        return [row for row in rows if row.get("model_version") == model_version]

    def delete_prediction(self, prediction: int) -> None:
        """Delete one prediction; one that is already gone is no error."""
        self._delete(f"/api/predictions/{prediction}/")

    def delete_version(self, project: int, model_version: str) -> int:
        """Delete all predictions of a version in one transaction and return how many.

        About 7 ms each on SQLite, during which nobody else can write. Deleting the project's
        current version sets its ``model_version`` to null.
        """
        answer = self._call(
            "DELETE",
            f"/api/projects/{project}/model-versions/",
            body={"model_version": model_version},
        )
        count = answer.get("deleted_predictions", 0) if isinstance(answer, dict) else 0
        return int(count)

    def model_versions(self, project: int) -> dict[str, int]:
        """Return how many predictions each version has (versions of live backends not included)."""
        answer = self._call(
            "GET", f"/api/projects/{project}/model-versions/", params={"extended": "true"}
        )
        rows = self._object(answer, "the model versions").get("static", [])
        return {
            str(row["model_version"]): int(row["count"])
            for row in self._list(rows, "the model versions")
            if isinstance(row, dict) and "model_version" in row and "count" in row
        }

    def next_task(self, project: int) -> Json | None:
        """Return the task that our account would be served next, None if there is none.

        Locks that task for our account (up to a day), as it does for people.
        """
        try:
            answer = self._call("GET", f"/api/projects/{project}/next")
        except LabelStudioError as error:
            if error.status == 404 and "no tasks" in str(error).lower():
                return None
            raise
        return self._object(answer, "the next task")

    def shown_predictions(self, project: int, tasks: Sequence[int]) -> dict[int, Json]:
        """Return, by annotation id, the prediction that was on show when it was made.

        Parameters
        ----------
        project : int
            Id of the project.
        tasks : sequence of int
            Tasks whose annotations are asked for.

        Returns
        -------
        dict
            ``result``, ``score`` and ``model_version`` as they were then, also where the version
            was deleted since. Annotations made with nothing on show are left out.
        """
        shown: dict[int, Json] = {}
        for start in range(0, len(tasks), _EXPORT_BATCH):
            ids = list(tasks[start : start + _EXPORT_BATCH])
            params = {"exportType": "JSON", "download_all_tasks": "true", "ids[]": ids}
            answer = self._call("GET", f"/api/projects/{project}/export", params=params)
            for task in self._list(answer, "the export"):
                for annotation in task.get("annotations", []):
                    if annotation.get("prediction"):
                        shown[annotation["id"]] = annotation["prediction"]
        return shown

    def task_data(self, project: int, tasks: Sequence[int]) -> dict[int, Json]:
        """Return the ``data`` of some tasks by id, without asking ML backends about them.

        Tasks that the project does not have are left out.
        """
        found: dict[int, Json] = {}
        for start in range(0, len(tasks), _EXPORT_BATCH):
            ids = list(tasks[start : start + _EXPORT_BATCH])
            params = {"exportType": "JSON", "download_all_tasks": "true", "ids[]": ids}
            answer = self._call("GET", f"/api/projects/{project}/export", params=params)
            for task in self._list(answer, "the export"):
                if isinstance(task, dict) and isinstance(task.get("data"), dict):
                    found[task["id"]] = task["data"]
        return found

    def create_annotation(self, task: int, result: Sequence[Json], **fields: Any) -> Json:
        """Store an annotation of our account; ``was_cancelled=True`` skips the task.

        Other fields: ``lead_time`` (seconds), ``parent_prediction``, ``completed_by``.
        """
        body = {"result": list(result), **fields}
        return self._object(
            self._call("POST", f"/api/tasks/{task}/annotations/", body=body), "the annotation"
        )

    def update_annotation(self, annotation: int, **fields: Any) -> Json:
        """Change fields of an annotation."""
        return self._object(
            self._call("PATCH", f"/api/annotations/{annotation}/", body=fields), "the annotation"
        )

    def delete_annotation(self, annotation: int) -> None:
        """Delete an annotation; one that is already gone is no error."""
        self._delete(f"/api/annotations/{annotation}/")

    def _pages(
        self, project: int, items: list[Json], page_size: int, fields: Sequence[str]
    ) -> Iterator[Json]:
        last = 0
        while True:
            conditions = [_filter("id", "greater", "Number", last), *items]
            query = {
                "filters": {"conjunction": "and", "items": conditions},
                "ordering": ["tasks:id"],
            }
            page = self._task_page(project, query, page_size, fields)
            yield from page
            if len(page) < page_size:
                return
            last = max(task["id"] for task in page)

    def _task_page(
        self, project: int, query: Json, page_size: int, fields: Sequence[str]
    ) -> list[Json]:
        params = {
            "project": project,
            "page": 1,
            "page_size": page_size,
            "resolve_uri": "false",
            "fields": "all" if "annotations" in fields else "task_only",
            "include": ",".join(fields),
            "query": json.dumps(query),
        }
        answer = self._object(self._call("GET", "/api/tasks/", params=params), "the task list")
        rows = self._list(answer.get("tasks"), "the task list")
        if not all(isinstance(row, dict) and isinstance(row.get("id"), int) for row in rows):
            raise LabelStudioError("The task list of Label Studio holds something with no id.")
        return rows


def _filter(column: str, operator: str, kind: str, value: Any) -> Json:
    name = f"filter:tasks:{column}"
    return {"filter": name, "operator": operator, "type": kind, "value": value}


def _utc(moment: datetime) -> str:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
