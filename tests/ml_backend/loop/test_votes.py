"""Votes read back from Label Studio: created, edited, deleted, skipped, imported, moved."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from stand_ins import SHAPE_CONFIG, StandIn, region, settings_of, sky

from ml_backend.errors import LabelConfigError, LabelStudioError, StoreError
from ml_backend.loop.votes import SWEEP_SECONDS, reconcile, record_hint
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Ranking, Task, Version, Vote


class Place:
    def __init__(self, folder: Path) -> None:
        self.label_studio = StandIn(folder / "ls.json")
        self.label_studio.add_project(1)
        self.tasks = self.label_studio.add_tasks(1, sky(6))
        self.store: Store = open_store(settings_of(folder / "data"))
        self.store.projects.save(1, "Galaxies", SHAPE_CONFIG)

    def votes(self) -> dict[int, tuple[str, ...]]:
        with self.store.reading() as session:
            rows = session.scalars(select(Vote).where(~Vote.skipped).order_by(Vote.id))
            return {row.annotation_id: tuple(row.labels) for row in rows}

    def read(self, full: bool = False) -> Any:
        return reconcile(self.label_studio, self.store, 1, full)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()


def test_created_edited_and_deleted_answers_are_found(place: Place) -> None:
    first = place.label_studio.annotate(place.tasks[0], "Smooth", person=7)
    report = place.read()
    assert (report.tasks_added, report.votes_added, report.full) == (6, 1, True)
    second = place.label_studio.annotate(place.tasks[1], "Spiral")
    report = place.read()
    assert (report.votes_added, report.full) == (1, False)
    assert place.votes() == {first: ("Smooth",), second: ("Spiral",)}
    place.label_studio.edit(first, "Merger")
    assert place.read().votes_changed == 1
    assert place.votes()[first] == ("Merger",)
    place.label_studio.delete_annotation(second)
    assert place.read().votes_removed == 1
    assert place.votes() == {first: ("Merger",)}
    assert not place.read().changed


def test_what_is_kept_of_a_vote(place: Place) -> None:
    with place.store.session() as session:
        version = Version(name="v1", project_id=1, number=1, kind="cold", state="published",
                          created_at=place.store.projects.get(1).created_at)  # fmt: skip
        session.add(version)
        session.flush()
        session.add(Ranking(version="v1", task_id=place.tasks[0], place=0, score=0.0, arm="audit"))
    shown = {"model_version": "v1", "result": region("Spiral"), "score": 0.0}
    place.label_studio.annotate(place.tasks[0], "Spiral", person=7, prediction=shown)
    place.label_studio.annotate(place.tasks[1], "Smooth", prediction=shown)
    place.label_studio.annotate(place.tasks[2], "Smooth", completed_by={"id": 9, "email": "x"})
    place.read()
    with place.store.reading() as session:
        one, two, three = session.scalars(select(Vote).order_by(Vote.id)).all()
        task = session.get(Task, place.tasks[0])
    assert (one.annotator, one.lead_time, one.origin) == (7, 2.5, "manual")
    assert (one.shown_version, one.accepted, one.audit) == ("v1", True, True)
    assert (two.accepted, two.audit) == (False, False)
    assert (three.annotator, three.accepted, three.shown_version) == (9, None, None)
    assert task is not None
    assert task.audit
    assert task.is_labeled


def test_what_was_shown_is_told_from_our_own_queue(place: Place) -> None:
    """Label Studio's task list leaves the snapshot of the prediction out."""
    now = datetime.now(UTC)
    answers = {"shape": {"labels": ["Spiral"], "confidence": 0.9}}
    with place.store.session() as session:
        for number, age in ((1, 100), (2, 10)):
            session.add(
                Version(name=f"v{number}", project_id=1, number=number, kind="trained",
                        state="retired", created_at=now,
                        published_at=now - timedelta(seconds=age))
            )  # fmt: skip
        session.flush()
        for number, task in ((1, 0), (1, 1), (2, 0), (2, 2)):
            session.add(
                Ranking(version=f"v{number}", task_id=place.tasks[task], place=task,
                        score=0.1 * task, arm="audit" if number == 2 else "active",
                        answers=answers)
            )  # fmt: skip
    annotate = place.label_studio.annotate
    annotate(place.tasks[0], "Spiral", prediction=None, parent_prediction=5)
    annotate(place.tasks[1], "Smooth", prediction=None, parent_prediction=6, lead_time=50.0)
    annotate(place.tasks[2], "Smooth", prediction=None, parent_prediction=None)
    annotate(place.tasks[3], "Smooth", prediction=None, parent_prediction=7)
    place.read()
    with place.store.reading() as session:
        votes = session.scalars(select(Vote).order_by(Vote.id)).all()
    told = [(vote.shown_version, vote.accepted, vote.audit) for vote in votes]
    assert told == [
        ("v2", True, True),
        ("v1", False, False),
        ("v2", None, True),
        (None, None, False),
    ]


