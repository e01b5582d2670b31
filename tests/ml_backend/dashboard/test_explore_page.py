"""Explore: the map, the search by marks and by an image, and what becomes of a selection."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery import Gallery
from PIL import Image
from sqlalchemy import select
from stand_ins import Sky, tiny_lvm, truth

from ml_backend.dashboard.explore_map import drawn_tasks, map_plot, map_points
from ml_backend.dashboard.plots import DARK
from ml_backend.dashboard.search_form import PER_STEP
from ml_backend.errors import LabelStudioError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.loop.galaxy_states import GalaxyState, Opinion
from ml_backend.loop.project_map import ProjectMap, load_map, make_map
from ml_backend.loop.uploads import MOST_PIXELS, packed
from ml_backend.store.tables import Job, Task, Version


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_a_round: Path) -> Gallery:
    monkeypatch.setattr("ml_backend.loop.uploads.load_lvm", lambda settings: tiny_lvm())
    return Gallery(tmp_path / "world", monkeypatch, after_a_round)


@pytest.fixture
def mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_a_map: Path) -> Gallery:
    return Gallery(tmp_path / "world", monkeypatch, with_a_map)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gallery:
    return Gallery(tmp_path / "world", monkeypatch)


class LabelStudio:
    """What sending asks of Label Studio."""

    def __init__(self, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images, self.imported = gallery.world.images, []  # type: ignore[var-annotated]
        self.fails = False
        monkeypatch.setattr(LabelStudioClient, "task_data", lambda _, *a: self.task_data(*a))
        monkeypatch.setattr(LabelStudioClient, "import_tasks", lambda _, *a: self.import_tasks(*a))

    def task_data(self, project: int, tasks: list[int]) -> dict[int, Any]:
        return {task: {"image": self.images[task], "ra": 1.5} for task in tasks}

    def import_tasks(self, project: int, tasks: list[Any]) -> list[int]:
        if self.fails:
            raise LabelStudioError("Label Studio does not answer.")
        self.imported += [(project, task["data"]) for task in tasks]
        count = len(self.imported)
        return list(range(9000 + count - len(tasks), 9000 + count))


def _shown(page: str) -> list[int]:
    return [int(task) for task in re.findall(r'name="mark-(\d+)" value="yes"', page)]


def _hidden(page: str) -> dict[str, str]:
    form = page[page.index('class="marking"') :]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))


def _kind(gallery: Gallery, task: int) -> str:
    return truth(gallery.world.images[task])


# the map


def test_a_round_asks_for_a_map_and_its_job_makes_it(gallery: Gallery) -> None:
    assert [job.kind for job in gallery.store.jobs.queued()].count("map") == 1
    page = gallery.get("explore/").text
    assert "There is no map yet. The worker is making it" in page
    assert gallery.get("explore/map.json").status_code == 404
    assert "60 galaxies" in make_map(gallery.store, 1)
    kept = load_map(gallery.store, 1)
    assert kept is not None
    assert kept.task_ids.tolist() == gallery.tasks
    assert np.abs(kept.places).max() <= 1
    assert "data-plot" in gallery.get("explore/").text


def test_a_map_is_asked_for_again_only_when_a_tenth_is_new(mapped: Gallery) -> None:
    with mapped.store.session() as session:
        for job in session.scalars(select(Job).where(Job.kind == "map")):
            job.state = "done"
    from stand_ins import sky

    def asked_after(count: int, start: int) -> bool:
        mapped.world.label_studio.add_tasks(1, sky(count, start))
        mapped.world.round()
        return any(job.kind == "map" for job in mapped.store.jobs.queued())

    assert not asked_after(6, 100)
    assert asked_after(1, 200)


def test_the_same_seed_gives_the_same_map_and_neighbours_stay_together(mapped: Gallery) -> None:
    first = load_map(mapped.store, 1)
    make_map(mapped.store, 1)
    second = load_map(mapped.store, 1)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.places, second.places)
    kinds = np.array([_kind(mapped, task) for task in mapped.tasks])
    far = np.linalg.norm(first.places[:, None] - first.places, axis=2)
    np.fill_diagonal(far, np.inf)
    assert (kinds[far.argmin(axis=1)] == kinds).mean() > 0.9


def test_a_damaged_map_is_no_map(mapped: Gallery) -> None:
    (path,) = (mapped.store.folder / "maps").glob("*.safetensors")
    whole = path.read_bytes()
    for broken in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        assert load_map(mapped.store, 1) is None
        assert "There is no map yet" in mapped.get("explore/").text


@pytest.mark.parametrize("colour", ["class", "doubt", "votes", "<script>"])
def test_the_plot_has_every_galaxy_and_a_thumbnail_on_hover(mapped: Gallery, colour: str) -> None:
    answer = mapped.get("explore/map.json", query_string={"colour": colour, "theme": "dark"})
    text = answer.text
    assert '"name":"galaxies"' in text.replace(" ", "")
    assert "/dashboard/1/explore/thumbnail/@{task}?side=96" in text
    assert json.loads(text)["doc"]
    assert all(f'"{task}"' in text for task in mapped.tasks)
    assert "CustomJS" not in text


def test_of_a_large_map_a_sample_is_drawn_the_same_each_time() -> None:
    ids = np.arange(1, 1_000_001, dtype=np.int64)
    large = ProjectMap(ids, np.zeros((len(ids), 2), np.float32), "x")
    drawn = drawn_tasks(large, 3)
    assert len(set(drawn)) == len(drawn) == 5000
    assert drawn == drawn_tasks(large, 3) == sorted(drawn)
    assert drawn != drawn_tasks(large, 4)


def test_people_come_before_the_model_on_the_map() -> None:
    kept = ProjectMap(np.array([1, 2, 3]), np.eye(3, 2, dtype=np.float32), "x")
    states = [
        GalaxyState(1, said=Opinion("Ring", None), opinions=(Opinion("Spiral", 0.9),)),
        GalaxyState(2, opinions=(Opinion("Spiral", 0.9),), doubt=0.2),
        GalaxyState(3),
    ]
    points = map_points(kept, states)
    assert [(p.label, p.by) for p in points] == [
        ("Ring", "people"), ("Spiral", "the model"), ("nothing said yet", ""),
    ]  # fmt: skip
    for colour in ("class", "doubt", "votes"):
        assert map_plot(points, colour, DARK, "x@{task}").renderers
        assert map_plot([], colour, DARK, "x@{task}").renderers


def test_the_map_as_a_table(mapped: Gallery) -> None:
    rows = list(csv.DictReader(io.StringIO(mapped.get("explore/map.csv").text)))
    assert [int(row["task"]) for row in rows] == mapped.tasks
    said = {int(row["task"]): row["class"] for row in rows if row["said_by"] == "people"}
    assert said == {task: _kind(mapped, task) for task in mapped.tasks[:12]}


# the search


def test_more_like_one_galaxy(gallery: Gallery) -> None:
    task = gallery.tasks[30]
    page = gallery.get(f"explore/search?yes={task}").text
    shown = _shown(page)
    assert len(shown) == PER_STEP
    assert task not in shown
    like = [_kind(gallery, other) == _kind(gallery, task) for other in shown]
    assert all(like[:15])


def test_marks_travel_in_the_form_and_each_step_learns_from_all(gallery: Gallery) -> None:
    page = gallery.get("explore/search").text
    for step in range(1, 4):
        shown, form = _shown(page), _hidden(page)
        marks = {
            f"mark-{task}": "yes" if _kind(gallery, task) == "Merger" else "no"
            for task in shown[:8]
        }
        before = len([t for t in form["yes"].split(",") if t])
        answer = gallery.post("explore/search", **form, **marks)
        assert answer.status_code == 200
        page = answer.text
        after = _hidden(page)
        assert after["step"] == str(step)
        yes = [t for t in after["yes"].split(",") if t]
        assert len(yes) == before + list(marks.values()).count("yes")
        assert not set(_shown(page)) & set(map(int, yes))
        assert f"{len(yes)} found" in page
    kinds = [_kind(gallery, int(task)) for task in yes]
    assert set(kinds) == {"Merger"}
    assert "may be of interest" in page


def test_the_rest_can_be_none_at_once(gallery: Gallery) -> None:
    page = gallery.get(f"explore/search?yes={gallery.tasks[2]}").text
    shown = _shown(page)
    page = gallery.post(
        "explore/search", **_hidden(page), **{f"mark-{shown[0]}": "yes"}, rest="no"
    ).text
    form = _hidden(page)
    assert set(map(int, form["no"].split(","))) == set(shown[1:])
    assert form["yes"] == f"{gallery.tasks[2]},{shown[0]}"


def test_marks_are_taken_back(gallery: Gallery) -> None:
    first, second, third, fourth = gallery.tasks[:4]
    form = {"yes": f"{first},{second}", "no": f"{third},{fourth}"}
    after = _hidden(gallery.post("explore/search", **form, **{f"mark-{first}": "clear"}).text)
    assert (after["yes"], after["no"]) == (str(second), f"{third},{fourth}")
    page = gallery.post("explore/search", **form, forget="no", **{f"mark-{third}": "yes"}).text
    after = _hidden(page)
    assert (after["yes"], after["no"]) == (f"{first},{second},{third}", "")


def test_what_was_found_becomes_a_selection_with_the_marks_of_this_step(gallery: Gallery) -> None:
    page = gallery.get(f"explore/search?yes={gallery.tasks[2]}").text
    new = _shown(page)[0]
    marks = {f"mark-{new}": "yes", f"mark-{_shown(page)[1]}": "no"}
    found = gallery.post("explore/selection", **_hidden(page), **marks).text
    chosen = re.findall(r'name="task" value="(\d+)"', found)
    assert list(map(int, chosen)) == [gallery.tasks[2], new]


def test_when_everything_is_marked_it_says_so(gallery: Gallery) -> None:
    yes = ",".join(map(str, gallery.tasks[:30]))
    no = ",".join(map(str, gallery.tasks[30:]))
    page = gallery.post("explore/search", yes=yes, no=no).text
    assert _shown(page) == []
    assert "Everything is marked" in page


def _upload(gallery: Gallery, data: bytes, name: str = "galaxy.png") -> Any:
    return gallery.post("explore/search", image=(io.BytesIO(data), name))


def test_more_like_an_uploaded_image(gallery: Gallery) -> None:
    answer = _upload(gallery, Sky().fetch("sky://Spiral/4711"))
    assert answer.status_code == 200
    shown = _shown(answer.text)
    assert all(_kind(gallery, task) == "Spiral" for task in shown[:15])
    form = _hidden(answer.text)
    assert form["aim"]
    marks = {f"mark-{task}": "yes" for task in shown[:2]}
    again = gallery.post("explore/search", **form, **marks).text
    assert _hidden(again)["aim"] == form["aim"]
    assert all(_kind(gallery, task) == "Spiral" for task in _shown(again)[:10])


def _bomb() -> bytes:
    """A PNG of a few kilobytes that claims 40000 x 40000 pixels, with the data to show for it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    side = (40_000).to_bytes(4, "big")
    lines = zlib.compress(bytes(5_000_000), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", side + side + b"\x08\x00\x00\x00\x00")
        + chunk(b"IDAT", lines)
        + chunk(b"IEND", b"")
    )


