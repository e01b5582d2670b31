"""The Progress page: its states, its forecast, its files, and that it says what was counted."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from gallery import Gallery

from ml_backend.dashboard.outlook import WANTED, outlook, wanted_of
from ml_backend.dashboard.progress_rows import read_progress
from ml_backend.store.dashboard_tables import Figure

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_a_round: Path) -> Gallery:
    return Gallery(tmp_path / "world", monkeypatch, after_a_round)


def _keep(gallery: Gallery, name: str, data: Any) -> None:
    with gallery.store.session() as session:
        session.merge(Figure(project_id=1, name=name, at=datetime.now(UTC), data=data))


def _file(gallery: Gallery, path: str) -> list[dict[str, str]]:
    answer = gallery.get(path)
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text)))


def _curve(votes: list[int], quality: list[float]) -> dict[str, Any]:
    points = [
        {"version": f"v{number}", "votes": v, "rows": v, "accuracy": q, "at": "", "published": True}
        for number, (v, q) in enumerate(zip(votes, quality, strict=True))
    ]
    return {"curves": {"shape": points}}


def test_the_page_says_what_the_round_counted(gallery: Gallery) -> None:
    page = " ".join(gallery.get("progress/").text.split())
    assert "<dd>12<small> 20.0 %" in page
    assert "<dd>48<small> 80.0 %" in page
    assert "person 1" in page
    assert "Not enough data yet: 1 of 4 versions" in page
    assert "It cannot be told yet" in page


def test_its_files_hold_its_tables(gallery: Gallery) -> None:
    classes = _file(gallery, "progress/classes.csv")
    assert sum(int(row["people"]) for row in classes) == 12
    assert sum(float(row["model"]) for row in classes) == pytest.approx(48)
    (person,) = _file(gallery, "progress/people.csv")
    assert (person["person"], person["votes"]) == ("person 1", "12")
    assert sum(int(row["votes"]) for row in _file(gallery, "progress/days.csv")) == 12
    (point,) = _file(gallery, "progress/points.csv")
    assert (point["labelled"], point["remaining"]) == ("12", "48")


@pytest.mark.parametrize("plot", ["days", "forecast", "history"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_its_plots_are_json(gallery: Gallery, plot: str, theme: str) -> None:
    answer = gallery.get(f"progress/plots/{plot}?theme={theme}")
    assert answer.status_code == 200
    assert "root_id" in json.loads(answer.text)


def test_a_project_before_its_first_round_says_what_will_come(gallery: Gallery) -> None:
    page = gallery.http.get("/dashboard/2/progress/")
    assert page.status_code == 200
    assert "Nothing is counted yet" in page.text
    assert gallery.http.get("/dashboard/2/progress/classes.csv").status_code == 404
    assert gallery.http.get("/dashboard/99/progress/").status_code == 404


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"counts": None},
        {"counts": {"tasks": "many"}},
        {"counts": {"tasks": 5}, "days": {"yesterday": {"person 1": 2}}},
        {"counts": {"tasks": 5}, "people": [{}]},
        {"counts": {"tasks": 5}, "classes": {"shape": {"labels": ["a"], "people": []}}},
        {"counts": {"tasks": 5}, "days": [1, 2]},
    ],
)
def test_a_broken_figure_is_said_and_breaks_nothing(gallery: Gallery, data: Any) -> None:
    _keep(gallery, "progress", data)
    page = gallery.get("progress/")
    assert page.status_code == 200
    assert "The counts cannot be read" in page.text
    assert gallery.get("progress/plots/days").status_code == 404


@pytest.mark.parametrize("tasks", [0, 1, 1_000_000])
def test_projects_of_any_size_have_a_page(gallery: Gallery, tasks: int) -> None:
    counts = {"tasks": tasks, "remaining": tasks, "votes": 0}
    _keep(gallery, "progress", {"counts": counts})
    page = gallery.get("progress/")
    assert page.status_code == 200
    assert ("There are no tasks yet" in page.text) == (tasks == 0)
    if tasks == 1_000_000:
        assert "1\u2009000\u2009000" in page.text
    assert gallery.get("progress/plots/days").status_code == 200


def test_the_forecast_names_clicks_and_a_day(gallery: Gallery) -> None:
    votes = [25, 50, 100, 200, 400, 800]
    _keep(gallery, "learning", _curve(votes, [1 - 2 * v**-0.5 for v in votes]))
    days = {
        (datetime.now(UTC).date() - timedelta(days=at)).isoformat(): {"person 1": 40}
        for at in range(1, 22)
    }
    counts = {"tasks": 5000, "remaining": 4200, "votes": 840, "labelled": 800}
    _keep(gallery, "progress", {"counts": counts, "days": days, "people": []})
    page = " ".join(gallery.get("progress/?accuracy=94").text.split())
    assert "more clicks" in page
    assert "At the present pace" in page
    assert "40.0 votes a day" in page
    assert 'value="94"' in page
    progress, _ = read_progress(gallery.store, 1)
    found = outlook(gallery.store, 1, progress, wanted=0.94)
    assert found.needed is not None
    assert found.needed.low is not None
    # The truth: error 2 / sqrt(votes) is 0.06 at 1111 votes.
    assert found.needed.low <= 1111 - 800 <= (found.needed.high or 1e9)
    there = " ".join(gallery.get("progress/?accuracy=80").text.split())
    assert "The model is there" in there
    never = " ".join(gallery.get("progress/?accuracy=99.9").text.split())
    assert "more clicks" not in never or "of the fits come there" in never


def test_stop_is_said_where_both_signs_agree(gallery: Gallery) -> None:
    votes = [500, 1000, 2000, 4000, 8000]
    _keep(gallery, "learning", _curve(votes, [0.9] * 5))
    changes = [{"kappa": 0.998, "changed": 0.001, "galaxies": 2000}] * 3
    counts = {"tasks": 9000, "labelled": 8000}
    _keep(gallery, "progress", {"counts": counts, "changes": changes})
    assert "You can stop now." in gallery.get("progress/").text
    _keep(gallery, "progress", {"counts": counts, "changes": [{"kappa": "x"}, *changes[:1]]})
    page = gallery.get("progress/").text
    assert "You can stop now." not in page
    assert "compared 1 of 3 times" in page


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.9", 0.9), ("90", 0.9), ("90 %", 0.9), ("92,5", 0.925), ("", WANTED), (None, WANTED),
        ("nan", WANTED), ("inf", WANTED), ("<b>", WANTED), ("-3", 0.5), ("1e9", 0.999),
    ],
)  # fmt: skip
def test_any_wanted_accuracy_is_understood(text: str | None, wanted: float) -> None:
    assert wanted_of(text) == pytest.approx(wanted)


def test_hostile_requests_are_answered(gallery: Gallery) -> None:
    for query in (
        "?accuracy=<script>",
        "?control=nobody",
        "?accuracy=" + "9" * 5000,
        "?control=%00",
    ):
        answer = gallery.get(f"progress/{query}")
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
    evil = "<script>alert(1)</script>"
    classes = {evil: {"labels": [evil], "people": [1], "model": None}}
    _keep(gallery, "progress", {"counts": {"tasks": 1}, "classes": classes,
                                "people": [{"person": evil, "votes": 1}]})  # fmt: skip
    assert evil not in gallery.get("progress/").text


def test_days_of_a_wrong_clock_do_not_fill_centuries(gallery: Gallery) -> None:
    days = {"1970-01-01": {"person 1": 1}, "2026-11-20": {"person 1": 1}}
    _keep(gallery, "progress", {"counts": {"tasks": 1}, "days": days})
    progress, broken = read_progress(gallery.store, 1)
    assert not broken
    assert progress is not None
    assert len(progress.days) == 2
    near = {"2026-11-17": {"person 1": 1}, "2026-11-20": {"person 1": 1}}
    _keep(gallery, "progress", {"counts": {"tasks": 1}, "days": near})
    progress, _ = read_progress(gallery.store, 1)
    assert progress is not None
    assert [sum(row.values()) for row in progress.days.values()] == [1, 0, 0, 1]


def test_without_a_login_nothing_is_told(gallery: Gallery) -> None:
    other = gallery.app.test_client()
    for path in ("", "classes.csv", "plots/days"):
        assert other.get(f"/dashboard/1/progress/{path}").status_code in (302, 401, 403)
