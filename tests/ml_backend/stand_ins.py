"""A Label Studio in a JSON file, images out of nothing, and a tiny LVM.

The file outlives the process that uses it, so that a process can be killed at any call. Only what
our code asks for is here, and it behaves as Label Studio 1.23.2 was seen to behave.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ml_backend.errors import FetchError, LabelStudioError
from ml_backend.settings import Settings, load_settings
from models.images import encode_png
from models.lvm import LVM, LVMConfig
from models.preprocessing import Preprocessing

SHAPE_CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="shape" toName="image"><Choice value="Smooth"/><Choice value="Spiral"/>
<Choice value="Merger"/></Choices></View>"""
KINDS = ("Smooth", "Spiral", "Merger")


class StandIn:
    """Label Studio's client and what people do there; `kill_at` names a call not survived."""

    def __init__(self, path: Path, kill_at: str = "") -> None:
        self._path, self._kill_at = path, kill_at
        self.ttl = 86400.0
        self.calls: list[str] = []
        if not path.exists():
            self._write({"next": 1, "projects": {}, "tasks": {}, "predictions": []})

    # what the backend asks

    def project(self, project: int) -> dict[str, Any]:
        state = self._read("project")
        found = state["projects"].get(str(project))
        if found is None:
            raise LabelStudioError(f"Project {project} does not exist.", status=404)
        count = sum(task["project"] == project for task in state["tasks"].values())
        return {**found, "task_number": count}

    def tasks(
        self, project: int, updated_since: datetime | None = None
    ) -> Iterator[dict[str, Any]]:
        for task in list(self._read("tasks")["tasks"].values()):
            changed = datetime.fromisoformat(task["updated_at"])
            if task["project"] == project and (updated_since is None or changed >= updated_since):
                yield task

    def task_ids(self, project: int) -> set[int]:
        tasks = self._read("task_ids")["tasks"].values()
        return {task["id"] for task in tasks if task["project"] == project}

    def tasks_by_score(self, project: int, limit: int) -> list[dict[str, Any]]:
        state = self._read("tasks_by_score")
        version = state["projects"][str(project)]["model_version"]
        rows = [p for p in state["predictions"] if p["model_version"] == version]
        rows.sort(key=lambda row: row["score"])
        return [state["tasks"][str(row["task"])] for row in rows[:limit]]

    def update_project(self, project: int, **fields: Any) -> dict[str, Any]:
        self._die("before update_project")
        state = self._read("update_project")
        version = fields.get("model_version")
        if version and version not in {p["model_version"] for p in state["predictions"]}:
            raise LabelStudioError("Model version doesn't exist", status=400)
        state["projects"][str(project)].update(fields)
        self._write(state)
        self._die("after update_project")
        return state["projects"][str(project)]

    def update_task(self, task: int, **fields: Any) -> dict[str, Any]:
        state = self._read("update_task")
        found = state["tasks"].get(str(task))
        if found is None:
            raise LabelStudioError(f"Task {task} does not exist.", status=404)
        found |= {**fields, "updated_at": _now()}
        self._write(state)
        self._die("after update_task")
        return dict(found)

    def import_predictions(self, project: int, predictions: list[dict[str, Any]]) -> int:
        state = self._read("import_predictions")
        half = len(predictions) // 2
        for number, prediction in enumerate(predictions):
            if number == half:
                self._write(state)
                self._die("within import_predictions")
            if str(prediction["task"]) not in state["tasks"]:
                raise LabelStudioError("task does not exist", status=400)
            state["predictions"].append({**prediction, "id": self._new(state), "project": project})
        self._write(state)
        self._die("after import_predictions")
        return len(predictions)

    def predictions(self, project: int, model_version: str | None = None) -> list[dict[str, Any]]:
        rows = [p for p in self._read("predictions")["predictions"] if p["project"] == project]
        return [p for p in rows if model_version in (None, p["model_version"])]

    def model_versions(self, project: int) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in self._read("model_versions")["predictions"]:
            if row["project"] == project:
                counts[row["model_version"]] = counts.get(row["model_version"], 0) + 1
        return counts

    def delete_prediction(self, prediction: int) -> None:
        state = self._read("delete_prediction")
        state["predictions"] = [p for p in state["predictions"] if p["id"] != prediction]
        self._write(state)

    def delete_version(self, project: int, model_version: str) -> int:
        state = self._read("delete_version")
        kept = [p for p in state["predictions"] if p["model_version"] != model_version]
        count = len(state["predictions"]) - len(kept)
        state["predictions"] = kept
        self._write(state)
        return count

    # what people do

    def add_project(self, project: int, label_config: str = SHAPE_CONFIG) -> None:
        state = self._read()
        state["projects"][str(project)] = {
            "id": project,
            "title": "Galaxies",
            "label_config": label_config,
            "model_version": "",
            "sampling": "Uncertainty sampling",
            "maximum_annotations": 1,
            "skip_queue": "REQUEUE_FOR_OTHERS",
        }
        self._write(state)

    def set_config(self, project: int, label_config: str) -> None:
        state = self._read()
        state["projects"][str(project)]["label_config"] = label_config
        self._write(state)

    def add_tasks(self, project: int, addresses: list[Any]) -> list[int]:
        state = self._read()
        ids = []
        for address in addresses:
            task = {"id": self._new(state), "project": project, "data": {"image": address}}
            task |= {"updated_at": _now(), "is_labeled": False, "annotations": [], "locks": []}
            task |= {"overlap": 1, "total_annotations": 0, "cancelled_annotations": 0}
            state["tasks"][str(task["id"])] = task
            ids.append(task["id"])
        self._write(state)
        return ids

    def remove_task(self, task: int) -> None:
        state = self._read()
        del state["tasks"][str(task)]
        state["predictions"] = [p for p in state["predictions"] if p["task"] != task]
        self._write(state)

    def annotate(
        self,
        task: int,
        label: str | None,
        person: int = 1,
        skip: bool = False,
        control: str = "shape",
        **fields: Any,
    ) -> int:
        """Submit a label (None: nothing chosen), as the editor does."""
        state = self._read()
        found = state["tasks"][str(task)]
        version = state["projects"][str(found["project"])]["model_version"]
        shown = [
            p for p in state["predictions"]
            if p["task"] == task and p["model_version"] == version
        ]  # fmt: skip
        annotation = {
            "id": self._new(state),
            "result": region(label, control) if label else [],
            "was_cancelled": skip,
            "completed_by": person,
            "created_at": _now(),
            "updated_at": _now(),
            "lead_time": 2.5,
            "parent_prediction": shown[-1]["id"] if shown else None,
            **fields,
        }
        found["annotations"].append(annotation)
        self._settle(state, found)
        found["locks"] = [lock for lock in found["locks"] if lock[0] != person]
        self._write(state)
        return int(annotation["id"])

    def edit(self, annotation: int, label: str, control: str = "shape") -> None:
        state = self._read()
        task, found = self._find(state, annotation)
        found["result"] = region(label, control)
        found["updated_at"] = _now()
        self._settle(state, task)
        self._write(state)

    def delete_annotation(self, annotation: int) -> None:
        state = self._read()
        task, found = self._find(state, annotation)
        task["annotations"].remove(found)
        self._settle(state, task)
        self._write(state)

    def served(self, project: int) -> list[int]:
        """Return the open tasks in the order in which people get them."""
        return [t["id"] for t in self.tasks_by_score(project, 10**6) if not t["is_labeled"]]

    def serve(self, project: int, person: int) -> int | None:
        """Give a person the next task, as the label stream does, and lock it for that person."""
        state = self._read()
        mode = state["projects"][str(project)]["skip_queue"]
        tasks = state["tasks"].values()
        mine = [t for t in tasks if any(a["completed_by"] == person for a in t["annotations"])]
        done = {task["id"] for task in mine}
        left = [t for t in tasks if t["project"] == project and t["id"] not in done]
        left = [task for task in left if not task["is_labeled"]]
        for task in left:
            if any(lock[0] == person and lock[1] > time.time() for lock in task["locks"]):
                return int(task["id"])
        ranked = [task["id"] for task in self.tasks_by_score(project, 10**6)]
        place = {task: at for at, task in enumerate(ranked)}
        for task in sorted(left, key=lambda t: place.get(t["id"], 10**9)):
            locks = [k for k in task["locks"] if k[1] > time.time() and k[0] != person]
            if len(locks) + self._taken(task, person, mode) < task["overlap"]:
                task["locks"] = [*locks, [person, time.time() + self.ttl]]
                self._write(state)
                return int(task["id"])
        return None

    @staticmethod
    def _taken(task: dict[str, Any], person: int, mode: str) -> int:
        count = 0
        for found in task["annotations"]:
            mine = found["completed_by"] == person
            spared = {"REQUEUE_FOR_OTHERS": not mine, "REQUEUE_FOR_ME": mine}.get(mode, False)
            skipped = found["was_cancelled"] and spared
            count += not (skipped or found.get("ground_truth"))
        return count

    def _settle(self, state: Any, task: dict[str, Any]) -> None:
        """What Label Studio computes at every saved, edited or deleted annotation."""
        given = [a for a in task["annotations"] if not a["was_cancelled"]]
        task["total_annotations"] = len(given)
        task["cancelled_annotations"] = len(task["annotations"]) - len(given)
        mode = state["projects"][str(task["project"])]["skip_queue"]
        counted = task["annotations"] if mode == "IGNORE_SKIPPED" else given
        task["is_labeled"] = len({str(a["completed_by"]) for a in counted}) >= task["overlap"]
        task["updated_at"] = _now()

    def _find(self, state: Any, annotation: int) -> tuple[dict[str, Any], dict[str, Any]]:
        return next(
            (task, found)
            for task in state["tasks"].values()
            for found in task["annotations"]
            if found["id"] == annotation
        )

    def _new(self, state: Any) -> int:
        state["next"] += 1
        return int(state["next"])

    def _read(self, call: str = "") -> Any:
        if call:
            self.calls.append(call)
        return json.loads(self._path.read_text())

    def _write(self, state: Any) -> None:
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(state))
        os.replace(draft, self._path)

    def _die(self, point: str) -> None:
        if point == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


