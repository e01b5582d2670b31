"""One real Label Studio for all end-to-end tests of a session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_backend.demo.children import free_port
from ml_backend.demo.label_studio import LabelStudioServer, find_program
from ml_backend.errors import DemoError


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
