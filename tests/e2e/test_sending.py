"""A selection sent to another project of a real Label Studio, and a galaxy pinned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from ml_backend.dashboard.sending import Sent, send_tasks
from ml_backend.dashboard.wishes import wish
from ml_backend.store.tables import Task

pytestmark = pytest.mark.e2e

Loop = Any  # RunningLoop of conftest.py, which tests cannot import


def test_sent_galaxies_are_tasks_of_the_other_project_once_with_all_their_data(
    running_loop: Loop, eventually: Callable[..., None]
) -> None:
    source, target = running_loop.project("Sending from"), running_loop.project("Sending to")
    owner, store = running_loop.owner, running_loop.store
    # A galaxy that only the source has, with more in its data than the image.
    data = {"image": "data:image/png;base64,iVBORw0KGgo=", "ra": 12.5, "note": "=1+1"}
    (own,) = owner.import_tasks(source.id, [{"data": data}])
    store.jobs.enqueue("round", source.id, {"full": True})

    def known() -> bool:
        with store.reading() as session:
            return session.get(Task, own) is not None

    eventually(known, "the new task is read")
    shared = source.first and next(iter(source.question.truth))
    projects = [store.projects.get(number) for number in (source.id, target.id)]
    before = owner.task_ids(target.id)
    sent = send_tasks(store, owner, *projects, [own, shared], "ada")
    # The two projects show the same files: that galaxy is there already.
    assert sent == Sent(1, 1)
    (made,) = owner.task_ids(target.id) - before
    assert owner.task_data(target.id, [made])[made] == data
    assert owner.task_data(source.id, [own, made]) == {own: data}
    assert send_tasks(store, owner, *projects, [own, shared], "ada") == Sent(0, 2)

    def taken_in() -> bool:
        with store.reading() as session:
            row = session.scalar(select(Task).where(Task.id == made))
            return row is not None and row.project_id == target.id and row.problem is not None

    eventually(taken_in, "a round has read the task and looked at its (broken) image")


def test_a_pinned_galaxy_is_served_first(
    running_loop: Loop, eventually: Callable[..., None]
) -> None:
    project = running_loop.project("Pinning")
    last = running_loop.served(running_loop.champion(project.id))[-1]
    assert wish(running_loop.store, project.id, [last], "pin", "ada") == 1

    def first() -> bool:
        version = running_loop.champion(project.id)
        return bool(running_loop.served(version)[:1] == [last])

    eventually(first, "the pinned galaxy leads the queue")
