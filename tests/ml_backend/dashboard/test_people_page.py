"""The People page with nobody, one person and ten thousand; names only for managers, on record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dashboard_world import HTML, DashboardSite, Tags, form_token, open_site

from ml_backend.dashboard import people_page
from ml_backend.dashboard.people_rows import pseudonym
from ml_backend.store.dashboard_tables import Figure

PATH = "/dashboard/3/people/"
NO_ARM = {"answers": 0, "agreed": 0, "share": None, "low": None, "high": None}
SECRET_WORDS = "Answered 'Spiral' 60 of 60 times"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DashboardSite]:
    with open_site(tmp_path) as made:
        made.store.projects.save(3, "Rings", "<View/>")
        yield made


def person(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "person": f"person {number}", "votes": 100, "skips": 1, "tasks": 90, "seconds": 4.2,
        "per_hour": 300.0, "last_seen": "2026-11-20T10:00:00+00:00", "reliability": None,
        "low": None, "high": None, "skills": [], "golds": 0, "golds_right": 0, "consensus": 0,
        "consensus_same": 0, "kappa": None, "kappa_error": None, "shared": 0, "shown": 0,
        "accepted": 0, "blind": 0, "blind_agreed": 0, "suspicions": [], **fields,
    }  # fmt: skip


def keep(site: DashboardSite, people: list[dict[str, Any]]) -> None:
    named = [one["person"] for one in people[:12]]
    data = {
        "people": people,
        "controls": [],
        "pairs": [],
        "days": {"first": "2026-09-28", "people": named, "counts": [[1] * 60] * (len(named) + 1)},
        "anchoring": {
            "shown": NO_ARM, "blind": NO_ARM, "excess": None, "versions": [], "warning": "",
            "misled": {"shown": NO_ARM, "blind": NO_ARM, "excess": None},
        },
    }  # fmt: skip
    with site.store.session() as session:
        session.merge(Figure(project_id=3, name="people", at=datetime.now(UTC), data=data))


def test_nobody_is_told_what_to_do(site: DashboardSite) -> None:
    answer = site.visitor("vera").get(PATH, headers=HTML)
    assert answer.status_code == 200
    assert "Nobody has voted yet" in Tags(answer.text).text
    assert site.visitor("vera").get(PATH + "people.csv").text.count("\n") == 1


def test_one_person_and_ten_thousand(site: DashboardSite) -> None:
    keep(site, [person(1)])
    assert "One person so far" in Tags(site.visitor("vera").get(PATH, headers=HTML).text).text
    keep(site, [person(at, votes=10_000 - at) for at in range(10_000)])
    visitor = site.visitor("vera")
    page = visitor.get(PATH + "?page=200&sort=seconds", headers=HTML).text
    assert "page 200 of 200" in Tags(page).text
    assert page.count("Annotator ") < 60
    assert visitor.get(PATH + "?page=x&sort=nonsense", headers=HTML).status_code == 200
    for plot in ("reliability.json", "days.json"):
        assert visitor.get(PATH + plot).status_code == 200
    rows = visitor.get(PATH + "people.csv").text.splitlines()[1:]
    assert len({row.split(",")[0] for row in rows}) == 10_000


def test_suspicions_are_for_managers(site: DashboardSite) -> None:
    keep(site, [person(1, suspicions=[{"kind": "same", "sentence": SECRET_WORDS}]), person(2)])
    key = pseudonym(site.store.dashboard_secret(), 3, "person 1").removeprefix("Annotator ")
    for name, seen in (("ada", True), ("vera", False)):
        visitor = site.visitor(name)
        for path in (PATH, f"{PATH}{key}/", PATH + "?sort=suspicions"):
            assert ("60 of 60" in Tags(visitor.get(path, headers=HTML).text).text) == seen
        assert visitor.get(PATH + "suspicions.csv").status_code == (200 if seen else 403)
        assert "60 of 60" not in visitor.get(PATH + "people.csv").text


def test_names_are_shown_to_managers_once_and_on_record(
    site: DashboardSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [{"id": 1, "first_name": "Grace", "last_name": "H<b>", "email": "g@example.org"}]
    client = SimpleNamespace(users=lambda: users)
    monkeypatch.setattr(people_page.LabelStudioClient, "from_settings", lambda *_: client)
    keep(site, [person(1), person(2)])
    ada, vera = site.visitor("ada"), site.visitor("vera")
    page = ada.get(PATH, headers=HTML).text
    assert "Grace" not in page
    assert "person 1" not in page
    token = form_token(page)
    assert ada.post(PATH + "names", headers=HTML).status_code == 403
    told = ada.post(PATH + "names", data={"csrf": token}, headers=HTML).text
    assert "Grace H&lt;b&gt;" in told
    assert "Grace" not in ada.get(PATH, headers=HTML).text
    assert vera.post(PATH + "names", data={"csrf": token}, headers=HTML).status_code == 403
    deeds = [(deed.account, deed.action) for deed in site.store.accounts.deeds(3)]
    assert deeds == [("ada", "names revealed")]


def test_pseudonyms_stay_and_differ_between_projects(site: DashboardSite) -> None:
    assert pseudonym("secret", 3, "person 1") == pseudonym("secret", 3, "person 1")
    assert pseudonym("secret", 3, "person 1") != pseudonym("secret", 4, "person 1")
    assert pseudonym("secret", 3, "person 1") != pseudonym("other", 3, "person 1")
    assert site.visitor("vera").get(PATH + "ZZZZZ/", headers=HTML).status_code == 404
