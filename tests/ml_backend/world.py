"""A project of galaxies in a Label Studio that is a file, and rounds on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import select
from stand_ins import SHAPE_CONFIG, Sky, StandIn, settings_of, sky, tiny_lvm, truth

from ml_backend.loop.rounds import RoundContext, run_round
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Version


class World:
    """A project of galaxies, its Label Studio, and rounds on it.

    In a folder that another world was closed in (or a copy of one) it goes on from there.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.state = folder, folder / "label-studio.json"
        is_new = not self.state.exists()
        self.label_studio = StandIn(self.state)
        self.sky = Sky()
        self.store: Store = open_store(settings_of(folder / "data", **settings))
        if is_new:
            self.label_studio.add_project(1)
            self.label_studio.add_tasks(1, sky(60))
            self.store.projects.save(1, "Galaxies", SHAPE_CONFIG)
        found = list(self.label_studio.tasks(1))
        self.label_studio.calls.clear()
        self.tasks: list[int] = [task["id"] for task in found]
        self.images: dict[int, str] = {task["id"]: task["data"]["image"] for task in found}

    def round(self, **payload: Any) -> Any:
        context = RoundContext(self.store, self.label_studio, self.sky, tiny_lvm)
        return run_round(context, 1, payload)

    def vote(self, count: int, start: int = 0) -> None:
        for task in self.tasks[start : start + count]:
            self.label_studio.annotate(task, truth(self.images[task]))

    def versions(self) -> list[Version]:
        with self.store.reading() as session:
            return list(session.scalars(select(Version).order_by(Version.number)))

    @property
    def published(self) -> str:
        return str(self.label_studio.project(1)["model_version"])
