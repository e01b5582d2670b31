"""``galaxyloop accounts``: who may look at the dashboard, by command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ml_backend.cli import main
from ml_backend.settings import load_settings
from ml_backend.store.database import open_store


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))


def run(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(main, ["accounts", *arguments], input=typed)


def test_an_account_is_made_changed_listed_and_removed_on_record() -> None:
    assert "no account yet" in run("list").output
    made = run("add", "ada", "--role", "manager", "--password-stdin", typed="pass word 1\nmore\n")
    assert made.exit_code == 0, made.output
    assert "/dashboard/" in made.output
    changed = run("add", "ada", "--password-stdin", typed="pass word 2\n")
    assert "changed" in changed.output
    (told,) = json.loads(run("list", "--json").output)
    assert (told["name"], told["role"], told["last_login"]) == ("ada", "viewer", None)
    assert "pass word" not in made.output + changed.output + run("list").output
    store = open_store(load_settings())
    try:
        assert store.accounts.check("ada", "pass word 1") is None
        assert store.accounts.check("ada", "pass word 2") is not None
        assert run("remove", "ada").exit_code == 0
        assert store.accounts.listing() == []
        deeds = store.accounts.deeds()
        assert [deed.action for deed in deeds] == [
            "account removed", "account changed", "account made",
        ]  # fmt: skip
        assert all("command line" in deed.account and deed.subject == "ada" for deed in deeds)
        assert "pass word" not in str([deed.details for deed in deeds])
    finally:
        store.close()


@pytest.mark.parametrize(
    ("arguments", "typed", "code", "said"),
    [
        (("add", "ada", "--password-stdin"), "short\n", 1, "at least 8 characters"),
        (("add", "ada", "--password-stdin"), "", 1, "at least 8 characters"),
        (("add", "  ", "--password-stdin"), "pass word 1\n", 1, "1 to 100 characters"),
        (("add", "x" * 101, "--password-stdin"), "pass word 1\n", 1, "1 to 100 characters"),
        (("add", "a\nb", "--password-stdin"), "pass word 1\n", 1, "1 to 100 characters"),
        (("add", "ada"), "pass word 1\n", 2, "--password-stdin"),
        (("add", "ada", "--role", "king", "--password-stdin"), "pass word 1\n", 2, "king"),
        (("remove", "nobody"), "", 1, "No account is called"),
    ],
)
def test_what_cannot_be_is_said(
    arguments: tuple[str, ...], typed: str, code: int, said: str
) -> None:
    done = run(*arguments, typed=typed)
    assert done.exit_code == code
    assert said in done.output
    assert "Traceback" not in done.output
    assert "no account yet" in run("list").output
