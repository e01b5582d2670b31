"""Heads of plans in the loop: numbers and marks are learned, ranked, published and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from sqlalchemy import select
from stand_ins import Sky, sky, tiny_lvm
from world import World

from ml_backend.labelstudio.config import HEADS, NumberControl, parse_controls
from ml_backend.labelstudio.reading import read_answers
from ml_backend.loop import doubts, learning, plans, pool, scene_source
from ml_backend.loop.candidates import kept_candidate
from ml_backend.loop.gate import GateDecision
from ml_backend.loop.head_plan import HeadPlan
from ml_backend.loop.learning import Learned, UnseenLosses
from ml_backend.loop.loss_gate import compare_losses
from ml_backend.loop.planners import PLANNERS
from ml_backend.loop.plans import head_plans, learned_controls
from ml_backend.loop.prediction import Predictor
from ml_backend.loop.rounds import RoundContext, run_round
from ml_backend.loop.scene_source import SceneSource
from ml_backend.loop.typed_votes import typed_votes
from ml_backend.store.tables import Ranking, Vote
from models.answers import Answer, Number
from models.heads.base import Head, HeadError
from models.scenes import Scene

CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="shape" toName="image"><Choice value="Smooth"/><Choice value="Spiral"/>
<Choice value="Merger"/></Choices>
<Number name="bright" toName="image"/></View>"""
NUMBER_ALONE = """<View><Image name="image" value="$image"/>
<Number name="bright" toName="image"/></View>"""


class BrightnessHead(Head):
    """Tells a number that goes with the brightness of the picture's middle."""

    kind = "brightness_for_tests"
    sees = "scene"
    fits = 0
    spoilt = False

    def __init__(self) -> None:
        super().__init__(("value",))
        self.factor = np.zeros(0, np.float32)

    def fit(
        self, seen: Any, targets: Any, weights: Any = None, *, pool: Any = None, seed: int = 0
    ) -> Self:
        type(self).fits += 1
        light, wanted = _light(seen), _wanted(targets)
        self.factor = np.array([np.median(wanted / light)], np.float32)
        if self.spoilt:
            self.factor = self.factor * 3
        self.out_of_fold = self.predict(seen)
        return self

    def predict(self, seen: Any) -> Any:
        if not len(self.factor):
            raise HeadError("This head is not fitted.")
        return _light(seen) * self.factor[0]

    def uncertainty(self, seen: Any) -> Any:
        return np.clip(_light(seen) / 255, 0, 1).astype(np.float32)

    def answers(self, seen: Any) -> list[tuple[Answer, ...]]:
        return [(Number(round(float(v), 3), score=0.5),) for v in self.predict(seen)]

    def losses(self, said: Any, targets: Any) -> Any:
        return np.abs(np.asarray(said) - _wanted(targets)).astype(np.float32)

    def state(self) -> Any:
        return {"factor": self.factor}, {}

    @classmethod
    def restore(cls, labels: Any, tensors: Any, values: Any) -> Self:
        head = cls()
        head.factor = tensors["factor"]
        return head

    @property
    def dimension(self) -> int:
        return 1


def _light(seen: Any) -> Any:
    assert all(isinstance(scene, Scene) for scene in seen)
    return np.array([scene.pixels.mean() for scene in seen], np.float32)


def _wanted(targets: Any) -> Any:
    return np.array(
        [np.mean([answer.value for _, answer in one.each(Number)]) for one in targets], np.float32
    )


@pytest.fixture(autouse=True)
def brightness(monkeypatch: pytest.MonkeyPatch) -> type[BrightnessHead]:
    def planned(control: Any, config: Any) -> HeadPlan:
        return HeadPlan(control.name, (control,), "opinions", BrightnessHead)

    monkeypatch.setitem(HEADS, NumberControl, lambda control: "")
    monkeypatch.setitem(PLANNERS, NumberControl, planned)
    monkeypatch.setattr(BrightnessHead, "fits", 0)
    monkeypatch.setattr(BrightnessHead, "spoilt", False)
    return BrightnessHead


