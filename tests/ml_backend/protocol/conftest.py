"""A backend with a real store, called through Flask's client; predictions are made by a fake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ml_backend.app import create_app
from ml_backend.settings import Settings, load_settings
from ml_backend.store.database import open_store

SECRET = "hook-secret-of-the-tests"
PAYLOADS = Path(__file__).parent / "payloads"


class FakePredictor:
    """Answers what the test tells it to."""

    def __init__(self) -> None:
        self.asked: list[list[dict[str, Any]]] = []
        self.contexts: list[dict[str, Any]] = []
        self.answer: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda tasks: [
            {"model_version": "galaxyloop-p2-v1", "score": 0.25, "result": [{"id": str(t["id"])}]}
            for t in tasks
        ]

    def predict(self, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.asked.append(tasks)
        return self.answer(tasks)

    def interact(self, task: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        self.contexts.append(context)
        return self.answer([task])[0]


@pytest.fixture
def payload() -> Callable[[str], dict[str, Any]]:
    """Read one recorded payload of Label Studio 1.23.2 by name."""

    def read(name: str) -> dict[str, Any]:
        return json.loads((PAYLOADS / f"{name}.json").read_text())

    return read


@pytest.fixture
def make_backend(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Make a backend; keyword arguments are settings."""
    opened = []

    def make(**overrides: object) -> Any:
        settings: Settings = load_settings(
            _env_file=None,
            model_dir=tmp_path / f"data{len(opened)}",
            webhook_secret=SECRET,
            label_studio_api_key="api-key-of-the-tests",
            **overrides,
        )
        store = open_store(settings)
        opened.append(store)
        predictor = FakePredictor()
        app = create_app(settings, store, predictor_of=lambda _: predictor, check=list)
        return SimpleNamespace(
            app=app,
            hints=app.extensions["galaxyloop.hints"],
            client=app.test_client(),
            store=store,
            predictor=predictor,
            settings=settings,
        )

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def backend(make_backend: Callable[..., Any], payload: Callable[..., Any]) -> Any:
    """A backend without basic auth that knows project 2, whose version 1 is published."""
    made = make_backend()
    config = payload("setup")["schema"]
    made.store.projects.save(2, "Galaxies", config, champion="galaxyloop-p2-v1")
    return made


@pytest.fixture
def secret_header() -> dict[str, str]:
    """The header that `galaxyloop connect` writes into the webhook."""
    return {"X-GalaxyLoop-Secret": SECRET}
