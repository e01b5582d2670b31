"""A project of galaxies after a round, and the dashboard of it with somebody logged in."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from stand_ins import SHAPE_CONFIG, Sky
from world import World

from ml_backend.app import create_app


class SkySource(Sky):
    """Images out of nothing, as the dashboard fetches them."""

    def __init__(self, *_: object) -> None:
        super().__init__()

    def stamp(self, address: str) -> str:
        return ""


class Gallery:
    """The world of one project, and a browser's requests to its dashboard.

    Parameters
    ----------
    folder : Path
        It does not exist yet.
    monkeypatch : MonkeyPatch
    start : Path, optional
        The folder of a closed world to begin with a copy of; else nobody has done anything yet.
    """

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, start: Path | None = None
    ) -> None:
        if start is not None:
            shutil.copytree(start, folder)
        self.world = World(folder)
        self.store = self.world.store
        self.tasks = self.world.tasks
        self.store.projects.save(2, "Elsewhere", SHAPE_CONFIG)
        self.store.accounts.save("ada", "long enough", "manager")
        self.store.accounts.save("bob", "long enough", "viewer")
        monkeypatch.setattr("ml_backend.app.ImageFetcher", SkySource)
        self.app = create_app(self.store.settings, self.store, check=list)
        self.http = self.app.test_client()
        self.log_in("ada")

    def log_in(self, name: str) -> None:
        self.http.post("/dashboard/login", data={"name": name, "password": "long enough"})

    def get(self, path: str, **options: Any) -> Any:
        return self.http.get(f"/dashboard/1/{path}", **options)

    def post(self, path: str, **data: Any) -> Any:
        return self.http.post(f"/dashboard/1/{path}", data=data)

    def act(self, path: str, **data: Any) -> Any:
        """Send a form that our own page has made."""
        page = self.get(f"explore/selection?tasks={self.tasks[0]}").text
        found = re.search(r'name="csrf" value="([^"]+)"', page)
        return self.post(path, csrf=found[1] if found else "", **data)

    def deeds(self) -> list[tuple[str, str]]:
        return [(deed.action, deed.account) for deed in self.store.accounts.deeds(1)]