class Numbers(World):
    """A project that asks for a number, which is a hundredth of the picture's light.

    All suggestions are on show, those of the audit arm too, so that they can be looked at.
    """

    def __init__(self, folder: Path, config: str = CONFIG, **settings: object) -> None:
        super().__init__(folder, **{"blind_audit": False, **settings})
        self.config = config
        self.label_studio.set_config(1, config)
        self.store.projects.save(1, "Galaxies", config)

    def value(self, task: int) -> float:
        scene = self.scene(self.images[task])
        return float(scene.pixels.mean()) / 100

    def scene(self, address: str) -> Scene:
        from models.images import ImageLimits, read_image

        return Scene.of(read_image(Sky().fetch(address), ImageLimits()), tiny_lvm())

    def measure(self, count: int, start: int = 0, factor: float = 1.0, **more: Any) -> list[int]:
        return [self.say(task, self.value(task) * factor, **more) for task in
                self.tasks[start : start + count]]  # fmt: skip

    def say(self, task: int, value: float, person: int = 1, **fields: Any) -> int:
        region = {"id": "n", "type": "number", "from_name": "bright", "to_name": "image"}
        result = [{**region, "value": {"number": value}, "origin": "manual"}]
        if "Choices" in self.config:
            shape = {"choices": [self.images[task].split("/")[2]]}
            result.append({**region, "id": "c", "type": "choices", "from_name": "shape",
                           "value": shape})  # fmt: skip
        return self.label_studio.annotate(task, None, person, result=result, **fields)

    def published_numbers(self) -> dict[int, float]:
        config = parse_controls(self.config)
        found = {}
        for row in self.label_studio.predictions(1, self.published):
            answer = read_answers(row, config).answer("bright")
            if answer is not None:
                [item] = answer.items
                assert isinstance(item.value, Number)
                found[row["task"]] = item.value.value
        return found


@pytest.fixture
def world(tmp_path: Path) -> Numbers:
    return Numbers(tmp_path)


def test_a_configuration_is_divided_among_heads() -> None:
    config = parse_controls(CONFIG)
    assert [control.name for control in learned_controls(config)] == ["shape"]
    [plan] = head_plans(config)
    assert (plan.name, plan.learns) == ("bright", "opinions")
    assert plan.fits(BrightnessHead())
    assert head_plans(config, planners={}) == ()


def test_numbers_are_learned_and_published_beside_choices(world: Numbers) -> None:
    world.measure(12)
    world.round()
    told = world.published_numbers()
    assert len(told) == 20
    for task, value in told.items():
        assert value == pytest.approx(world.value(task), abs=2e-3)
    for row in world.label_studio.predictions(1, world.published):
        assert {region["from_name"] for region in row["result"]} == {"shape", "bright"}
    with world.store.reading() as session:
        kept = session.get(Ranking, (world.published, next(iter(told))))
        assert kept is not None
        assert kept.answers["bright"]["answer"]["items"][0]["value"] == pytest.approx(
            told[kept.task_id]
        )
        assert kept.answers["shape"]["labels"]
    assert world.versions()[-1].quality["bright"]["loss"] == pytest.approx(0, abs=1e-3)


def test_a_blind_task_keeps_its_number_and_shows_none(tmp_path: Path) -> None:
    world = Numbers(tmp_path, blind_audit=True)
    world.measure(12)
    world.round()
    with world.store.reading() as session:
        rows = session.scalars(select(Ranking).where(Ranking.version == world.published)).all()
    blind = {row.task_id: row.answers for row in rows if row.arm == "audit"}
    assert blind
    assert set(world.published_numbers()) == {row.task_id for row in rows} - set(blind)
    for task, answers in blind.items():
        assert answers["bright"]["blind"] is True
        [item] = answers["bright"]["answer"]["items"]
        assert item["value"] == pytest.approx(world.value(task), abs=2e-3)
    tasks = [{"id": task, "data": {"image": world.images[task]}} for task in blind]
    told = Predictor(world.store, 1, Sky(), tiny_lvm).predict(tasks)
    assert [prediction["result"] for prediction in told] == [[]] * len(blind)
    task, answers = next(iter(blind.items()))
    world.say(task, answers["bright"]["answer"]["items"][0]["value"], 5, lead_time=0.0)
    world.say(task, 400.0, 6, lead_time=0.0)
    world.round()
    with world.store.reading() as session:
        query = select(Vote).where(Vote.task_id == task, Vote.control == "bright")
        votes = session.scalars(query.order_by(Vote.annotator)).all()
    assert [(vote.agrees, vote.accepted) for vote in votes] == [(True, None), (False, None)]


def test_the_most_doubtful_are_asked_first(tmp_path: Path) -> None:
    world = Numbers(tmp_path, NUMBER_ALONE, audit_fraction=0.0)
    world.store.projects.save(1, options={"diversity": False})
    world.measure(6)
    world.round()
    light = [world.value(task) for task in world.label_studio.served(1)]
    assert len(light) == 20
    assert light == sorted(light, reverse=True)


def test_a_number_alone_is_a_vote(tmp_path: Path) -> None:
    world = Numbers(tmp_path, NUMBER_ALONE)
    assert world.round().kind == "cold"
    world.measure(3)
    assert world.round().kind == "trained"
    assert world.round().version is None
    world.say(world.tasks[0], 0.7, person=2)
    assert world.round().kind == "trained"
    assert not set(world.label_studio.served(1)) & set(world.tasks[:3])


