"""The page Health: what runs, what failed, and what to do."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dashboard_world import HTML, SCRIPT, DashboardSite, Found, Tags, form_token, open_site

from ml_backend.dashboard.checkups import Checkup
from ml_backend.dashboard.health_page import BROKEN_SHOWN, findings_of, label_studio_state
from ml_backend.store.sizes import sizes
from ml_backend.store.tables import Job, Task

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FOUND = [
    Found("disk space", True),
    Found("Label Studio answers", True),
    Found("project 3: webhook <i>", False, "It is off.", "Turn it on."),
    Found("project 33: webhook", False, "Of another project.", "Nothing."),
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DashboardSite]:
    with open_site(tmp_path, FOUND) as made:
        made.store.projects.save(3, "Rings", "<View/>")
        yield made


def _read(answer: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.text)))  # type: ignore[attr-defined]


def _job(site: DashboardSite, **columns: object) -> None:
    with site.store.session() as session:
        session.add(Job(**{"kind": "round", "project_id": 3, "created_at": NOW, **columns}))


def test_the_first_day_is_told(site: DashboardSite) -> None:
    page = Tags(site.visitor("vera").get("/dashboard/3/health/", headers=HTML).text)
    for told in ("No worker runs", "No job yet", "There are no tasks yet", "free on the disk"):
        assert told in page.text


def test_jobs_are_shown_as_they_go_on(site: DashboardSite) -> None:
    _job(site, state="failed", problem="Label Studio <b>refused</b>.")
    _job(site, state="running", progress=0.25, message="encoding 5 of 20 images")
    _job(site, state="running", message="of another project", project_id=4)
    client = site.visitor("vera")
    page = Tags(client.get("/dashboard/3/health/", headers=HTML).text)
    assert "25 %" in page.text
    assert "encoding 5 of 20 images" in page.text
    assert "Label Studio <b>refused</b>." in page.text
    assert "of another project" not in page.text
    now = client.get("/dashboard/3/health/now.json", headers=SCRIPT).json
    assert now["busy"] is True
    assert set(now["parts"]) == {"state", "jobs", "checks"}
    assert "encoding 5 of 20 images" in now["parts"]["jobs"]
    rows = _read(client.get("/dashboard/3/health/jobs.csv"))
    assert [row["state"] for row in rows] == ["running", "failed"]


def test_the_checks_are_those_of_the_project_and_can_be_asked_for_anew(site: DashboardSite) -> None:
    client = site.visitor("vera")
    rows = _read(client.get("/dashboard/3/health/checks.csv"))
    assert [row["check"] for row in rows] == [found.check for found in FOUND[:3]]
    page = client.get("/dashboard/3/health/", headers=HTML).text
    shown = Tags(page)
    for told in ("webhook <i>", "It is off.", "Turn it on."):
        assert told in shown.text
    assert "Of another project." not in shown.text
    site.findings[:] = [Found("disk space", True)]
    assert client.post("/dashboard/3/health/look").status_code == 403
    answer = client.post("/dashboard/3/health/look", data={"csrf": form_token(page)})
    assert answer.status_code == 302
    rows = _read(client.get("/dashboard/3/health/checks.csv"))
    assert [row["check"] for row in rows] == ["disk space"]
    assert "All 1 checks are fine" in client.get("/dashboard/3/health/", headers=HTML).text


def test_label_studios_state_is_that_of_its_checks() -> None:
    good, bad = Found("Label Studio answers", True), Found("Label Studio's token", False, "No.")
    assert label_studio_state(None) == "not known yet"
    assert label_studio_state(Checkup((good,), NOW)) == "answers"
    assert label_studio_state(Checkup((good, bad), NOW)) == "has a problem"
    assert findings_of(None, 3) == []


def test_broken_images_are_paged_and_told_whole_in_the_file(site: DashboardSite) -> None:
    count = BROKEN_SHOWN + 3
    with site.store.session() as session:
        for number in range(1, count + 1):
            session.add(
                Task(
                    id=number, project_id=3, image=f"=cmd|{number}", problem="The file is <empty>."
                )
            )
        session.add(Task(id=count + 1, project_id=3, image="waits"))
        session.add(Task(id=count + 2, project_id=3, problem="gone", removed=True))
    client = site.visitor("vera")
    first = Tags(client.get("/dashboard/3/health/", headers=HTML).text)
    assert "The file is <empty>." in first.text
    assert "page 1 of 2" in first.text
    assert "https://labels.example.org/projects/3/data?task=1" in first.links
    second = Tags(client.get("/dashboard/3/health/?page=2", headers=HTML).text)
    assert sum("?task=" in link for link in second.links) == 3
    for odd in ("0", "-7", "x", "99999999999999999999"):
        assert client.get(f"/dashboard/3/health/?page={odd}", headers=HTML).status_code == 200
    rows = _read(client.get("/dashboard/3/health/broken.csv"))
    assert len(rows) == count
    # A spreadsheet must not compute what comes from outside.
    assert rows[0]["image"] == "'=cmd|1"


def test_sizes_are_measured(site: DashboardSite) -> None:
    folder = site.store.folder / "versions" / "v1"
    folder.mkdir(parents=True)
    (folder / "head").write_bytes(b"x" * 12345)
    parts = dict(sizes(site.store.settings).parts)
    assert parts["model versions"] == 12345
    assert parts["database"] > 10_000
    assert parts["tuned LVMs"] == 0
