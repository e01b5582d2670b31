"""Dear parts of figures are kept while little is new, and what moves on moves on exactly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from world import World

from ml_backend.loop import learning_figures, people_figure, recounting
from ml_backend.loop.people_kept import moved_on
from ml_backend.loop.recounting import LARGE, counted_mark, still_holds
from ml_backend.store.figures import kept_figure

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_a_mark_holds_while_little_is_new_and_an_hour_has_not_passed() -> None:
    mark = counted_mark(100_000, NOW, "v1")
    assert still_holds(mark, 101_999, NOW + timedelta(minutes=59), "v1")
    assert still_holds(mark, 98_001, NOW, "v1")
    assert not still_holds(mark, 102_001, NOW, "v1")
    assert not still_holds(mark, 97_999, NOW, "v1")
    assert not still_holds(mark, 100_000, NOW + timedelta(minutes=61), "v1")
    assert not still_holds(mark, 100_000, NOW - timedelta(minutes=1), "v1")
    assert not still_holds(mark, 100_000, NOW, "v2")
    assert not still_holds(counted_mark(LARGE - 1, NOW), LARGE - 1, NOW)


@pytest.mark.parametrize(
    "kept", [None, 5, {}, {"size": "1", "at": "x", "of": ""}, {"size": 10**6, "at": "x", "of": ""},
             {"size": 10**6, "at": "2026-11-23T12:00:00", "of": ""}],
)  # fmt: skip
def test_a_broken_mark_does_not_hold(kept: Any) -> None:
    assert not still_holds(kept, 10**6, NOW)


def test_people_who_came_and_went_are_told_without_a_count(monkeypatch: Any) -> None:
    monkeypatch.setattr(recounting, "LARGE", 1)
    row = {"votes": 80, "skips": 3, "kappa": 0.7}
    kept = {
        "people": [{"person": "person 1", **row}, {"person": "person 2", **row, "votes": 1}],
        "tallied": {"person 1": [81, 3], "person 2": [1, 3]},
        "counted": counted_mark(88, NOW),
        "days": {},
    }
    now = {"person 1": [80, 4], "person 3": [2, 1]}
    # Eighty-eight have become eighty-seven, within 2 %.
    told = moved_on(kept, now, NOW)
    assert told is not None
    first, last = told["people"]
    # One of the answers is a known one, which counts as no vote; that stays so.
    assert (first["person"], first["votes"], first["skips"], first["kappa"]) == (
        "person 1", 79, 4, 0.7,
    )  # fmt: skip
    assert (last["person"], last["votes"], last["skips"], last["kappa"]) == ("person 3", 2, 1, None)
    assert moved_on({**kept, "people": [{"person": "person 1"}]}, now, NOW) is None
    assert moved_on({**kept, "tallied": 5}, now, NOW) is None


def test_a_kept_figure_says_of_answers_what_a_count_says(tmp_path: Path, monkeypatch: Any) -> None:
    world = World(tmp_path / "world")
    world.vote(40)
    world.round()
    kept = kept_figure(world.store, 1, "people")
    assert kept is not None
    monkeypatch.setattr(recounting, "LARGE", 1)
    monkeypatch.setattr(recounting, "GROWTH", 10.0)
    counts = []
    real = people_figure.people_votes
    monkeypatch.setattr(
        people_figure, "people_votes", lambda *told: counts.append(1) or real(*told)
    )
    world.vote(6, 40)
    world.label_studio.annotate(world.tasks[46], "Spiral", person=8)
    world.label_studio.annotate(world.tasks[47], "Merger", person=9, skip=True)
    world.round()
    told = kept_figure(world.store, 1, "people")
    assert told is not None
    assert counts == []
    assert told.data["pairs"] == kept.data["pairs"]
    monkeypatch.setattr(recounting, "GROWTH", -1.0)
    world.label_studio.annotate(world.tasks[48], "Spiral", person=8)
    world.round()
    anew = kept_figure(world.store, 1, "people")
    assert anew is not None
    assert counts == [1]

    def said(figure: Any) -> dict[str, tuple[int, int]]:
        return {one["person"]: (one["votes"], one["skips"]) for one in figure.data["people"]}

    assert said(told) == {"person 1": (46, 0), "person 8": (1, 0), "person 9": (0, 1)}
    assert said(anew) == {**said(told), "person 8": (2, 0)}
    # A row that was made between two counts has all that the page asks for.
    assert {frozenset(one) for one in told.data["people"]} == {
        frozenset(one) for one in anew.data["people"]
    }


def test_a_versions_measures_are_kept_while_little_is_new(tmp_path: Path, monkeypatch: Any) -> None:
    world = World(tmp_path / "world")
    monkeypatch.setattr(recounting, "LARGE", 1)
    world.vote(12)
    world.round()
    before = kept_figure(world.store, 1, "learning")
    assert before is not None
    done = []
    real = learning_figures._control
    monkeypatch.setattr(learning_figures, "_control", lambda *told: done.append(1) or real(*told))
    world.round()
    same = kept_figure(world.store, 1, "learning")
    assert same is not None
    assert done == []
    assert same.data["controls"] == before.data["controls"]
    assert same.data["measured"] == before.data["measured"]
    world.vote(12, 12)
    world.round()
    assert done == [1]
