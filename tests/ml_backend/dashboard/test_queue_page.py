"""The queue's page: the published order, reasons in words, and wishes that only managers have."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from gallery import Gallery
from sqlalchemy import select

from ml_backend.dashboard.queue_rows import reason_of
from ml_backend.loop.galaxy_states import GalaxyState, Opinion
from ml_backend.store.crowd_tables import Wish
from ml_backend.store.tables import Project, Ranking, Task


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_a_round: Path) -> Gallery:
    return Gallery(tmp_path / "world", monkeypatch, after_a_round)


def _published(gallery: Gallery) -> list[int]:
    with gallery.store.reading() as session:
        project = session.get(Project, 1)
        assert project is not None
        return list(
            session.scalars(
                select(Ranking.task_id)
                .join(Task, Task.id == Ranking.task_id)
                .where(Ranking.version == project.champion, ~Task.is_labeled)
                .order_by(Ranking.place)
            )
        )


def _shown(page: str) -> list[int]:
    found = re.findall(r'<a href="/dashboard/1/explore/galaxy/(\d+)"><img', page)
    return [int(task) for task in found]


def _wishes(gallery: Gallery) -> dict[int, tuple[str, str]]:
    with gallery.store.reading() as session:
        return {row.task_id: (row.kind, row.account) for row in session.scalars(select(Wish))}


def test_galaxies_come_in_the_published_order_with_a_reason_each(gallery: Gallery) -> None:
    page = gallery.get("queue/").text
    order = _published(gallery)
    assert len(order) == 20
    assert _shown(page) == order
    reasons = re.findall(r'class="why">([^<]+)<', page)
    assert len(reasons) == 20
    assert any(reason.startswith("Drawn at random") for reason in reasons)
    assert any("doubts between" in r or "model says" in r or "not sure" in r for r in reasons)


def test_what_people_do_not_see_of_the_model_is_said(gallery: Gallery) -> None:
    served = gallery.world.label_studio.predictions(1, gallery.world.published)
    empty = {prediction["task"] for prediction in served if not prediction["result"]}
    assert 0 < len(empty) < 20
    page = gallery.get("queue/").text
    assert page.count("held back: people see an empty form") == len(empty)
    rows = list(csv.DictReader(io.StringIO(gallery.get("queue/queue.csv").text)))
    assert {int(row["task"]) for row in rows if row["held_back"] == "yes"} == empty
    assert all(row["suggested"] for row in rows)


def test_what_was_answered_since_is_left_out(gallery: Gallery) -> None:
    order = _published(gallery)
    with gallery.store.session() as session:
        task = session.get(Task, order[0])
        assert task is not None
        task.is_labeled = True
    assert _shown(gallery.get("queue/").text) == order[1:]


def test_the_table_has_every_open_galaxy_once(gallery: Gallery) -> None:
    rows = list(csv.DictReader(io.StringIO(gallery.get("queue/queue.csv").text)))
    assert [int(row["task"]) for row in rows] == _published(gallery)
    assert [int(row["place"]) for row in rows] == list(range(1, 21))
    assert all(0 <= float(row["confidence"]) <= 1 for row in rows)
    assert all(row["reason"] for row in rows)


def test_a_manager_pins_and_takes_back(gallery: Gallery) -> None:
    order = _published(gallery)
    answer = gallery.act("queue/wish", task=order[5], kind="pin")
    assert answer.status_code == 302
    assert _wishes(gallery) == {order[5]: ("pin", "ada")}
    assert gallery.deeds() == [("pin", "ada")]
    page = gallery.get("queue/").text
    assert "Pinned by ada." in page
    assert "The order follows in the next round" in page
    (job,) = [job for job in gallery.store.jobs.queued() if job.kind == "round"]
    assert job.payload["rerank"] is True
    gallery.act("queue/wish", task=order[5], kind="expert")
    assert _wishes(gallery) == {order[5]: ("expert", "ada")}
    gallery.act("queue/wish", task=order[5], kind="")
    assert _wishes(gallery) == {}


def test_what_is_pinned_outside_the_queue_is_shown_as_waiting(gallery: Gallery) -> None:
    outside = next(t for t in gallery.tasks[12:] if t not in _published(gallery))
    gallery.act("queue/wish", task=outside, kind="pin")
    page = gallery.get("queue/").text
    assert "not in the published queue yet" in page
    assert _shown(page)[0] == outside


def test_only_managers_with_our_form_wish(gallery: Gallery) -> None:
    task = gallery.tasks[20]
    assert gallery.post("queue/wish", task=task, kind="pin").status_code == 403
    assert gallery.post("queue/wish", task=task, kind="pin", csrf="made up").status_code == 403
    gallery.log_in("bob")
    assert gallery.act("queue/wish", task=task, kind="pin").status_code == 403
    assert 'name="kind"' not in gallery.get("queue/").text
    assert _wishes(gallery) == {}
    assert gallery.deeds() == []


@pytest.mark.parametrize(
    ("task", "kind", "status"),
    [
        ("999999", "pin", 404),
        ("99999999999999999999999999", "pin", 404),
        ("'; DROP TABLE tasks", "pin", 404),
        ("", "pin", 404),
        ("1", "<script>", 400),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(
    gallery: Gallery, task: str, kind: str, status: int
) -> None:
    assert gallery.act("queue/wish", task=task, kind=kind).status_code == status
    assert _wishes(gallery) == {}


def test_tasks_of_other_projects_cannot_be_wished_for(gallery: Gallery) -> None:
    with gallery.store.session() as session:
        session.add(Task(id=777_777, project_id=2))
    assert gallery.act("queue/wish", task=777_777, kind="pin").status_code == 404
    assert _wishes(gallery) == {}


def test_no_project_answers_404_and_no_login_leads_to_one(gallery: Gallery) -> None:
    assert gallery.http.get("/dashboard/99/queue/").status_code == 404
    fresh = gallery.app.test_client()
    assert "/dashboard/login" in fresh.get("/dashboard/1/queue/").headers["Location"]
    assert fresh.get("/dashboard/1/queue/queue.csv").status_code == 302


@pytest.mark.parametrize("page", ["0", "-3", "999", "x", "9" * 30])
def test_odd_pages_show_some_page(gallery: Gallery, page: str) -> None:
    assert _shown(gallery.get(f"queue/?page={page}").text)


def test_the_first_day_and_the_end_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery(tmp_path / "world", monkeypatch)
    assert "There is no queue yet" in gallery.get("queue/").text
    gallery.world.vote(60)
    gallery.world.round()
    assert "used up" in gallery.get("queue/").text
    assert list(csv.DictReader(io.StringIO(gallery.get("queue/queue.csv").text))) == []


def test_damaged_heads_cost_the_suggestions_only(gallery: Gallery) -> None:
    for path in (gallery.store.folder / "versions").rglob("*.safetensors"):
        path.write_bytes(b"broken")
    assert _shown(gallery.get("queue/").text) == _published(gallery)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (GalaxyState(1, place=0, arm="cold"), "no labels"),
        (GalaxyState(1, place=0, arm="audit"), "at random"),
        (GalaxyState(1, place=0, arm="active", is_gold=True), "known answer"),
        (GalaxyState(1, wish="postpone", wished_by="ada", arm="audit"), "Postponed by ada"),
        (
            GalaxyState(1, place=0, arm="active", people=2, said=Opinion("Ring", 0.7)),
            "2 people have answered; together they say Ring (70 %)",
        ),
        (
            GalaxyState(1, place=0, arm="active", opinions=(Opinion("A", 0.45), Opinion("B", 0.4))),
            "doubts between A (45 %) and B (40 %)",
        ),
        (GalaxyState(1, place=0, arm="active", interest=0.9), "of interest (90 %)"),
        (GalaxyState(1), "Not in the published queue"),
    ],
)
def test_reasons_are_told_in_words(state: GalaxyState, told: str) -> None:
    assert told in reason_of(state)
