"""The closed loop on a real Label Studio."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from ml_backend.demo.people import Crew
from ml_backend.labelstudio.events import SECRET_HEADER
from ml_backend.loop.requests import request_rollback
from ml_backend.store.tables import Job, Version

pytestmark = pytest.mark.e2e

Loop = Any  # RunningLoop of conftest.py, which tests cannot import
Eventually = Callable[..., None]


def crew(loop: Loop, project: Any) -> Crew:
    return Crew(loop.annotators(project), lambda count: 0)


def test_connecting_publishes_a_first_order(running_loop: Loop) -> None:
    project = running_loop.project("First order")
    fields = running_loop.owner.project(project.id)
    version = running_loop.champion(project.id)
    assert fields["model_version"] == version
    assert fields["sampling"] == "Uncertainty sampling"
    ranked = running_loop.ranked(version)
    assert sorted(ranked) == sorted(project.question.truth)
    assert running_loop.served(version) == ranked
    assert running_loop.version(version).kind == "cold"
    [backend] = running_loop.owner.backends(project.id)
    assert backend["url"] == running_loop.services.url
    [webhook] = running_loop.owner.webhooks(project.id)
    assert webhook["headers"][SECRET_HEADER] == running_loop.store.webhook_secret()
    task = running_loop.people[0].next_task(project.id)
    assert task is not None
    assert task["id"] == ranked[0]


def test_three_annotators_at_once_follow_the_order_and_share_no_task(running_loop: Loop) -> None:
    project = running_loop.project("Strict order", votes_per_round=1000, seconds_per_round=10_000.0)
    ranked = running_loop.ranked(running_loop.champion(project.id))
    assert crew(running_loop, project).annotate(len(ranked)) == len(ranked)
    given = [a for task in running_loop.owner.tasks(project.id) for a in task["annotations"]]
    assert Counter(a["task"] for a in given) == Counter(ranked)
    # How far people are apart is chance: one may be slow while the others go on.
    given.sort(key=lambda a: a["id"])
    for person in {a["completed_by"] for a in given}:
        own = [ranked.index(a["task"]) for a in given if a["completed_by"] == person]
        assert own == sorted(own), "each person's tasks come in the order of the queue"
    assert len({a["completed_by"] for a in given}) == 3


def test_votes_become_a_version_and_the_next_task_follows_it(running_loop: Loop) -> None:
    project = running_loop.project("Closed loop")
    assert crew(running_loop, project).annotate(6) == 6
    state = project.loop.wait(6)
    trained = running_loop.version(state.version)
    assert trained.kind == "trained"
    assert trained.votes == 6
    assert running_loop.owner.project(project.id)["model_version"] == state.version
    votes = running_loop.votes(project.id)
    assert len(votes) == 6
    assert all(vote.labels == [project.question.truth[vote.task_id]] for vote in votes)
    ranked = running_loop.ranked(state.version)
    assert not {vote.task_id for vote in votes} & set(ranked)
    assert running_loop.served(state.version) == ranked
    task = running_loop.people[1].next_task(project.id)
    assert task is not None
    assert task["id"] in ranked[:3]
    [prediction] = [p for p in task["predictions"] if p["model_version"] == state.version]
    assert prediction["result"][0]["value"]["choices"][0] in project.question.classes


def test_lost_webhooks_are_made_good(running_loop: Loop, eventually: Eventually) -> None:
    project = running_loop.project("Lost webhooks")
    [webhook] = running_loop.owner.webhooks(project.id)
    running_loop.owner.update_webhook(webhook["id"], is_active=False, url=webhook["url"])
    try:
        assert crew(running_loop, project).annotate(6) == 6
        time.sleep(1.5)
        assert running_loop.votes(project.id) == []
        with running_loop.store.session() as session:
            # As if the poll's time had passed.
            row = session.get(_project_table(), project.id)
            assert row is not None
            row.reconciled_at = None
        state = project.loop.wait(6)
        assert running_loop.version(state.version).votes == 6
    finally:
        running_loop.owner.update_webhook(webhook["id"], is_active=True, url=webhook["url"])


def test_edited_skipped_and_deleted_annotations_are_followed(
    running_loop: Loop, eventually: Eventually
) -> None:
    project = running_loop.project("Second thoughts")
    crew(running_loop, project).annotate(6)
    project.loop.wait(6)
    first, second, third = running_loop.votes(project.id)[:3]
    owner = running_loop.owner
    other = next(c for c in project.question.classes if c != first.labels[0])
    region = {
        "id": "again",
        "type": "choices",
        "from_name": project.question.control,
        "to_name": "image",
        "value": {"choices": [other]},
    }
    owner.update_annotation(first.annotation_id, result=[region])
    owner.delete_annotation(second.annotation_id)
    owner.update_annotation(third.annotation_id, was_cancelled=True)
    project.loop.request_round()

    def followed() -> bool:
        votes = {vote.annotation_id: vote for vote in running_loop.votes(project.id)}
        return (
            len(votes) == 4
            and votes[first.annotation_id].labels == [other]
            and second.annotation_id not in votes
            and third.annotation_id not in votes
        )

    eventually(followed, "four votes are left, one of them changed")


def test_a_worker_killed_in_a_round_loses_and_doubles_nothing(
    running_loop: Loop, eventually: Eventually
) -> None:
    project = running_loop.project("Killed worker")
    services = running_loop.services

    def running() -> Job | None:
        with running_loop.store.reading() as session:
            return session.scalar(
                select(Job).where(Job.project_id == project.id, Job.state == "running")
            )

    crew(running_loop, project).annotate(6)
    eventually(running, "the round begins")
    services.worker.send(signal.SIGKILL)
    assert services.worker.wait_for_end(10)
    crew(running_loop, project).annotate(3)
    services.worker.start()
    project.loop.request_round()
    state = project.loop.wait(9)
    eventually(lambda: running() is None, "the round ends")
    champion = running_loop.champion(project.id)
    assert running_loop.version(champion).votes == 9
    assert len(running_loop.votes(project.id)) == 9
    per_version = Counter(
        (row["model_version"], row["task"]) for row in running_loop.owner.predictions(project.id)
    )
    assert max(per_version.values()) == 1
    assert running_loop.served(champion) == running_loop.ranked(champion)
    assert running_loop.owner.project(project.id)["model_version"] == champion
    with running_loop.store.reading() as session:
        unfinished = session.scalars(
            select(Version.name).where(
                Version.project_id == project.id, Version.state == "building"
            )
        ).all()
    assert unfinished == []
    assert state.version == champion


def test_an_earlier_version_is_brought_back(running_loop: Loop, eventually: Eventually) -> None:
    project = running_loop.project("Rollback")
    people = crew(running_loop, project)
    people.annotate(6)
    earlier = project.loop.wait(6).version
    people.annotate(6)
    project.loop.wait(12)
    before = running_loop.champion(project.id)
    if running_loop.version(before).source == earlier:
        pytest.fail("The gate kept the earlier version, so there is nothing to bring back.")
    request_rollback(running_loop.store, project.id, earlier)
    eventually(lambda: running_loop.champion(project.id) != before, "another version is published")
    back = running_loop.version(running_loop.champion(project.id))
    assert back.kind == "rollback"
    assert (back.source or back.name) == earlier
    assert running_loop.owner.project(project.id)["model_version"] == back.name
    annotated = {vote.task_id for vote in running_loop.votes(project.id)}
    assert len(annotated) == 12
    assert running_loop.served(back.name) == running_loop.ranked(back.name)
    assert not annotated & set(running_loop.ranked(back.name))


def _project_table() -> Any:
    from ml_backend.store.tables import Project

    return Project