def test_a_skip_is_kept_but_is_no_vote(place: Place) -> None:
    skip = place.label_studio.annotate(place.tasks[0], "Smooth", skip=True)
    report = place.read()
    assert report.skips == 1
    assert place.votes() == {}
    assert place.store.projects.counts(1)["skips"] == 1
    assert place.store.projects.counts(1)["votes"] == 0
    with place.store.reading() as session:
        kept = session.scalars(select(Vote)).one()
    assert (kept.annotation_id, kept.skipped, kept.labels) == (skip, True, [])


def test_tasks_that_come_go_or_change_their_image(place: Place) -> None:
    place.read()
    place.label_studio.annotate(place.tasks[5], "Smooth")
    place.read()
    place.label_studio.remove_task(place.tasks[5])
    new = place.label_studio.add_tasks(1, sky(1, start=50))
    report = place.read()
    assert (report.tasks_added, report.tasks_removed, report.votes_removed) == (1, 1, 1)
    assert place.store.projects.counts(1)["tasks"] == 6
    with place.store.session() as session:
        task = session.get(Task, new[0])
        assert task is not None
        task.content_hash = "0" * 64
    state = place.label_studio._read()
    state["tasks"][str(new[0])]["data"]["image"] = "sky://Merger/77"
    place.label_studio._write(state)
    assert place.read(full=True).images_changed == 1
    with place.store.reading() as session:
        task = session.get(Task, new[0])
    assert task is not None
    assert (task.image, task.content_hash) == ("sky://Merger/77", None)


def test_a_change_of_the_configuration_reads_everything_again(place: Place) -> None:
    place.label_studio.annotate(place.tasks[0], "Smooth")
    state = place.label_studio._read()
    task = state["tasks"][str(place.tasks[0])]
    task["annotations"][0]["result"] += region("yes", "ring")
    place.label_studio._write(state)
    place.read()
    two = SHAPE_CONFIG.replace(
        "</View>",
        '<Choices name="ring" toName="image"><Choice value="yes"/><Choice value="no"/></Choices>'
        "</View>",
    )
    place.label_studio.set_config(1, two)
    report = place.read()
    assert report.full
    assert report.votes_added == 1
    with place.store.reading() as session:
        told = {vote.control: vote.labels for vote in session.scalars(select(Vote))}
    assert told == {"shape": ["Smooth"], "ring": ["yes"]}
    place.label_studio.set_config(1, SHAPE_CONFIG.replace('"shape"', '"form"'))
    place.read()
    with place.store.reading() as session:
        told = {vote.control: vote.labels for vote in session.scalars(select(Vote))}
    assert told["shape"] == ["Smooth"], "answers to a control that is gone are kept"


def test_a_choice_that_gets_an_alias_keeps_its_votes(place: Place) -> None:
    given = place.label_studio.annotate(place.tasks[0], "Merger")
    place.read()
    aliased = SHAPE_CONFIG.replace('value="Merger"', 'value="Merger" alias="merging"')
    place.label_studio.set_config(1, aliased)
    assert place.read().votes_changed == 1
    assert place.votes() == {given: ("merging",)}
    place.label_studio.set_config(1, SHAPE_CONFIG)
    place.read()
    assert place.votes() == {given: ("Merger",)}


def test_a_choice_that_becomes_conditional_is_read_again(place: Place) -> None:
    several = SHAPE_CONFIG.replace('name="shape"', 'name="shape" choice="multiple"')
    place.label_studio.set_config(1, several)
    place.label_studio.annotate(place.tasks[0], None)
    place.read()
    assert list(place.votes().values()) == [()], "nothing ticked is an answer"
    hidden = several.replace('name="shape"', 'name="shape" visibleWhen="choice-selected"')
    place.label_studio.set_config(1, hidden)
    place.label_studio.annotate(place.tasks[1], None)
    assert place.read().full
    assert place.votes() == {}, "nothing ticked may mean that it was not shown"


