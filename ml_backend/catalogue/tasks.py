"""Tasks of galaxies, and where they go: into Label Studio, or to a file for import by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

from ml_backend.bulk.items import SourceError
from ml_backend.catalogue.positions import Position
from ml_backend.catalogue.viewers import links_html, viewer_links
from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio.config import parse_controls
from ml_backend.loop.annotations import main_field
from models.images import FACTS

BATCH = 250
RESTORED_KEY = "restored"
OUR_KEYS = ("id", "survey", "source", "sky_links", RESTORED_KEY, *FACTS)

Json = dict[str, Any]


class TasksClient(Protocol):
    """What is asked of Label Studio (a part of its client)."""

    def project(self, project: int) -> Json: ...

    def tasks(self, project: int, *, page_size: int, annotations: bool) -> Any: ...

    def import_tasks(self, project: int, tasks: list[Json]) -> list[int]: ...


class TaskSink(Protocol):
    """Where tasks go."""

    image_field: str
    known: dict[str, Position | None]
    """Galaxies that are there already, by id."""

    def add(self, task: Json) -> None:
        """Take a task; it may wait for others."""
        ...

    def finish(self) -> None:
        """Bring all there."""
        ...

    def keep(self) -> None:
        """Bring there what can stand alone: not all tasks will come."""
        ...


def make_task(
    image_field: str,
    image: str,
    name: str,
    position: Position | None,
    *,
    survey: str = "",
    source: str = "",
    facts: Mapping[str, Any] | None = None,
    restored: str | None = None,
) -> Json:
    """Return a task as Label Studio imports it.

    Parameters
    ----------
    image_field : str
        Key of the image address in the labelling configuration.
    image : str
        The address.
    name : str
        The galaxy's id.
    position : Position or None
    survey : str
    source : str
        File or address that the image is from.
    facts : mapping, optional
        What `image_facts` states of the image; `position` goes before its centre.
    restored : str, optional
        Address of the restored picture, under the key that
        ``labeling_configs/restoration_review.xml`` names.
    """
    data: Json = {image_field: image, "id": name, **(facts or {})}
    if restored is not None:
        data[RESTORED_KEY] = restored
    if position is not None:
        data |= {"ra": position.ra, "dec": position.dec}
    data |= {"survey": survey, "source": source}
    if position is not None:
        links = viewer_links(position)
        data |= {**links, "sky_links": links_html(links)}
    return {"data": data}


class ProjectSink:
    """Tasks of one project of Label Studio.

    Parameters
    ----------
    client : LabelStudioClient
    project : int
    image_field : str, optional
        By default that of the project's first control.

    Raises
    ------
    LabelStudioError
        The project cannot be read, or its configuration shows no image that we know.
    """

    def __init__(self, client: TasksClient, project: int, image_field: str | None = None) -> None:
        self._client, self._project = client, project
        self._waiting: list[Json] = []
        if image_field is None:
            config = parse_controls(str(client.project(project).get("label_config") or ""))
            image_field = main_field(config)
            if not image_field:
                raise LabelStudioError(
                    f"The labelling configuration of project {project} asks no question about an "
                    "<Image>, so nobody can tell where tasks hold it. Name the key with "
                    "--image-field."
                )
        self.image_field = checked_field(image_field)
        self.known: dict[str, Position | None] = {}
        for task in client.tasks(project, page_size=500, annotations=False):
            data = task.get("data")
            if isinstance(data, dict) and isinstance(data.get("id"), str | int):
                self.known[str(data["id"])] = _position(data)

    def add(self, task: Json) -> None:
        """Take a task; every :data:`BATCH` of them are sent together."""
        self._waiting.append(task)
        if len(self._waiting) >= BATCH:
            self.finish()

    def finish(self) -> None:
        """Send what waits."""
        if self._waiting:
            self._client.import_tasks(self._project, self._waiting)
            self._waiting = []

    def keep(self) -> None:
        """Send what waits."""
        self.finish()


class FileSink:
    """Tasks in a JSON file, which appears whole or not at all.

    Parameters
    ----------
    path : Path
        What stands there is replaced by the same tasks and those that are new.
    image_field : str
    """

    def __init__(self, path: Path, image_field: str = "image") -> None:
        self._path, self.image_field = path, checked_field(image_field)
        self._draft = path.with_name(f".{path.name}.{os.getpid()}")
        self._file: TextIO | None = None
        self.known: dict[str, Position | None] = {}

    def add(self, task: Json) -> None:
        """Write a task to the draft."""
        text = json.dumps(task, ensure_ascii=False)
        try:
            if self._file is None:
                self._file = self._draft.open("w", encoding="utf-8", errors="replace")
                self._file.write("[\n" + text)
            else:
                self._file.write(",\n" + text)
        except OSError as error:
            raise SourceError(f"{self._path} cannot be written: {error.strerror}.") from None

    def finish(self) -> None:
        """Put the file in its place."""
        if self._file is not None:
            self._file.write("\n]\n")
            self._file.close()
            os.replace(self._draft, self._path)

    def keep(self) -> None:
        """Keep no half file: the next run writes it whole, from cut-outs that are kept."""
        self.discard()

    def discard(self) -> None:
        """Leave no draft behind."""
        if self._file is not None:
            self._file.close()
            self._draft.unlink(missing_ok=True)


def checked_field(name: str) -> str:
    """Refuse a key of the image that other things of a task are kept under."""
    if name in OUR_KEYS or not name.strip():
        raise SourceError(
            f"Tasks keep something else than an image under {name!r}. Let <Image> take another "
            'field, e.g. value="$image".'
        )
    return name


def _position(data: Json) -> Position | None:
    ra, dec = data.get("ra"), data.get("dec")
    if isinstance(ra, int | float) and isinstance(dec, int | float):
        return Position(float(ra), float(dec))
    return None
