"""The page Models: versions, comparison, and the way back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from dashboard_world import HTML, DashboardSite, Tags, form_token, open_site
from world import World

from ml_backend.dashboard.version_rows import PER_PAGE, measured, verdict_of
from ml_backend.store.tables import Version

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DashboardSite]:
    with open_site(tmp_path) as made:
        made.store.projects.save(3, "Rings", "<View/>")
        yield made


def _version(site: DashboardSite, number: int, **columns: Any) -> str:
    name = f"galaxyloop-p3-v{number}"
    made = {"kind": "trained", "state": "retired", "created_at": NOW, "on_disk": True, **columns}
    with site.store.session() as session:
        session.add(Version(name=name, project_id=3, number=number, **made))
    return name


def test_the_first_day_is_told(site: DashboardSite) -> None:
    page = Tags(site.visitor("vera").get("/dashboard/3/models/", headers=HTML).text)
    for told in ("No version yet", "None yet", "Nobody has acted"):
        assert told in page.text


def test_the_verdict_stands_apart_from_its_figures() -> None:
    said = "Not promoted, worse on the audit arm: on all unseen votes (157 answers) log loss 1.095."
    for told in ({"problem": said}, {"gate": {"reason": said}}):
        verdict = verdict_of(Version(name="v1", **told))
        assert verdict[0] == "Not promoted, worse on the audit arm"
        assert verdict[1] == "On all unseen votes (157 answers) log loss 1.095."
    assert verdict_of(Version(name="v2", problem="The disk: on it is no room.")) == (
        "The disk: on it is no room.",
        "",
    )


def test_versions_tell_what_the_gate_said(site: DashboardSite) -> None:
    _version(site, 1, state="rejected", gate={"reason": "Not promoted, <b>worse</b>."},
             quality={"shape": {"macro_auc": 0.8, "accuracy": 0.6}})  # fmt: skip
    page = Tags(site.visitor("vera").get("/dashboard/3/models/", headers=HTML).text)
    for told in (
        "galaxyloop-p3-v1",
        "rejected",
        "Not promoted, <b>worse</b>.",
        "0.800",
        "60.0 %",
    ):
        assert told in page.text
    # Only who may act is offered to.
    assert not any("rollback" in link for link in page.links)
    page = Tags(site.visitor("ada").get("/dashboard/3/models/", headers=HTML).text)
    assert any("rollback" in link for link in page.links)


def test_thousands_of_versions_are_paged(site: DashboardSite) -> None:
    with site.store.session() as session:
        session.add_all(
            Version(
                name=f"v{n}", project_id=3, number=n, kind="rerank", state="retired", created_at=NOW
            )
            for n in range(1, 3001)
        )
    client = site.visitor("vera")
    page = Tags(client.get("/dashboard/3/models/?page=2", headers=HTML).text)
    assert "page 2 of 120" in page.text
    assert f"v{3000 - PER_PAGE}" in page.text
    for odd in ("0", "x", "-3", "99999999999999999999999"):
        assert client.get(f"/dashboard/3/models/?page={odd}", headers=HTML).status_code == 200
    rows = list(csv.DictReader(io.StringIO(client.get("/dashboard/3/models/versions.csv").text)))
    assert len(rows) == 3000


def test_what_came_of_tuning_is_shown(site: DashboardSite) -> None:
    row = site.store.tunings.begin(3, "a" * 32, 320)
    site.store.tunings.note(row.id, state="refused", reason="Nothing <b>gained</b>.")
    client = site.visitor("vera")
    page = Tags(client.get("/dashboard/3/models/", headers=HTML).text)
    assert "320" in page.text
    assert "Nothing <b>gained</b>." in page.text
    assert "gained" in client.get("/dashboard/3/models/tunings.csv").text


def test_rolling_back_asks_first_and_is_written_down(site: DashboardSite) -> None:
    old = _version(site, 1)
    now = _version(site, 2, state="published")
    site.store.projects.save(3, champion=now)
    ada = site.visitor("ada")
    address = f"/dashboard/3/models/{old}/rollback"
    question = ada.get(address, headers=HTML).text
    assert "No vote is lost" in question
    assert site.store.jobs.listing() == []
    answer = ada.post(address, data={"csrf": form_token(question)}, headers=HTML)
    assert answer.status_code == 302
    (job,) = site.store.jobs.listing()
    assert job.payload == {"rollback": old}
    (deed,) = site.store.accounts.deeds(3)
    assert (deed.account, deed.action, deed.subject) == ("ada", "rollback", old)
    assert deed.details == {"instead_of": now, "job": job.id}
    page = Tags(ada.get("/dashboard/3/models/", headers=HTML).text)
    assert f"Job {job.id} brings {old} back" in page.text
    assert f"instead_of: {now}" in page.text
    assert old in ada.get("/dashboard/3/models/deeds.csv").text
    # The viewer reads the same, and gets no button.
    assert (
        '<button class="button danger"' not in site.visitor("vera").get(address, headers=HTML).text
    )


@pytest.mark.parametrize(
    "columns", [{"state": "published"}, {"on_disk": False}, {"state": "building"}]
)
def test_what_cannot_come_back_says_why_and_nothing_happens(
    site: DashboardSite, columns: dict[str, Any]
) -> None:
    good, name = _version(site, 1), _version(site, 2, **columns)
    ada = site.visitor("ada")
    token = form_token(ada.get(f"/dashboard/3/models/{good}/rollback", headers=HTML).text)
    address = f"/dashboard/3/models/{name}/rollback"
    page = ada.get(address, headers=HTML).text
    assert "note bad" in page
    assert "button danger" not in page
    assert ada.post(address, data={"csrf": token}).location == address
    assert site.store.jobs.listing() == []
    assert site.store.accounts.deeds(3) == []


def test_versions_of_other_projects_are_not_here(site: DashboardSite) -> None:
    name = _version(site, 1)
    site.store.projects.save(4, "Other", "<View/>")
    ada = site.visitor("ada")
    for address in (
        f"/dashboard/4/models/{name}/",
        f"/dashboard/4/models/{name}/rollback",
        f"/dashboard/4/models/compare?first={name}&second={name}",
        "/dashboard/3/models/..%2f..%2fetc/",
        f"/dashboard/3/models/{'x' * 3000}/",
        "/dashboard/3/models/a%00b/",
        "/dashboard/3/models/compare",
    ):
        assert ada.get(address, headers=HTML).status_code == 404


def test_versions_without_files_are_shown_as_they_were_measured(site: DashboardSite) -> None:
    one = _version(site, 1, on_disk=False, quality={"shape": {"log_loss": 0.5, "macro_auc": 0.8}})
    two = _version(site, 2, quality={"shape": {"log_loss": 0.4, "macro_auc": None}})
    page = Tags(
        site.visitor("vera")
        .get(f"/dashboard/3/models/compare?first={one}&second={two}", headers=HTML)
        .text
    )
    assert "pruned" in page.text
    assert "0.500" in page.text
    assert "0.400" in page.text


def test_broken_files_are_said_not_crashed(site: DashboardSite) -> None:
    one, two = _version(site, 1), _version(site, 2)
    answer = site.visitor("vera").get(
        f"/dashboard/3/models/compare?first={one}&second={two}", headers=HTML
    )
    assert answer.status_code == 200
    assert "could not be judged" in answer.text


@pytest.mark.parametrize(
    ("measure", "values", "better"),
    [
        ("log_loss", (0.5, 0.4), 2),
        ("macro_auc", (0.9, 0.8), 1),
        ("calibration_error", (0.1, 0.2), 1),
        ("accuracy", (0.8, 0.8), 0),
        ("accuracy", (0.8, None), 0),
    ],
)
def test_the_better_side_is_marked(measure: str, values: tuple[Any, Any], better: int) -> None:
    (one,) = measured({"shape": {measure: values[0]}}, {"shape": {measure: values[1]}})
    assert one.better == better


def test_two_versions_are_judged_on_the_votes_of_now(tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        world.vote(12)
        first = world.round().version
        world.vote(24, start=12)
        second = world.round().version
        site = DashboardSite(world.store, [])
        page = Tags(
            site.visitor("vera")
            .get(f"/dashboard/1/models/compare?first={first}&second={second}", headers=HTML)
            .text
        )
        assert "36 galaxies of today" in page.text
        assert "Log loss of the second less that of the first" in page.text
        assert "±" in page.text
        whole = Tags(site.visitor("vera").get(f"/dashboard/1/models/{second}/", headers=HTML).text)
        assert "macro AUC" in whole.text
    finally:
        world.store.close()