def test_what_sees_scenes_is_not_fitted_for_every_vote(
    tmp_path: Path, brightness: type[BrightnessHead]
) -> None:
    world = Numbers(tmp_path, NUMBER_ALONE)
    world.measure(20)
    world.round()
    assert brightness.fits == 1
    world.measure(1, start=20)
    world.round()
    assert brightness.fits == 1
    assert len(world.published_numbers()) == 20
    world.measure(1, start=21)
    world.round()
    assert brightness.fits == 2


def test_answers_that_changed_are_learned(tmp_path: Path, brightness: type[BrightnessHead]) -> None:
    world = Numbers(tmp_path, NUMBER_ALONE)
    world.measure(20)
    world.round()
    world.measure(1, person=2)
    world.round()
    assert brightness.fits == 1
    world.measure(3, person=2)
    world.round()
    assert brightness.fits == 2


def test_learning_goes_on_beyond_the_most_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brightness: type[BrightnessHead]
) -> None:
    monkeypatch.setattr(learning, "MOST_SCENES", 8)
    world = Numbers(tmp_path, NUMBER_ALONE)
    world.measure(20)
    world.round()
    world.measure(1, start=20)
    world.round()
    assert brightness.fits == 1
    world.measure(3, start=21)
    world.round()
    assert brightness.fits == 2


def test_while_no_image_can_be_had_the_head_stays(
    world: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.measure(12)
    world.round()
    world.measure(6, start=12)
    monkeypatch.setattr(Sky, "fetch", lambda self, address: b"")
    world.round()
    assert "bright" in kept_candidate(world.store, world.published).heads


def test_a_worse_head_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brightness: type[BrightnessHead]
) -> None:
    world = Numbers(tmp_path, NUMBER_ALONE)
    world.measure(10)
    world.round()
    champion, before = world.published, world.published_numbers()
    monkeypatch.setattr(brightness, "spoilt", True)
    world.measure(10, start=10)
    report = world.round()
    assert report.rejected
    assert "worse on 'bright'" in report.message
    refused = next(v for v in world.versions() if v.name == report.rejected)
    assert refused.gate["figures"]["losses"]["bright"]["all"]["difference"] > 0
    # The champion's queue is ordered anew with its own heads.
    assert world.published != champion
    after = world.published_numbers()
    shared = set(before) & set(after)
    assert shared
    assert all(after[task] == before[task] for task in shared)


def test_answers_changed_since_are_no_pair() -> None:
    def losses(values: list[float], digests: list[int]) -> UnseenLosses:
        return UnseenLosses(np.arange(len(values)), np.array(values, np.float32),
                            np.array(digests), len(values))  # fmt: skip

    good, bad = losses([0.1] * 9, [1] * 9), losses([0.9, 0.8, 1.0] * 3, [1] * 9)
    first = GateDecision(True, "Promoted.")
    refused = compare_losses({"x": Learned(BrightnessHead(), bad, good)}, first)
    assert not refused.promote
    assert compare_losses({"x": Learned(BrightnessHead(), good, bad)}, first).promote
    assert compare_losses({"x": Learned(BrightnessHead(), bad)}, first) is first
    few = losses([0.1] * 3, [1] * 3)
    assert compare_losses({"x": Learned(BrightnessHead(), bad, few)}, first) is first
    no = GateDecision(False, "Not promoted.")
    assert not compare_losses({"x": Learned(BrightnessHead(), good, bad)}, no).promote
    left = np.arange(6)
    assert compare_losses({"x": Learned(BrightnessHead(), bad, good)}, first, (), left) is first


def test_new_tasks_are_answered_at_once(world: Numbers) -> None:
    world.measure(12)
    world.round()
    address = sky(1, start=500)[0]
    predictor = Predictor(world.store, 1, Sky(), tiny_lvm)
    [told] = predictor.predict([{"id": 9_999, "data": {"image": address}}])
    number = next(region for region in told["result"] if region["from_name"] == "bright")
    expected = float(world.scene(address).pixels.mean()) / 100
    assert number["value"]["number"] == pytest.approx(expected, abs=2e-3)
    [broken] = predictor.predict([{"id": 9_998, "data": {"image": "junk://1"}}])
    assert broken["result"] == []


def test_a_version_comes_back_with_its_heads(world: Numbers) -> None:
    world.measure(12)
    world.round()
    first, told = world.published, world.published_numbers()
    world.measure(12, start=12, factor=1.0)
    world.round()
    world.round(rollback=first)
    again = world.published_numbers()
    assert all(again[task] == told[task] for task in set(again) & set(told))