class Sky:
    """Fetches images that are made from their address: ``sky://Spiral/7``."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def fetch(self, address: str) -> bytes:
        self.fetched.append(address)
        if address.startswith("junk://"):
            return b"this is no image"
        if not address.startswith("sky://"):
            raise FetchError(f"{address} may not be read.")
        kind = address.split("/")[2]
        rng = np.random.default_rng(int(hashlib.sha256(address.encode()).hexdigest()[:8], 16))
        pixels = rng.integers(0, 60, (40, 40, 3), dtype=np.uint8)
        pixels[..., KINDS.index(kind)] += 120
        return encode_png(pixels)


def sky(count: int, start: int = 0) -> list[str]:
    """Return addresses of images of all kinds in turn."""
    return [f"sky://{KINDS[n % 3]}/{n}" for n in range(start, start + count)]


def truth(address: str) -> str:
    """Return the kind that an image shows."""
    return address.split("/")[2]


def region(label: str, control: str = "shape") -> list[dict[str, Any]]:
    """Return the result of one choice made by hand."""
    value = {"choices": [label]}
    shared = {"id": "r", "type": "choices", "from_name": control, "to_name": "image"}
    return [{**shared, "value": value, "origin": "manual"}]


@lru_cache
def tiny_lvm() -> LVM:
    """Return an LVM with random weights, the same in every process."""
    torch.manual_seed(0)
    config = LVMConfig(
        image_size=32,
        window=4,
        width=8,
        depths=(1, 1),
        heads=(1, 2),
        decoder=False,
        pooling=("mean0", "mean1"),
        preprocessing=Preprocessing(kind="rgb8", size=32),
    )
    return LVM(config)


def settings_of(folder: Path, **overrides: object) -> Settings:
    """Return settings for a data folder that owe nothing to the environment."""
    return load_settings(_env_file=None, model_dir=folder, top_k=20, **overrides)


def _now() -> str:
    return datetime.now(UTC).isoformat()
