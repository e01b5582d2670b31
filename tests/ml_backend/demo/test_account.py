from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ml_backend.demo.account import Account
from ml_backend.errors import DemoError


def test_an_account_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    made = Account.kept_in(tmp_path / "new")
    assert len(made.password) >= 8
    assert len(made.token) == 40
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert Account.kept_in(tmp_path / "new") == made
    assert Account.kept_in(tmp_path / "other").token != made.token


def test_an_account_shows_no_secret(tmp_path: Path) -> None:
    made = Account.kept_in(tmp_path)
    assert made.password not in repr(made)
    assert made.token not in repr(made)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"email": "a@b.c"}', "\x00"])
def test_a_broken_account_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "account.json").write_text(text)
    with pytest.raises(DemoError, match=r"account\.json cannot be read"):
        Account.kept_in(tmp_path)
