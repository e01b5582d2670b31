"""The documentation names every setting and command, with the defaults that hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from ml_backend.cli import main
from ml_backend.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
GUIDE = (DOCS / "operators.md").read_text()


def _default(value: object) -> str:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return "" if value in (None, "") else f"`{value}`"


@pytest.mark.parametrize("field", Settings.model_fields.values(), ids=lambda field: field.alias)
def test_every_setting_is_in_the_table_as_it_is(field: object) -> None:
    row = f"| `{field.alias}` | {_default(field.default)} | {field.description} |"  # type: ignore[attr-defined]
    assert row in GUIDE, f"docs/operators.md lacks this row:\n{row}"


def test_the_table_names_no_setting_that_is_gone() -> None:
    known = {field.alias for field in Settings.model_fields.values()}
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", GUIDE, re.M)) == known


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_is_explained(command: str) -> None:
    assert re.search(rf"^\| `galaxyloop {command}\b", GUIDE, re.M)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_the_documentation_names_only_commands_that_exist(page: Path) -> None:
    # In code only: prose may well say "galaxyloop is".
    named = re.findall(r"`galaxyloop ([a-z][a-z-]*)", page.read_text())
    assert set(named) <= set(main.commands)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
