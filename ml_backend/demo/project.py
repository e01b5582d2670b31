"""The demo's project in Label Studio: made, or found again and completed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import requests

from ml_backend.demo.pictures import Picture, address
from ml_backend.errors import DemoError, LabelStudioError
from ml_backend.labelstudio.client import LabelStudioClient

IMPORT_BATCH = 250
LONGEST_TITLE = 50


def labelling_config(question: str, classes: Sequence[str]) -> str:
    """Return a labelling configuration that asks for one of `classes` about one image."""
    choices = "\n".join(
        f"    <Choice value={quoteattr(label)}{_hotkey(place)}/>"
        for place, label in enumerate(classes)
    )
    name = control_name(question)
    # The choices stand above the image: below it they would be out of sight on small screens.
    return f"""<View>
  <Header value={quoteattr(question)}/>
  <Choices name="{name}" toName="image" choice="single" required="true" showInline="true">
{choices}
  </Choices>
  <Image name="image" value="$image" maxWidth="640px" zoom="true" zoomControl="true"
         brightnessControl="true" contrastControl="true"/>
</View>
"""


def control_name(question: str) -> str:
    """Return a name for the control that XML and URLs take as it is."""
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in question).strip("_")
    return name if name and name[0].isalpha() else f"answer_{name}".rstrip("_")


@dataclass(frozen=True)
class DemoProject:
    """A project of the demo, as it is kept in the data folder.

    Parameters
    ----------
    key : str
        Digest of what it was made from.
    run : int
        Counts the projects made from the same.
    id : int
        Label Studio's id.
    folder : str
        Subfolder of the served files.
    """

    key: str
    run: int
    id: int
    folder: str


class Projects:
    """The demo's projects, kept in ``projects.json``: different images get different ones."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def latest(self, key: str) -> DemoProject | None:
        """Return the project made last from what `key` stands for."""
        found = [project for project in self._all() if project.key == key]
        return max(found, key=lambda project: project.run) if found else None

    def keep(self, project: DemoProject) -> None:
        """Remember a project."""
        rest = [p for p in self._all() if (p.key, p.run) != (project.key, project.run)]
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps([asdict(p) for p in (*rest, project)], indent=1))
        draft.replace(self._file)

    def _all(self) -> list[DemoProject]:
        if not self._file.exists():
            return []
        try:
            return [DemoProject(**entry) for entry in json.loads(self._file.read_text())]
        except (OSError, ValueError, TypeError) as error:
            raise DemoError(
                f"{self._file} cannot be read ({type(error).__name__}). Restore it, or remove it "
                "to begin a new project (the old one stays in Label Studio)."
            ) from error


def project_key(**facts: Any) -> str:
    """Return a short digest of what makes a project what it is."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Provision:
    """Makes sure that a project stands in Label Studio with all its tasks.

    Parameters
    ----------
    url, token : str
        Label Studio's address, and a (legacy) API token for it.
    files : Path or None
        Folder that Label Studio serves local files from, as Label Studio sees it.
    """

    def __init__(self, url: str, token: str, files: Path | None) -> None:
        self._url = url
        self._headers = {"Authorization": f"Token {token}"}
        self._files = files
        self._client = LabelStudioClient(url, token)

    def exists(self, project: int) -> bool:
        """Whether Label Studio has the project."""
        try:
            self._client.project(project)
        except LabelStudioError as error:
            if error.status == 404:
                return False
            raise
        return True

    def create(self, title: str, config: str) -> int:
        """Create a project and return its id."""
        made = self._client.create_project(
            title[:LONGEST_TITLE], config, sampling="Uncertainty sampling"
        )
        return int(made["id"])

    def permit(self, project: int, folder: str) -> None:
        """Let the project show the files of a subfolder of the served folder.

        A storage row is Label Studio's way to say so; it is never synchronised, because that
        would import every file as a second task.
        """
        if self._files is None:
            raise DemoError("This Label Studio serves no local files.")
        path = str(self._files / folder)
        rows = self._api("GET", f"/api/storages/localfiles?project={project}")
        if any(row.get("path") == path for row in rows):
            return
        self._api(
            "POST",
            "/api/storages/localfiles/",
            {"project": project, "path": path, "use_blob_urls": True, "title": "images"},
        )

    def complete(
        self,
        project: int,
        folder: str,
        pictures: Sequence[Picture],
        done: Callable[[int], None] = lambda count: None,
    ) -> dict[int, str]:
        """Import the tasks that are missing.

        Returns
        -------
        dict of int to str
            The image's key per task id. The known label is nowhere in Label Studio.
        """
        keys = {address(folder, picture.name): picture.image.key for picture in pictures}
        known = {
            task["id"]: keys[task["data"]["image"]]
            for task in self._client.tasks(project, page_size=500, annotations=False)
            if task.get("data", {}).get("image") in keys
        }
        present = set(known.values())
        wanted = [item for item in keys.items() if item[1] not in present]
        done(len(present))
        for start in range(0, len(wanted), IMPORT_BATCH):
            batch = wanted[start : start + IMPORT_BATCH]
            ids = self._client.import_tasks(
                project, [{"data": {"image": where, "name": key}} for where, key in batch]
            )
            known.update(zip(ids, (key for _, key in batch), strict=True))
            done(len(batch))
        return known

    def reopen(self, project: int, count: int, most: int, seed: int) -> int:
        """Open up to `count` finished tasks for one more vote each; return how many.

        Tasks with the fewest votes come first, in an order that `seed` decides; none gets more
        than `most` votes.
        """
        open_to_more = [
            task
            for task in self._client.tasks(project, page_size=500, annotations=False)
            if task.get("is_labeled") and task.get("total_annotations", 0) < most
        ]
        rng = np.random.default_rng([seed, len(open_to_more)])
        mixed = [open_to_more[index] for index in rng.permutation(len(open_to_more))]
        chosen = sorted(mixed, key=lambda task: task["total_annotations"])[:count]
        for task in chosen:
            # The overlap alone would not bring a finished task back.
            self._client.update_task(
                task["id"], overlap=task["total_annotations"] + 1, is_labeled=False
            )
        return len(chosen)

    def open_tasks(self, project: int) -> int:
        """Return how many tasks Label Studio still serves to somebody."""
        return sum(
            not task.get("is_labeled")
            and task.get("total_annotations", 0) < (task.get("overlap") or 1)
            for task in self._client.tasks(project, page_size=500, annotations=False)
        )

    def votes(self, project: int) -> int:
        """Return the number of annotations that the project has, skips not counted."""
        return int(self._client.project(project).get("total_annotations_number") or 0)

    def _api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = requests.request(
            method, self._url + path, json=body, headers=self._headers, timeout=60
        )
        if not answer.ok:
            raise DemoError(
                f"Label Studio refused {method} {path} (HTTP {answer.status_code}): "
                f"{answer.text[:300]}"
            )
        return answer.json()


def _hotkey(place: int) -> str:
    return f' hotkey="{place + 1}"' if place < 9 else ""
