"""The dashboard's frame: its first page, its errors, and what it must not do."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dashboard_world import HTML, SCRIPT, DashboardSite, Tags, open_site
from sqlalchemy.exc import OperationalError

from ml_backend.dashboard.projects_page import counts_of, next_step
from ml_backend.dashboard.words import ago, grouped, size
from ml_backend.errors import LabelStudioError, StoreError
from ml_backend.store.dashboard_tables import Figure
from ml_backend.store.projects import ProjectStore
from ml_backend.store.tables import Job, Project, Task, Version

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
STYLE = Path(__file__).parents[3] / "ml_backend" / "dashboard" / "static" / "style.css"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DashboardSite]:
    with open_site(tmp_path) as made:
        yield made


def _champion(site: DashboardSite, **columns: Any) -> None:
    site.store.projects.save(3, "Rings & <script>alert(1)</script>", "<View/>", champion="p3-v3")
    with site.store.session() as session:
        session.add(
            Version(
                name="p3-v3", project_id=3, number=3, kind="trained", state="published", votes=20,
                created_at=NOW, published_at=NOW,
                quality={"shape": {"macro_auc": 0.84, "accuracy": None}}, **columns,
            )
        )  # fmt: skip
        session.add(Task(id=1, project_id=3, is_labeled=True))
        session.add(Task(id=2, project_id=3))


def test_an_empty_backend_says_what_to_do(site: DashboardSite) -> None:
    page = site.visitor("vera").get("/dashboard/", headers=HTML).text
    assert "galaxyloop connect" in page
    assert "No worker runs" in page


def test_the_first_page_tells_the_state_of_a_project(site: DashboardSite) -> None:
    _champion(site)
    site.store.jobs.sign("worker:1")
    page = Tags(site.visitor("vera").get("/dashboard/", headers=HTML).text)
    assert "No worker runs" not in page.text
    for told in ("p3-v3", "0.840", "1 of 2", "made from 20 votes"):
        assert told in page.text
    assert "https://labels.example.org/projects/3/data" in page.links
    # The deep link into the label stream ignores the order of the queue.
    assert not any("labeling=1" in link for link in page.links)
    assert "Label All Tasks" in page.text


@pytest.mark.parametrize(
    ("columns", "counts", "works", "said"),
    [
        ({}, {}, False, "Start a worker"),
        ({"failures": 2}, {}, True, "last round failed"),
        ({"champion": None}, {}, True, "first round"),
        ({}, {"tasks": 0, "labeled": 0}, True, "Import images"),
        ({}, {"broken": 40}, True, "40 images cannot be used"),
        ({}, {"votes": 0}, True, "first galaxies"),
        ({}, {"labeled": 100}, True, "galaxyloop export"),
        ({}, {}, True, "90 galaxies are open for a vote"),
    ],
)
def test_the_next_thing_to_do_follows_from_the_state(
    columns: dict[str, Any], counts: dict[str, int], works: bool, said: str
) -> None:
    project = Project(**{"id": 3, "champion": "v1", "failures": 0, **columns})
    known = {"tasks": 100, "labeled": 10, "broken": 1, "votes": 12, **counts}
    assert said in next_step(project, known, None, works).said


def test_a_first_round_says_how_far_it_is() -> None:
    project, job = Project(id=3, failures=0), Job(message="encoding 5 of 20 images")
    counts = {"tasks": 20, "labeled": 0, "broken": 0, "votes": 0}
    assert "encoding 5 of 20 images" in next_step(project, counts, job, True).said


def test_large_projects_show_what_the_last_round_counted(
    site: DashboardSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    _champion(site)
    kept = dict.fromkeys(("labeled", "broken", "votes", "annotations", "skips", "annotators"), 7)
    with site.store.session() as session:
        session.add(Figure(project_id=3, name="counts", at=NOW, data={**kept, "tasks": 2}))
    assert counts_of(site.store, 3)[0]["labeled"] == 1
    with site.store.session() as session:
        session.merge(Figure(project_id=3, name="counts", at=NOW, data={**kept, "tasks": 10**6}))
    monkeypatch.setattr(ProjectStore, "counts", lambda *_: pytest.fail("counted anew"))
    page = Tags(site.visitor("vera").get("/dashboard/", headers=HTML).text)
    assert "7 of 1\u2009000\u2009000" in page.text or "7 of 1 000 000" in page.text
    assert "by the last round" in page.text


def test_titles_from_outside_stay_text_and_no_script_stands_in_a_page(site: DashboardSite) -> None:
    _champion(site)
    client = site.visitor("ada")
    for path in ("/dashboard/", "/dashboard/3/health/", "/dashboard/3/models/"):
        answer = client.get(path, headers=HTML)
        page = Tags(answer.text)
        assert "<script>alert(1)</script>" in page.text
        for tag, attributes in page.tags:
            assert tag != "style"
            assert tag != "script" or str(attributes["src"]).startswith("/dashboard/")
            assert not any(name == "style" or name.startswith("on") for name in attributes)
        policy = dict(
            part.strip().split(" ", 1)
            for part in answer.headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"


def test_browsers_are_led_to_the_pages_and_programs_are_not(tmp_path: Path) -> None:
    with open_site(tmp_path, basic_auth_user="studio", basic_auth_pass="secret") as site:
        client = site.visitor()
        assert client.get("/", headers=HTML).location == "/dashboard/"
        assert client.get("/", headers=SCRIPT).status_code == 401
        # The pages' own files ask for no second password.
        assert client.get("/dashboard/static/style.css").status_code == 200
        for path in ("/jobs", "/doctor", "/dashboardx", "/versions"):
            assert client.get(path, headers=HTML).status_code == 401


def test_errors_are_pages_inside_and_json_elsewhere(site: DashboardSite) -> None:
    client = site.visitor("vera")
    inside = client.get("/dashboard/9/health/", headers=HTML)
    assert inside.status_code == 404
    assert "Project 9 is not connected" in inside.text
    assert "To the projects" in inside.text
    assert client.get(f"/dashboard/{2**70}/models/", headers=HTML).status_code == 404
    assert client.get("/dashboard/nothing/here", headers=HTML).mimetype == "text/html"
    assert client.get("/dashboard/9/health/now.json", headers=SCRIPT).mimetype == "application/json"
    assert client.get("/nothing", headers=HTML).mimetype == "application/json"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (RuntimeError("inner detail"), 500, "Load the page again"),
        (StoreError("The disk is full."), 503, "The disk is full."),
        (OperationalError("SELECT secret", {}, Exception("database is locked")), 503, "is locked"),
        (LabelStudioError("Label Studio does not answer."), 502, "does not answer"),
    ],
)
def test_what_fails_is_said_in_the_look_of_the_site(
    site: DashboardSite, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, said: str
) -> None:
    client = site.visitor("vera")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ProjectStore, "listing", fail)
    answer = client.get("/dashboard/", headers=HTML)
    assert answer.status_code == status
    assert said in answer.text
    assert "inner detail" not in answer.text
    assert "SELECT" not in answer.text
    assert "<header" in answer.text


def test_a_broken_store_still_gives_a_page(
    site: DashboardSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = site.visitor("vera")
    broken = OperationalError("SELECT", {}, Exception("unable to open database file"))
    monkeypatch.setattr(site.store.accounts, "get", lambda _: (_ for _ in ()).throw(broken))
    answer = client.get("/dashboard/", headers=HTML)
    assert answer.status_code == 503
    assert "unable to open database file" in answer.text
    assert answer.headers["Retry-After"]


def test_the_web_application_loads_nothing_heavy() -> None:
    code = (
        "import sys, ml_backend.app\n"
        "print([n for n in ('torch', 'sklearn', 'scipy') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.strip().endswith("[]"), done.stdout + done.stderr


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1])
def test_text_can_be_read_light_and_dark(theme: int) -> None:
    """WCAG 2.1 AA: a contrast of 4.5 between text and what lies behind it."""
    block = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.S)[theme]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
    pairs = [
        *itertools.product(("text", "quiet", "accent", "good", "bad"), ("back", "card")),
        *(("on-accent", "accent"), ("text", "bad-back"), ("good", "good-back"), ("card", "bad")),
    ]
    for front, back in pairs:
        low, high = sorted((_luminance(colours[front]), _luminance(colours[back])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (front, back)


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


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (3.44e9, "3.4 GB"), (2e17, "200000 TB")],
)
def test_sizes_are_said_in_words(count: float, said: str) -> None:
    assert size(count) == said


def test_large_numbers_are_grouped() -> None:
    assert grouped(1234567).split("\u2009") == ["1", "234", "567"]
