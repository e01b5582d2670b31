"""The ``galaxyloop`` command: quick help, clear errors, exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import requests
from click.testing import CliRunner, Result

from ml_backend import connection
from ml_backend.cli import main
from ml_backend.settings import Strategy, load_settings
from ml_backend.store.database import open_store
from ml_backend.store.tables import Version
from ml_backend.worker import prior_heads

COMMANDS = (
    "serve",
    "work",
    "connect",
    "doctor",
    "demo",
    "jobs",
    "like",
    "accounts",
    "report",
    "cancel",
    "versions",
    "rollback",
    "encode",
    "import",
    "export",
    "gold",
    "import-lvm",
    "pretrain",
    "embeddings",
    "zooniverse",
    "settings",
)


QUALITY = {
    "shape": {"accuracy": 0.8, "log_loss": 0.5, "macro_auc": 0.9},
    "bar": {"accuracy": 0.9, "log_loss": 0.25, "macro_auc": None},
}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, and a data folder in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "PORT", "HOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, list(arguments))


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Run the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ml_backend.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


@pytest.fixture
def store(environment: Path) -> Any:
    opened = open_store(load_settings())
    opened.projects.save(3, "Rings", "<View/>", champion="galaxyloop-p3-v2")
    with opened.session() as session:
        for number, state in ((1, "rejected"), (2, "published")):
            session.add(
                Version(
                    name=f"galaxyloop-p3-v{number}",
                    project_id=3,
                    number=number,
                    kind="trained",
                    state=state,
                    created_at=datetime.now(UTC),
                    votes=10 * number,
                    quality={} if number == 1 else QUALITY,
                    gate={"reason": "Because of this."},
                )
            )
    yield opened
    opened.close()


def test_help_needs_nothing_heavy() -> None:
    code = (
        "import sys; from ml_backend.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([n for n in ('torch', 'sklearn', 'sqlalchemy', 'flask') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.strip().endswith("[]")


def test_help_takes_less_than_a_second() -> None:
    # Of processor time: what else the machine does is not ours.
    before = os.times()
    assert start("--help").wait(60) == 0
    after = os.times()
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 1.0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 4


def test_all_commands_are_the_ones_tested() -> None:
    assert set(main.commands) == set(COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("connect",),
        ("connect", "--project", "two"),
        ("connect", "--project", "2", "--strategy", "best"),
        ("serve", "--port", "0"),
        ("serve", "--port", "99999"),
        ("versions",),
        ("versions", "--project", str(2**63)),
        ("jobs", "--project", str(2**70)),
        ("doctor", "--project", "0"),
        ("rollback", "--project", "3"),
        ("cancel",),
        ("cancel", "all"),
        ("like", "--project", "3"),
        ("like", "one", "--project", "3"),
    ],
)
def test_wrong_usage_is_exit_code_2(environment: Path, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "many"),
        ("LABEL_STUDIO_URL", "label-studio:8080"),
        ("GALAXYLOOP_STRATEGY", "best"),
        ("GALAXYLOOP_DATABASE_URL", "nonsense"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    environment: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    result = run("jobs")
    assert result.exit_code == 2
    assert name in result.stderr
    assert "Traceback" not in result.stderr


def test_a_data_folder_that_cannot_be_made_is_one_message(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (environment / "file").write_text("")
    monkeypatch.setenv("MODEL_DIR", str(environment / "file" / "data"))
    result = run("jobs")
    assert result.exit_code == 1
    assert result.stderr.startswith("galaxyloop: ")
    assert "MODEL_DIR" in result.stderr


def test_settings_lists_every_setting_and_no_secret(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "very-secret-key")
    output = run("settings").output
    for field in type(load_settings()).model_fields.values():
        assert f"{field.alias}=" in output
    assert "very-secret-key" not in output


def test_versions_are_listed_with_their_quality_and_reasons(store: Any) -> None:
    output = run("versions", "--project", "3").output
    assert output.index("galaxyloop-p3-v2") < output.index("galaxyloop-p3-v1")
    assert "Because of this." in output
    head, second, first = (line.split() for line in output.splitlines())
    assert head[4:9] == ["accuracy", "log", "loss", "macro", "AUC"]
    assert second[4:7] == ["0.850", "0.375", "0.900"], "means over the controls that have it"
    assert first[4:7] == ["-", "-", "-"]
    listed = json.loads(run("versions", "--project", "3", "--json").output)
    assert [version["votes"] for version in listed] == [20, 10]


def test_versions_of_an_unknown_project_say_what_to_do(store: Any) -> None:
    result = run("versions", "--project", "4")
    assert result.exit_code == 1
    assert "galaxyloop connect" in result.stderr


def test_standard_output_holds_json_alone(environment: Path) -> None:
    # The first call makes and migrates the database, which is logged.
    done = start("jobs", "--json", MODEL_DIR=str(environment / "new"))
    out, logged = done.communicate(timeout=60)
    assert json.loads(out) == []
    assert "database_migrated" in logged


def test_jobs_are_listed(store: Any) -> None:
    store.jobs.enqueue("round", 3)
    assert "queued" in run("jobs").output
    assert json.loads(run("jobs", "--json", "--project", "3").output)[0]["kind"] == "round"
    assert json.loads(run("jobs", "--json", "--project", "4").output) == []


def test_a_job_can_be_cancelled_once(store: Any) -> None:
    number = str(store.jobs.enqueue("tune", 3).id)
    assert run("cancel", number).exit_code == 0
    assert "It was cancelled." in run("jobs").output
    result = run("cancel", number)
    assert result.exit_code == 1
    assert "is over" in result.stderr


def test_rollback_to_a_version_that_is_not_there_is_refused(store: Any) -> None:
    result = run("rollback", "--project", "3", "galaxyloop-p3-v77")
    assert result.exit_code == 1
    assert "galaxyloop-p3-v77" in result.stderr


def test_doctor_may_be_told_where_label_studio_is(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(connection, "doctor", lambda settings, *_: asked.append(settings) or [])
    assert run("doctor", "--url", "http://studio:8080", "--api-key", "very-secret").exit_code == 0
    [settings] = asked
    assert settings.label_studio_url == "http://studio:8080"
    assert settings.label_studio_api_key.get_secret_value() == "very-secret"


def test_every_strategy_of_the_settings_may_be_chosen() -> None:
    [option] = [o for o in main.commands["connect"].params if o.name == "strategy"]
    assert tuple(option.type.choices) == get_args(Strategy)  # type: ignore[attr-defined]


def test_doctor_prints_remedies_and_fails(
    environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        connection.Finding("this is fine", True),
        connection.Finding("this is not", False, "It is off.", "Turn it on."),
    ]
    asked = []

    def look(settings: Any, store: Any, projects: Any) -> list[connection.Finding]:
        asked.append(projects)
        return found

    monkeypatch.setattr(connection, "doctor", look)
    result = run("doctor")
    assert result.exit_code == 1
    assert "-> Turn it on." in result.output
    result = run("doctor", "--json", "--project", "3")
    assert [finding["ok"] for finding in json.loads(result.output)] == [True, False]
    assert asked == [None, [3]]
    found.pop()
    assert run("doctor").exit_code == 0


def test_connect_without_label_studio_is_one_message(environment: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = run("connect", "--url", url, "--api-key", "very-secret-key", "--project", "1")
    assert result.exit_code == 1
    assert url in result.stderr
    assert "very-secret-key" not in result.output


def test_import_lvm_names_a_broken_checkpoint(environment: Path) -> None:
    (environment / "broken.pth").write_bytes(b"not a checkpoint")
    result = run("import-lvm", str(environment / "broken.pth"), "--out", str(environment / "out"))
    assert result.exit_code == 1
    assert result.stderr.startswith("galaxyloop: ")
    assert not (environment / "out" / "config.json").exists()


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A Hugging Face encoder that does not say how its images are prepared."""
    import transformers

    sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 16, "intermediate_size": 16}
    config = transformers.ViTConfig(num_hidden_layers=1, num_attention_heads=2, **sizes)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def test_import_lvm_takes_a_hugging_face_encoder(environment: Path, encoder: Path) -> None:
    out = environment / "ours"
    result = run("import-lvm", str(encoder), "--out", str(out))
    assert result.exit_code == 1
    assert "Nobody says the size, mean, std" in result.stderr
    assert not out.exists()
    said = ["--size", "32", "--mean", "0.5", "0.4", "0.3", "--std", "0.2", "0.2", "0.1"]
    said += ["--pooling", "class", "--simulated", "50"]
    result = run("import-lvm", str(encoder), "--out", str(out), *said)
    assert result.exit_code == 0, result.stderr
    assert "16 features per image, rgb8 images of 32 px" in result.output
    recipe = json.loads((out / "galaxyloop.json").read_text())
    assert recipe["preprocessing"]["mean"] == [0.5, 0.4, 0.3]
    assert recipe["pooling"] == ["class"]
    controls = (SimpleNamespace(name="c", multiple=False, labels=("Spiral", "Elliptical")),)
    heads = prior_heads(load_settings(lvm=out), controls)  # type: ignore[arg-type]
    assert heads["c"].predict(np.zeros((1, 16), np.float32)).shape == (1, 2)
    again = run("import-lvm", str(out), "--out", str(environment / "copy"))
    assert again.output.split()[1:] == result.output.split()[1:], "the identity stays"


def test_import_lvm_refuses_options_that_mean_nothing(environment: Path) -> None:
    (environment / "a.pth").write_bytes(b"")
    arguments = (str(environment / "a.pth"), "--out", str(environment / "out"), "--size", "64")
    result = run("import-lvm", *arguments)
    assert result.exit_code == 1
    assert "--size is for Hugging Face encoders" in result.stderr


def test_serve_answers_ends_on_sigterm_and_names_a_busy_port(environment: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = start("serve", "--port", str(port), MODEL_DIR=str(environment / "data"))
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except requests.ConnectionError:
                assert server.poll() is None, server.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert answer.json()["status"] == "UP"
        second = start("serve", "--port", str(port), MODEL_DIR=str(environment / "other"))
        _, said = second.communicate(timeout=60)
        assert second.returncode == 2
        assert f"Port {port}" in said
        assert "Traceback" not in said
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
    finally:
        server.kill()
        server.communicate()