def test_broken_images_cost_their_row_only(world: Numbers, monkeypatch: pytest.MonkeyPatch) -> None:
    world.measure(12)
    gone = world.images[world.tasks[30]]
    fetch = Sky.fetch

    def sometimes(self: Sky, address: str) -> bytes:
        return fetch(self, "junk://1" if address == gone else address)

    world.round()
    monkeypatch.setattr(Sky, "fetch", sometimes)
    world.measure(6, start=12)
    world.round(rerank=True)
    told = world.published_numbers()
    assert len(told) >= 19


def test_a_head_that_cannot_be_fitted_leaves_the_others(
    world: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, *args: Any, **more: Any) -> Any:
        raise HeadError("Nothing can be learned from this.")

    monkeypatch.setattr(BrightnessHead, "fit", refuse)
    world.measure(12)
    assert world.round().kind == "trained"
    assert world.published_numbers() == {}


def test_most_scenes_bound_what_is_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "MOST_SCENES", 8)
    world = Numbers(tmp_path, NUMBER_ALONE)
    world.measure(30)
    world.round()
    assert world.versions()[-1].quality["bright"]["rows"] == 8


def test_an_image_is_fetched_once_for_all_heads(tmp_path: Path) -> None:
    two = NUMBER_ALONE.replace("</View>", '<Number name="again" toName="image"/></View>')
    world = Numbers(tmp_path, two)
    for task in world.tasks[:6]:
        regions = [
            {"id": name, "type": "number", "from_name": name, "to_name": "image",
             "value": {"number": world.value(task)}, "origin": "manual"}
            for name in ("bright", "again")
        ]  # fmt: skip
        world.label_studio.annotate(task, None, result=regions)
    world.round()
    assert set(world.versions()[-1].quality) == {"bright", "again"}
    # Once to be encoded, and once for both heads: to learn from it, or to judge and to answer.
    counts = {task: world.sky.fetched.count(world.images[task]) for task in world.tasks}
    assert set(counts.values()) == {2}


def test_scores_are_read_in_blocks(world: Numbers, monkeypatch: pytest.MonkeyPatch) -> None:
    world.measure(12)
    world.round()
    embeddings = world.store.embeddings(tiny_lvm().identity)
    loaded = pool.load_pool(world.store, 1, parse_controls(CONFIG), embeddings)
    whole = loaded.scored(lambda rows: rows.sum(axis=1))
    monkeypatch.setattr(pool, "_BLOCK", 7)
    np.testing.assert_array_equal(loaded.scored(lambda rows: rows.sum(axis=1)), whole)
    some = np.array([40, 3, 17])
    np.testing.assert_array_equal(loaded.scored(lambda rows: rows.sum(axis=1), some), whole[some])
    assert loaded.scored(lambda rows: rows.sum(axis=1), some[:0]).shape == (0,)


def test_scenes_stop_where_the_memory_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Numbers(tmp_path, NUMBER_ALONE)
    world.measure(30)
    one = world.scene(world.images[world.tasks[0]]).bytes
    assert one > 40 * 40 * 3
    monkeypatch.setattr(scene_source, "MOST_BYTES", 5 * one)
    world.round()
    assert world.versions()[-1].quality["bright"]["rows"] == 5


def test_what_there_is_no_time_for_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "SECONDS", -1e9)
    monkeypatch.setattr(SceneSource, "scenes", _whatever_the_time(SceneSource.scenes))
    world = Numbers(tmp_path, NUMBER_ALONE, audit_fraction=0.0)
    world.store.projects.save(1, options={"diversity": False})
    world.measure(6)
    world.round()
    with world.store.reading() as session:
        told = [session.get(Ranking, (world.published, task)) for task in world.tasks[6:]]
    judged = [row for row in told if row is not None and (row.uncertainty or 0) > 0]
    assert len(judged) == 16


def _whatever_the_time(scenes: Any) -> Any:
    return lambda self, tasks, seconds=None: scenes(self, tasks)


def test_a_vote_of_another_version_of_us_costs_itself_only(world: Numbers) -> None:
    world.measure(12)
    world.round()
    with world.store.session() as session:
        vote = session.scalars(select(Vote).where(Vote.control == "bright")).first()
        assert vote is not None
        vote.answer = {"items": [{"kind": "telepathy"}]}
    assert world.round(force=True).kind == "trained"
    assert len(typed_votes(world.store, 1, "bright")) == 11


def test_another_configuration_puts_the_head_out_of_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Numbers(tmp_path)
    world.measure(12)
    world.round()
    without = CONFIG.replace('<Number name="bright" toName="image"/>', "")
    world.label_studio.set_config(1, without)
    world.round()
    world.config = CONFIG
    assert world.published_numbers() == {}
    context = RoundContext(world.store, world.label_studio, Sky(), tiny_lvm)
    world.label_studio.set_config(1, CONFIG)
    run_round(context, 1, {})
    assert len(world.published_numbers()) == 20
    assert plans.head_plans(parse_controls(CONFIG))
