"""The doctor, and `connect`, where things are not as they should be."""

from __future__ import annotations

import socket
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml_backend.connection import Finding, connect, doctor
from ml_backend.connection.findings import Trouble, look
from ml_backend.connection.server_checks import LEAST_FREE_BYTES
from ml_backend.errors import LabelConfigError, LabelStudioError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.transport import Transport
from ml_backend.settings import Settings, load_settings
from ml_backend.store.database import Store, open_store

KEY = "0123456789abcdef0123456789abcdef01234567"
CONFIG = """<View><Image name="i" value="$image"/>
<Choices name="c" toName="i"><Choice value="a"/><Choice value="b"/></Choices>
<TextArea name="r" toName="i"/></View>"""
BLOCKED = {"detail": "URL resolves to a reserved network address (block: 127.0.0.0/8)"}


@pytest.fixture
def settings(stand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)  # away from any .env
    return load_settings(
        label_studio_url=stand_in.url,
        label_studio_api_key=KEY,
        model_dir=tmp_path / "data",
        port=_free_port(),
        webhook_secret="the secret",
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = open_store(settings)
    yield opened
    opened.close()


@pytest.fixture
def client(stand_in: Any) -> LabelStudioClient:
    return LabelStudioClient(transport=Transport(stand_in.url, KEY, sleep=lambda _: None))


@pytest.fixture
def studio(stand_in: Any, reply: Any) -> dict[str, Any]:
    """Answers by method and path; a test changes what it is about."""
    answers: dict[str, Any] = {
        "GET /health": {"status": "UP"},
        "GET /api/version": {"release": "1.23.2"},
        "GET /api/current-user/whoami": {"id": 1, "email": "a@b.c"},
        "GET /api/projects/7/": {
            "id": 7,
            "title": "Seven",
            "label_config": CONFIG,
            "sampling": "Sequential sampling",
            "model_version": "",
        },
        "GET /api/ml/": [],
        "GET /api/webhooks/": [],
        "GET /api/projects/7/model-versions/": {"static": []},
        "GET /api/tasks/": {"tasks": []},
    }

    def handler(call: Any) -> Any:
        answer = answers.get(f"{call.method} {call.path.split('?')[0]}", reply(404, {}))
        return answer if isinstance(answer, reply) else reply(content=answer)

    stand_in.handler = handler
    return answers


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    found = {item.check: item for item in findings}
    assert len(found) == len(findings)
    for item in findings:
        # A problem always comes with its remedy, and never with a secret.
        assert bool(item.problem) == bool(item.remedy) == (not item.ok)
        assert KEY not in item.problem + item.remedy
        assert "the secret" not in item.problem + item.remedy
    return found


def test_label_studio_down(
    settings: Settings, store: Store, stand_in: Any, client: LabelStudioClient
) -> None:
    stand_in.close()
    found = by_name(doctor(settings, store, [7], client))
    assert "cannot be reached" in found["Label Studio answers"].problem
    assert not any(name.startswith("project") for name in found)
    assert "galaxyloop serve" in found["this backend answers"].remedy
    assert "galaxyloop work" in found["a worker is running"].remedy


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_token_that_is_refused_ends_the_checks(
    settings: Settings, client: LabelStudioClient, studio: Any, reply: Any, status: int
) -> None:
    studio["GET /api/current-user/whoami"] = reply(status, {"detail": "no"})
    found = by_name(doctor(settings, None, [7], client))
    assert str(status) in found["Label Studio's token"].problem
    assert not any(name.startswith("project") for name in found)


def test_half_an_answer_is_a_finding(
    settings: Settings, client: LabelStudioClient, studio: Any, reply: Any
) -> None:
    studio["GET /api/projects/7/"] = reply(content=b'{"id": 7, "titl', claimed=500)
    found = by_name(doctor(settings, None, [7], client))
    assert "broke off" in found["project 7: can be read"].problem


def test_an_old_version(settings: Settings, client: LabelStudioClient, studio: Any) -> None:
    studio["GET /api/version"] = {"release": "1.8.1"}
    found = by_name(doctor(settings, None, [], client))["Label Studio's version"]
    assert "1.8.1" in found.problem
    assert "Upgrade" in found.remedy


@pytest.mark.parametrize(
    ("ours", "said"), [(-600.0, "ahead of"), (600.0, "behind"), (30.0, ""), (-30.0, "")]
)
def test_a_wrong_clock(
    settings: Settings, stand_in: Any, studio: Any, ours: float, said: str
) -> None:
    client = LabelStudioClient(
        transport=Transport(stand_in.url, KEY, now=lambda: time.time() + ours)
    )
    found = by_name(doctor(settings, None, [], client))["Label Studio's clock"]
    assert said in found.problem
    assert found.ok is not bool(said)


def test_a_project_that_nobody_connected(
    settings: Settings, store: Store, client: LabelStudioClient, studio: Any
) -> None:
    found = by_name(doctor(settings, store, [7], client))
    for name in ("backend", "webhook", "order"):
        assert "galaxyloop connect --project 7" in found[f"project 7: {name}"].remedy
    named = [item for name, item in found.items() if "left alone" in name]
    assert len(named) == 1
    assert named[0].ok
    assert "<TextArea name='r'>" in named[0].check
    assert (
        "No project"
        in by_name(doctor(settings, store, None, client))["projects are connected"].problem
    )


def test_a_backend_that_label_studio_may_not_reach(
    settings: Settings, client: LabelStudioClient, studio: Any
) -> None:
    studio["GET /api/ml/"] = [
        {"id": 1, "url": settings.own_url, "state": "ER", "error_message": BLOCKED["detail"]}
    ]
    found = by_name(doctor(settings, None, [7], client))["project 7: backend"]
    assert "SSRF_PROTECTION_ENABLED=false" in found.remedy
    assert "ML_BLOCK_LOCAL_IP=false" in found.remedy


def test_a_backend_that_the_editor_may_not_ask(
    settings: Settings, client: LabelStudioClient, studio: Any
) -> None:
    def problem(label_config: str) -> str:
        studio["GET /api/projects/7/"] |= {"label_config": label_config}
        return by_name(doctor(settings, None, [7], client))["project 7: backend"].problem

    studio["GET /api/ml/"] = [
        {"id": 1, "url": settings.own_url, "state": "CO", "is_interactive": False}
    ]
    asking = CONFIG.replace(
        "</View>",
        '<KeyPointLabels name="k" toName="i"><Label value="a"/></KeyPointLabels></View>',
    )
    assert "Auto-Annotation" in problem(asking)
    assert problem(asking.replace('name="k"', 'name="k" smart="false"')) == ""
    assert problem(CONFIG) == "", "nothing that could be asked for"
    assert "Auto-Annotation" not in problem("<View")


def test_webhooks_that_do_not_reach_us(
    settings: Settings, client: LabelStudioClient, studio: Any
) -> None:
    from ml_backend.labelstudio.events import ACTIONS, SECRET_HEADER

    hook: dict[str, Any] = {
        "url": f"{settings.own_url}/webhook",
        "is_active": True,
        "headers": {SECRET_HEADER.upper(): "the secret"},
        "actions": list(ACTIONS),
    }

    def problem(**changes: Any) -> str:
        studio["GET /api/webhooks/"] = [{**hook, **changes}]
        return by_name(doctor(settings, None, [7], client))["project 7: webhook"].problem

    assert problem() == ""
    assert problem(actions=[], send_for_all_actions=True) == ""
    assert "no secret" in problem(headers={})
    assert "another secret" in problem(headers={SECRET_HEADER: "ünknown"})
    assert "switched off" in problem(is_active=False)
    assert "ANNOTATIONS_DELETED" in problem(actions=["ANNOTATION_CREATED"])
    assert "No webhook" in problem(url="http://elsewhere/webhook")


def test_images_and_fields(settings: Settings, client: LabelStudioClient, studio: Any) -> None:
    def problem(data: dict[str, Any]) -> str:
        studio["GET /api/tasks/"] = {"tasks": [{"id": 3, "data": data}]}
        return by_name(doctor(settings, None, [7], client))["project 7: images"].problem

    assert problem({"image": "data:image/png;base64,AAAA"}) == ""
    assert "no field 'image'" in problem({"picture": "x"})
    assert "file: addresses" in problem({"image": "file:///etc/passwd"})
    assert "GALAXYLOOP_IMAGE_HOSTS" in problem({"image": "http://elsewhere.example/x.png"})
    assert "names no image" in problem({"image": {"url": "x"}})


def test_image_servers_that_browsers_refuse(
    settings: Settings, client: LabelStudioClient, studio: Any, reply: Any
) -> None:
    from http_stand_in import StandIn

    server = StandIn()
    headers: dict[str, str] = {}
    server.handler = lambda call: reply(content=b"\x89PNG", headers=headers)
    allowed = settings.model_copy(update={"image_hosts": (f"127.0.0.1:{server.port}",)})
    studio["GET /api/tasks/"] = {"tasks": [{"id": 3, "data": {"image": f"{server.url}/x.png"}}]}
    found = by_name(doctor(allowed, None, [7], client))["project 7: images"]
    assert "Access-Control-Allow-Origin" in found.problem
    headers["Access-Control-Allow-Origin"] = "*"
    assert by_name(doctor(allowed, None, [7], client))["project 7: images"].ok
    server.close()


def test_a_full_disk(
    settings: Settings, client: LabelStudioClient, studio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    free = [LEAST_FREE_BYTES - 1]
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(0, 0, free[0]))
    assert "MiB" in by_name(doctor(settings, None, [], client))["disk space"].problem
    free[0] = LEAST_FREE_BYTES
    assert by_name(doctor(settings, None, [], client))["disk space"].ok


def test_an_lvm_that_is_not_there_or_not_described_is_found(
    settings: Settings, client: LabelStudioClient, studio: dict[str, Any], tmp_path: Path
) -> None:
    def finding(lvm: str) -> Finding:
        changed = settings.model_copy(update={"lvm": lvm})
        return by_name(doctor(changed, None, [], client))["the LVM is there"]

    assert finding("").ok
    assert "There is no folder" in finding(str(tmp_path / "nowhere")).problem
    assert "GALAXYLOOP_LVM" in finding(str(tmp_path / "nowhere")).remedy
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "config.json").write_text('{"model_type": "swin"}')
    assert "Nobody says the size" in finding(str(theirs)).problem
    (theirs / "preprocessor_config.json").write_text(
        '{"size": 64, "do_normalize": false, "do_resize": true}'
    )
    assert "model.safetensors" in finding(str(theirs)).problem


