"""The client, publishing, `connect` and `doctor` on a real Label Studio with our real backend."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from werkzeug.serving import make_server

from ml_backend.app import create_app
from ml_backend.connection import Finding, connect, doctor
from ml_backend.connection.wiring import TITLE
from ml_backend.demo.children import free_port
from ml_backend.demo.label_studio import LabelStudioServer
from ml_backend.errors import FetchError, LabelStudioError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import parse_controls
from ml_backend.labelstudio.events import ACTIONS, SECRET_HEADER
from ml_backend.labelstudio.images import ImageFetcher
from ml_backend.labelstudio.queue import order_problem, publish, remove_old_versions
from ml_backend.labelstudio.regions import choices_result, read_annotation
from ml_backend.settings import Settings, load_settings
from ml_backend.store.database import Store, open_store

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[2] / "labeling_configs"
MORPHOLOGY = (EXAMPLES / "morphology.xml").read_text(encoding="utf-8")
SHAPE = parse_controls(MORPHOLOGY).controls[0]
# One grey pixel.
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCB"
    "d81ytgAAAABJRU5ErkJggg=="
)


@dataclass
class Bench:
    """Everything a test needs: the client, our settings and store, a running backend."""

    client: LabelStudioClient
    settings: Settings
    store: Store

    def project(self, tasks: int = 6, label_config: str = MORPHOLOGY) -> tuple[int, list[int]]:
        number = int(self.client.create_project("Connection", label_config)["id"])
        fields = {"image", *(image.field for image in parse_controls(label_config).images)}
        data = [{"data": dict.fromkeys(fields, PIXEL)} for _ in range(tasks)]
        return number, self.client.import_tasks(number, data)

    def findings(self, project: int) -> dict[str, Finding]:
        found = doctor(self.settings, self.store, [project], self.client)
        return {item.check.removeprefix(f"project {project}: "): item for item in found}


@pytest.fixture(scope="module")
def bench(
    label_studio: LabelStudioServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    port = free_port()
    settings = load_settings(
        label_studio_url=label_studio.url,
        label_studio_api_key=label_studio.account.token,
        model_dir=tmp_path_factory.mktemp("store"),
        port=port,
        host="127.0.0.1",
        backend_url="",
        webhook_secret="",
        basic_auth_user="galaxy",
        basic_auth_pass="loop & co",
    )
    store = open_store(settings)
    server = make_server("127.0.0.1", port, create_app(settings, store), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Bench(LabelStudioClient.from_settings(settings), settings, store)
    server.shutdown()
    thread.join()
    store.close()


def ranked(tasks: list[int]) -> list[dict[str, object]]:
    return [
        {
            "task": task,
            "result": choices_result(SHAPE, [0.7, 0.1, 0.1, 0.1]),
            "score": place / len(tasks),
        }
        for place, task in enumerate(tasks)
    ]


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def test_connect_does_everything_and_may_be_repeated(bench: Bench) -> None:
    project, tasks = bench.project()
    before = bench.findings(project)
    assert not before["backend"].ok
    assert not before["webhook"].ok
    assert not before["order"].ok
    assert "galaxyloop connect" in before["backend"].remedy

    report = connect(bench.settings, project, "entropy", store=bench.store)
    assert "connected" in str(report)
    [backend] = bench.client.backends(project)
    assert (backend["url"], backend["title"], backend["state"]) == (
        bench.settings.own_url,
        TITLE,
        "CO",
    )
    assert backend["auth_method"] == "BASIC_AUTH"
    [hook] = bench.client.webhooks(project)
    assert hook["headers"] == {SECRET_HEADER: bench.store.webhook_secret()}
    assert set(hook["actions"]) == set(ACTIONS)
    assert not hook["send_for_all_actions"]
    state = bench.client.project(project)
    assert state["sampling"] == "Uncertainty sampling"
    # The backend's title here would make the order random.
    assert not state["model_version"]
    kept = bench.store.projects.get(project)
    assert kept is not None
    assert kept.options == {"strategy": "entropy"}
    assert (kept.backend_id, kept.webhook_id) == (backend["id"], hook["id"])
    jobs = bench.store.jobs.listing(project)
    assert [(job.kind, job.state) for job in jobs] == [("round", "queued")]

    publish(bench.client, project, "order-1", ranked(tasks))
    again = connect(bench.settings, project, store=bench.store)
    assert (again.backend_id, again.webhook_id) == (backend["id"], hook["id"])
    assert bench.client.project(project)["model_version"] == "order-1"
    assert len(bench.client.backends(project)) == len(bench.client.webhooks(project)) == 1
    kept = bench.store.projects.get(project)
    assert kept is not None
    assert kept.options == {"strategy": "entropy"}
    after = bench.findings(project)
    assert [name for name, item in after.items() if not item.ok] == ["a worker is running"]


def test_the_webhook_that_connect_makes_is_accepted(bench: Bench) -> None:
    project, tasks = bench.project()
    connect(bench.settings, project, store=bench.store)

    def hints() -> int:
        kept = bench.store.projects.get(project)
        return kept.hints if kept else 0

    start = hints()
    bench.client.create_annotation(tasks[0], choices_result(SHAPE, [0, 1, 0, 0]))
    assert eventually(lambda: hints() > start)


def test_a_half_attached_backend_is_named_and_repaired(bench: Bench) -> None:
    project, _ = bench.project()
    settings = bench.settings
    password = settings.basic_auth_pass.get_secret_value()
    for title in ("first", "second"):
        bench.client.attach_backend(project, settings.own_url, title, "galaxy", password)
    for hook in bench.client.webhooks(project):
        bench.client.delete_webhook(hook["id"])
    found = bench.findings(project)
    assert "2 ML backends" in found["backend"].problem
    assert "No webhook" in found["webhook"].problem

    connect(settings, project, store=bench.store)
    assert len(bench.client.backends(project)) == 1
    assert len(bench.client.webhooks(project)) == 1
    found = bench.findings(project)
    assert found["backend"].ok
    assert found["webhook"].ok


def test_the_doctor_names_what_people_changed(bench: Bench) -> None:
    project, tasks = bench.project()
    connect(bench.settings, project, store=bench.store)
    publish(bench.client, project, "order-1", ranked(tasks))
    [hook] = bench.client.webhooks(project)
    bench.client.update_webhook(hook["id"], headers={SECRET_HEADER: "another"})
    bench.client.update_project(
        project,
        sampling="Sequential sampling",
        maximum_annotations=2,
        min_annotations_to_start_training=5,
    )
    [broken] = bench.client.import_tasks(project, [{"data": {"image": "http://192.168.0.1/x.png"}}])
    for task in tasks:
        bench.client._call("DELETE", f"/api/tasks/{task}/")
    assert bench.client.task_ids(project) == {broken}
    problems = {name: item.problem for name, item in bench.findings(project).items() if not item.ok}
    assert "another secret" in problems["webhook"]
    assert "Sequential" in problems["order"]
    assert "2" in problems["overlap"]
    assert "Submit waits" in problems["calls inside Submit"]
    assert "192.168.0.1" in problems["images"]
    assert "0 ranked tasks" in problems["ranked tasks"]

    # Label Studio forgets the model version with it: random order.
    bench.client.update_project(
        project, sampling="Uncertainty sampling", show_collab_predictions=False
    )
    found = bench.findings(project)
    assert "no suggestions" in found["suggestions"].problem
    assert "no published version" in found["order"].problem


def test_what_connect_cannot_do_is_explained(bench: Bench) -> None:
    project, _ = bench.project()
    down = bench.settings.model_copy(update={"port": free_port()})
    with pytest.raises(LabelStudioError, match="galaxyloop serve"):
        connect(down, project, store=bench.store)
    wrong = bench.settings.model_copy(update={"basic_auth_user": "somebody"})
    with pytest.raises(LabelStudioError, match="BASIC_AUTH_USER"):
        connect(wrong, project, store=bench.store)
    with pytest.raises(LabelStudioError, match="does not exist"):
        connect(bench.settings, 999_999, store=bench.store)
    assert bench.client.backends(project) == []


def test_people_are_served_by_the_order_that_was_published(bench: Bench) -> None:
    project, tasks = bench.project(8)
    bench.client.update_project(project, sampling="Uncertainty sampling")
    order = [tasks[index] for index in (5, 2, 7, 0, 1)]
    report = publish(bench.client, project, "order-1", ranked(order))
    assert (report.imported, report.in_order, report.problem) == (5, True, "")
    # A call that arrived though its answer was lost, and one that was interrupted.
    bench.client.import_predictions(project, [{**ranked(order)[0], "model_version": "order-1"}])
    bench.client.delete_prediction(bench.client.predictions(project, "order-1")[3]["id"])
    report = publish(bench.client, project, "order-1", ranked(order), ask_next=True)
    assert report.in_order
    assert bench.client.model_versions(project) == {"order-1": 5}
    served = []
    for _ in order:
        task = bench.client.next_task(project)
        assert task is not None
        served.append(task["id"])
        bench.client.create_annotation(task["id"], choices_result(SHAPE, [1, 0, 0, 0]))
    assert served == order

    report = publish(bench.client, project, "order-2", ranked(tasks))
    assert report.in_order
    assert remove_old_versions(bench.client, project, ["order-1", "order-2"]) == 5
    assert bench.client.model_versions(project) == {"order-2": 8}
    assert bench.client.project(project)["model_version"] == "order-2"
    bench.client.update_project(project, sampling="Uniform sampling")
    assert "Uniform" in order_problem(bench.client, project, "order-2")


def test_refused_predictions_and_deleted_tasks_are_reported(bench: Bench) -> None:
    project, tasks = bench.project(3)
    wanted = ranked([*tasks, 10**9])
    wanted[1]["result"] = [{**choices_result(SHAPE, [1, 0, 0, 0])[0], "from_name": "nobody"}]
    report = publish(bench.client, project, "order-1", wanted)
    assert (report.refused, report.gone) == ((tasks[1],), (10**9,))
    assert bench.client.model_versions(project) == {"order-1": 2}


def test_every_change_of_an_annotation_is_found_by_time(bench: Bench) -> None:
    project, tasks = bench.project()
    client = bench.client
    publish(client, project, "order-1", ranked(tasks))

    def changed(since: datetime) -> list[tuple[int, list[bool]]]:
        return [
            (task["id"], [annotation["was_cancelled"] for annotation in task["annotations"]])
            for task in client.tasks(project, updated_since=since)
        ]

    def mark() -> datetime:
        time.sleep(0.02)
        return datetime.now(UTC)

    since = mark()
    made = client.create_annotation(tasks[0], choices_result(SHAPE, [0, 1, 0, 0]))
    assert changed(since) == [(tasks[0], [False])]
    since = mark()
    client.create_annotation(tasks[1], choices_result(SHAPE, [1, 0, 0, 0]), was_cancelled=True)
    assert changed(since) == [(tasks[1], [True])]
    since = mark()
    client.update_annotation(made["id"], result=choices_result(SHAPE, [0, 0, 1, 0]))
    assert changed(since) == [(tasks[0], [False])]

    [shown] = client.shown_predictions(project, tasks[:1]).values()
    assert shown["model_version"] == "order-1"
    [task] = [task for task in client.tasks(project) if task["id"] == tasks[0]]
    [answer] = read_annotation(
        {**task["annotations"][0], "prediction": shown}, parse_controls(MORPHOLOGY)
    ).answers
    assert (answer.labels, answer.suggested) == (("Edge-on",), ("Elliptical",))

    since = mark()
    client.delete_annotation(made["id"])
    assert changed(since) == [(tasks[0], [])]
    since = mark()
    client.import_predictions(project, [{**ranked(tasks)[0], "model_version": "order-2"}])
    assert changed(since) == []


def test_a_personal_access_token_works_and_a_wrong_one_is_explained(
    bench: Bench, label_studio: LabelStudioServer
) -> None:
    bench.client._call(
        "POST",
        "/api/jwt/settings",
        body={"api_tokens_enabled": True, "legacy_api_tokens_enabled": True},
    )
    personal = bench.client._call("POST", "/api/token/")["token"]
    client = LabelStudioClient(label_studio.url, personal)
    assert client.token_kind == "personal"
    assert client.current_user()["email"] == label_studio.account.email
    broken = LabelStudioClient(label_studio.url, personal[:-4] + "AAAA")
    for wrong in (broken, LabelStudioClient(label_studio.url, "0" * 40)):
        with pytest.raises(LabelStudioError, match="LABEL_STUDIO_API_KEY") as caught:
            wrong.current_user()
        assert caught.value.status == 401
        assert personal not in str(caught.value)


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.xml")))
def test_label_studio_takes_the_examples_and_our_answers_to_them(bench: Bench, name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    project, tasks = bench.project(1, text)
    result = [
        region
        for control in parse_controls(text).controls
        for region in choices_result(control, [1.0] + [0.0] * (len(control.labels) - 1))
    ]
    prediction = {"task": tasks[0], "result": result, "score": 0.5}
    assert publish(bench.client, project, "order-1", [prediction]).refused == ()
    [stored] = bench.client.predictions(project, "order-1")
    assert len(stored["result"]) == len(parse_controls(text).controls)


def test_uploaded_images_are_fetched_with_the_token(
    bench: Bench, label_studio: LabelStudioServer
) -> None:
    project, _ = bench.project(0)
    content = b"\x89PNG\r\n\x1a\n" + bytes(64)
    header = bench.client.authorization()
    assert header is not None
    answer = requests.post(
        f"{label_studio.url}/api/projects/{project}/import",
        files={"file": ("galaxy.png", content, "image/png")},
        headers={"Authorization": header},
        timeout=30,
    )
    assert answer.status_code == 201
    [task] = bench.client.tasks(project)
    address = task["data"]["image"]
    assert address.startswith("/data/upload/")
    fetcher = ImageFetcher(bench.settings, bench.client)
    assert fetcher.fetch(address) == content
    assert fetcher.fetch(label_studio.url + address) == content
    with pytest.raises(FetchError, match=r"answered (404|500)"):
        fetcher.fetch(address + "x")
