from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ml_backend.demo.label_studio import LabelStudioServer, find_program
from ml_backend.errors import DemoError


def program(path: Path, text: str = "#!/bin/sh\nexit 7\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_program_is_looked_for_in_order(tmp_path: Path) -> None:
    named = program(tmp_path / "named")
    beside = program(tmp_path / "project" / ".venv-label-studio" / "bin" / "label-studio")
    on_path = program(tmp_path / "bin" / "label-studio")
    everywhere = {"GALAXYLOOP_LABEL_STUDIO": str(named), "PATH": str(on_path.parent)}
    assert find_program(everywhere, beside.parents[2]) == named
    assert find_program({"PATH": str(on_path.parent)}, beside.parents[2]) == beside
    assert find_program({"PATH": str(on_path.parent)}, tmp_path / "elsewhere") == on_path


def test_a_missing_program_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="make label-studio"):
        find_program({"PATH": str(tmp_path)}, tmp_path)
    with pytest.raises(DemoError, match="GALAXYLOOP_LABEL_STUDIO names"):
        find_program({"GALAXYLOOP_LABEL_STUDIO": str(tmp_path / "none")}, tmp_path)
    with pytest.raises(DemoError, match="GALAXYLOOP_LABEL_STUDIO names"):
        find_program({"GALAXYLOOP_LABEL_STUDIO": str(tmp_path)}, tmp_path)


def test_a_busy_port_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = LabelStudioServer(
            tmp_path, taken.getsockname()[1], program=program(tmp_path / "ls")
        )
        with pytest.raises(DemoError, match="--label-studio-port"):
            server.start()
        assert server.child.pid is None


def test_a_label_studio_that_ends_at_once_is_said(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    failing = program(tmp_path / "ls", "#!/bin/sh\necho no such table; exit 7\n")
    server = LabelStudioServer(tmp_path / "data", port, program=failing)
    with pytest.raises(DemoError, match=r"(?s)exit status 7.*no such table"):
        server.start()


def test_nothing_of_the_surrounding_environment_changes_our_label_studio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "secret")
    monkeypatch.setenv("DJANGO_DB", "default")
    monkeypatch.setenv("SENTRY_DSN", "https://example.org/1")
    monkeypatch.setenv("PORT", "9090")
    server = LabelStudioServer(tmp_path, 1234, tmp_path / "files", program(tmp_path / "ls"))
    environment = server.environment()
    assert not {"LABEL_STUDIO_API_KEY", "DJANGO_DB", "PORT"} & set(environment)
    assert environment["SENTRY_DSN"] == environment["FRONTEND_SENTRY_DSN"] == ""
    assert environment["COLLECT_ANALYTICS"] == environment["LATEST_VERSION_CHECK"] == "false"
    assert environment["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] == str(tmp_path / "files")
    assert environment["LABEL_STUDIO_USER_TOKEN"] == server.account.token
