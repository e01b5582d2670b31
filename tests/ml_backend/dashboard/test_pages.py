"""The page for people: what it tells, what it must not do, and that it never waits."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
from ml_backend.dashboard.chart import CurvePoint, learning_curve
from ml_backend.dashboard.pages import ago

from ml_backend.app import create_app
from ml_backend.dashboard.checkups import Checkups
from ml_backend.settings import load_settings
from ml_backend.store.database import open_store
from ml_backend.store.tables import Job, Task, Version, Vote

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HTML = {"Accept": "text/html"}


@dataclass(frozen=True)
class Found:
    check: str
    ok: bool
    problem: str = ""
    remedy: str = ""


class Tags(HTMLParser):
    """Collects the tags and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Any]:
    settings = load_settings(
        _env_file=None,
        model_dir=tmp_path / "data",
        label_studio_url="http://label-studio:8080",
        label_studio_public_url="https://labels.example.org",
    )
    store = open_store(settings)
    made = SimpleNamespace(store=store, findings=[])
    app = create_app(
        settings, store, predictor_of=lambda _: pytest.fail("asked"), check=lambda: made.findings
    )
    made.client = app.test_client()
    yield made
    store.close()


def _project_with_rounds(store: Any) -> None:
    store.projects.save(3, "Rings & <script>alert(1)</script>", "<View/>", champion="p3-v3")
    with store.session() as session:
        for number, (kind, auc, published) in enumerate(
            [("cold", None, True), ("trained", 0.71, True), ("trained", 0.84, True)], start=1
        ):
            session.add(
                Version(
                    name=f"p3-v{number}",
                    project_id=3,
                    number=number,
                    kind=kind,
                    state="published" if number == 3 else "retired",
                    created_at=NOW,
                    published_at=NOW if published else None,
                    votes=10 * (number - 1),
                    quality={} if auc is None else {"shape": {"macro_auc": auc, "accuracy": None}},
                )
            )
        session.add(
            Version(
                name="p3-v4",
                project_id=3,
                number=4,
                kind="trained",
                state="rejected",
                created_at=NOW,
                votes=30,
                quality={"shape": {"macro_auc": 0.8, "accuracy": 0.6}},
                gate={"reason": "Not promoted, worse on all votes."},
            )
        )
        session.add(Task(id=1, project_id=3, is_labeled=True))
        session.add(Task(id=2, project_id=3, problem="The file is empty."))
        session.add(
            Vote(
                annotation_id=1, control="shape", project_id=3, task_id=1, annotator=5, labels=["a"]
            )
        )


def test_an_empty_backend_says_what_to_do(backend: Any) -> None:
    page = backend.client.get("/", headers=HTML).text
    assert "galaxyloop connect" in page
    assert "No worker runs" in page


def test_the_page_tells_the_state_of_a_project(backend: Any) -> None:
    _project_with_rounds(backend.store)
    backend.store.jobs.sign("worker:1")
    page = Tags(backend.client.get("/", headers=HTML).text)
    assert "No worker runs" not in page.text
    for told in ("p3-v3", "0.840", "1 of 2", "Not promoted, worse on all votes.", "file is empty"):
        assert told in page.text
    assert sum(tag == "circle" for tag, _ in page.tags) == 3


def test_the_link_goes_to_the_data_manager_and_says_which_button(backend: Any) -> None:
    _project_with_rounds(backend.store)
    page = Tags(backend.client.get("/", headers=HTML).text)
    links = [attributes.get("href") for tag, attributes in page.tags if tag == "a"]
    assert "https://labels.example.org/projects/3/data" in links
    # The deep link into the label stream ignores the order of the queue.
    assert not any("labeling=1" in (link or "") for link in links)
    assert "Label All Tasks" in page.text


def test_titles_from_outside_stay_text_and_nothing_runs_in_the_page(backend: Any) -> None:
    _project_with_rounds(backend.store)
    answer = backend.client.get("/", headers=HTML)
    page = Tags(answer.text)
    assert "<script>alert(1)</script>" in page.text
    assert not any(tag in ("script", "style") for tag, _ in page.tags)
    for _, attributes in page.tags:
        assert not any(name == "style" or name.startswith("on") for name in attributes)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_what_came_of_tuning_is_shown(backend: Any) -> None:
    _project_with_rounds(backend.store)
    row = backend.store.tunings.begin(3, "a" * 32, 320)
    assert "Tuning the LVM" not in backend.client.get("/", headers=HTML).text
    backend.store.tunings.note(row.id, state="refused", reason="Nothing <b>gained</b>.")
    page = Tags(backend.client.get("/", headers=HTML).text)
    assert "320 labelled galaxies" in " ".join(page.text.split())
    assert "Nothing <b>gained</b>." in page.text


