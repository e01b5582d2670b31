"""Broken, oversized and unauthorised requests: a clear answer, and nothing recorded."""

from __future__ import annotations

import base64
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from ml_backend.errors import Busy, StoreError

POSTS = ("/setup", "/predict", "/webhook")


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def _is_clear(answer: Any) -> None:
    assert answer.mimetype == "application/json"
    for key in ("error", "why", "what_to_do"):
        assert answer.json[key].strip(), key
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b"\xff\xfe\x00",
        b"<html></html>",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"tasks": 1' + b"0" * 5000 + b"}",
        b"{}",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_malformed_bodies_are_400(backend: Any, secret_header: Any, path: str, body: bytes) -> None:
    headers = secret_header | {"Content-Type": "application/json"}
    answer = backend.client.post(path, data=body, headers=headers)
    assert answer.status_code == 400
    _is_clear(answer)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/setup", {"project": None}),
        ("/setup", {"project": {"id": 2}}),
        ("/setup", {"project": "two.1"}),
        ("/setup", {"project": "-2.1"}),
        ("/setup", {"project": "0.1"}),
        ("/setup", {"project": "٣.1"}),
        ("/setup", {"project": "9" * 40}),
        ("/setup", {"project": "2.1", "schema": 5}),
        ("/predict", {"tasks": "all", "project": "2.1"}),
        ("/predict", {"tasks": {"id": 1}, "project": "2.1"}),
        ("/predict", {"tasks": [1], "project": "2.1"}),
        ("/predict", {"tasks": [None], "project": "2.1"}),
        ("/predict", {"tasks": [{"id": 1}], "project": "2.1"}),
        ("/predict", {"tasks": [{"id": "x", "data": {}}], "project": "2.1"}),
        ("/predict", {"tasks": [{"id": 2**63, "data": {}}], "project": "2.1"}),
        ("/predict", {"tasks": [{"id": -1, "data": {}}], "project": "2.1"}),
        ("/predict", {"tasks": [{"id": True, "data": {}}], "project": "2.1"}),
        ("/predict", {"tasks": [{"id": 1, "data": []}], "project": "2.1"}),
        ("/predict", {"tasks": [{"id": 1, "data": {}}], "project": "2.1", "params": 3}),
        ("/predict", {"tasks": [{"id": 1, "data": {}}]}),
        ("/webhook", {"action": 5}),
        ("/webhook", {"action": "ANNOTATION_CREATED", "project": "2"}),
        ("/webhook", {"action": "ANNOTATION_CREATED", "project": {"id": "two"}}),
        ("/webhook", {"action": "ANNOTATION_CREATED", "project": {"id": 2**70}}),
        ("/webhook", {"action": "ANNOTATION_CREATED", "project": {"id": True}}),
        ("/webhook", {"action": "A" * 101}),
    ],
)
def test_wrong_types_are_named(backend: Any, secret_header: Any, path: str, body: Any) -> None:
    answer = backend.client.post(path, json=body, headers=secret_header)
    assert answer.status_code == 400
    _is_clear(answer)
    backend.hints.flush()
    assert backend.store.projects.get(2).hints == 0


@pytest.mark.parametrize("path", ["/jobs", "/versions"])
@pytest.mark.parametrize("project", [str(2**70), "two", "-1", ""])
def test_a_project_that_cannot_be_is_400(backend: Any, path: str, project: str) -> None:
    answer = backend.client.get(path, query_string={"project": project})
    assert answer.status_code == 400
    _is_clear(answer)


