"""The file by which a shell speaks of the demo."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ml_backend.demo.services import Services
from ml_backend.settings import load_settings
from ml_backend.store.database import open_store


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


def test_the_demos_manager_is_made_once_and_named_in_the_file(tmp_path: Path) -> None:
    server: Any = SimpleNamespace(
        url="http://127.0.0.1:8080", account=SimpleNamespace(token="t"), files=None
    )
    services = Services(server, tmp_path / "backend", 9090)
    store = open_store(load_settings(_env_file=None, model_dir=tmp_path / "data"))
    try:
        manager = services.manager(store)
        account = store.accounts.check(manager.email, manager.password)
        assert account is not None
        assert account.role == "manager"
        again = Services(server, tmp_path / "backend", 9090).manager(store)
        assert again == manager
        kept = store.accounts.get(manager.email)
        assert kept is not None
        assert kept.password_hash == account.password_hash, "whoever is logged in stays so"
    finally:
        store.close()
    file = tmp_path / "environment.sh"
    services.write_environment(file)
    assert manager.password in file.read_text().splitlines()[0]
    assert manager.path.stat().st_mode & 0o777 == 0o600
