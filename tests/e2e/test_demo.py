"""The demo command as people run it, with an own Label Studio."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import requests

from ml_backend.demo.account import FILE_NAME
from ml_backend.demo.children import free_port, port_is_free
from ml_backend.demo.label_studio import LabelStudioServer
from ml_backend.demo.pictures import simulate_folder

pytestmark = pytest.mark.e2e

Eventually = Callable[..., None]


@pytest.fixture(scope="module")
def data_dir(label_studio: LabelStudioServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which Label Studio's database is made already, to save its minute."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "label-studio").mkdir()
    for name in (FILE_NAME, ".env"):
        shutil.copy2(label_studio.folder / name, folder / "label-studio" / name)
    database = "label_studio.sqlite3"
    with (
        closing(sqlite3.connect(label_studio.folder / database)) as source,
        closing(sqlite3.connect(folder / "label-studio" / database)) as target,
    ):
        source.backup(target)
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_folder(tmp_path_factory.mktemp("source") / "galaxies", 36, seed=21)


class Demo:
    """A running ``galaxyloop demo``."""

    def __init__(self, folder: Path, lvm: Path, *arguments: str | Path) -> None:
        self.ports = free_port(), free_port()
        self.log = folder.parent / f"{folder.name}.log"
        command = [
            sys.executable, "-m", "ml_backend.cli", "demo", "--data-dir", str(folder),
            "--port", str(self.ports[0]), "--label-studio-port", str(self.ports[1]),
            *map(str, arguments),
        ]  # fmt: skip
        environment = {
            **os.environ,
            "GALAXYLOOP_LVM": str(lvm),
            "GALAXYLOOP_VOTES_PER_ROUND": "8",
            "GALAXYLOOP_DEBOUNCE_SECONDS": "0.3",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder.parent
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def ends(self, seconds: float = 200.0) -> int:
        return self.process.wait(seconds)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def welcomes(self, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while "Log in as" not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)


@pytest.fixture
def start(data_dir: Path, small_lvm: Path) -> Iterator[Callable[..., Demo]]:
    begun: list[Demo] = []

    def begin(*arguments: str | Path) -> Demo:
        begun.append(Demo(data_dir, small_lvm, *arguments))
        return begun[-1]

    yield begin
    for demo in begun:
        if demo.process.poll() is None:
            demo.process.terminate()
            demo.process.wait(60)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def annotations(data_dir: Path, project: int) -> int:
    """Count the annotations straight from Label Studio's database, when nobody runs it."""
    with closing(sqlite3.connect(data_dir / "label-studio" / "label_studio.sqlite3")) as database:
        query = "SELECT COUNT(*) FROM task_completion WHERE project_id = ? AND was_cancelled = 0"
        count: int = database.execute(query, (project,)).fetchone()[0]
    return count


def test_simulated_people_make_a_curve_and_a_second_run_goes_on(
    start: Callable[..., Demo], data_dir: Path, labels: Path, tmp_path: Path
) -> None:
    curve = tmp_path / "curve.json"
    asked = (
        "--annotators", "3", "--labels", labels, "--label-column", "morphology",
        "--error-rate", "0.1", "--json", curve,
    )  # fmt: skip
    demo = start(*asked, "--votes", "12")
    assert demo.ends() == 0, demo.said
    points = json.loads(curve.read_text())
    assert [point["votes"] for point in points] == [0, 8, 12]
    for point in points:
        assert set(point) == {"votes", "macro_auc", "accuracy", "round_seconds", "model_version"}
        assert 0 <= point["macro_auc"] <= 1
        assert 0 <= point["accuracy"] <= 1
        assert point["round_seconds"] > 0
    assert len({point["model_version"] for point in points}) == 3
    [project] = json.loads((data_dir / "projects.json").read_text())
    assert annotations(data_dir, project["id"]) == 12
    assert "25 images for the project" in demo.said
    assert "11 images held out" in demo.said
    assert all(port_is_free(port) for port in demo.ports)
    for secret in ("label-studio/account.json", "backend/account.json"):
        assert stat.S_IMODE((data_dir / secret).stat().st_mode) == 0o600

    # 27 votes for 25 images: two of them get a second one.
    demo = start(*asked, "--votes", "27")
    assert demo.ends() == 0, demo.said
    assert f"Going on with project {project['id']} and its 12 votes" in demo.said
    later = json.loads(curve.read_text())
    assert [point["votes"] for point in later] == [0, 8, 12, 20, 27]
    assert later[:3] == points
    assert annotations(data_dir, project["id"]) == 27


def test_it_refuses_a_second_one_and_ends_cleanly_however_it_is_ended(
    start: Callable[..., Demo], data_dir: Path, small_lvm: Path, eventually: Eventually
) -> None:
    demo = start("--galaxies", "12")
    demo.welcomes()
    children = demo.children()
    assert len(children) >= 3
    _the_dashboard_lets_in(demo)
    second = subprocess.run(
        demo.process.args,  # type: ignore[arg-type]
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert f"process {demo.process.pid}" in second.stderr
    demo.process.send_signal(signal.SIGINT)
    assert demo.ends(60) == 0, demo.said
    assert "Ended. All annotations are kept" in demo.said
    assert gone(children)

    killed = start("--galaxies", "12")
    killed.welcomes(60)
    children = killed.children()
    killed.process.kill()
    killed.process.wait()
    eventually(lambda: gone(children), "the children end with the demo", 30)


def _the_dashboard_lets_in(demo: Demo) -> None:
    """Log in with what the demo says, as a person would."""
    found = re.search(r"Dashboard +(\S+)\s+name (\S+), password (\S+)", demo.said)
    assert found, demo.said
    address, name, password = found.groups()
    visit = requests.Session()
    page = visit.post(f"{address}login", data={"name": name, "password": password}, timeout=60)
    assert page.status_code == 200
    assert "Log out" in page.text


def test_a_busy_port_and_labels_that_cannot_be_used_are_said_at_once(
    start: Callable[..., Demo], tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        demo = start("--label-studio-port", str(taken.getsockname()[1]))
        assert demo.ends(60) == 1
        assert "--label-studio-port" in demo.said
        assert "Traceback" not in demo.said
    demo = start("--annotators", "2", "--labels", tmp_path / "none.csv")
    assert demo.ends(60) == 1
    assert "does not exist" in demo.said
    assert "Traceback" not in demo.said
    assert all(port_is_free(port) for port in demo.ports)