@given(
    document=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["tasks", "project", "action", "id", "data", "params", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_json_makes_it_crash(backend: Any, secret_header: Any, document: Any) -> None:
    for path in POSTS:
        answer = backend.client.post(path, json=document, headers=secret_header)
        assert answer.status_code in (200, 400)


def test_ten_thousand_tasks_are_refused_before_they_are_looked_at(
    backend: Any, payload: Any
) -> None:
    body = payload("predict")
    body["tasks"] = body["tasks"][:1] * 10_000
    answer = backend.client.post("/predict", json=body)
    assert answer.status_code == 413
    assert "10000" in answer.json["why"]
    _is_clear(answer)
    assert not backend.predictor.asked


@pytest.mark.parametrize("path", POSTS)
def test_a_huge_body_is_413(make_backend: Any, secret_header: Any, path: str) -> None:
    backend = make_backend(max_body_bytes=10_000)
    answer = backend.client.post(
        path, data=b'{"x":"' + b"a" * 20_000 + b'"}', headers=secret_header
    )
    assert answer.status_code == 413
    _is_clear(answer)
    assert "GALAXYLOOP_MAX_BODY_BYTES" in answer.json["what_to_do"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("get", "/nothing", 404), ("get", "/predict", 405)]
)
def test_wrong_addresses_are_answered_in_json(
    backend: Any, method: str, path: str, status: int
) -> None:
    answer = getattr(backend.client, method)(path)
    assert answer.status_code == status
    _is_clear(answer)


@pytest.mark.parametrize("value", [None, "", "wrong", "hook-secret-of-the-test", "é" * 24])
def test_events_without_the_secret_are_401_and_not_recorded(
    backend: Any, payload: Any, value: str | None
) -> None:
    headers = {} if value is None else {"X-GalaxyLoop-Secret": value}
    answer = backend.client.post("/webhook", json=payload("annotation_created"), headers=headers)
    assert answer.status_code == 401
    _is_clear(answer)
    backend.hints.flush()
    assert backend.store.projects.get(2).hints == 0


@pytest.fixture
def guarded(make_backend: Any, payload: Any) -> Any:
    made = make_backend(basic_auth_user="studio", basic_auth_pass="pass wörd")
    made.store.projects.save(2, "Galaxies", payload("setup")["schema"])
    return made


@pytest.mark.parametrize("path", ["/", "/health", "/versions", "/metrics", "/jobs", "/doctor"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        _basic("studio", "wrong"),
        _basic("somebody", "pass wörd"),
        _basic("", ""),
        {"Authorization": "Bearer pass"},
        {"Authorization": "Basic !!!"},
    ],
)
def test_pages_and_calls_need_basic_auth(guarded: Any, path: str, headers: dict[str, str]) -> None:
    answer = guarded.client.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    _is_clear(answer)
    assert guarded.client.get(path, headers=_basic("studio", "pass wörd")).status_code == 200


@pytest.mark.parametrize("path", ["/setup", "/predict"])
def test_label_studio_needs_basic_auth(guarded: Any, payload: Any, path: str) -> None:
    body = payload(path[1:])
    assert guarded.client.post(path, json=body).status_code == 401
    right = _basic("studio", "pass wörd")
    assert guarded.client.post(path, json=body, headers=right).status_code == 200


def test_start_training_needs_basic_auth_and_events_need_the_secret(
    guarded: Any, payload: Any, secret_header: Any
) -> None:
    right = _basic("studio", "pass wörd")

    def post(name: str, headers: dict[str, str]) -> int:
        answer = guarded.client.post("/webhook", json=payload(name), headers=headers)
        return int(answer.status_code)

    assert post("start_training", {}) == 401
    assert post("start_training", _basic("studio", "wrong")) == 401
    assert post("start_training", secret_header) == 401
    assert post("annotation_created", right) == 401
    guarded.hints.flush()
    project = guarded.store.projects.get(2)
    assert (project.hints, project.training_requested_at) == (0, None)
    assert post("start_training", right) == 200
    assert post("annotation_created", secret_header) == 200
    guarded.hints.flush()
    project = guarded.store.projects.get(2)
    assert project.hints == 1
    assert project.training_requested_at is not None


def test_overload_is_sent_away_and_does_not_pile_up(make_backend: Any, payload: Any) -> None:
    backend = make_backend(max_predict_requests=1)
    backend.store.projects.save(2)
    inside, release = threading.Event(), threading.Event()
    first = backend.predictor.answer

    def slow(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        inside.set()
        release.wait(30)
        return first(tasks)

    backend.predictor.answer = slow
    statuses: list[int] = []

    def ask() -> None:
        answer = backend.app.test_client().post("/predict", json=payload("predict"))
        statuses.append(answer.status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    assert inside.wait(10)
    try:
        answer = backend.client.post("/predict", json=payload("predict"))
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        _is_clear(answer)
        # What keeps Label Studio going is answered all the same.
        assert backend.client.get("/health").status_code == 200
        assert backend.client.post("/setup", json=payload("setup")).status_code == 200
    finally:
        release.set()
        thread.join(30)
    assert statuses == [200]
    backend.predictor.answer = first
    assert backend.client.post("/predict", json=payload("predict")).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [(Busy("The queue is full.", 7), 503), (StoreError("The disk is full."), 503)],
)
def test_our_errors_say_when_to_come_back(
    backend: Any, payload: Any, error: Exception, status: int
) -> None:
    def fail(tasks: Any) -> Any:
        raise error

    backend.predictor.answer = fail
    answer = backend.client.post("/predict", json=payload("predict"))
    assert answer.status_code == status
    assert "Retry-After" in answer.headers
    assert str(error) in answer.json["why"]
    _is_clear(answer)


def test_a_database_that_fails_is_503_and_shows_no_statement(
    backend: Any, payload: Any, secret_header: Any
) -> None:
    with backend.store.session() as session:
        session.execute(text("ALTER TABLE projects RENAME TO gone"))
    for path, body in (("/setup", "setup"), ("/webhook", "annotation_created")):
        answer = backend.client.post(path, json=payload(body), headers=secret_header)
        assert answer.status_code == 503
        assert "SELECT" not in answer.text
        assert "UPDATE" not in answer.text
        _is_clear(answer)
    assert backend.client.get("/health").status_code == 200


def test_a_crash_tells_nothing_of_the_inside(backend: Any, payload: Any) -> None:
    def fail(tasks: Any) -> Any:
        raise KeyError("inner detail")

    backend.predictor.answer = fail
    answer = backend.client.post("/predict", json=payload("predict"))
    assert answer.status_code == 500
    assert "inner detail" not in answer.text
    _is_clear(answer)
