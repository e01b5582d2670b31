"""The backend and the worker of the demo, as child processes."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import requests

from ml_backend.demo.account import Account
from ml_backend.demo.children import Child, port_is_free
from ml_backend.demo.label_studio import LabelStudioServer
from ml_backend.errors import DemoError
from ml_backend.settings import Settings, load_settings
from ml_backend.store.database import Store

ENVIRONMENT = "environment.sh"
START_SECONDS = 120.0
# A person is near: a single vote should not wait long. The environment may say otherwise.
FOR_A_PERSON = {"GALAXYLOOP_SECONDS_PER_ROUND": "20", "GALAXYLOOP_POLL_SECONDS": "30"}
# Simulated people come in bursts as large as a round: none should begin within a burst.
FOR_BURSTS = {"GALAXYLOOP_SECONDS_PER_ROUND": "600", "GALAXYLOOP_POLL_SECONDS": "600"}


class Services:
    """Backend and worker beside a Label Studio of ours.

    Parameters
    ----------
    server : LabelStudioServer
        Label Studio; it need not run yet.
    folder : Path
        Folder of the backend's data and logs.
    port : int
        Port of the backend on 127.0.0.1.
    bursts : bool
        Whether votes come in bursts of ``votes_per_round``.
    """

    def __init__(
        self, server: LabelStudioServer, folder: Path, port: int, bursts: bool = False
    ) -> None:
        self.folder = folder.resolve()
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.account = Account.kept_in(self.folder, "galaxyloop")
        self.overrides = {
            "LABEL_STUDIO_URL": server.url,
            "LABEL_STUDIO_API_KEY": server.account.token,
            "BASIC_AUTH_USER": self.account.email,
            "BASIC_AUTH_PASS": self.account.password,
            "MODEL_DIR": str(self.folder),
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "GALAXYLOOP_BACKEND_URL": self.url,
            "GALAXYLOOP_DATABASE_URL": f"sqlite:///{self.folder / 'galaxyloop.sqlite3'}",
        }
        if server.files is not None:
            self.overrides["GALAXYLOOP_IMAGE_FOLDERS"] = str(server.files)
        for name, value in (FOR_BURSTS if bursts else FOR_A_PERSON).items():
            self.overrides[name] = os.environ.get(name) or value
        if bursts:
            # The curve is measured on embeddings of the LVM that the settings name.
            self.overrides["GALAXYLOOP_TUNE_FROM"] = "0"
        self.backend = self._child("backend", "serve")
        self.worker = self._child("worker", "work")

    def settings(self) -> Settings:
        """Return the settings that backend and worker run with."""
        return load_settings(**self.overrides)

    def environment(self) -> dict[str, str]:
        """Return the environment that backend and worker run in."""
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        return {
            **os.environ,
            **self.overrides,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            # Nothing may be fetched from model hubs.
            "HF_HUB_OFFLINE": "1",
        }

    def write_environment(self, path: Path) -> None:
        """Write what backend and worker run with, for a shell to read; for our eyes only.

        With it `galaxyloop connect` and the other commands speak of this demo.
        """
        manager = self._kept_manager()
        lines = [
            f"# The dashboard, {self.url}/dashboard/, knows the name {manager.email} "
            f"with the password {manager.password}"
        ]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in self.overrides.items()]
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("\n".join(lines) + "\n")

    def manager(self, store: Store) -> Account:
        """Return the account of the dashboard that may act, made in `store` where it is missing."""
        kept = self._kept_manager()
        if store.accounts.check(kept.email, kept.password) is None:
            store.accounts.save(kept.email, kept.password, "manager")
        return kept

    def _kept_manager(self) -> Account:
        return Account.kept_in(self.folder / "dashboard", "manager")

    def check_port(self) -> None:
        """Raise :class:`DemoError` if the backend's port is busy."""
        if not port_is_free(self.port):
            raise DemoError(
                f"Port {self.port} on 127.0.0.1 is busy (another backend?). "
                "End that program, or choose another port with --port."
            )

    def start(self, waiting: Callable[[], None] | None = None) -> None:
        """Start both and return when the backend answers.

        Raises
        ------
        DemoError
            The port is busy, or one of them ended or does not answer.
        """
        self.check_port()
        self.backend.start()
        self.worker.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(
                    f"The backend did not answer at {self.url} within {START_SECONDS:.0f} s. "
                    f"Its log: {self.backend.log}\n{self.backend.log_tail()}"
                )
            if waiting:
                waiting()
            time.sleep(0.1)

    def check(self) -> None:
        """Raise :class:`DemoError` if one of them has ended."""
        self.backend.check()
        self.worker.check()

    def stop(self) -> None:
        """End both, the worker first."""
        self.worker.stop()
        self.backend.stop()

    def _child(self, name: str, command: str) -> Child:
        return Child(
            f"The {name}",
            [sys.executable, "-m", "ml_backend.cli", command],
            self.environment(),
            self.folder / f"{name}.log",
            self.folder,
        )

    def _answers(self) -> bool:
        try:
            return requests.get(
                f"{self.url}/health", auth=(self.account.email, self.account.password), timeout=5
            ).ok
        except requests.RequestException:
            return False
