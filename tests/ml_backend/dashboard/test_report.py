"""The report: whole in itself, honest in every state, safe with hostile words."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dashboard_world import Tags
from gallery import Gallery, SkySource

from ml_backend.dashboard import report_drawings as drawings
from ml_backend.dashboard.progress_rows import Progress
from ml_backend.dashboard.report import ReportOptions, make_report
from ml_backend.dashboard.report_period import changes, period_of, votes_by_person
from ml_backend.dashboard.report_pictures import report_pictures
from ml_backend.dashboard.report_versions import versions_in
from ml_backend.pictures.cache import PictureCache
from ml_backend.pictures.drawing import PictureMaker
from ml_backend.store.dashboard_tables import Figure, ProgressPoint
from ml_backend.store.tables import Project, Task, Version

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
EVIL = "<script>alert(1)</script>\"'><img src=https://evil.example/x onerror=alert(1)>"


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_a_round: Path) -> Gallery:
    return Gallery(tmp_path / "world", monkeypatch, after_a_round)


def _project(gallery: Gallery, project_id: int = 1) -> Project:
    found = gallery.store.projects.get(project_id)
    assert found is not None
    return found


def _made(gallery: Gallery, project_id: int = 1, days: int = 7, **options: Any) -> str:
    period = period_of(datetime.now(UTC), days)
    return make_report(
        gallery.store, _project(gallery, project_id), ReportOptions(period, **options)
    )


def _keep(gallery: Gallery, name: str, data: Any, at: datetime | None = None) -> None:
    with gallery.store.session() as session:
        session.merge(Figure(project_id=1, name=name, at=at or datetime.now(UTC), data=data))


def _kept(gallery: Gallery, name: str) -> dict[str, Any]:
    with gallery.store.reading() as session:
        found = session.get(Figure, (1, name))
        assert found is not None
        return dict(found.data)


def _stands_alone(page: str, label_studio: str) -> None:
    """No script, nothing that a browser would load; links lead to Label Studio alone."""
    tags = Tags(page)
    names = {tag for tag, _ in tags.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in tags.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert str(attributes.get("src", "data:image/")).startswith("data:image/")
        if attributes.get("href"):
            assert tag == "a"
            assert str(attributes["href"]).startswith(label_studio)
    styles = "".join(re.findall(r"<style>(.*?)</style>", page, re.S))
    assert "--back" in styles
    assert "url(" not in styles
    assert "@import" not in styles


def test_it_stands_alone_and_says_what_the_pages_say(gallery: Gallery) -> None:
    answer = gallery.get("progress/report.html")
    assert answer.status_code == 200
    assert "attachment" in answer.headers["Content-Disposition"]
    settings = gallery.store.settings
    _stands_alone(answer.text, settings.label_studio_public_url or settings.label_studio_url)
    said = Tags(answer.text).text
    for told in ("What happened", "Go on, or stop?", "How good the model is", "What comes next",
                 "Versions of these days", "How this was measured"):  # fmt: skip
        assert told in said
    assert "12 votes in 7 days by 1 person; 20 % of 60 galaxies have an answer." in said
    assert "One person so far" in said
    assert answer.text.count('src="data:image/jpeg;base64,') == 12
    assert "pictures" not in said.split("What comes next")[1].split("How this")[0]


def test_viewers_may_take_it_and_strangers_may_not(gallery: Gallery) -> None:
    gallery.log_in("bob")
    page = Tags(gallery.get("progress/").text)
    (link,) = [link for link in page.links if "report.html" in link]
    assert gallery.http.get(link).status_code == 200
    assert gallery.http.get("/dashboard/99/progress/report.html").status_code == 404
    stranger = gallery.app.test_client().get("/dashboard/1/progress/report.html")
    assert stranger.status_code in (302, 401)
    assert "What happened" not in stranger.text


def test_people_go_by_pseudonyms_unless_names_are_asked_for(gallery: Gallery) -> None:
    hidden = _made(gallery)
    assert "person 1" not in hidden
    name = re.search(r"Annotator [A-Z0-9]{5}", hidden)
    assert name is not None
    assert name[0] in gallery.get("people/").text
    shown = _made(gallery, names={"person 1": f"Ada {EVIL}"})
    assert "Ada &lt;script&gt;" in shown
    assert "It holds people&#39;s names" in shown or "It holds people's names" in shown
    _stands_alone(shown, gallery.store.settings.label_studio_url)
    assert "(person 1)" in _made(gallery, names={})


def test_suspicions_are_for_managers_alone(gallery: Gallery) -> None:
    data = _kept(gallery, "people")
    data["people"][0]["suspicions"] = [{"kind": "fast", "sentence": f"Far too fast {EVIL}."}]
    _keep(gallery, "people", data)
    assert "Far too fast" not in _made(gallery)
    assert "Far too fast" not in gallery.get("progress/report.html").text
    managers = _made(gallery, for_managers=True)
    assert "Far too fast &lt;script&gt;" in managers
    _stands_alone(managers, gallery.store.settings.label_studio_url)


def test_hostile_words_stay_words(gallery: Gallery) -> None:
    store = gallery.store
    store.projects.save(1, EVIL, _project(gallery).label_config)
    progress, learning = _kept(gallery, "progress"), _kept(gallery, "learning")
    progress["people"].append({"person": EVIL, "votes": 3})
    progress["days"][datetime.now(UTC).date().isoformat()] = {EVIL: 3}
    progress["classes"][EVIL] = {"labels": [EVIL], "people": [1], "model": None, "by": "votes"}
    learning["curves"][EVIL] = next(iter(learning["curves"].values()))
    people = _kept(gallery, "people")
    people["anchoring"]["warning"] = EVIL
    for name, data in (("progress", progress), ("learning", learning), ("people", people)):
        _keep(gallery, name, data)
    with store.session() as session:
        session.add(
            Version(
                name=EVIL[:100], project_id=1, number=99, kind="trained", state="rejected",
                created_at=datetime.now(UTC), gate={"reason": EVIL}, problem=EVIL,
            )
        )  # fmt: skip
    page = _made(gallery)
    _stands_alone(page, store.settings.label_studio_url)
    assert page.count("&lt;script&gt;") >= 7


def test_a_project_before_its_first_round_says_what_will_come(gallery: Gallery) -> None:
    page = _made(gallery, project_id=2)
    _stands_alone(page, gallery.store.settings.label_studio_url)
    said = Tags(page).text
    for told in ("Nothing is counted yet", "Nothing is learnt yet", "No version was made",
                 "Nobody has answered yet", "There is no queue yet", "No worker runs"):  # fmt: skip
        assert told in said


def test_a_project_without_votes_has_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery(tmp_path / "world", monkeypatch)
    gallery.world.round()
    said = Tags(_made(gallery)).text
    assert "Nobody has voted yet. 60 galaxies are ready" in said
    assert "no date can be named" in said
    assert "1. " in said


@pytest.mark.parametrize("name", ["progress", "learning", "people"])
@pytest.mark.parametrize(
    "data",
    [
        {},
        {"counts": {"tasks": "many"}, "curves": {"shape": [{}]}, "people": [{}]},
        {"counts": None, "curves": 3, "people": {"a": 1}},
        {"people": [], "controls": [], "anchoring": {}, "days": {"first": "?"}, "curves": {}},
    ],
)
def test_a_figure_that_is_broken_or_gone_costs_only_itself(
    gallery: Gallery, name: str, data: dict[str, Any]
) -> None:
    _keep(gallery, name, data)
    page = _made(gallery)
    _stands_alone(page, gallery.store.settings.label_studio_url)
    assert "What comes next" in page
    with gallery.store.session() as session:
        session.delete(session.get(Figure, (1, name)))
    assert "What comes next" in _made(gallery)


def test_it_counts_nothing_of_a_million_tasks(gallery: Gallery) -> None:
    counts = {"tasks": 1_000_000, "labeled": 400_000, "votes": 400_000, "broken": 70_000}
    _keep(gallery, "counts", counts)
    data = _kept(gallery, "progress")
    data["counts"].update(tasks=1_000_000, labelled=400_000, remaining=530_000, votes=400_000)
    _keep(gallery, "progress", data)
    began = time.monotonic()
    said = Tags(_made(gallery)).text
    assert time.monotonic() - began < 10
    assert "40 % of 1 000 000 galaxies" in said
    assert "70 000 of 1 000 000 images cannot be used (7.0 %), which is many" in said


def test_old_counts_and_failures_are_said(gallery: Gallery) -> None:
    _keep(gallery, "progress", _kept(gallery, "progress"), datetime.now(UTC) - timedelta(days=30))
    with gallery.store.session() as session:
        project = session.get(Project, 1)
        assert project is not None
        project.failures = 3
        project.reconciled_at = datetime.now(UTC) - timedelta(days=2)
    said = Tags(_made(gallery)).text
    assert "counted 30 days ago, before this period began" in said
    assert "3 rounds in a row failed" in said
    assert "last read from Label Studio 2 days ago" in said


def test_changes_are_those_of_the_points_before(gallery: Gallery) -> None:
    project = _project(gallery)
    project.created_at = NOW - timedelta(days=60)
    with gallery.store.session() as session:
        for ago, labelled in ((20, 5), (10, 9), (3, 30)):
            session.add(
                ProgressPoint(
                    project_id=1, at=NOW - timedelta(days=ago),
                    data={"counts": {"labelled": labelled, "retired": 1, "doubt": 2}},
                )
            )  # fmt: skip
    progress = Progress(
        NOW, {"votes": 50, "labelled": 40, "retired": 4, "doubt": 1, "expert": 0},
        days={NOW.date(): {"a": 7}, date(2026, 11, 19): {"b": 3}, date(2026, 11, 18): {"a": 2}},
    )  # fmt: skip
    told = {c.name: c for c in changes(gallery.store, project, period_of(NOW), progress, None)}
    assert (told["votes"].during, told["votes"].before) == (10, 2)
    assert (told["labelled"].during, told["labelled"].before) == (31, 4)
    assert (told["doubt"].during, told["doubt"].before) == (-1, 0)
    long = {c.name: c for c in changes(gallery.store, project, period_of(NOW, 30), progress, None)}
    # No count is kept of 30 days ago: that is not zero.
    assert long["labelled"].during is None
    project.created_at = NOW - timedelta(days=1)
    new = {c.name: c for c in changes(gallery.store, project, period_of(NOW, 30), progress, None)}
    assert (new["labelled"].during, new["labelled"].before) == (40, None)


def test_votes_by_person_are_those_of_the_period() -> None:
    people = {"days": {"first": "2026-11-01", "people": ["a", "b"],
                       "counts": [[1] * 25, [0] * 24 + [5], [9] * 25]}}  # fmt: skip
    assert votes_by_person(people, period_of(NOW)) == {"a": 7, "b": 5}
    assert votes_by_person(people, period_of(NOW, 300)) is None


def test_periods_are_whole_days_in_bounds() -> None:
    period = period_of(NOW)
    assert (period.first, period.last, period.days) == (date(2026, 11, 19), date(2026, 11, 25), 7)
    assert period.before == date(2026, 11, 12)
    assert period_of(NOW, since=date(2026, 11, 25)).days == 1
    for since in (date(2026, 11, 26), date(2020, 1, 1), date.min):
        with pytest.raises(ValueError, match=r"still to come|at most"):
            period_of(NOW, since=since)


def test_versions_are_told_apart(gallery: Gallery) -> None:
    start = datetime.now(UTC) + timedelta(hours=1)
    kinds = [
        ("trained", "retired"), ("trained", "rejected"), ("rerank", "retired"),
        ("rollback", "published"), ("trained", "abandoned"), ("trained", "building"),
    ]  # fmt: skip
    with gallery.store.session() as session:
        for number, (kind, state) in enumerate(kinds, start=50):
            session.add(
                Version(
                    name=f"n{number}", project_id=1, number=number, kind=kind, state=state,
                    created_at=start,
                )
            )  # fmt: skip
    found = versions_in(gallery.store, 1, start)
    assert [one.name for one in found.shown] == ["n54", "n53", "n51", "n50"]
    assert (found.published, found.refused, found.returned) == (1, 1, 1)
    assert (found.abandoned, found.reordered, found.told) == (1, 1, 4)


class _Slow(SkySource):
    """Answers no address that is asked for until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def fetch(self, address: str) -> bytes:
        self.go.wait(30)
        return super().fetch(address)


