"""The part of Label Studio's API that a round calls, kept in memory, over real HTTP.

It stands in for Label Studio where answer times of *our* processes are measured, so that the two
cores of a small machine are not shared with a third server. It checks nothing.
"""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


class Project:
    """One project: tasks with their true label, annotations and predictions."""

    def __init__(self, tasks: list[Json], labels: list[str], config: str) -> None:
        self.lock = threading.Lock()
        self.truth = {task["id"]: label for task, label in zip(tasks, labels, strict=True)}
        self.tasks = {
            task["id"]: {**task, "annotations": [], "predictions": [], "is_labeled": False}
            for task in tasks
        }
        self.state: Json = {
            "id": 1,
            "title": "Answer times",
            "label_config": config,
            "model_version": "",
            "sampling": "Uncertainty sampling",
            "maximum_annotations": 1,
            "task_number": len(tasks),
        }
        self.predictions: dict[int, Json] = {}
        self.made = 0
        for task in self.tasks.values():
            task["updated_at"] = _now()

    def vote(self, count: int, control: str) -> int:
        """Annotate the next `count` tasks in the order of their scores, truthfully."""
        version = self.state["model_version"]
        places = {
            row["task"]: row["score"]
            for row in self.predictions.values()
            if row["model_version"] == version
        }
        left = [task for task in self.tasks.values() if not task["is_labeled"]]
        left.sort(key=lambda task: (places.get(task["id"], 2.0), task["id"]))
        for task in left[:count]:
            self.made += 1
            region = {
                "type": "choices",
                "from_name": control,
                "to_name": "image",
                "value": {"choices": [self.truth[task["id"]]]},
                "origin": "manual",
            }
            task["annotations"] = [
                {
                    "id": self.made,
                    "result": [region],
                    "was_cancelled": False,
                    "completed_by": 1 + self.made % 3,
                    "created_at": _now(),
                    "updated_at": _now(),
                    "lead_time": 3.0,
                    "task": task["id"],
                    "project": 1,
                }
            ]
            task.update(is_labeled=True, updated_at=_now(), total_annotations=1)
        return min(count, len(left))

    def listing(self, query: Json, size: int) -> list[Json]:
        """Return tasks as the Data Manager's filters and ordering ask."""
        version = self.state["model_version"]
        scores = {
            row["task"]: row["score"]
            for row in self.predictions.values()
            if row["model_version"] == version
        }
        tasks = list(self.tasks.values())
        for item in query.get("filters", {}).get("items", []):
            field = item["filter"].removeprefix("filter:tasks:")
            if field == "id":
                tasks = [task for task in tasks if task["id"] > item["value"]]
            elif field == "updated_at":
                # Both are ISO 8601 in UTC with the same number of digits.
                since = item["value"]
                tasks = [task for task in tasks if task["updated_at"][:23] >= since[:23]]
            elif field == "predictions_score":
                tasks = [task for task in tasks if task["id"] in scores]
        if query.get("ordering") == ["tasks:predictions_score"]:
            tasks.sort(key=lambda task: scores[task["id"]])
        return tasks[:size]


class Handler(BaseHTTPRequestHandler):
    """Routes by path; `project` is set by `serve`."""

    project: Project
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        address = urlsplit(self.path)
        with self.project.lock:
            answer = self._route(method, address.path.rstrip("/"), parse_qs(address.query), body)
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _route(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        project = self.project
        if path == "/api/projects/1":
            if method == "PATCH":
                project.state.update(body)
            return project.state
        if path == "/api/tasks":
            size = int(query.get("page_size", ["100"])[0])
            tasks = project.listing(json.loads(query.get("query", ["{}"])[0]), size)
            return {"tasks": tasks, "total": len(tasks)}
        if path == "/api/projects/1/import/predictions":
            for row in body:
                number = len(project.predictions) + 1
                project.predictions[number] = {**row, "id": number, "project": 1}
            return {"created": len(body)}
        if path == "/api/predictions":
            return list(project.predictions.values())
        if path == "/api/projects/1/model-versions":
            if method == "DELETE":
                gone = [
                    number
                    for number, row in project.predictions.items()
                    if row["model_version"] == body["model_version"]
                ]
                for number in gone:
                    project.predictions[number] = {"task": -1, "model_version": "", "score": 1.0}
                return {"deleted_predictions": len(gone)}
            counts: dict[str, int] = {}
            for row in project.predictions.values():
                if row["task"] >= 0:
                    counts[row["model_version"]] = counts.get(row["model_version"], 0) + 1
            return {
                "static": [{"model_version": name, "count": n} for name, n in counts.items()],
                "live": [],
            }
        if path == "/api/projects/1/export":
            return []
        if path == "/vote":
            return {"voted": project.vote(int(query["count"][0]), "shape")}
        return {}

    def do_GET(self) -> None:
        """Answer."""
        self._answer("GET")

    def do_POST(self) -> None:
        """Answer."""
        self._answer("POST")

    def do_PATCH(self) -> None:
        """Answer."""
        self._answer("PATCH")

    def do_DELETE(self) -> None:
        """Answer."""
        self._answer("DELETE")

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def main() -> None:
    """Serve the project in the JSON file that is named first on the port that is named second."""
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    Handler.project = Project(given["tasks"], given["labels"], given["config"])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()


if __name__ == "__main__":
    main()
