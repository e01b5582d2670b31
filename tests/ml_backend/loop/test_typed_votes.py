"""Votes that hold boxes, masks and numbers; existing databases and choices stay as they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, select
from stand_ins import StandIn, settings_of, sky
from wire import ANSWERS, CONFIG, XML, all_answers, typed

from ml_backend.labelstudio.config import (
    HEADS,
    BoxControl,
    BrushControl,
    ChoicesControl,
    NumberControl,
    parse_controls,
)
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.regions import votes_from_annotation
from ml_backend.labelstudio.typed import Item, TypedAnswer, kept
from ml_backend.labelstudio.writing import write_answers
from ml_backend.loop.typed_votes import typed_controls, typed_rows, typed_votes
from ml_backend.loop.votes import reconcile
from ml_backend.store import migrations
from ml_backend.store.database import HEAD, Store, open_store
from ml_backend.store.tables import Ranking, Version, Vote
from models.answers import Answer, Box, Number, Point

KINDS = (BoxControl, BrushControl, NumberControl)
NAMES = {"boxes", "box", "masks", "mask", "magnitude", "redshift"}


class Place:
    def __init__(self, folder: Path) -> None:
        self.label_studio = StandIn(folder / "ls.json")
        self.label_studio.add_project(1, XML)
        self.tasks = self.label_studio.add_tasks(1, sky(6))
        self.store: Store = open_store(settings_of(folder / "data"))
        self.store.projects.save(1, "Galaxies", XML)

    def annotate(self, task: int, *answers: TypedAnswer, **fields: Any) -> int:
        result = write_answers(CONFIG, answers).result
        return self.label_studio.annotate(self.tasks[task], None, **{"result": result, **fields})

    def votes(self) -> dict[str, Vote]:
        with self.store.reading() as session:
            return {vote.control: vote for vote in session.scalars(select(Vote))}

    def read(self, full: bool = False) -> Any:
        return reconcile(self.label_studio, self.store, 1, full)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in set(HEADS) - {ChoicesControl}:
        monkeypatch.delitem(HEADS, kind)
    for kind in KINDS:
        monkeypatch.setitem(HEADS, kind, lambda control: "")


def test_without_heads_nothing_but_choices_is_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in set(HEADS) - {ChoicesControl}:
        monkeypatch.delitem(HEADS, kind)
    place.annotate(0, *all_answers())
    place.read()
    votes = place.votes()
    assert set(votes) == {"shape", "features", "arms"}
    assert all(vote.answer is None for vote in votes.values())


@pytest.mark.usefixtures("heads")
def test_answers_come_back_identical(place: Place) -> None:
    place.annotate(0, *all_answers(), completed_by=7)
    report = place.read()
    assert report.votes_added == 3 + len(NAMES)
    for name in NAMES:
        [vote] = typed_votes(place.store, 1, name)
        assert (vote.task_id, vote.person) == (place.tasks[0], "person 7")
        assert vote.answer.values == (ANSWERS[name],)
        assert vote.answer.complete
        assert vote.at > 0
    votes = place.votes()
    assert votes["boxes"].labels == ["star"]
    assert votes["magnitude"].labels == []
    assert votes["boxes"].origin == "prediction"
    assert votes["boxes"].problem is None
    assert votes["shape"].answer is None
    # A sweep that finds nothing new changes nothing.
    assert not place.read(full=True).changed


@pytest.mark.usefixtures("heads")
def test_edits_deletions_and_skips_are_found(place: Place) -> None:
    first = place.annotate(0, typed("box", Box(0, 0, 3, 3)))
    place.annotate(1, typed("box", Box(0, 0, 3, 3)), skip=True)
    place.read()
    assert [vote.answer.values for vote in typed_votes(place.store, 1, "box")] == [
        (Box(0, 0, 3, 3),)
    ]
    place.label_studio.delete_annotation(first)
    place.annotate(0, typed("box"))
    place.read()
    assert [vote.answer.values for vote in typed_votes(place.store, 1, "box")] == [()]


@pytest.mark.usefixtures("heads")
def test_of_one_persons_answers_the_latest_counts(place: Place) -> None:
    for person, value in ((1, 18.0), (2, 19.0), (1, 20.0)):
        place.annotate(0, typed("magnitude", Number(value)), person=person)
    place.annotate(0, typed("magnitude", Number(21.0)), completed_by=None)
    place.read()
    found = typed_votes(place.store, 1, "magnitude")
    assert {vote.person: vote.answer.values for vote in found}["person 1"] == (Number(20.0),)
    assert len(found) == 3


@pytest.mark.usefixtures("heads")
def test_a_broken_answer_keeps_its_reason_and_costs_no_other(place: Place) -> None:
    result = write_answers(CONFIG, all_answers()).result
    [box] = [region for region in result if region["from_name"] == "box"]
    broken = {**box, "id": "z", "value": {**box["value"], "width": -1}}
    place.annotate(0, result=[*result, broken])
    place.read()
    [vote] = typed_votes(place.store, 1, "box")
    assert vote.answer.values == (ANSWERS["box"],)
    assert not vote.answer.complete
    assert "-1 percent" in (place.votes()["box"].problem or "")
    assert place.votes()["boxes"].problem is None


@pytest.mark.usefixtures("heads")
@pytest.mark.parametrize(
    ("said", "accepted"), [(Box(0, 0, 3, 3, score=0.4), True), (Box(0, 0, 3, 4), False)]
)
def test_whether_a_suggestion_was_accepted_is_known(
    place: Place, said: Answer, accepted: bool
) -> None:
    suggestion = typed("box", Box(0, 0, 3, 3, score=0.9))
    now = datetime.now(UTC)
    with place.store.session() as session:
        session.add(
            Version(name="v1", project_id=1, number=1, kind="trained", state="published",
                    created_at=now, published_at=now - timedelta(seconds=60))
        )  # fmt: skip
        session.flush()
        answers = {"box": {"labels": [], "confidence": 0.9, "answer": kept(suggestion)}}
        for task in place.tasks[:2]:
            session.add(
                Ranking(version="v1", task_id=task, place=0, score=0.0, arm="active",
                        answers=answers)
            )  # fmt: skip
    place.annotate(0, typed("box", said), parent_prediction=5)
    place.read()
    assert place.votes()["box"].accepted is accepted
    # A snapshot in the annotation itself says the same.
    shown = {"model_version": "v1", "result": write_answers(CONFIG, [suggestion]).result}
    place.annotate(1, typed("box", said), prediction=shown)
    place.read()
    assert place.votes()["box"].accepted is accepted
    place.annotate(2, typed("box", said), parent_prediction=None)
    place.read()
    assert place.votes()["box"].accepted is None


@pytest.mark.usefixtures("heads")
def test_a_control_that_is_gone_keeps_its_votes_until_it_is_back(place: Place) -> None:
    place.annotate(0, typed("box", Box(0, 0, 3, 3)))
    place.read()
    place.label_studio.set_config(1, XML.replace('<Rectangle name="box" toName="image"/>', ""))
    place.read()
    assert len(typed_votes(place.store, 1, "box")) == 1


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
def test_votes_of_an_older_database_stay(tmp_path: Path, revision: str) -> None:
    """The column is added; what was there is read as before."""
    folder = tmp_path / "data"
    folder.mkdir()
    engine = create_engine(f"sqlite:///{folder / 'galaxyloop.sqlite3'}")
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__path__[0])))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.exec_driver_sql(
            "INSERT INTO projects (id, title, label_config, options, swept_digest, hints, failures,"
            " created_at) VALUES (1, 'Galaxies', '', '{}', '', 0, 0, '2026-01-01 00:00:00')"
        )
        connection.exec_driver_sql(
            "INSERT INTO votes (annotation_id, control, project_id, task_id, labels, skipped,"
            " origin, audit) VALUES (1, 'shape', 1, 2, '[\"E\"]', 0, 'manual', 0)"
        )
    engine.dispose()
    store = open_store(settings_of(folder))
    with store.reading() as session:
        [vote] = session.scalars(select(Vote)).all()
    assert (vote.labels, vote.answer) == (["E"], None)
    store.close()
    with sqlite3.connect(folder / "galaxyloop.sqlite3") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)


def test_typed_controls_are_those_with_a_head_that_are_no_choices() -> None:
    choices = {ChoicesControl: HEADS[ChoicesControl]}
    assert typed_controls(parse_controls(XML, choices)) == ()
    heads = {**choices, **dict.fromkeys(KINDS, lambda control: "")}
    assert {control.name for control in typed_controls(parse_controls(XML, heads))} == NAMES
    annotation = {"result": write_answers(CONFIG, all_answers()).result}
    told = {answer.control for answer in votes_from_annotation(annotation, CONFIG)}
    assert told == {"shape", "features", "arms"}


def test_who_asked_and_forgot_the_answer_does_not_say_that_nothing_is_there() -> None:
    config = parse_controls(
        '<View><Image name="i" value="$image"/>'
        '<BrushLabels name="masks" toName="i"><Label value="a"/></BrushLabels>'
        '<RectangleLabels name="boxes" toName="i"><Label value="a"/></RectangleLabels>'
        '<KeyPointLabels name="ask" toName="i" smartOnly="true"><Label value="a"/></KeyPointLabels>'
        "</View>"
    )
    frame = Frame(12, 10)
    asked = TypedAnswer("ask", (Item(Point(6, 5, label="a"), "manual"),), frame)
    box = TypedAnswer("boxes", (Item(Box(1, 2, 3, 4, label="a"), "manual"),), frame)

    def rows(*answers: TypedAnswer) -> dict[str, int]:
        annotation = {"result": write_answers(config, answers).result}
        found = typed_rows(annotation, config, {})
        return {name: len(row["answer"]["items"]) for name, row in found.items()}

    assert rows() == {"masks": 0, "boxes": 0}
    assert rows(box) == {"masks": 0, "boxes": 1}
    assert rows(asked, box) == {"boxes": 1}
    assert rows(asked) == {}