def _wide() -> bytes:
    made = io.BytesIO()
    Image.new("L", (MOST_PIXELS // 1000 + 1, 1000)).save(made, "PNG")
    return made.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"this is no image", b"PK\x03\x04" + bytes(100), b"<svg xmlns='x'/>", b"\x89PNG\r\n",
        _bomb(), _wide(), Sky().fetch("sky://Spiral/1")[:200], b"SIMPLE  =" + bytes(3000),
        b"\x1f\x8b\x08" + bytes(100), b"\x89HDF\r\n\x1a\n" + bytes(500),
    ],
    ids=[
        "empty", "text", "zip", "svg", "torn header", "bomb", "too many pixels", "torn", "bad FITS",
        "bad gzip", "bad HDF5",
    ],
)  # fmt: skip
def test_uploads_that_are_no_galaxy_say_why(gallery: Gallery, data: bytes) -> None:
    answer = _upload(gallery, data, "<b>x</b>.png")
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert "Traceback" not in answer.text
    assert gallery.get("explore/").status_code == 200


def test_an_upload_that_is_too_large_is_refused(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_backend.dashboard.explore_page.MOST_UPLOAD", 1000)
    answer = _upload(gallery, Sky().fetch("sky://Spiral/1"))
    assert answer.status_code == 400
    assert "larger than" in answer.text
    huge = bytes(gallery.store.settings.max_body_bytes + 1)
    assert _upload(gallery, huge).status_code == 413


def test_an_upload_needs_the_lvm_that_the_galaxies_were_encoded_by(gallery: Gallery) -> None:
    space_dimension = tiny_lvm().dimension
    with gallery.store.session() as session:
        version = session.scalar(select(Version).where(Version.state == "published"))
        assert version is not None
        version.lvm_identity = "another"
    gallery.store.embeddings("another", space_dimension).add(
        ["a" * 64], np.ones((1, space_dimension))
    )
    with gallery.store.session() as session:
        task = session.get(Task, gallery.tasks[0])
        assert task is not None
        task.content_hash = "a" * 64
    answer = _upload(gallery, Sky().fetch("sky://Spiral/1"))
    assert answer.status_code == 400
    assert "another LVM" in answer.text


@pytest.mark.parametrize(
    "aim",
    [
        "x", "AAAA", "é", "a" * 100_000,
        packed(np.zeros(3, np.float32)),
        base64.urlsafe_b64encode(np.full(tiny_lvm().dimension, np.inf, "<f2").tobytes()).decode(),
    ],
)  # fmt: skip
def test_forged_aims_are_refused(gallery: Gallery, aim: str) -> None:
    answer = gallery.post("explore/search", aim=aim)
    assert answer.status_code in (200, 400)
    if len(aim) < 2**16:
        assert answer.status_code == 400
        assert "Upload it again" in answer.text


@pytest.mark.parametrize(
    "form",
    [
        {"yes": "999999"},
        {"yes": "9" * 400},
        {"yes": "1" * 17 + "," * 100_000},
        {"yes": "<script>alert(1)</script>"},
        {"mark-abc": "yes"},
        {"mark-5": "perhaps", "step": "-1", "looked": "1e9"},
        {"shown": ",".join(map(str, range(100_000))), "rest": "no"},
    ],
)
def test_odd_marks_break_nothing(gallery: Gallery, form: dict[str, str]) -> None:
    answer = gallery.post("explore/search", **form)
    assert answer.status_code in (200, 400)
    assert "<script>alert" not in answer.text


def test_marks_of_another_project_are_left_out(gallery: Gallery) -> None:
    with gallery.store.session() as session:
        session.add(Task(id=777_777, project_id=2, image="sky://Spiral/9"))
    answer = gallery.post("explore/search", yes="777777")
    assert answer.status_code == 400
    assert gallery.get("explore/galaxy/777777").status_code == 404
    assert gallery.get("explore/galaxy/99999999999999999999999").status_code == 404
    assert "Task 777777" not in gallery.get("explore/selection?tasks=777777").text


def test_damaged_embeddings_are_never_found(gallery: Gallery) -> None:
    from ml_backend.loop.search import SearchSpaces

    space = SearchSpaces(gallery.store).of(1)
    assert space is not None

    class Rows:
        shape = space.rows.shape

        def __getitem__(self, rows: Any) -> Any:
            found = np.array(space.rows[rows])
            at = np.arange(len(space))[rows]
            found[at == 5] = np.nan
            return found

    broken = type(space)(space.lvm_identity, space.task_ids, Rows(), space.sample)  # type: ignore[arg-type]
    found = broken.step([gallery.tasks[0]], [], count=100)
    assert gallery.tasks[5] not in found.task_ids
    assert len(found.task_ids) == 58
    found = broken.step(gallery.tasks[:2], gallery.tasks[2:4], count=100)
    assert len(found.task_ids) == 55


# states


def test_the_first_day_says_what_to_do(fresh: Gallery) -> None:
    assert "No galaxy is encoded yet" in fresh.get("explore/").text
    assert fresh.get("explore/search?yes=1").status_code == 302
    assert make_map(fresh.store, 1).startswith("There is no map")
    assert "Nothing is selected" in fresh.get("explore/selection").text


def test_one_galaxy_is_enough_to_look_at(fresh: Gallery) -> None:
    for task in fresh.tasks[1:]:
        fresh.world.label_studio.remove_task(task)
    fresh.world.round()
    make_map(fresh.store, 1)
    assert "1 encoded galaxy" in fresh.get("explore/").text
    assert fresh.get("explore/map.json").status_code == 200
    assert "Everything is marked" in fresh.get(f"explore/search?yes={fresh.tasks[0]}").text


def test_a_galaxy_tells_what_is_known_of_it(gallery: Gallery) -> None:
    task = gallery.tasks[0]
    page = gallery.get(f"explore/galaxy/{task}").text
    assert "People say" in page
    assert _kind(gallery, task) in page
    assert "More like this" in page
    part = gallery.get(f"explore/galaxy/{task}?part=1").text
    assert "<html" not in part
    assert _kind(gallery, task) in part


# what becomes of a selection


def test_a_selection_is_sent_once(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    server = LabelStudio(gallery, monkeypatch)
    chosen = gallery.tasks[20:23]
    answer = gallery.act("explore/send", task=[*chosen, 777_777], target=2)
    assert answer.status_code == 302
    assert [project for project, _ in server.imported] == [2, 2, 2]
    assert [data["image"] for _, data in server.imported] == [
        gallery.world.images[task] for task in chosen
    ]
    assert all(data["ra"] == 1.5 for _, data in server.imported)
    assert "3 tasks were made in project 2" in gallery.get("explore/selection").text
    assert ("send", "ada") in gallery.deeds()
    assert any(job.project_id == 2 for job in gallery.store.jobs.queued())
    gallery.act("explore/send", task=[*chosen, gallery.tasks[30]], target=2)
    assert len(server.imported) == 4
    assert "3 of the images were there already" in gallery.get("explore/selection").text


def test_the_same_picture_twice_is_sent_once(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = LabelStudio(gallery, monkeypatch)
    first, second = gallery.tasks[20:22]
    with gallery.store.session() as session:
        one, other = session.get(Task, first), session.get(Task, second)
        assert one is not None
        assert other is not None
        other.content_hash = one.content_hash
    gallery.act("explore/send", task=[first, second], target=2)
    assert len(server.imported) == 1


def test_what_label_studio_refuses_is_told_and_leaves_nothing(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = LabelStudio(gallery, monkeypatch)
    server.fails = True
    gallery.act("explore/send", task=gallery.tasks[20], target=2)
    assert (
        "Nothing was sent. Label Studio does not answer." in gallery.get("explore/selection").text
    )
    with gallery.store.reading() as session:
        assert session.scalars(select(Task).where(Task.project_id == 2)).all() == []
    assert gallery.deeds() == []


def test_only_managers_with_our_form_send(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = LabelStudio(gallery, monkeypatch)
    task = gallery.tasks[20]
    assert gallery.post("explore/send", task=task, target=2).status_code == 403
    gallery.log_in("bob")
    assert gallery.act("explore/send", task=task, target=2).status_code == 403
    assert "Only managers" in gallery.get(f"explore/selection?tasks={task}").text
    assert server.imported == []


def test_odd_targets_are_refused(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    server = LabelStudio(gallery, monkeypatch)
    task = gallery.tasks[20]
    for target in ("99", "x", "", "-1", "9" * 30):
        assert gallery.act("explore/send", task=task, target=target).status_code == 404
    assert gallery.act("explore/send", task="", target=2).status_code == 400
    gallery.act("explore/send", task=task, target=1)
    assert "Pin them instead" in gallery.get("explore/selection").text
    gallery.store.projects.save(2, label_config="<View><broken")
    gallery.act("explore/send", task=task, target=2)
    assert "Nothing was sent" in gallery.get("explore/selection").text
    assert server.imported == []


def test_a_selection_as_a_table(gallery: Gallery) -> None:
    answer = gallery.post("explore/selection.csv", task=gallery.tasks[10:13])
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [int(row["task"]) for row in rows] == gallery.tasks[10:13]
