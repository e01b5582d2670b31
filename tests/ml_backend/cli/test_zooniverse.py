"""The commands about Zooniverse, end to end but for Label Studio."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "zooniverse"))

from exports import classification, write

from ml_backend.cli import main
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.settings import load_settings
from ml_backend.store.database import open_store
from ml_backend.store.tables import Task

XML = """<View><Image name="image" value="$image"/>
<Choices name="shape" toName="image"><Choice value="Smooth"/><Choice value="Featured"/></Choices>
</View>"""
LISTED = [
    {
        "id": n,
        "is_labeled": n == 13,
        "data": {"image": f"https://i.example/{n}.png", "zoo": 500 + n},
    }
    for n in (11, 12, 13)
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))
    store = open_store(load_settings(_env_file=None))
    store.projects.save(1, "Zoo", XML)
    with store.session() as session:
        session.add_all(Task(id=task["id"], project_id=1) for task in LISTED)
    store.close()
    client = SimpleNamespace(tasks=lambda project, **_: iter(LISTED), url="http://127.0.0.1:1")
    monkeypatch.setattr(LabelStudioClient, "from_settings", lambda settings: client)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(main, ["zooniverse", *map(str, arguments)])


def test_a_project_comes_here_and_what_is_settled_is_listed(run: Any, tmp_path: Path) -> None:
    export = write(
        tmp_path / "e.csv",
        [classification(n, f"v{n}", 511, [{"task": "T0", "value": "smooth"}]) for n in range(3)],
    )
    sketch = run("sketch", export, "--project", 1)
    assert sketch.exit_code == 0
    (tmp_path / "map.toml").write_text(sketch.output)
    given = ("import", export, "--project", 1, "--map", tmp_path / "map.toml")
    unknown = run(*given)
    assert unknown.exit_code == 1
    assert "--match" in unknown.output
    assert "Nothing was written" in run(*given, "--match", "subject_id=zoo", "--dry-run").output
    done = run(*given, "--match", "subject_id=zoo")
    assert "3 votes added" in done.output
    assert "Job" in done.output
    listed = run("retirements", "--project", 1, "--out", tmp_path / "r.csv")
    assert "0 subjects are in" in listed.output


def test_a_manifest_holds_open_galaxies_in_order(run: Any, tmp_path: Path) -> None:
    done = run("manifest", "--project", 1, "--out", tmp_path / "set", "--addresses")
    assert done.exit_code == 0, done.output
    with (tmp_path / "set" / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["#task_id"] for row in rows] == ["11", "12"]
    assert rows[0]["image"] == "https://i.example/11.png"
    assert rows[0]["#zoo"] == "511"


def test_errors_are_sentences(run: Any, tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    for arguments, message in (
        (("sketch", empty, "--project", 2), "not connected"),
        (("import", empty, "--project", 1), "empty or no CSV"),
        (("retirements", "--project", 1, "--out", tmp_path / "r.csv"), "Import an export first"),
    ):
        answer = run(*arguments)
        assert answer.exit_code == 1
        assert message in answer.output
        assert "Traceback" not in answer.output
