"""The file by which a shell speaks of the demo."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ml_backend.demo.services import Services


def test_a_shell_can_read_what_the_demo_runs_with(tmp_path: Path) -> None:
    server: Any = SimpleNamespace(
        url="http://127.0.0.1:8080",
        account=SimpleNamespace(token="it's a $token"),
        files=tmp_path / "with space",
    )
    services = Services(server, tmp_path / "backend", 9090)
    file = tmp_path / "environment.sh"
    file.write_text("of an earlier start")
    services.write_environment(file)
    assert file.stat().st_mode & 0o777 == 0o600
    script = f". {shlex.quote(str(file))}; printenv LABEL_STUDIO_API_KEY GALAXYLOOP_IMAGE_FOLDERS"
    told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["it's a $token", str(tmp_path / "with space")]
