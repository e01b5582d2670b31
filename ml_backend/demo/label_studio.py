"""A Label Studio of our own: found, started, watched and stopped."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import requests

from ml_backend.demo.account import Account
from ml_backend.demo.children import Child, port_is_free
from ml_backend.demo.project import Provision
from ml_backend.errors import DemoError

PROGRAM_VARIABLE = "GALAXYLOOP_LABEL_STUDIO"
LOCK_SECONDS = 3600
FIRST_START_SECONDS = 300.0  # the first start runs some hundred database migrations
NEIGHBOUR = Path(".venv-label-studio") / "bin" / "label-studio"

# What would lead Label Studio to another database, account or address than ours.
_FOREIGN_PREFIXES = ("LABEL_STUDIO_", "HEARTEX_", "DJANGO_", "POSTGRE_", "SENTRY_", "REDIS_")
_FOREIGN_NAMES = ("PORT", "HOST", "USERNAME", "PASSWORD", "DEBUG", "LOG_LEVEL")


def find_program(environment: Mapping[str, str] | None = None, project: Path | None = None) -> Path:
    """Find the ``label-studio`` program.

    Looked for in this order: the variable ``GALAXYLOOP_LABEL_STUDIO``, the virtual
    environment ``.venv-label-studio`` beside the project (or in the working folder), PATH.

    Raises
    ------
    DemoError
        It is nowhere, or the variable names something that cannot be run.
    """
    environment = os.environ if environment is None else environment
    named = environment.get(PROGRAM_VARIABLE)
    if named:
        program = Path(named).expanduser()
        if not os.access(program, os.X_OK) or program.is_dir():
            raise DemoError(
                f"{PROGRAM_VARIABLE} names {program}, which is no program that can be run. "
                "Set it to the label-studio program, or unset it and run "
                "`make label-studio`."
            )
        return program.absolute()
    roots = [project] if project else [Path(__file__).resolve().parents[2], Path.cwd()]
    for root in roots:
        if os.access(root / NEIGHBOUR, os.X_OK):
            return root / NEIGHBOUR
    found = shutil.which("label-studio", path=environment.get("PATH"))
    if found:
        return Path(found)
    raise DemoError(
        "Label Studio is not installed. Run `make label-studio`, which installs it into "
        f".venv-label-studio, or set {PROGRAM_VARIABLE} to its label-studio program."
    )


class LabelStudioServer:
    """Label Studio on 127.0.0.1 with SQLite, all its data in one folder, no outgoing calls.

    Parameters
    ----------
    folder : Path
        Folder of its database, uploads, account file and log.
    port : int
        Port to listen on; it must be free.
    files : Path or None
        Folder whose subfolders may be served to annotators (local files); None: no serving.
    program : Path or None
        The label-studio program; None: :func:`find_program`.
    lock_seconds : int
        How long a task waits for a person who has it and went away.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        files: Path | None = None,
        program: Path | None = None,
        lock_seconds: int = LOCK_SECONDS,
    ) -> None:
        self.lock_seconds = lock_seconds
        self.folder = folder.resolve()
        self.port = port
        self.files = files.resolve() if files else None
        self.url = f"http://127.0.0.1:{port}"
        self.account = Account.kept_in(self.folder)
        self.program = program or find_program()
        self.child = Child(
            "Label Studio",
            [
                str(self.program), "start", "--no-browser",
                "--internal-host", "127.0.0.1", "--port", str(port),
            ],
            self.environment(),
            self.folder / "label-studio.log",
            self.folder,
        )  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return the environment that Label Studio runs in."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in _FOREIGN_NAMES and not name.startswith(_FOREIGN_PREFIXES)
        }
        ours = {
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.folder),
            "LABEL_STUDIO_USERNAME": self.account.email,
            "LABEL_STUDIO_PASSWORD": self.account.password,
            "LABEL_STUDIO_USER_TOKEN": self.account.token,
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_HOST": self.url,
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            # Without it Label Studio refuses a backend on this machine.
            "USE_DEFAULT_BANNED_SUBNETS": "false",
            "TASK_LOCK_TTL": str(self.lock_seconds),
            "COLLECT_ANALYTICS": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            "LATEST_VERSION_CHECK": "false",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            # It keeps an installation id in the user's configuration folder.
            "XDG_CONFIG_HOME": str(self.folder / "config"),
        }
        if self.files:
            ours["LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED"] = "true"
            ours["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"] = str(self.files)
        return kept | ours

    @property
    def first_start(self) -> bool:
        """Whether no database has been made yet."""
        return not (self.folder / "label_studio.sqlite3").exists()

    def start(self, waiting: Callable[[], None] | None = None) -> None:
        """Start and return when it answers: :meth:`launch`, then :meth:`wait`."""
        self.launch()
        self.wait(waiting)

    def launch(self) -> None:
        """Start the process.

        Raises
        ------
        DemoError
            The port is busy or the program cannot be run.
        """
        # Label Studio itself would silently take the next port.
        if not port_is_free(self.port):
            raise DemoError(
                f"Port {self.port} on 127.0.0.1 is busy (another demo or another Label Studio?). "
                "End that program, or choose another port with --label-studio-port."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.child.start()

    def wait(self, waiting: Callable[[], None] | None = None) -> None:
        """Return when it answers; `waiting` is called about every 0.25 s.

        Raises
        ------
        DemoError
            The program ended, does not answer, or knows another account.
        """
        deadline = time.monotonic() + FIRST_START_SECONDS
        while not self._answers():
            self.child.check()
            if time.monotonic() > deadline:
                raise DemoError(
                    f"Label Studio did not answer at {self.url} within "
                    f"{FIRST_START_SECONDS:.0f} s. Its log: {self.child.log}\n"
                    f"{self.child.log_tail()}"
                )
            if waiting:
                waiting()
            time.sleep(0.25)
        self.child.check()
        self._check_account()

    def stop(self) -> None:
        """End Label Studio."""
        self.child.stop()

    def headers(self) -> dict[str, str]:
        """Return the headers that authenticate API calls of the account."""
        return {"Authorization": f"Token {self.account.token}"}

    def provision(self) -> Provision:
        """Return what makes projects in it."""
        return Provision(self.url, self.account.token, self.files)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=5).ok
        except requests.RequestException:
            return False

    def _check_account(self) -> None:
        answer = requests.get(
            f"{self.url}/api/current-user/whoami", headers=self.headers(), timeout=60
        )
        if answer.status_code != 200 or answer.json().get("email") != self.account.email:
            raise DemoError(
                f"The Label Studio at {self.url} does not know the account in "
                f"{self.account.path} (HTTP {answer.status_code}): it is another Label Studio, "
                f"or the folder {self.folder} is left from a run that was cut short. "
                "Remove that folder and start again (annotations in it are lost), "
                "or choose another --data-dir."
            )
