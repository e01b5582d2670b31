"""``galaxyloop report``: a file that is whole or not there, and clear words where it cannot be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ml_backend.cli import main
from ml_backend.settings import load_settings
from ml_backend.store.database import open_store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, and a store with a project that no round has seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))
    # Nobody listens there, so what asks Label Studio is told so at once.
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "nobody's key")
    store = open_store(load_settings(_env_file=None))
    store.projects.save(3, "Rings </title><script>", "<View/>")
    store.close()
    return tmp_path


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def test_it_writes_one_file_named_by_project_and_day(folder: Path) -> None:
    before = {path.name for path in folder.iterdir()}
    result = _run("--project", "3")
    assert result.exit_code == 0, result.output
    (made,) = {path.name for path in folder.iterdir()} - before
    assert made.startswith("galaxyloop-report-3-")
    page = (folder / made).read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert "Rings &lt;/title&gt;&lt;script&gt;" in page
    assert "<script" not in page
    assert made in result.output


def test_it_replaces_a_file_and_makes_folders(folder: Path) -> None:
    out = folder / "a" / "b" / "week.html"
    assert _run("--project", "3", "--out", str(out)).exit_code == 0
    out.write_text("old")
    assert _run("--project", "3", "--out", str(out), "--days", "30").exit_code == 0
    assert "30 days" in out.read_text(encoding="utf-8")
    assert [path.name for path in out.parent.iterdir()] == ["week.html"]


def test_it_goes_to_standard_output(folder: Path) -> None:
    result = _run("--project", "3", "--out", "-", "--since", _today())
    assert result.exit_code == 0
    assert result.stdout.lstrip().startswith("<!doctype html>")
    assert "1 day," in result.stdout
    assert not list(folder.glob("*.html"))


def test_a_place_that_cannot_be_written_keeps_what_is_there(folder: Path) -> None:
    (folder / "file").write_text("mine")
    result = _run("--project", "3", "--out", str(folder / "file" / "week.html"))
    assert result.exit_code == 1
    assert "could not be written" in result.output
    assert "Traceback" not in result.output
    assert (folder / "file").read_text() == "mine"


def test_a_disk_that_fails_leaves_the_old_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder / "week.html"
    out.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ml_backend.cli.reports.os.replace", full)
    result = _run("--project", "3", "--out", str(out))
    assert result.exit_code == 1
    assert "No space left" in result.output
    assert out.read_text() == "old"
    assert not list(folder.glob(".report-*"))


def test_names_that_cannot_be_read_are_said_and_cost_nothing(folder: Path) -> None:
    result = _run("--project", "3", "--names", "--out", "week.html")
    assert result.exit_code == 0, result.output
    assert "The names could not be read" in result.output
    assert (folder / "week.html").exists()
    store = open_store(load_settings(_env_file=None))
    try:
        assert not [deed for deed in store.accounts.deeds(3) if deed.action == "names revealed"]
    finally:
        store.close()


def test_names_that_are_read_are_in_the_audit_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [{"id": 1, "first_name": "Ada", "last_name": "L."}]
    monkeypatch.setattr("ml_backend.labelstudio.client.LabelStudioClient.users", lambda self: users)
    assert _run("--project", "3", "--names", "--out", "week.html").exit_code == 0
    store = open_store(load_settings(_env_file=None))
    try:
        (deed,) = store.accounts.deeds(3)
        assert (deed.action, deed.subject) == ("names revealed", "report")
    finally:
        store.close()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--project", "4"], 1, "not connected"),
        (["--project", "0"], 2, "Invalid value"),
        (["--project", "3", "--days", "0"], 2, "Invalid value"),
        (["--project", "3", "--days", "7", "--since", "2026-01-01"], 2, "give one"),
        (["--project", "3", "--since", "2001-01-01"], 2, "at most 366 days"),
        (["--project", "3", "--since", "tomorrow"], 2, "Invalid value"),
    ],
)
def test_what_cannot_be_is_said(folder: Path, arguments: list[str], code: int, said: str) -> None:
    result = _run(*arguments)
    assert result.exit_code == code
    assert said in result.output
    assert not list(folder.glob("*.html"))


def test_a_day_to_come_is_refused(folder: Path) -> None:
    later = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    result = _run("--project", "3", "--since", later)
    assert result.exit_code == 2
    assert "still to come" in result.output
