"""Child processes that never outlive their parent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from ml_backend.errors import DemoError

PR_SET_PDEATHSIG = 1
LOG_TAIL_LINES = 15

# Loaded before any fork: nothing may be imported between fork and exec.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether `host`:`port` (TCP) can be bound now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that is free on `host` at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


class Child:
    """A process of ours, its output in a log file.

    On Linux the kernel ends the process when the thread that started it ends, so start
    children from the main thread. The process gets a session of its own: Ctrl-C in the
    terminal reaches the parent only, which then ends its children in order.

    Parameters
    ----------
    name : str
        Used in messages.
    command : sequence of str
        Program and arguments.
    environment : mapping
        The whole environment of the process.
    log : Path
        File that gets stdout and stderr, appended.
    folder : Path or None
        Working folder; None: that of the parent.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self.environment = dict(environment)
        self.log = log
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process.

        Raises
        ------
        DemoError
            The program is missing or cannot be run.
        """
        if self.alive:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            try:
                self.process = subprocess.Popen(
                    self.command,
                    env=self.environment,
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_die_with_parent,
                )
            except OSError as error:
                raise DemoError(
                    f"{self.name} cannot be started: {error.strerror}: {self.command[0]}."
                ) from error

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id, or None before the start."""
        return None if self.process is None else self.process.pid

    def check(self) -> None:
        """Raise :class:`DemoError` with the end of the log if the process has ended."""
        if self.process is not None and self.process.poll() is not None:
            raise DemoError(
                f"{self.name} ended by itself (exit status {self.process.returncode}). "
                f"The end of its log, {self.log}:\n{self.log_tail()}"
            )

    def log_tail(self, lines: int = LOG_TAIL_LINES) -> str:
        """Return the last `lines` lines of the log, indented."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return "  (no log)"
        return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and to all that it has started."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def stop(self, patience: float = 10.0) -> None:
        """End the process: SIGTERM, and SIGKILL after `patience` seconds."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.send(signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.send(signal.SIGKILL)
                self.process.wait()
        # What the process itself had started may still run.
        self.send(signal.SIGKILL)

    def wait_for_end(self, seconds: float) -> bool:
        """Wait up to `seconds` for the process to end; tell whether it has."""
        deadline = time.monotonic() + seconds
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.05)
        return not self.alive