@pytest.fixture
def slow() -> Iterator[_Slow]:
    source = _Slow()
    yield source
    source.go.set()


def test_pictures_that_do_not_come_are_left_out_and_said(
    gallery: Gallery, slow: _Slow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = PictureMaker(slow, PictureCache(tmp_path / "pictures", 10**7), 10**7, 10**7)
    began = time.monotonic()
    assert report_pictures(gallery.store, maker, 1, gallery.tasks[:8], seconds=0.3) == {}
    assert time.monotonic() - began < 5
    monkeypatch.setattr("ml_backend.dashboard.report.report_pictures", lambda *_: {})
    page = make_report(
        gallery.store, _project(gallery), ReportOptions(period_of(datetime.now(UTC))), maker
    )
    assert "No pictures: they could not be had within seconds." in " ".join(page.split())


def test_pictures_are_of_the_projects_own_tasks(gallery: Gallery, tmp_path: Path) -> None:
    maker = PictureMaker(SkySource(), PictureCache(tmp_path / "p", 10**7), 10**7, 10**7)
    with gallery.store.session() as session:
        session.add(Task(id=990, project_id=2, image="sky://1"))
        broken = session.get(Task, gallery.tasks[1])
        assert broken is not None
        broken.image = "gopher://nowhere"
    found = report_pictures(gallery.store, maker, 1, [gallery.tasks[0], gallery.tasks[1], 990])
    assert gallery.tasks[0] in found
    assert 990 not in found
    assert found[gallery.tasks[0]].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 5, 10]), (0.42, 0.58, [0.45, 0.5, 0.55]), (0, 0, [0]), (0, float("inf"), [0])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert drawings.ticks(low, high, 3) == pytest.approx(expected)


def test_drawings_hold_all_that_they_are_given() -> None:
    days = {date(2026, 11, day): {"a": day, "b": 1} for day in range(1, 8)}
    made = drawings.bars(days, {"a": "Ada", "b": "Bob"}, "votes")
    assert made.count("<rect") == 2 * 14
    assert "Ada" in made
    heights = [float(h) for h in re.findall(r'class="s0"[^>]* height="([0-9.]+)"', made)][:7]
    assert heights == pytest.approx([heights[0] * day for day in range(1, 8)], rel=0.05)
    series = drawings.Series("x", [1, 2], [0.5, 0.6], [0.1, None])
    curve = drawings.curves([series], drawings.Axes("votes", "accuracy", level=0.95), "curve")
    assert curve.count("<circle") == 4
    assert curve.count('class="error"') == 2
    assert "nan" not in curve
    assert "<svg" in drawings.bars({}, {}, "none")
    assert "<svg" in drawings.curves([], drawings.Axes("x", "y"), "none")
