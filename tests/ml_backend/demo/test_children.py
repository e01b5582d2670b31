from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ml_backend.demo.children import Child, free_port, port_is_free
from ml_backend.errors import DemoError

SLEEP = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(600)"]


def child(tmp_path: Path, command: list[str]) -> Child:
    return Child("The test", command, dict(os.environ), tmp_path / "test.log")


def wait_until(check: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_a_child_runs_writes_its_log_and_is_stopped(tmp_path: Path) -> None:
    with child(tmp_path, SLEEP) as running:
        wait_until(lambda: "begun" in running.log_tail())
        assert running.alive
        running.check()
    assert not running.alive
    assert not psutil.pid_exists(running.pid or 0)


def test_a_child_that_ignores_sigterm_and_its_own_children_are_killed(tmp_path: Path) -> None:
    stubborn = (
        "import signal, subprocess, sys, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print('grandchild', p.pid, flush=True); time.sleep(600)"
    )
    running = child(tmp_path, [sys.executable, "-c", stubborn])
    running.start()
    wait_until(lambda: "grandchild" in running.log_tail())
    grandchild = int(running.log_tail().split()[-1])
    running.stop(patience=0.3)
    wait_until(lambda: not _runs(grandchild))
    assert not running.alive


def test_a_child_that_ended_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    running = child(tmp_path, [sys.executable, "-c", "print('out of luck'); raise SystemExit(3)"])
    running.start()
    assert running.wait_for_end(20)
    with pytest.raises(DemoError, match=r"(?s)exit status 3.*out of luck"):
        running.check()


def test_a_program_that_is_missing_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="cannot be started"):
        child(tmp_path, [str(tmp_path / "none")]).start()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time; from pathlib import Path;"
            "from ml_backend.demo.children import Child;"
            f"c = Child('t', {SLEEP!r}, dict(os.environ), Path({str(tmp_path / 'log')!r}));"
            "c.start(); print(c.pid, flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert _runs(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not _runs(pid))


def test_ports() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not port_is_free(taken.getsockname()[1])
    assert port_is_free(free_port())


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
