"""Predictions: one per task, in order, finite, whatever the tasks hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from stand_ins import SHAPE_CONFIG, Sky, StandIn, settings_of, sky, tiny_lvm, truth

from ml_backend.loop.prediction import Predictor
from ml_backend.loop.rounds import RoundContext, run_round
from ml_backend.store.database import Store, open_store
from ml_backend.store.names import initial_version
from ml_backend.store.tables import Task
from models.lvm import LVM


class Place:
    """A project whose first version is trained on twelve votes."""

    def __init__(self, folder: Path) -> None:
        self.label_studio, self.sky = StandIn(folder / "ls.json"), Sky()
        self.label_studio.add_project(1)
        self.ids = self.label_studio.add_tasks(1, sky(40))
        self.store: Store = open_store(settings_of(folder / "data"))
        self.store.projects.save(1, "Galaxies", SHAPE_CONFIG)
        for task, address in zip(self.ids[:12], sky(40), strict=False):
            self.label_studio.annotate(task, truth(address))

    def round(self, **payload: Any) -> Any:
        return run_round(
            RoundContext(self.store, self.label_studio, self.sky, tiny_lvm), 1, payload
        )

    def tasks(self, start: int = 0, stop: int = 40) -> list[dict[str, Any]]:
        return [
            {"id": task, "data": {"image": address}}
            for task, address in list(zip(self.ids, sky(40), strict=True))[start:stop]
        ]

    def predictor(self, **fields: Any) -> Predictor:
        return Predictor(self.store, 1, **({"fetcher": self.sky, "lvm": tiny_lvm} | fields))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()


def labels_of(prediction: dict[str, Any]) -> list[str]:
    return [label for region in prediction["result"] for label in region["value"]["choices"]]


def check(predictions: list[dict[str, Any]], count: int) -> None:
    assert len(predictions) == count
    for prediction in predictions:
        assert math.isfinite(prediction["score"])
        assert 0 <= prediction["score"] <= 1
        assert isinstance(prediction["result"], list)
        assert isinstance(prediction["model_version"], str)


def test_before_the_first_version_results_are_empty(place: Place) -> None:
    predictions = place.predictor().predict(place.tasks())
    check(predictions, 40)
    assert {p["model_version"] for p in predictions} == {initial_version(1)}
    assert all(p["result"] == [] for p in predictions)
    assert place.sky.fetched == []


def test_stored_tasks_are_answered_by_the_champion_in_its_order(place: Place) -> None:
    name = place.round().version
    place.sky.fetched.clear()
    predictions = place.predictor().predict(place.tasks()[::-1])[::-1]
    check(predictions, 40)
    assert {p["model_version"] for p in predictions} == {name}
    right = [labels_of(p) == [truth(a)] for p, a in zip(predictions, sky(40), strict=True)]
    assert sum(right) >= 36
    scores = dict(zip(place.ids, (p["score"] for p in predictions), strict=True))
    published = {p["task"]: p for p in place.label_studio.predictions(1, name)}
    assert len(published) == 20
    for task, row in published.items():
        assert scores[task] == row["score"] < 0.5
    assert all(scores[task] >= 0.5 for task in place.ids if task not in published)
    assert place.sky.fetched == [], "kept embeddings are used"


def test_a_new_version_is_noticed(place: Place) -> None:
    first = place.round().version
    predictor = place.predictor()
    predictor.warm_up()
    assert predictor.predict(place.tasks(0, 1))[0]["model_version"] == first
    second = place.round(force=True).version
    assert second != first
    assert predictor.predict(place.tasks(0, 1))[0]["model_version"] == second


def test_a_changed_configuration_is_noticed(place: Place) -> None:
    place.round()
    predictor = place.predictor()
    assert predictor.predict(place.tasks(0, 1))[0]["result"]
    renamed = SHAPE_CONFIG.replace("Spiral", "Disc")
    place.store.projects.save(1, label_config=renamed)
    assert predictor.predict(place.tasks(0, 1))[0]["result"] == []


def test_unknown_tasks_are_encoded_now_and_kept(place: Place) -> None:
    place.round()
    unknown = [{"id": 9000 + n, "data": {"image": a}} for n, a in enumerate(sky(6, start=80))]
    place.sky.fetched.clear()
    predictions = place.predictor().predict([*place.tasks(0, 2), *unknown])
    check(predictions, 8)
    assert sorted(place.sky.fetched) == sorted(sky(6, start=80))
    right = [labels_of(p) == [truth(a)]
             for p, a in zip(predictions[2:], sky(6, start=80), strict=True)]  # fmt: skip
    assert sum(right) >= 5
    assert len(place.store.embeddings(tiny_lvm().identity)) == 46


def test_broken_tasks_get_an_empty_result_at_their_place(place: Place) -> None:
    broken = place.label_studio.add_tasks(1, ["junk://1"])
    place.round()
    place.sky.fetched.clear()
    odd: list[Any] = [
        {"id": broken[0], "data": {"image": "junk://1"}},
        {"id": 9001, "data": {"image": "file:///etc/passwd"}},
        {"id": 9002, "data": {"image": 7}},
        {"id": 9003, "data": {}},
        {"id": 9004, "data": None},
        {"id": "x", "data": {"image": ["sky://Spiral/1"]}},
        {},
    ]
    predictions = place.predictor().predict([place.tasks()[0], *odd, place.tasks()[1]])
    check(predictions, len(odd) + 2)
    assert labels_of(predictions[0])
    assert labels_of(predictions[-1])
    for prediction in predictions[1:-1]:
        assert prediction["result"] == []
        assert prediction["score"] == 1.0
    assert "junk://1" not in place.sky.fetched, "a known fault is not tried on every request"
    with place.store.reading() as session:
        problem = session.scalar(select(Task.problem).where(Task.id == broken[0]))
    assert problem


def test_the_deadline_is_kept(place: Place) -> None:
    place.round()
    unknown = [{"id": 9000 + n, "data": {"image": a}} for n, a in enumerate(sky(48, start=80))]
    predictions = place.predictor(deadline=0.0).predict(unknown)
    check(predictions, 48)
    assert [bool(p["result"]) for p in predictions] == [True] * 16 + [False] * 32


def test_another_lvm_encodes_nothing_into_the_champions_embeddings(place: Place) -> None:
    place.round()
    other = LVM(tiny_lvm().config)
    assert other.identity != tiny_lvm().identity
    unknown = [{"id": 9000, "data": {"image": "sky://Spiral/900"}}]
    prediction = place.predictor(lvm=lambda: other).predict(unknown)[0]
    assert (prediction["result"], prediction["score"]) == ([], 1.0)