@pytest.mark.parametrize(
    ("host", "user", "ok"),
    [
        ("127.0.0.1", "", True),
        ("::1", "", True),
        ("localhost", "", True),
        ("0.0.0.0", "", False),
        ("backend.example", "", False),
        ("0.0.0.0", "galaxy", True),
    ],
)
def test_an_open_backend(
    settings: Settings, client: LabelStudioClient, studio: Any, host: str, user: str, ok: bool
) -> None:
    changed = settings.model_copy(
        update={"host": host, "basic_auth_user": user, "backend_url": "http://127.0.0.1:9"}
    )
    assert by_name(doctor(changed, None, [], client))["this backend is protected"].ok is ok


@pytest.mark.parametrize(("status", "said"), [(200, ""), (401, "credentials"), (404, "says 404")])
def test_what_answers_at_our_address(
    settings: Settings, client: LabelStudioClient, studio: Any, reply: Any, status: int, said: str
) -> None:
    from http_stand_in import StandIn

    server = StandIn()
    server.handler = lambda call: reply(status, {})
    ours = settings.model_copy(update={"backend_url": server.url})
    problem = by_name(doctor(ours, None, [], client))["this backend answers"].problem
    assert said in problem
    assert bool(problem) is bool(said)
    server.close()


def test_a_worker_and_a_failed_job(
    settings: Settings, store: Store, client: LabelStudioClient, studio: Any
) -> None:
    store.projects.save(7)
    job = store.jobs.enqueue("round", 7)
    assert (
        "1 jobs wait"
        in by_name(doctor(settings, store, [7], client))["a worker is running"].problem
    )
    store.jobs.sign("worker")
    assert store.jobs.claim(job.id, "worker")
    assert store.jobs.fail(job.id, "worker", "The disk is full.")
    found = by_name(doctor(settings, store, None, client))
    assert found["a worker is running"].ok
    assert "The disk is full." in found["project 7: jobs"].problem