@pytest.mark.parametrize("pruned", [False, True])
def test_an_edit_keeps_what_was_shown(place: Place, pruned: bool) -> None:
    now = datetime.now(UTC)
    with place.store.session() as session:
        for number, age in ((1, 100), (2, 10)):
            session.add(
                Version(name=f"v{number}", project_id=1, number=number, kind="trained",
                        state="retired", created_at=now,
                        published_at=now - timedelta(seconds=age))
            )  # fmt: skip
        session.flush()
        for number, arm in ((1, "active"), (2, "audit")):
            session.add(
                Ranking(version=f"v{number}", task_id=place.tasks[0], place=0, score=0.0, arm=arm)
            )
    given = place.label_studio.annotate(place.tasks[0], "Spiral")
    place.read()
    if pruned:
        with place.store.session() as session:
            session.execute(delete(Ranking))
    place.label_studio.edit(given, "Merger")
    state = place.label_studio._read()
    task = state["tasks"][str(place.tasks[0])]
    task["annotations"][0]["lead_time"] = 60.0  # longer than the version before was replaced
    place.label_studio._write(state)
    assert place.read().votes_changed == 1
    with place.store.reading() as session:
        vote = session.scalars(select(Vote)).one()
    assert (vote.labels, vote.shown_version, vote.audit) == (["Merger"], "v2", True)


def test_all_is_read_again_after_an_hour(place: Place) -> None:
    assert place.read().full
    assert not place.read().full
    project = place.store.projects.get(1)
    assert project is not None
    assert project.swept_at is not None
    then = project.swept_at - timedelta(seconds=SWEEP_SECONDS + 1)
    place.store.projects.save(1, swept_at=then)
    assert place.read().full
    assert not place.read().full
    assert place.read(full=True).full


def test_only_what_changed_is_asked_for(place: Place) -> None:
    place.read()
    asked: list[Any] = []
    real = place.label_studio.tasks

    def tasks(project: int, updated_since: Any = None) -> Iterator[dict[str, Any]]:
        asked.append(updated_since)
        return real(project, updated_since)

    place.label_studio.tasks = tasks  # type: ignore[method-assign]
    place.read()
    project = place.store.projects.get(1)
    assert project is not None
    assert project.reconciled_until is not None
    assert asked == [project.reconciled_until - timedelta(seconds=15)]


def test_an_interrupted_reconciliation_is_made_good(place: Place) -> None:
    place.label_studio.annotate(place.tasks[0], "Smooth")
    place.label_studio.annotate(place.tasks[5], "Spiral")
    real = place.label_studio.tasks

    def half(project: int, updated_since: Any = None) -> Iterator[dict[str, Any]]:
        yield next(iter(real(project, updated_since)))
        raise LabelStudioError("Label Studio does not answer.", retryable=True)

    place.label_studio.tasks = half  # type: ignore[method-assign]
    with pytest.raises(LabelStudioError):
        place.read()
    place.label_studio.tasks = real  # type: ignore[method-assign]
    place.read()
    assert sorted(place.votes().values()) == [("Smooth",), ("Spiral",)]


def test_errors_say_what_to_do(place: Place) -> None:
    with pytest.raises(StoreError, match="galaxyloop connect --project 8"):
        reconcile(place.label_studio, place.store, 8)
    place.label_studio.set_config(1, "<View><Image")
    with pytest.raises(LabelConfigError):
        place.read()


def test_hints_are_counted_and_requests_noted(place: Place) -> None:
    assert record_hint(place.store, 1, "ANNOTATION_CREATED")
    first = place.store.projects.get(1)
    assert record_hint(place.store, 1, "ANNOTATIONS_DELETED")
    second = place.store.projects.get(1)
    assert first is not None
    assert second is not None
    assert (first.hints, second.hints) == (1, 2)
    assert second.first_hint_at == first.first_hint_at == first.hinted_at
    assert second.hinted_at > first.hinted_at
    assert second.training_requested_at is None
    assert record_hint(place.store, 1, "START_TRAINING")
    asked = place.store.projects.get(1)
    assert asked is not None
    assert asked.training_requested_at is not None
    assert asked.hints == 2
    assert not record_hint(place.store, 99, "ANNOTATION_CREATED")
    assert not record_hint(place.store, 99, "START_TRAINING")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["id", "result", "value", "choices", "from_name", "model_version"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(
    ["result", "was_cancelled", "completed_by", "created_at", "updated_at", "lead_time",
     "prediction"]), JSON), JSON, JSON)  # fmt: skip
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_annotation_however_odd_stops_the_reading(
    place: Place, odd: dict[str, Any], annotations: Any, data: Any
) -> None:
    before = copy.deepcopy(place.label_studio._read())
    good = place.label_studio.annotate(place.tasks[0], "Smooth")
    place.label_studio.annotate(place.tasks[1], "Spiral", **odd)
    state = place.label_studio._read()
    state["tasks"][str(place.tasks[2])] |= {"annotations": annotations, "data": data}
    tasks = list(state["tasks"].values())
    place.label_studio.tasks = lambda *_, **__: iter(tasks)  # type: ignore[method-assign]
    place.read(full=True)
    assert place.votes()[good] == ("Smooth",)
    place.label_studio._write(before)
