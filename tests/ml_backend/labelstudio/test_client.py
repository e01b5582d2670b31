"""What the client makes of Label Studio's answers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.transport import Transport


@pytest.fixture
def client(stand_in: Any) -> LabelStudioClient:
    return LabelStudioClient(transport=Transport(stand_in.url, "legacy", sleep=lambda _: None))


def asked(call: Any) -> tuple[str, dict[str, str]]:
    parts = urlsplit(call.path)
    return parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}


def test_tasks_are_paged_behind_the_last_id(
    client: LabelStudioClient, stand_in: Any, reply: Any
) -> None:
    # Task 3 is deleted while the pages are read: no other task may be left out.
    alive = [{"id": i} for i in (1, 2, 3, 4, 5)]

    def handler(call: Any) -> Any:
        _, query = asked(call)
        items = json.loads(query["query"])["filters"]["items"]
        rows = [task for task in alive if task["id"] > items[0]["value"]]
        page = rows[: int(query["page_size"])]
        alive[:] = [task for task in alive if task["id"] != 3]
        return reply(content={"tasks": page})

    stand_in.handler = handler
    assert [task["id"] for task in client.tasks(9, page_size=2)] == [1, 2, 4, 5]
    assert all(asked(call)[1]["fields"] == "all" for call in stand_in.calls)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        datetime(2026, 1, 2, 3, 4, 5, 6),
        datetime(2026, 1, 2, 5, 4, 5, 6, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_times_are_sent_as_label_studio_reads_them(
    client: LabelStudioClient, stand_in: Any, reply: Any, moment: datetime
) -> None:
    stand_in.handler = lambda call: reply(content={"tasks": []})
    assert list(client.tasks(9, updated_since=moment)) == []
    item = json.loads(asked(stand_in.calls[0])[1]["query"])["filters"]["items"][1]
    assert item["filter"] == "filter:tasks:updated_at"
    assert item["value"] == "2026-01-02T03:04:05.000006Z"


def test_tasks_are_imported_in_batches(
    client: LabelStudioClient, stand_in: Any, reply: Any
) -> None:
    def handler(call: Any) -> Any:
        return reply(201, {"task_ids": [task["data"]["n"] for task in call.json]})

    stand_in.handler = handler
    tasks = [{"data": {"n": n}} for n in range(2500)]
    assert client.import_tasks(1, tasks) == list(range(2500))
    assert [len(call.json) for call in stand_in.calls] == [1000, 1000, 500]
    stand_in.handler = lambda call: reply(201, {"task_ids": [1]})
    with pytest.raises(LabelStudioError, match="1 of 2"):
        client.import_tasks(1, tasks[:2])


def test_no_next_task_is_no_error(client: LabelStudioClient, stand_in: Any, reply: Any) -> None:
    stand_in.handler = lambda call: reply(404, {"detail": "There are no tasks for a@b.c"})
    assert client.next_task(1) is None
    stand_in.handler = lambda call: reply(404, {"detail": "Not found."})
    with pytest.raises(LabelStudioError):
        client.next_task(1)


def test_deleting_what_is_gone_is_no_error(
    client: LabelStudioClient, stand_in: Any, reply: Any
) -> None:
    stand_in.handler = lambda call: reply(404, {"detail": "Not found."})
    client.delete_prediction(1)
    client.delete_annotation(1)
    stand_in.handler = lambda call: reply(403, {})
    with pytest.raises(LabelStudioError):
        client.delete_backend(1)


def test_predictions_are_filtered_by_version(
    client: LabelStudioClient, stand_in: Any, reply: Any
) -> None:
    rows = [{"id": 1, "model_version": "v1"}, {"id": 2, "model_version": "v10"}]
    stand_in.handler = lambda call: reply(content=rows)
    assert client.predictions(1, "v1") == rows[:1]
    assert client.predictions(1) == rows


def test_projects_are_read_to_the_last_page(
    client: LabelStudioClient, stand_in: Any, reply: Any
) -> None:
    def handler(call: Any) -> Any:
        page = int(asked(call)[1]["page"])
        return reply(content={"results": [{"id": page}], "next": "x" if page < 3 else None})

    stand_in.handler = handler
    assert [project["id"] for project in client.projects()] == [1, 2, 3]


@pytest.mark.parametrize(
    "content", [None, 3, [], "x", {"tasks": None}, {"tasks": [{"x": 1}]}, {"tasks": [3]}]
)
def test_answers_of_another_shape_are_refused(
    client: LabelStudioClient, stand_in: Any, reply: Any, content: Any
) -> None:
    stand_in.handler = lambda call: reply(content=content)
    with pytest.raises(LabelStudioError):
        list(client.tasks(1))


@pytest.mark.parametrize("content", [{}, {"created": "3"}, []])
def test_an_import_that_does_not_say_how_many_is_refused(
    client: LabelStudioClient, stand_in: Any, reply: Any, content: Any
) -> None:
    stand_in.handler = lambda call: reply(201, content)
    with pytest.raises(LabelStudioError):
        client.import_predictions(1, [])


def test_the_password_of_the_backend_is_sent_only_where_there_is_one(
    client: LabelStudioClient, stand_in: Any, reply: Any
) -> None:
    stand_in.handler = lambda call: reply(201, {"id": 1})
    client.attach_backend(1, "http://b", "t")
    assert stand_in.calls[-1].json["auth_method"] == "NONE"
    client.attach_backend(1, "http://b", "t", "u", "p", backend=5)
    sent = stand_in.calls[-1]
    assert (sent.method, sent.path) == ("PATCH", "/api/ml/5")
    # Label Studio fails on a change that leaves out the address.
    assert sent.json["url"] == "http://b"
    assert (sent.json["basic_auth_user"], sent.json["basic_auth_pass"]) == ("u", "p")


def test_the_clock_is_compared(client: LabelStudioClient, stand_in: Any, reply: Any) -> None:
    stand_in.handler = lambda call: reply(content={"status": "UP"})
    assert abs(client.clock_skew()) < 3
