"""`galaxyloop gold`: known answers come, are listed and go; hostile files cost nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from ml_backend.cli import main
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.loop.golds import EXPERT, KnownAnswer, golds_of, make_known
from ml_backend.settings import load_settings
from ml_backend.store.database import Store, open_store

XML = """<View><Image name="image" value="$image"/>
<Choices name="shape" toName="image"><Choice value="Smooth"/><Choice value="Spiral"/></Choices>
<Choices name="odd" toName="image" choice="multiple"><Choice value="Ring"/><Choice value="Lens"/>
</Choices>
<Number name="size" toName="image" min="0" max="60"/><Rating name="stars" toName="image"/>
</View>"""
LISTED = [{"id": n, "data": {"objid": f"g{n}", "image": f"i{n}"}} for n in range(1, 5)]


class Shell:
    """Commands of one project, and its store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runner = folder, CliRunner()
        with self.store() as store:
            store.projects.save(1, "Zoo", XML)

    def store(self) -> Any:
        class Opened:
            def __enter__(self) -> Store:
                self.store = open_store(load_settings(_env_file=None))
                return self.store

            def __exit__(self, *_: object) -> None:
                self.store.close()

        return Opened()

    def run(self, *arguments: Any) -> Any:
        return self.runner.invoke(main, ["gold", *map(str, arguments)])

    def bring(self, content: str | bytes, *options: str, name: str = "golds.csv") -> Any:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self.run("import", path, "--project", 1, *options)

    def known(self) -> dict[tuple[int, str], Any]:
        with self.store() as store:
            return {
                (one.task_id, one.control): one.labels
                or [item["value"] for item in one.answer["items"]]
                for one in golds_of(store, 1)
            }


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))
    client = SimpleNamespace(tasks=lambda project, **_: iter(LISTED), url="http://127.0.0.1:1")
    monkeypatch.setattr(LabelStudioClient, "from_settings", lambda settings: client)
    return Shell(tmp_path)


def test_answers_come_are_listed_and_go(shell: Shell) -> None:
    assert "No answer is known" in shell.run("list", "--project", 1).output
    text = "objid,shape,odd,size,stars\ng1,Spiral,Ring|Lens,3.5,4\ng2,Smooth,,,\n"
    tried = shell.bring(text, "--dry-run")
    assert tried.exit_code == 0
    assert "5 answers of 2 rows would be kept" in tried.output
    assert shell.known() == {}
    done = shell.bring(text)
    assert done.exit_code == 0
    assert "5 are new or have changed" in done.output
    wanted = {
        (1, "shape"): ["Spiral"], (1, "odd"): ["Ring", "Lens"], (1, "size"): [3.5],
        (1, "stars"): [4], (2, "shape"): ["Smooth"],
    }  # fmt: skip
    assert shell.known() == wanted
    assert "0 are new" in shell.bring(text).output, "the same file again changes nothing"
    listed = shell.run("list", "--project", 1).output
    assert "1  size  3.5  file" in listed
    assert "1  odd  Ring, Lens  file" in listed
    told = json.loads(shell.run("list", "--project", 1, "--json").output)
    assert [(one["task"], one["control"]) for one in told] == sorted(wanted)
    assert "4 known answers are forgotten" in shell.run("remove", 1, "--project", 1).output
    assert shell.known() == {(2, "shape"): ["Smooth"]}
    shell.run("remove", "--all", "--project", 1)
    assert shell.known() == {}


def test_another_file_adds_and_only_files_are_removed(shell: Shell) -> None:
    with shell.store() as store, store.session() as session:
        make_known(session, 1, EXPERT, {(3, "shape"): KnownAnswer(("Smooth",))})
    shell.bring("task,shape\n1,Spiral\n")
    shell.bring("task,shape\n2,Spiral\n3,Spiral\n")
    assert len(shell.known()) == 3
    assert shell.known()[3, "shape"] == ["Spiral"], "a file stands above an expert"
    shell.bring("task,shape\n1,Smooth\n")
    assert shell.known()[1, "shape"] == ["Smooth"]
    with shell.store() as store, store.session() as session:
        make_known(session, 1, EXPERT, {(4, "shape"): KnownAnswer(("Smooth",))})
    assert "3 known answers" in shell.run("remove", "--all", "--project", 1).output
    assert shell.known() == {(4, "shape"): ["Smooth"]}


@pytest.mark.parametrize(
    ("cell", "control", "said"),
    [
        ("61", "size", "at most 60"), ("-1", "size", "at least 0"), ("-inf", "size", "a number"),
        ("inf", "size", "a number"), ("1e999", "size", "a number"), ("three", "size", "'three'"),
        ("0", "stars", "1 to 5 stars"), ("6", "stars", "1 to 5 stars"),
        ("2.5", "stars", "1 to 5 stars"), ("1e400", "stars", "1 to 5 stars"),
        ("Blob", "shape", "no label 'Blob'"), ("Ring|Blob", "odd", "no label 'Blob'"),
        ("=cmd()", "shape", "no label"), ("x" * 5000, "shape", "no label"),
        ("Spiral|Smooth", "shape", "no label"),
    ],
)  # fmt: skip
def test_what_is_no_answer_costs_only_itself(
    shell: Shell, cell: str, control: str, said: str
) -> None:
    good = {"size": "5", "stars": "3", "shape": "Smooth", "odd": "Ring"}[control]
    done = shell.bring(f"task,{control}\n1,{cell}\n2,{good}\n")
    assert done.exit_code == 0, done.output
    assert said in done.output
    assert "Row 1" in done.output
    assert len(done.output) < 1000
    assert list(shell.known()) == [(2, control)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", ""),
        (b"\x00\x01\x02\x03" * 100, ""),
        (b"\xff\xfe\xff,shape\n", ""),
        ("task,shape\n", "0 answers of 0 rows"),
        ("name,shape\ng1,Spiral\n", "No column"),
        ("task,colour\n1,red\n", "No column"),
        ("task,shape\n99,Spiral\n", "no task of the project"),
        ("task,shape\n,Spiral\n", "no task of the project"),
        ("task,shape\n1,Spiral\n1,Smooth\n", "another answer"),
        (b"\x1f\x8bnot gzip at all", ""),
        (b"SIMPLE  =                    T" + b" " * 40, ""),
    ],
)
def test_hostile_files_are_sentences(shell: Shell, content: str | bytes, said: str) -> None:
    done = shell.bring(content)
    assert said in done.output
    assert done.output.strip(), "something is said"
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert shell.known() in ({}, {(1, "shape"): ["Spiral"]})
    assert (done.exit_code == 0) == bool(shell.known())


def test_missing_values_say_nothing(shell: Shell) -> None:
    done = shell.bring("task,size,stars,shape\n1,nan,,\n2,,NaN,Spiral\n")
    assert "cannot be used" not in done.output
    assert list(shell.known()) == [(2, "shape")]


def test_wrong_commands_say_what_to_do(shell: Shell) -> None:
    missing = shell.run("import", shell.folder / "nowhere.csv", "--project", 1)
    assert missing.exit_code == 1
    assert "nowhere.csv" in missing.output
    other = shell.folder / "golds.csv"
    other.write_text("task,shape\n1,Spiral\n")
    assert "galaxyloop connect" in shell.run("import", other, "--project", 2).output
    wrong = shell.run("import", other, "--project", 1, "--key", "name")
    assert "no column 'name'" in wrong.output
    assert shell.run("remove", "--project", 1).exit_code == 2
    assert shell.run("remove", 1, "--all", "--project", 1).exit_code == 2
    assert shell.known() == {}
