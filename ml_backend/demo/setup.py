"""``python -m ml_backend.demo.setup``: the demo's project in a Label Studio that runs already.

For containers: Label Studio, backend and worker are started by somebody else; this makes the
project, connects it, and ends.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import requests

from ml_backend.connection import connect
from ml_backend.demo.labels import read_labels
from ml_backend.demo.pictures import SIMULATED_COLUMN, Picture, simulate_folder
from ml_backend.demo.project import (
    DemoProject,
    Projects,
    Provision,
    labelling_config,
    project_key,
)
from ml_backend.demo.terminal import Terminal
from ml_backend.errors import DemoError, GalaxyLoopError, SettingsError
from ml_backend.settings import Settings, load_settings
from models.simulation import KINDS

PATIENCE = 300.0
FOLDER = "galaxies"


def wait_for(address: str, what: str, settings: Settings, patience: float = PATIENCE) -> None:
    """Return when `address` answers with success.

    Raises
    ------
    DemoError
        It does not within `patience` seconds.
    """
    login = (settings.basic_auth_user, settings.basic_auth_pass.get_secret_value())
    deadline = time.monotonic() + patience
    problem = "no answer"
    while time.monotonic() < deadline:
        try:
            answer = requests.get(address, auth=login if login[0] else None, timeout=5)
            if answer.ok:
                return
            problem = f"HTTP {answer.status_code}"
        except requests.RequestException as error:
            problem = type(error).__name__
        time.sleep(0.5)
    raise DemoError(f"{what} did not answer at {address} within {patience:.0f} s: {problem}.")


def set_up(settings: Settings, galaxies: int, seed: int, terminal: Terminal) -> int:
    """Make the project of simulated galaxies, or find and complete it; connect it.

    Parameters
    ----------
    settings : Settings
        Those of the backend; the first image folder is the one that Label Studio serves.
    galaxies, seed : int
        How many galaxies, and which.
    terminal : Terminal
        Where progress is shown.

    Returns
    -------
    int
        Label Studio's id of the project.

    Raises
    ------
    GalaxyLoopError
        A setting is missing, or Label Studio or the backend refuses.
    """
    if not settings.image_folders:
        raise SettingsError(
            "GALAXYLOOP_IMAGE_FOLDERS is empty. Set it to the folder that Label Studio serves "
            "local files from (its LOCAL_FILES_DOCUMENT_ROOT)."
        )
    files: Path = settings.image_folders[0]
    step = terminal.bar("Simulating galaxies", galaxies)
    labels = simulate_folder(files / FOLDER, galaxies, seed, lambda: step(1))
    images = read_labels(labels, SIMULATED_COLUMN).images
    wait_for(f"{settings.label_studio_url}/health", "Label Studio", settings)
    wait_for(f"{settings.own_url}/health", "The backend", settings)
    token = settings.label_studio_api_key.get_secret_value()
    provision = Provision(settings.label_studio_url, token, files)
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    projects = Projects(settings.model_dir / "demo-projects.json")
    key = project_key(galaxies=galaxies, seed=seed)
    known = projects.latest(key)
    if known is None or not provision.exists(known.id):
        config = labelling_config(SIMULATED_COLUMN, KINDS)
        made = provision.create("Simulated galaxies", config)
        known = DemoProject(key, 1, made, FOLDER)
        projects.keep(known)
    provision.permit(known.id, FOLDER)
    pictures = [Picture(image, image.path.name) for image in images]
    step = terminal.bar("Tasks in Label Studio", len(pictures))
    provision.complete(known.id, FOLDER, pictures, step)
    terminal.end()
    connect(settings, known.id)
    return known.id


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Make and connect the demo's project.")
    parser.add_argument("--galaxies", type=int, default=300, help="simulated galaxies (300)")
    parser.add_argument("--seed", type=int, default=0, help="which galaxies (0)")
    options = parser.parse_args(arguments)
    terminal = Terminal()
    try:
        settings = load_settings()
        project = set_up(settings, options.galaxies, options.seed, terminal)
    except GalaxyLoopError as error:
        terminal.end()
        print(f"galaxyloop: {error}", file=sys.stderr)
        return 1
    address = settings.label_studio_public_url or settings.label_studio_url
    terminal.say(f'Open {address}/projects/{project}/data and press "Label All Tasks".')
    return 0


if __name__ == "__main__":
    sys.exit(main())