def test_other_errors_are_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        look("x", lambda: 1 / 0)

    def trouble() -> None:
        raise Trouble("a", "b")

    assert look("x", trouble) == Finding("x", False, "a", "b")


def test_connect_names_both_switches_where_private_addresses_are_refused(
    settings: Settings, store: Store, client: LabelStudioClient, studio: Any, reply: Any
) -> None:
    studio["POST /api/ml/"] = reply(403, BLOCKED)
    with pytest.raises(LabelStudioError) as caught:
        connect(settings, 7, store=store, client=client)
    for switch in ("ML_BLOCK_LOCAL_IP", "SSRF_PROTECTION_ENABLED", "USE_DEFAULT_BANNED_SUBNETS"):
        assert f"{switch}=false" in str(caught.value)
    # Attached, but its webhook is refused: what one of the two switches alone gives.
    studio["POST /api/ml/"] = {"id": 1}
    studio["POST /api/webhooks/"] = reply(403, BLOCKED)
    with pytest.raises(LabelStudioError, match="SSRF_PROTECTION_ENABLED=false"):
        connect(settings, 7, store=store, client=client)
    assert store.projects.get(7) is None
    assert store.jobs.queued() == []


def test_connect_refuses_a_project_that_asks_nothing(
    settings: Settings, store: Store, client: LabelStudioClient, studio: Any, stand_in: Any
) -> None:
    studio["GET /api/projects/7/"]["label_config"] = (
        '<View><Image name="i" value="$image"/><TextArea name="r" toName="i"/></View>'
    )
    with pytest.raises(LabelConfigError, match="TextArea"):
        connect(settings, 7, store=store, client=client)
    assert {call.method for call in stand_in.calls} == {"GET"}


def test_connect_with_options_asks_for_a_new_order(
    settings: Settings, store: Store, client: LabelStudioClient, studio: Any
) -> None:
    studio |= {
        "POST /api/ml/": {"id": 1},
        "POST /api/webhooks/": {"id": 2},
        "PATCH /api/projects/7/": {"id": 7},
    }
    connect(settings, 7, store=store, client=client)
    assert [job.payload for job in store.jobs.queued()] == [{}]
    connect(settings, 7, store=store, client=client, options={"audit_fraction": 0.3})
    assert [job.payload for job in store.jobs.queued()] == [{"rerank": True}]
