"""No token, password or secret ever stands in a log, whatever goes wrong."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from ml_backend.logs import Redaction, configure_logs

PASSWORD = "pass-of-label-studio"
SECRETS = (
    PASSWORD,
    "hook-secret-of-the-tests",
    "api-key-of-the-tests",
    "creators-legacy-key-0123456789abcdef",
    "invite-token-of-the-project",
    base64.b64encode(f"studio:{PASSWORD}".encode()).decode(),
)


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Read everything that was logged; afterwards logging is as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_calls_leave_no_secret_in_the_log(
    make_backend: Any, payload: Any, secret_header: Any, written: Callable[[], str]
) -> None:
    backend = make_backend(basic_auth_user="studio", basic_auth_pass=PASSWORD, log_level="DEBUG")
    configure_logs(backend.settings, backend.store.webhook_secret())
    backend.store.projects.save(2, "Galaxies")
    right = {"Authorization": "Basic " + base64.b64encode(f"studio:{PASSWORD}".encode()).decode()}

    def fail(tasks: Any) -> Any:
        raise RuntimeError(f"refused: Token {SECRETS[3]} and {SECRETS[2]} and {SECRETS[1]}")

    backend.predictor.answer = fail
    client = backend.client
    client.post("/setup", json=payload("setup"), headers=right)
    client.post("/setup", json=payload("setup") | {"project": "?"}, headers=right)
    client.post("/setup?access_token=" + SECRETS[3], json={}, headers=right)
    assert client.post("/predict", json=payload("predict"), headers=right).status_code == 500
    client.post("/webhook", json=payload("start_training"), headers=right)
    client.post("/webhook", json=payload("annotation_created"), headers=secret_header)
    client.post("/webhook", json=payload("annotation_created"))
    log = written()
    assert log.count("\n") > 5
    assert "request_crashed" in log
    for secret in SECRETS:
        assert secret not in log


def test_libraries_logs_are_cleaned_too(make_backend: Any, written: Callable[[], str]) -> None:
    configure_logs(make_backend().settings)
    logging.getLogger("some.library").warning("GET /x with key %s", "api-key-of-the-tests")
    structlog.get_logger("ours").warning("event", api_key="short", nested={"password": "pw"})
    log = written()
    assert "GET /x with key [hidden]" in log
    assert "short" not in log
    assert '"pw"' not in log


def test_addresses_of_every_call_are_not_logged(
    make_backend: Any, written: Callable[[], str]
) -> None:
    configure_logs(make_backend(log_level="DEBUG").settings)
    for library in ("httpx", "httpcore.http11", "urllib3.connectionpool"):
        logging.getLogger(library).info("HTTP Request: GET http://host/api/tasks?project=2&query=x")
    assert "query=x" not in written()


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Authorization: Token 0123456789abcdef", "0123456789abcdef"),
        ("bearer eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl", "eyJhbGciOi"),
        ("jwt eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl", "eyJhbGciOi"),
        ("postgresql://user:hunter2@host/db", "hunter2"),
        ("https://host/x?api_key=hunter2&y=1", "hunter2"),
        ('{"access_token": "hunter2"}', "hunter2"),
        ("it is swordfish, they say", "swordfish"),
    ],
)
def test_shapes_of_secrets_are_hidden(text: str, gone: str) -> None:
    cleaned = Redaction(["swordfish"]).text(text)
    assert gone not in cleaned
    assert "[hidden]" in cleaned


def test_plain_text_stays_as_it_is() -> None:
    text = "https://127.0.0.1:8080/projects/3 took 4.2 s: basic checks are fine"
    assert Redaction(["abc"]).text(text) == text
