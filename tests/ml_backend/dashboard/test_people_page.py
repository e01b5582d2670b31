"""The People page with nobody, one person and ten thousand; names only for managers, on record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from dashboard_world import HTML, DashboardSite, Tags, form_token, open_site
from kept_people import PATH, keep, person

from ml_backend.dashboard import people_page
from ml_backend.dashboard.people_rows import pseudonym

SECRET_WORDS = "Answered 'Spiral' 60 of 60 times"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DashboardSite]:
    with open_site(tmp_path) as made:
        made.store.projects.save(3, "Rings", "<View/>")
        yield made


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


def bars(site: DashboardSite) -> dict[str, dict[str, int]]:
    """What the plot of days draws: answers by day (UTC) and name."""
    plot = json.loads(site.visitor("vera").get(PATH + "days.json").text)["doc"]["roots"][0]
    assert plot["name"] == "Figure"
    drawn = [one["attributes"] for one in plot["attributes"]["renderers"]]
    # The first one holds the data; the others refer to it.
    columns = dict(drawn[0]["data_source"]["attributes"]["data"]["entries"])
    days = [datetime.fromtimestamp(at / 1000, UTC).date().isoformat() for at in columns["day"]]
    items = plot["attributes"]["below"] + plot["attributes"]["center"]
    (legend,) = [one["attributes"] for one in items if one.get("name") == "Legend"]
    names = [item["attributes"]["label"]["value"] for item in legend["items"]]
    return {
        day: {name: columns[f"votes{place}"][row] for place, name in enumerate(names)}
        for row, day in enumerate(days)
    }


def test_the_plot_holds_the_answers_of_each_day(site: DashboardSite) -> None:
    counts = [[0] * 57 + [5, 0, 2], [0] * 59 + [7], [0] * 60]
    days = {"first": "2026-09-28", "people": ["person 1", "person 2"], "counts": counts}
    keep(site, [person(1), person(2)], days)
    one, two = (
        pseudonym(site.store.dashboard_secret(), 3, f"person {n}").removeprefix("Annotator ")
        for n in (1, 2)
    )
    assert bars(site) == {"2026-11-24": {one: 5, two: 0}, "2026-11-26": {one: 2, two: 7}}


def test_who_has_no_colour_of_their_own_is_counted_with_the_others(site: DashboardSite) -> None:
    keep(site, [person(at) for at in range(12)])
    drawn = bars(site)
    assert len(drawn) == 60
    assert all(len(row) == 8 for row in drawn.values())
    assert all(row["others"] == 6 and sum(row.values()) == 13 for row in drawn.values())


def test_a_plot_without_answers_is_not_shown(site: DashboardSite) -> None:
    none = {"first": "2026-09-28", "people": ["person 1"], "counts": [[0] * 60, [0] * 60]}
    keep(site, [person(1)], none)
    page = site.visitor("vera").get(PATH, headers=HTML).text
    assert "Nobody has voted in the last 60 days" in Tags(page).text
    assert "days.json" not in page
    assert site.visitor("vera").get(PATH + "days.json").status_code == 200


def test_bias_and_scatter_are_on_the_persons_page(site: DashboardSite) -> None:
    skill = {
        "control": "size", "votes": 60, "reliability": None, "low": None, "high": None,
        "golds": 0, "golds_right": 0,
        "details": {"bias": -1.234, "bias_error": 0.056, "scatter": 0.789},
    }  # fmt: skip
    keep(site, [person(1, skills=[skill]), person(2)])
    secret = site.store.dashboard_secret()
    for number, told in ((1, True), (2, False)):
        key = pseudonym(secret, 3, f"person {number}").removeprefix("Annotator ")
        text = Tags(site.visitor("vera").get(f"{PATH}{key}/", headers=HTML).text).text
        assert ("size 60 -1.23 ± 0.056 0.789" in text) == told
        assert ("too few of the same galaxies" in text) != told


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
    keep(site, [person(1), person(2), {**person(3), "person": "zooniverse zoe"}])
    ada, vera = site.visitor("ada"), site.visitor("vera")
    page = ada.get(PATH, headers=HTML).text
    assert "Grace" not in page
    assert "person 1" not in page
    token = form_token(page)
    assert ada.post(PATH + "names", headers=HTML).status_code == 403
    told = ada.post(PATH + "names", data={"csrf": token}, headers=HTML).text
    assert "Grace H&lt;b&gt;" in told
    assert "zooniverse zoe" in told
    assert "zooniverse zoe" not in page
    assert "Grace" not in ada.get(PATH, headers=HTML).text
    assert vera.post(PATH + "names", data={"csrf": token}, headers=HTML).status_code == 403
    deeds = [(deed.account, deed.action) for deed in site.store.accounts.deeds(3)]
    assert deeds == [("ada", "names revealed")]


def test_pseudonyms_stay_and_differ_between_projects(site: DashboardSite) -> None:
    assert pseudonym("secret", 3, "person 1") == pseudonym("secret", 3, "person 1")
    assert pseudonym("secret", 3, "person 1") != pseudonym("secret", 4, "person 1")
    assert pseudonym("secret", 3, "person 1") != pseudonym("other", 3, "person 1")
    assert site.visitor("vera").get(PATH + "ZZZZZ/", headers=HTML).status_code == 404
