"""The containers' truth where no Docker engine runs: settings exist, commands work."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from ml_backend.demo.children import Child, free_port
from ml_backend.demo.label_studio import find_program
from ml_backend.errors import DemoError
from ml_backend.settings import Settings

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
ALIASES = {str(field.alias) for field in Settings.model_fields.values()}
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
LOGIN = ("someone", "pass word")


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions as (name, arguments)."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.M).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, rest in lines]


def arguments(name: str) -> list[str]:
    return [rest for known, rest in instructions() if known == name]


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yml").read_text())
    return loaded


def example() -> dict[str, str]:
    lines = (ROOT / "docker" / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_the_services_name_only_settings_that_exist() -> None:
    services = compose()["services"]
    assert set(services) == {"label-studio", "backend", "worker", "setup"}
    for name in ("backend", "worker", "setup"):
        assert set(services[name]["environment"]) <= ALIASES
    named = {
        variable
        for line in arguments("ENV")
        for variable in re.findall(r"(\w+)=", line)
        if not variable.startswith(("PIP_", "PYTHON", "HF_"))
    }
    assert named <= ALIASES


def test_label_studio_is_given_only_what_it_reads() -> None:
    try:
        program = find_program()
    except DemoError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    [package] = program.resolve().parents[1].glob("lib/python*/site-packages/label_studio")
    source = "\n".join(
        path.read_text(errors="replace")
        for path in (
            *package.glob("core/settings/*.py"),
            *package.glob("core/*.py"),
            *package.glob("core/utils/*.py"),
            package / "server.py",
            *package.glob("organizations/*.py"),
            *package.glob("users/*.py"),
        )
    )
    service = compose()["services"]["label-studio"]
    assert service["image"].endswith(":1.23.2")
    for name in service["environment"]:
        short = name.removeprefix("LABEL_STUDIO_")
        assert re.search(rf"['\"](LABEL_STUDIO_)?{short}['\"]", source), name


def test_one_switch_of_each_trap_is_set() -> None:
    environment = compose()["services"]["label-studio"]["environment"]
    assert environment["USE_DEFAULT_BANNED_SUBNETS"] == "false"
    assert environment["COLLECT_ANALYTICS"] == environment["LATEST_VERSION_CHECK"] == "false"
    assert environment["SENTRY_DSN"] == environment["FRONTEND_SENTRY_DSN"] == ""
    root = environment["LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"]
    assert compose()["services"]["backend"]["environment"]["GALAXYLOOP_IMAGE_FOLDERS"] == root


def test_the_example_names_every_variable_and_no_other() -> None:
    text = (ROOT / "docker" / "compose.yml").read_text()
    used = {name for name, _ in VARIABLE.findall(text)}
    assert set(example()) == used
    defaults = dict(VARIABLE.findall(text))
    assert all(defaults[name] for name in used - {"TORCH_INDEX"}), "it starts without an .env too"
    assert defaults["BIND"] == "127.0.0.1", "known passwords must not be open to the network"
    assert re.fullmatch(r"[0-9a-f]{40}", defaults["LABEL_STUDIO_API_KEY"])


def test_volumes_and_services_that_are_named_exist() -> None:
    loaded = compose()
    for service in loaded["services"].values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in loaded["volumes"]
        assert set(service.get("depends_on", [])) <= set(loaded["services"])
    assert (ROOT / "docker" / loaded["services"]["backend"]["build"]["context"]).resolve() == ROOT
    for name in arguments("COPY"):
        for source in name.split()[:-1]:
            assert (ROOT / source).exists(), source


def test_nothing_runs_as_root() -> None:
    names = [name for name, _ in instructions()]
    [user] = arguments("USER")
    assert user not in ("root", "0")
    assert names.index("USER") < names.index("CMD")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs that the Dockerfile's pip command makes, in a clean place.

    What the project needs is taken from the environment of the tests, so that nothing is
    downloaded; the project itself must come from what is copied into the image.
    """
    clean = tmp_path_factory.mktemp("app")
    for line in arguments("COPY"):
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(
                    ROOT / source, clean / target, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                shutil.copy(ROOT / source, clean / target)
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "of-the-tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    [command] = [line for line in arguments("RUN") if line.startswith("pip install")]
    assert shlex.split(command)[-1] == "."
    done = subprocess.run(
        [str(venv / "bin" / "python"), "-m", *shlex.split(command), "--quiet"],
        cwd=clean,
        env={**os.environ, "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shutil.rmtree(clean)
    return venv / "bin"


@pytest.fixture
def served(installed: Path, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The image's start command, run in an empty folder: address and environment."""
    [command] = arguments("CMD")
    program, *rest = json.loads(command)
    port = free_port()
    environment = {
        "PATH": f"{installed}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "MODEL_DIR": str(tmp_path / "data"),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "BASIC_AUTH_USER": LOGIN[0],
        "BASIC_AUTH_PASS": LOGIN[1],
    }
    child = Child(
        "The backend", [str(installed / program), *rest], environment, tmp_path / "log", tmp_path
    )
    with child:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 90
        while True:
            child.check()
            try:
                requests.get(f"{address}/health", auth=LOGIN, timeout=5).raise_for_status()
                break
            except requests.RequestException:
                assert time.monotonic() < deadline, child.log_tail()
                time.sleep(0.2)
        yield address, environment


def test_the_start_command_serves_from_the_installed_package(
    installed: Path, served: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    address, environment = served
    assert requests.get(f"{address}/health", timeout=5).status_code == 401
    page = requests.get(f"{address}/", auth=LOGIN, headers={"Accept": "text/html"}, timeout=30)
    assert page.ok, "the page's templates are in the package"
    assert "GalaxyLoop" in page.text
    assert (tmp_path / "data" / "galaxyloop.sqlite3").exists()
    where = subprocess.run(
        [installed / "python", "-c", "import ml_backend; print(ml_backend.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(installed.parent)


def test_the_health_check_tells_a_live_backend_from_a_dead_one(
    installed: Path, served: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    _, environment = served
    [line] = arguments("HEALTHCHECK")
    _, code, source = json.loads(line[line.index("[") :])
    command = [str(installed / "python"), code, source]

    def check(**changed: str) -> int:
        return subprocess.run(
            command, env={**environment, **changed}, cwd=tmp_path, capture_output=True, check=False
        ).returncode

    assert check() == 0
    assert check(PORT=str(free_port())) != 0


def test_the_other_commands_of_the_services_exist(installed: Path, tmp_path: Path) -> None:
    environment = {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(tmp_path)}
    for name in ("backend", "worker", "setup"):
        program, *rest = compose()["services"][name]["command"]
        if program == "python":
            # ends with a message about the missing setting, not with a traceback
            done = subprocess.run(
                [installed / program, *(VARIABLE.sub(r"\2", word) for word in rest)],
                env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 1
            assert "GALAXYLOOP_IMAGE_FOLDERS" in done.stderr
        else:
            done = subprocess.run(
                [installed / program, *rest, "--help"],
                env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
