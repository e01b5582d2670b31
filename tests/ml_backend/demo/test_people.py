from __future__ import annotations

import threading
from typing import Any

import pytest

from ml_backend.demo.options import DemoOptions
from ml_backend.demo.people import Annotator, Crew, NoTaskLeft, Question
from ml_backend.demo.project import control_name, labelling_config
from ml_backend.errors import DemoError, LabelStudioError
from ml_backend.labelstudio.config import parse_controls

CLASSES = ("a", "b", "c")


class FakeStudio:
    """Serves tasks in order, each to as many people as its overlap says."""

    def __init__(self, tasks: int, overlap: int = 1, fails_at: int | None = None) -> None:
        self.open = dict.fromkeys(range(1, tasks + 1), overlap)
        self.given: list[tuple[int, str, dict[str, Any]]] = []
        self.fails_at = fails_at
        self.lock = threading.Lock()

    def client(self, person: str) -> Any:
        studio = self

        class Client:
            def next_task(self, project: int) -> dict[str, Any] | None:
                with studio.lock:
                    mine = {task for task, who, _ in studio.given if who == person}
                    task = next((t for t, n in studio.open.items() if n and t not in mine), None)
                    if task is None:
                        return None
                    studio.open[task] -= 1
                    region = {
                        "id": "r", "type": "choices", "from_name": "q", "to_name": "image",
                        "value": {"choices": ["a"]}, "score": 0.7,
                    }  # fmt: skip
                    return {"id": task, "predictions": [{"id": 7, "result": [region]}]}

            def create_annotation(self, task: int, result: list[Any], **fields: Any) -> None:
                with studio.lock:
                    if len(studio.given) == studio.fails_at:
                        raise LabelStudioError("Label Studio is down.")
                    studio.given.append((task, person, {"result": result, **fields}))

        return Client()


def people(studio: FakeStudio, count: int, error_rate: float = 0.0, seed: int = 0) -> list[Any]:
    truth = {task: CLASSES[task % 3] for task in studio.open}
    question = Question("q", "image", CLASSES, truth)
    return [
        Annotator(studio.client(f"p{n}"), 1, question, error_rate, seed, n) for n in range(count)
    ]


@pytest.mark.parametrize("votes", [1, 7, 20])
def test_a_crew_submits_exactly_what_is_asked(votes: int) -> None:
    studio = FakeStudio(20)
    counted: list[int] = []
    crew = Crew(people(studio, 3), lambda count: 0)
    assert crew.annotate(votes, lambda: counted.append(1)) == votes
    assert len(studio.given) == len(counted) == votes
    assert len({task for task, _, _ in studio.given}) == votes


def test_a_crew_whose_queue_is_empty_opens_tasks_again_or_says_so() -> None:
    studio = FakeStudio(4)
    asked: list[int] = []

    def reopen(count: int) -> int:
        asked.append(count)
        for task in list(studio.open)[:count]:
            studio.open[task] += 1
        return count if len(asked) == 1 else 0

    crew = Crew(people(studio, 3), reopen)
    assert crew.annotate(6) == 6
    assert asked[0] == 2
    with pytest.raises(DemoError, match="no task left"):
        Crew(people(FakeStudio(2), 3), lambda count: 0).annotate(3)


def test_a_failure_of_one_ends_all_of_them() -> None:
    studio = FakeStudio(200, fails_at=5)
    with pytest.raises(LabelStudioError, match="down"):
        Crew(people(studio, 3), lambda count: 0).annotate(150)
    assert len(studio.given) == 5


def test_the_error_rate_is_kept_and_the_seed_decides() -> None:
    studio = FakeStudio(2000)
    [person] = people(studio, 1, error_rate=0.2)
    answers = {task: person.answer(task)[0] for task in studio.open}
    wrong = sum(answer != CLASSES[task % 3] for task, answer in answers.items())
    assert 0.16 < wrong / 2000 < 0.24
    [again] = people(studio, 1, error_rate=0.2)
    assert {task: again.answer(task)[0] for task in reversed(studio.open)} == answers
    [other] = people(studio, 1, error_rate=0.2, seed=1)
    assert {task: other.answer(task)[0] for task in studio.open} != answers
    [perfect] = people(studio, 1)
    assert all(perfect.answer(task)[0] == CLASSES[task % 3] for task in studio.open)
    assert all(perfect.answer(task)[1] > 0 for task in studio.open)


def test_an_accepted_suggestion_keeps_its_origin_and_a_changed_one_does_not() -> None:
    studio = FakeStudio(3)
    Crew(people(studio, 1), lambda count: 0).annotate(3)
    for task, _, annotation in studio.given:
        [region] = annotation["result"]
        assert region["value"]["choices"] == [CLASSES[task % 3]]
        assert region["origin"] == ("prediction" if CLASSES[task % 3] == "a" else "manual")
        assert annotation["parent_prediction"] == 7


def test_a_task_of_somebody_else_is_named() -> None:
    [person] = people(FakeStudio(1), 1)
    with pytest.raises(DemoError, match="task 99"):
        person.answer(99)


@pytest.mark.parametrize("question", ["ring", "t01: smooth?", "0", "étoile", "  ", "a_b"])
def test_any_question_and_classes_make_a_configuration_that_we_can_read(question: str) -> None:
    classes = ("<&>", 'say "x"', "it's", "0", "a b")
    config = parse_controls(labelling_config(question, classes))
    [control] = config.controls
    assert control.name == control_name(question)
    assert control.labels == classes
    assert control.image_field == "image"
    assert not control.multiple
    assert not config.unsupported


def test_a_crew_ends_where_what_is_open_is_open_to_others_alone() -> None:
    studio = FakeStudio(2)
    asked: list[int] = []

    def reopen(count: int) -> int:
        asked.append(count)
        return 1

    with pytest.raises(NoTaskLeft) as ended:
        Crew(people(studio, 3), reopen).annotate(5)
    assert ended.value.done == 2
    assert len(asked) == 2


def test_people_may_differ_in_skill() -> None:
    equal = DemoOptions(annotators=5, error_rate=0.1)
    assert {equal.error_rate_of(number) for number in range(5)} == {0.1}
    unequal = DemoOptions(annotators=5, error_rate=0.1, unequal=True)
    rates = [unequal.error_rate_of(number) for number in range(5)]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(0.1 / 3)
    assert rates[2] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.3)
    with pytest.raises(DemoError, match="--unequal"):
        DemoOptions(annotators=1, unequal=True)
    with pytest.raises(DemoError, match="--most-people"):
        DemoOptions(annotators=2, most_people=0)
