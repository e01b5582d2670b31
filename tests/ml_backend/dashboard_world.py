"""The dashboard over a real store, with two accounts, called through Flask's client."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from ml_backend.app import create_app
from ml_backend.settings import load_settings
from ml_backend.store.database import Store, open_store

HTML = {"Accept": "text/html,*/*;q=0.8"}
SCRIPT = {"Accept": "*/*"}
PASSWORDS = {"ada": "ada's password", "vera": "vera's password"}


@dataclass(frozen=True)
class Found:
    """A finding of the doctor."""

    check: str
    ok: bool
    problem: str = ""
    remedy: str = ""


class Tags(HTMLParser):
    """Collects the tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def links(self) -> list[str]:
        return [str(attributes.get("href")) for tag, attributes in self.tags if tag == "a"]


class DashboardSite:
    """A backend, its store, and who visits it."""

    def __init__(self, store: Store, findings: list[Found]) -> None:
        self.store, self.findings = store, findings
        self.app: Flask = create_app(store.settings, store, check=lambda: self.findings)
        for (name, password), role in zip(PASSWORDS.items(), ("manager", "viewer"), strict=True):
            store.accounts.save(name, password, role)

    def visitor(self, name: str | None = None) -> FlaskClient:
        """Return a browser of its own, logged in under `name`."""
        client = self.app.test_client()
        if name is not None:
            answer = self.log_in(client, name, PASSWORDS[name])
            assert answer.status_code == 302
        return client

    def log_in(self, client: FlaskClient, name: str, password: str, **options: Any) -> Any:
        form = {"name": name, "password": password}
        return client.post("/dashboard/login", data=form, headers=HTML, **options)


def form_token(page: str) -> str:
    """Return the token of the forms in a page."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    return found[1]


@contextmanager
def open_site(
    folder: Path, findings: Sequence[Found] = (), **settings: Any
) -> Iterator[DashboardSite]:
    """Give out a site over a new store."""
    made = load_settings(
        _env_file=None,
        model_dir=folder / "data",
        label_studio_url="http://label-studio:8080",
        **{"label_studio_public_url": "https://labels.example.org", **settings},
    )
    store = open_store(made)
    try:
        yield DashboardSite(store, list(findings))
    finally:
        store.close()
