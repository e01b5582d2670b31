"""Rounds with the real heads: trees, interest, numbers and verdicts, from votes to suggestions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_ins import Sky, tiny_lvm
from world import World

from ml_backend.labelstudio.config import LabelConfig, parse_controls
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.reading import read_answers
from ml_backend.labelstudio.typed import Item, TypedAnswer
from ml_backend.labelstudio.writing import write_answers
from ml_backend.loop.candidates import kept_candidate
from ml_backend.loop.pool import load_pool
from ml_backend.loop.prediction import Predictor
from models.answers import Answer, Ellipse, Labels, Number
from models.images import ImageLimits, read_image

TREE = """<View><Image name="image" value="$image"/>
<Choices name="shape" toName="image"><Choice value="Smooth"/><Choice value="Spiral"/>
<Choice value="Merger"/></Choices>
<Choices name="arms" toName="image" visibleWhen="choice-selected" whenTagName="shape"
whenChoiceValue="Spiral"><Choice value="Two"/><Choice value="Many"/></Choices></View>"""
INTEREST = """<View><Image name="image" value="$image"/>
<Choices name="interest" toName="image"><Choice value="yes"/><Choice value="no"/></Choices>
</View>"""
PARAMETERS = """<View><Image name="image" value="$image"/>
<Number name="light" toName="image" min="0" max="200" step="0.5"/>
<EllipseLabels name="half_light" toName="image"><Label value="Half"/></EllipseLabels></View>"""
VERDICT = """<View><Image name="image" value="$image"/><Image name="restored" value="$restored"/>
<Choices name="verdict" toName="restored"><Choice value="accept"/><Choice value="reject"/></Choices>
<Rating name="quality" toName="restored"/></View>"""


class Project(World):
    """A project with a configuration of its own.

    All suggestions are on show, those of the audit arm too, so that they can be looked at.
    """

    def __init__(self, folder: Path, text: str, **settings: object) -> None:
        super().__init__(folder, **{"blind_audit": False, **settings})
        self.text = text
        self.label_studio.set_config(1, text)
        self.store.projects.save(1, "Galaxies", text)

    @property
    def config(self) -> LabelConfig:
        return parse_controls(self.text)

    def say(self, task: int, person: int = 1, frame: Any = None, **answers: Answer) -> int:
        typed = [TypedAnswer(name, (Item(value, "manual"),), frame) for name, value in
                 answers.items()]  # fmt: skip
        result = write_answers(self.config, typed).result
        assert len(result) == len(answers)
        return self.label_studio.annotate(task, None, person, result=result)

    def kind(self, task: int) -> str:
        return self.images[task].split("/")[2]

    def suggested(self) -> dict[int, dict[str, Answer]]:
        """What is on show, by task and control."""
        found: dict[int, dict[str, Answer]] = {}
        for row in self.label_studio.predictions(1, self.published):
            reading = read_answers(row, self.config)
            assert reading.problems == ()
            said = found.setdefault(row["task"], {})
            for answer in reading.answers:
                if answer.items:
                    said[answer.control] = answer.items[0].value
        return found


def test_a_tree_is_answered_where_its_answers_lead(tmp_path: Path) -> None:
    world = Project(tmp_path, TREE)
    for task in world.tasks[:30]:
        arms = {"arms": Labels(("Two",))} if world.kind(task) == "Spiral" else {}
        world.say(task, shape=Labels((world.kind(task),)), **arms)
    assert world.round().kind == "trained"
    told = world.suggested()
    assert len(told) == 20
    for task, answers in told.items():
        assert answers["shape"].labels == (world.kind(task),)  # type: ignore[attr-defined]
        assert ("arms" in answers) == (world.kind(task) == "Spiral")
        assert all(0 < (answer.score or 0) <= 1 for answer in answers.values())
    assert {type(head).__name__ for head in kept_candidate(world.store, world.published).heads
            .values()} == {"DecisionTreeHead"}  # fmt: skip

    # Three people agree with each other, and never with the first: theirs is the answer.
    def other(task: int) -> str:
        return "Spiral" if world.kind(task) == "Smooth" else "Smooth"

    for person in (2, 3, 4):
        for task in world.tasks[:30]:
            world.say(task, person, shape=Labels((other(task),)))
    assert world.round().version is not None
    told = world.suggested()
    assert len(told) == 20
    for task, answers in told.items():
        assert answers["shape"].labels == (other(task),)  # type: ignore[attr-defined]


def test_people_who_always_say_the_same_do_not_outvote_those_who_look(tmp_path: Path) -> None:
    world = Project(tmp_path, TREE)
    for task in world.tasks[:30]:
        for person in (1, 4):
            world.say(task, person, shape=Labels((world.kind(task),)))
        for person in (2, 3):
            world.say(task, person, shape=Labels(("Smooth",)))
    world.round()
    shapes = Counter(
        answers["shape"].labels == (world.kind(task),)  # type: ignore[attr-defined]
        for task, answers in world.suggested().items()
    )
    assert shapes == {True: 20}


def test_what_is_of_interest_comes_first(tmp_path: Path) -> None:
    world = Project(tmp_path, INTEREST, audit_fraction=0.0, explore=0.0)
    for task in world.tasks[:12]:
        world.say(task, interest=Labels(("yes" if world.kind(task) == "Merger" else "no",)))
    world.round()
    served = [world.kind(task) for task in world.label_studio.served(1)]
    mergers = sum(world.kind(task) == "Merger" for task in world.tasks[12:])
    assert set(served[:mergers]) == {"Merger"}
    world.store.projects.save(1, options={"explore": 1.0})
    world.round(rerank=True)
    mixed = [world.kind(task) for task in world.label_studio.served(1)]
    assert set(mixed[:mergers]) != {"Merger"}


def test_numbers_and_ellipses_are_told_together(tmp_path: Path) -> None:
    world = Project(tmp_path, PARAMETERS)
    frame = _frame()
    value = {"Smooth": 60.0, "Spiral": 90.0, "Merger": 120.0}
    for task in world.tasks[:24]:
        world.say(task, frame=frame, light=Number(value[world.kind(task)]),
                  half_light=Ellipse(20, 20, 8, 6, 0, label="Half"))  # fmt: skip
    assert world.round().kind == "trained"
    wrong = []
    for task, answers in world.suggested().items():
        light = answers["light"]
        assert isinstance(light, Number)
        assert light.value % 0.5 == 0
        assert isinstance(answers["half_light"], Ellipse)
        wrong.append(abs(light.value - value[world.kind(task)]))
    assert np.median(wrong) < 15
    predictor = Predictor(world.store, 1, Sky(), tiny_lvm)
    [told] = predictor.predict([{"id": 99_999, "data": {"image": "sky://Merger/501"}}])
    assert {region["from_name"] for region in told["result"]} == {"light", "half_light"}


def test_marks_on_another_picture_cost_no_others(tmp_path: Path) -> None:
    world = Project(tmp_path, PARAMETERS)
    frame, other = _frame(), Frame(4000, 3000)
    drawn = Ellipse(20, 20, 8, 6, 0, label="Half")
    first, second, *rest = world.tasks[:12]
    world.say(first, frame=other, half_light=drawn)
    world.say(second, person=2, frame=other, half_light=drawn)
    for task in (second, *rest):
        world.say(task, frame=frame, half_light=drawn)
    assert world.round().kind == "trained"
    pool = load_pool(world.store, 1, world.config, world.store.embeddings(tiny_lvm().identity))
    lessons = pool.lessons["half_light"]
    told = dict(zip(lessons.task_ids.tolist(), lessons.targets, strict=True))
    assert [len(opinions) for opinions in told.values()] == [1] * 12
    assert told[second].size == frame.size
    judged = kept_candidate(world.store, world.published).losses["half_light"]
    assert sorted(judged.task_ids.tolist()) == sorted([second, *rest])
    assert judged.labelled == 12


def test_a_verdict_is_about_the_image_that_was_restored(tmp_path: Path) -> None:
    world = Project(tmp_path, VERDICT)
    for task in world.tasks[:12]:
        verdict = "reject" if world.kind(task) == "Merger" else "accept"
        world.say(task, verdict=Labels((verdict,)))
    assert world.round().kind == "trained"
    told = world.suggested()
    assert len(told) == 20
    assert all(set(answers) == {"verdict"} for answers in told.values())
    # The picture that is looked at is the observed one, not the restored one.
    assert all(address.startswith("sky://") for address in world.sky.fetched)


def _frame() -> Frame:
    image = read_image(Sky().fetch("sky://Smooth/1"), ImageLimits())
    return Frame(image.pixels.shape[2], image.pixels.shape[1])


@pytest.mark.parametrize("text", [TREE, INTEREST, PARAMETERS, VERDICT])
def test_before_the_first_vote_nothing_is_claimed(tmp_path: Path, text: str) -> None:
    world = Project(tmp_path, text)
    assert world.round().kind == "cold"
    assert all(not answers for answers in world.suggested().values())
    assert len(world.label_studio.served(1)) == 20