def test_jobs_are_shown_and_given_as_json(backend: Any) -> None:
    backend.store.projects.save(3, "Rings")
    with backend.store.session() as session:
        session.add(
            Job(
                kind="round",
                project_id=3,
                state="running",
                progress=0.25,
                message="encoding 5 of 20 images",
                created_at=NOW,
                heartbeat_at=NOW,
            )
        )
    page = backend.client.get("/", headers=HTML).text
    assert "encoding 5 of 20 images" in page
    assert 'http-equiv="refresh"' in page
    (job,) = backend.client.get("/jobs").json["jobs"]
    assert (job["kind"], job["state"], job["progress"]) == ("round", "running", 0.25)
    assert job["created_at"] == "2026-11-23T12:00:00+00:00"
    assert backend.client.get("/jobs?project=4").json["jobs"] == []
    assert backend.client.get("/jobs?limit=-5").status_code == 200


def test_the_doctor_is_told_on_its_page_and_as_json(backend: Any) -> None:
    backend.findings[:] = [Found("a", True), Found("b <i>", False, "It is off.", "Turn it on.")]
    page = Tags(backend.client.get("/doctor", headers=HTML).text)
    for told in ("b <i>", "It is off.", "Turn it on."):
        assert told in page.text
    findings = backend.client.get("/doctor").json["findings"]
    assert [finding["ok"] for finding in findings] == [True, False]


def test_the_home_page_does_not_wait_for_the_doctor() -> None:
    begun, release = threading.Event(), threading.Event()

    def slow() -> list[Found]:
        begun.set()
        release.wait(30)
        return [Found("a", True)]

    checkups = Checkups(slow)
    assert checkups.latest() is None
    assert begun.wait(10)
    assert checkups.latest() is None
    release.set()
    assert [finding.check for finding in checkups.run().findings] == ["a"]


def test_an_old_result_is_shown_and_renewed() -> None:
    clock = [NOW]
    runs = threading.Semaphore(0)

    def check() -> list[Found]:
        runs.release()
        return []

    checkups = Checkups(check, now=lambda: clock[0])
    checkups.run()
    assert runs.acquire(timeout=5)
    assert checkups.latest() is not None
    assert not runs.acquire(timeout=0.2)
    clock[0] += timedelta(minutes=5)
    assert checkups.latest() is not None
    assert runs.acquire(timeout=5)


def test_a_doctor_that_fails_costs_only_itself() -> None:
    def fail() -> list[Found]:
        raise RuntimeError("inner detail")

    checkup = Checkups(fail).run()
    assert "RuntimeError" in checkup.failure
    assert "inner detail" not in checkup.failure


def test_the_curve_rises_where_the_quality_does() -> None:
    points = [
        CurvePoint(20, 0.9, True, "b"),
        CurvePoint(10, 0.7, True, "a"),
        CurvePoint(30, 0.8, False, "<c>"),
    ]
    drawing = ElementTree.fromstring(learning_curve(points, "macro AUC"))
    circles = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in drawing.iter("circle")]
    assert [x for x, _ in circles] == sorted(x for x, _ in circles)
    assert circles[1][1] < circles[2][1] < circles[0][1]
    (line,) = drawing.iter("polyline")
    assert len(line.get("points", "").split()) == 2


@pytest.mark.parametrize("quality", [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.999, 0.2]])
def test_the_curve_stays_inside_its_frame(quality: list[float]) -> None:
    points = [CurvePoint(0, value, True, "v") for value in quality]
    drawing = ElementTree.fromstring(learning_curve(points, "accuracy"))
    _, _, width, height = map(float, drawing.get("viewBox", "").split())
    for circle in drawing.iter("circle"):
        assert 0 <= float(circle.get("cx", "")) <= width
        assert 0 <= float(circle.get("cy", "")) <= height


def test_one_point_is_no_curve() -> None:
    assert learning_curve([CurvePoint(1, 0.5, True, "a")], "accuracy") == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "just now"),
        (3, "just now"),
        (45, "45 seconds ago"),
        (60, "1 minute ago"),
        (7300, "2 hours ago"),
        (90000, "1 day ago"),
    ],
)
def test_times_are_said_in_words(seconds: float, said: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == said


def test_an_unknown_time_is_a_dash() -> None:
    assert ago(None) == "–"


@pytest.mark.browser
def test_the_page_fits_a_phone_and_breaks_no_policy(backend: Any, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from werkzeug.serving import make_server

    browser_path = _browser()
    if browser_path is None:
        pytest.skip("no Chromium: run `make browser` or install one")
    _project_with_rounds(backend.store)
    server = make_server("127.0.0.1", 0, backend.client.application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with playwright.sync_playwright() as session:
            browser = session.chromium.launch(
                executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 390, "height": 844})
            complaints: list[str] = []
            page.on("console", lambda message: complaints.append(message.text))
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            assert page.evaluate("getComputedStyle(document.body).margin") == "0px"
            assert complaints == []
            browser.close()
    finally:
        server.shutdown()
        thread.join(10)


def _browser() -> str | None:
    return next(
        (
            path
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (path := shutil.which(name))
        ),
        None,
    )
