"""One real Label Studio, backend and worker for all end-to-end tests of a session."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch
from sqlalchemy import select

from ml_backend.connection import connect
from ml_backend.demo.account import Account
from ml_backend.demo.children import free_port
from ml_backend.demo.invitations import join
from ml_backend.demo.label_studio import LabelStudioServer, find_program
from ml_backend.demo.labels import read_labels
from ml_backend.demo.people import Annotator, Question
from ml_backend.demo.pictures import Picture, simulate_folder
from ml_backend.demo.progress import Landed, LoopProgress
from ml_backend.demo.project import labelling_config
from ml_backend.demo.services import Services
from ml_backend.errors import DemoError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Project, Ranking, Version, Vote
from models.lvm import LVM, LVMConfig
from models.preprocessing import Preprocessing
from models.simulation import KINDS

GALAXIES = 36
CONTROL = "morphology"
FOLDER = "loop-galaxies"
BROWSER_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def label_studio_program() -> Path:
    """The label-studio program; without it the tests are skipped, in CI they fail."""
    try:
        return find_program()
    except DemoError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def label_studio_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the local files that Label Studio may serve; use a subfolder of your own."""
    return tmp_path_factory.mktemp("label-studio-files")


@pytest.fixture(scope="session")
def label_studio(
    label_studio_program: Path,
    label_studio_files: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LabelStudioServer]:
    """A running Label Studio: `url`, `account` (email, password, token), `headers()`.

    ``GALAXYLOOP_TEST_LABEL_STUDIO`` may name a folder that is kept between sessions: the first
    start of Label Studio takes most of a minute, later ones a few seconds.
    """
    kept = os.environ.get("GALAXYLOOP_TEST_LABEL_STUDIO")
    server = LabelStudioServer(
        Path(kept) if kept else tmp_path_factory.mktemp("label-studio"),
        free_port(),
        files=label_studio_files,
        program=label_studio_program,
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()


@dataclass
class LoopProject:
    """A connected project of simulated galaxies.

    Parameters
    ----------
    id : int
        Label Studio's id.
    question : Question
        With the truth per task.
    loop : LoopProgress
        Waits for rounds.
    """

    id: int
    question: Question
    loop: LoopProgress
    first: Landed


@dataclass
class RunningLoop:
    """Backend and worker beside the session's Label Studio."""

    server: LabelStudioServer
    services: Services
    store: Store
    owner: LabelStudioClient
    people: list[LabelStudioClient]
    pictures: list[Picture]
    truth: dict[str, str]

    def project(self, title: str, **options: Any) -> LoopProject:
        """Make a project with all galaxies, connect it and wait for its first version."""
        provision = self.server.provision()
        made = provision.create(title, labelling_config(CONTROL, KINDS))
        provision.permit(made, FOLDER)
        tasks = provision.complete(made, FOLDER, self.pictures)
        connect(self.services.settings(), made, store=self.store, options=options)
        loop = LoopProgress(self.store, made, self.services.check, patience=90)
        truth = {task: self.truth[key] for task, key in tasks.items()}
        return LoopProject(made, Question(CONTROL, "image", KINDS, truth), loop, loop.wait(0))

    def annotators(self, project: LoopProject, error_rate: float = 0.0) -> list[Annotator]:
        """Return the session's three people at work on a project."""
        return [
            Annotator(client, project.id, project.question, error_rate, seed=0, number=number)
            for number, client in enumerate(self.people)
        ]

    def ranked(self, version: str) -> list[int]:
        """Return the tasks of a version in the order of its queue."""
        with self.store.reading() as session:
            return list(
                session.scalars(
                    select(Ranking.task_id)
                    .where(Ranking.version == version)
                    .order_by(Ranking.place)
                )
            )

    def version(self, name: str) -> Version:
        """Return a version's row."""
        with self.store.reading() as session:
            found = session.get(Version, name)
        assert found is not None
        return found

    def champion(self, project: int) -> str:
        """Return the name of the version that the store says is published."""
        with self.store.reading() as session:
            found = session.get(Project, project)
        assert found is not None
        assert found.champion is not None
        return found.champion

    def votes(self, project: int) -> list[Vote]:
        """Return what the store holds of a project's votes, skips left out."""
        with self.store.reading() as session:
            return list(
                session.scalars(
                    select(Vote).where(Vote.project_id == project, ~Vote.skipped).order_by(Vote.id)
                )
            )

    def served(self, version: str) -> list[int]:
        """Return the tasks of a version's predictions in Label Studio, by their score."""
        project = self.version(version).project_id
        rows = self.owner.predictions(project, version)
        return [row["task"] for row in sorted(rows, key=lambda row: row["score"])]


@pytest.fixture(scope="session")
def small_lvm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained LVM that takes a millisecond per image."""
    folder = tmp_path_factory.mktemp("lvm")
    torch.manual_seed(0)
    config = LVMConfig(
        image_size=64,
        window=4,
        width=16,
        depths=(1, 1),
        heads=(2, 2),
        decoder=False,
        pooling=("mean0", "std0", "mean1", "std1"),
        preprocessing=Preprocessing(kind="rgb8", size=64),
    )
    LVM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def running_loop(
    label_studio: LabelStudioServer,
    label_studio_files: Path,
    small_lvm: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningLoop]:
    """Backend and worker, three people, and galaxies to make projects of."""
    quick = {
        "GALAXYLOOP_LVM": str(small_lvm),
        "GALAXYLOOP_VOTES_PER_ROUND": "6",
        "GALAXYLOOP_SECONDS_PER_ROUND": "600",
        "GALAXYLOOP_DEBOUNCE_SECONDS": "0.3",
        "GALAXYLOOP_POLL_SECONDS": "600",
        "OMP_NUM_THREADS": "1",
    }
    labels = simulate_folder(label_studio_files / FOLDER, GALAXIES, seed=11)
    images = read_labels(labels, CONTROL).images
    people = []
    for number in range(3):
        account = Account.kept_in(
            tmp_path_factory.mktemp("person"), f"person-{number}-{uuid4().hex[:12]}@example.com"
        )
        people.append(LabelStudioClient(label_studio.url, join(label_studio, account)))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in quick.items():
            patch.setenv(name, value)
        services = Services(label_studio, tmp_path_factory.mktemp("backend"), free_port())
        try:
            services.start()
            store = open_store(services.settings())
            yield RunningLoop(
                label_studio,
                services,
                store,
                LabelStudioClient(label_studio.url, label_studio.account.token),
                people,
                [Picture(image, image.path.name) for image in images],
                {image.key: image.label or "" for image in images},
            )
            store.close()
        finally:
            services.stop()


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """Wait until a condition holds; fail after `seconds`."""

    def wait(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"In {seconds:.0f} s it did not come about: {what}."
            time.sleep(0.1)

    return wait


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page of a fresh browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("There is no Chromium. Run `make browser`.")
        pytest.skip("There is no Chromium. Run `make browser`.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("browser"),
            executable_path=program,
            args=list(BROWSER_ARGUMENTS),
            viewport={"width": 1280, "height": 860},
        )
        context.set_default_timeout(30_000)
        yield context.new_page()
        context.close()
