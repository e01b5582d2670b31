"""What Label Studio 1.23.2 sends, recorded, and what it must get."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ml_backend.app import create_app
from ml_backend.connection import wiring
from ml_backend.labelstudio.events import SECRET_HEADER
from ml_backend.protocol.webhook import HINTS, START_TRAINING


def test_health_is_up_for_label_studio_and_root_answers_it_too(backend: Any) -> None:
    for path in ("/health", "/"):
        answer = backend.client.get(path, headers={"Accept": "*/*"})
        assert answer.status_code == 200
        assert answer.json == {"status": "UP", "model_class": "GalaxyLoop"}


def test_root_leads_a_browser_to_the_dashboard(backend: Any) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    answer = backend.client.get("/", headers={"Accept": accept})
    assert answer.status_code == 302
    assert answer.location == "/dashboard/"


def test_setup_names_the_champion(backend: Any, payload: Any) -> None:
    answer = backend.client.post("/setup", json=payload("setup"))
    assert answer.status_code == 200
    assert answer.json == {"model_version": "galaxyloop-p2-v1"}


def test_setup_of_a_project_that_is_not_connected_yet_has_a_steady_name(
    backend: Any, payload: Any
) -> None:
    body = payload("setup") | {"project": "77.1795426664"}
    names = {backend.client.post("/setup", json=body).json["model_version"] for _ in range(3)}
    assert len(names) == 1
    assert "77" in names.pop()


def test_setup_and_predict_name_the_same_version(backend: Any, payload: Any) -> None:
    backend.predictor.answer = lambda tasks: [{"score": 0.5, "result": []} for _ in tasks]
    version = backend.client.post("/setup", json=payload("setup")).json["model_version"]
    results = backend.client.post("/predict", json=payload("predict")).json["results"]
    assert {result["model_version"] for result in results} == {version}


def test_before_the_first_version_setup_and_the_real_predictor_agree(
    make_backend: Any, payload: Any
) -> None:
    backend = make_backend()
    backend.store.projects.save(2, "Galaxies", payload("setup")["schema"])
    client = create_app(backend.settings, backend.store, check=list).test_client()
    version = client.post("/setup", json=payload("setup")).json["model_version"]
    results = client.post("/predict", json=payload("predict")).json["results"]
    assert results == [{"model_version": version, "score": 1.0, "result": []}] * 3


def test_made_up_methods_make_no_new_series(backend: Any) -> None:
    for number in range(5):
        backend.client.open("/health", method=f"ODD{number}")
    text = backend.client.get("/metrics").text
    assert "ODD" not in text
    assert 'method="other"' in text


def test_predict_answers_each_task_in_order(backend: Any, payload: Any) -> None:
    answer = backend.client.post("/predict", json=payload("predict"))
    assert answer.status_code == 200
    assert [entry["result"][0]["id"] for entry in answer.json["results"]] == ["7", "8", "9"]
    assert all(set(e) == {"model_version", "score", "result"} for e in answer.json["results"])
    assert backend.predictor.asked[0][0]["data"]["image"] == "/data/upload/2/galaxy-7.png"


def test_interactive_context_is_accepted(backend: Any, payload: Any) -> None:
    answer = backend.client.post("/predict", json=payload("predict_interactive"))
    assert answer.status_code == 200
    assert len(answer.json["results"]) == 1
    [context] = backend.predictor.contexts
    assert [region["id"] for region in context["result"]] == ["k1"]


@pytest.mark.parametrize(
    ("score", "answered"),
    [
        (float("nan"), 1.0),
        (float("inf"), 1.0),
        (None, 1.0),
        ("0.3", 1.0),
        (-0.2, 0.0),
        (7, 1.0),
        (0.25, 0.25),
    ],
)
def test_no_score_leaves_that_would_stop_labelling(
    backend: Any, payload: Any, score: Any, answered: float
) -> None:
    backend.predictor.answer = lambda tasks: [{"score": score, "result": None} for _ in tasks]
    answer = backend.client.post("/predict", json=payload("predict"))
    # Label Studio's parser is strict about NaN, so ours is here.
    document = json.loads(answer.text, parse_constant=lambda name: pytest.fail(name))
    assert [entry["score"] for entry in document["results"]] == [answered] * 3
    assert all(entry["result"] == [] for entry in document["results"])


def test_predict_for_an_unknown_project_gives_empty_results(backend: Any, payload: Any) -> None:
    body = payload("predict") | {"project": "77.1"}
    answer = backend.client.post("/predict", json=body)
    assert answer.status_code == 200
    assert [entry["result"] for entry in answer.json["results"]] == [[], [], []]
    assert not backend.predictor.asked


def test_predict_of_no_tasks_is_no_results(backend: Any) -> None:
    assert backend.client.post("/predict", json={"tasks": [], "project": "2.1"}).json == {
        "results": []
    }


def test_short_answers_never_leave(backend: Any, payload: Any) -> None:
    backend.predictor.answer = lambda tasks: [{"score": 0.5, "result": []}]
    answer = backend.client.post("/predict", json=payload("predict"))
    assert answer.status_code == 500
    assert "results" not in answer.json


@pytest.mark.parametrize(
    "name",
    [
        "annotation_created",
        "annotation_skipped",
        "annotation_updated",
        "annotations_deleted",
        "tasks_created",
        "tasks_deleted",
    ],
)
def test_events_are_noted(backend: Any, payload: Any, secret_header: Any, name: str) -> None:
    answer = backend.client.post("/webhook", json=payload(name), headers=secret_header)
    assert (answer.status_code, answer.json) == (200, {"status": "noted"})
    backend.hints.flush()
    assert backend.store.projects.get(2).hints == 1


def test_start_training_asks_for_a_round(backend: Any, payload: Any) -> None:
    answer = backend.client.post("/webhook", json=payload("start_training"))
    assert (answer.status_code, answer.json) == (200, {"status": "noted"})
    backend.hints.flush()
    project = backend.store.projects.get(2)
    assert project.training_requested_at is not None
    assert project.hints == 0


def test_our_own_project_updated_starts_no_round(
    backend: Any, payload: Any, secret_header: Any
) -> None:
    event = payload("project_updated")
    event["project"]["model_version"] = "galaxyloop-p2-v2"
    answer = backend.client.post("/webhook", json=event, headers=secret_header)
    assert answer.status_code == 200
    assert answer.json["status"] == "ignored"
    backend.hints.flush()
    assert backend.store.projects.get(2).hints == 0


def test_a_changed_labelling_configuration_is_news(
    backend: Any, payload: Any, secret_header: Any
) -> None:
    event = payload("project_updated")
    event["project"]["label_config"] = event["project"]["label_config"].replace("Spiral", "Disc")
    backend.client.post("/webhook", json=event, headers=secret_header)
    backend.hints.flush()
    assert backend.store.projects.get(2).hints == 1


@pytest.mark.parametrize("action", ["LABEL_LINK_CREATED", "SOMETHING_OF_NEXT_YEAR"])
def test_other_actions_are_accepted_and_left_alone(
    backend: Any, payload: Any, secret_header: Any, action: str
) -> None:
    event = payload("label_link_created") | {"action": action}
    answer = backend.client.post("/webhook", json=event, headers=secret_header)
    assert (answer.status_code, answer.json["status"]) == (200, "ignored")
    backend.hints.flush()
    assert backend.store.projects.get(2).hints == 0


def test_an_event_of_an_unknown_project_is_said_and_not_kept(
    backend: Any, payload: Any, secret_header: Any
) -> None:
    event = payload("annotation_created")
    event["project"]["id"] = 77
    answer = backend.client.post("/webhook", json=event, headers=secret_header)
    assert answer.status_code == 200
    assert "connect" in answer.json["why"]
    assert backend.store.projects.get(77) is None


def test_versions_lists_names_newest_first(backend: Any) -> None:
    from datetime import UTC, datetime

    from ml_backend.store.tables import Version

    with backend.store.session() as session:
        for number, state in ((1, "retired"), (2, "rejected"), (3, "published")):
            session.add(
                Version(
                    name=f"galaxyloop-p2-v{number}",
                    project_id=2,
                    number=number,
                    kind="trained",
                    state=state,
                    created_at=datetime.now(UTC),
                )
            )
    answer = backend.client.get("/versions").json
    assert answer["versions"] == ["galaxyloop-p2-v3", "galaxyloop-p2-v1"]
    assert [version["state"] for version in answer["details"]] == [
        "published",
        "rejected",
        "retired",
    ]
    assert backend.client.get("/versions?project=3").json["versions"] == []


def test_metrics_count_requests_and_the_loop(backend: Any, payload: Any) -> None:
    backend.client.post("/setup", json=payload("setup"))
    backend.client.get("/made-up-by-somebody")
    backend.store.jobs.enqueue("round", 2)
    text = backend.client.get("/metrics").text
    assert 'galaxyloop_requests_total{method="POST",path="/setup",status="200"} 1.0' in text
    assert 'galaxyloop_request_seconds_count{path="/setup"} 1.0' in text
    assert 'galaxyloop_jobs{kind="round",state="queued"} 1.0' in text
    assert "galaxyloop_queue_depth 1.0" in text
    assert "made-up" not in text


def test_every_app_counts_for_itself(make_backend: Any) -> None:
    first, second = make_backend(), make_backend()
    first.client.get("/health")
    assert 'path="/health"' not in second.client.get("/metrics").text


def test_connect_writes_what_the_webhook_expects() -> None:
    assert wiring.SECRET_HEADER == SECRET_HEADER
    assert set(wiring.ACTIONS) == HINTS - {START_TRAINING}


def test_setup_and_predict_name_no_version_alike(backend: Any, payload: Any) -> None:
    from ml_backend.loop import prediction

    backend.store.projects.save(2, champion=None)
    answer = backend.client.post("/setup", json=payload("setup"))
    assert answer.json == {"model_version": prediction.initial_version(2)}
