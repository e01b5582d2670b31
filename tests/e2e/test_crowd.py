"""Five simulated people at once on a real Label Studio, their votes steered task by task.

Rounds run in this process, so that each can be held against what Label Studio does before and
after it. The server is the module's own: tasks of people who went away come back after seconds.
"""

from __future__ import annotations

import base64
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import select

from ml_backend.demo.account import Account
from ml_backend.demo.children import free_port
from ml_backend.demo.invitations import join
from ml_backend.demo.label_studio import LabelStudioServer
from ml_backend.demo.project import control_name, labelling_config
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.images import ImageFetcher
from ml_backend.labelstudio.queue import UNCERTAINTY_SAMPLING
from ml_backend.loop.rounds import RoundContext, RoundReport, run_round
from ml_backend.settings import load_settings
from ml_backend.store.crowd_tables import Skill, Verdict
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Ranking
from models.images import encode_png
from models.lvm import LVM
from models.simulation import KINDS, simulate

pytestmark = pytest.mark.e2e

GALAXIES = 30
MOST_PEOPLE = 5
LOCK_SECONDS = 8
SKILLS = (0.98, 0.9, 0.85, 0.75, 0.45)
CONTROL = control_name("morphology")


@dataclass
class Person:
    """One of five, with an own account and an own rate of errors."""

    number: int
    client: LabelStudioClient
    user: int


@dataclass
class Crowd:
    """A project on a real server, five people, and rounds on it."""

    owner: LabelStudioClient
    project: int
    people: list[Person]
    truth: dict[int, str]
    store: Store
    context: RoundContext
    asking: threading.Lock = field(default_factory=threading.Lock)
    patched: int = 0
    seconds: float = 0.0

    def round(self, **payload: Any) -> RoundReport:
        report = run_round(self.context, self.project, payload)
        self.patched += int(report.timings.get("patches", 0))
        self.seconds += report.timings.get("overlap", 0.0)
        return report

    def take(self, person: Person) -> int | None:
        """Ask for the next task; one after the other, as in the demo."""
        with self.asking:
            task = person.client.next_task(self.project)
        return None if task is None else int(task["id"])

    def vote(self, person: Person, task: int, label: str | None = None) -> int:
        rng = np.random.default_rng([3, person.number, task])
        right = self.truth[task]
        wrong = [kind for kind in KINDS if kind != right]
        said = right if rng.random() < SKILLS[person.number] else str(rng.choice(wrong))
        made = person.client.create_annotation(
            task, region(label or said), lead_time=2.0, project=self.project
        )
        return int(made["id"])

    def skip(self, person: Person, task: int) -> None:
        # As the editor does: what was filled in is sent along.
        person.client.create_annotation(
            task, region(KINDS[0]), was_cancelled=True, lead_time=1.0, project=self.project
        )

    def burst(self, clicks: int) -> list[tuple[int, int]]:
        """Let everybody work at once; return (person, task) of each click."""
        left, done = threading.Semaphore(clicks), []

        def work(person: Person) -> None:
            while left.acquire(blocking=False):
                task = self.take(person)
                if task is None:
                    return
                self.vote(person, task)
                done.append((person.number, task))

        with ThreadPoolExecutor(len(self.people)) as pool:
            list(pool.map(work, self.people))
        return done

    def tasks(self) -> dict[int, dict[str, Any]]:
        return {task["id"]: task for task in self.owner.tasks(self.project)}

    def verdicts(self) -> dict[int, Verdict]:
        with self.store.reading() as session:
            return {row.task_id: row for row in session.scalars(select(Verdict))}

    def order(self) -> list[int]:
        # Once nothing is wanted any more, Label Studio keeps the order before the last.
        version = self.store.projects.get(self.project).champion  # type: ignore[union-attr]
        with self.store.reading() as session:
            rows = select(Ranking.task_id).where(Ranking.version == version)
            return list(session.scalars(rows.order_by(Ranking.place)))


def region(label: str) -> list[dict[str, Any]]:
    shared = {"id": uuid4().hex[:8], "type": "choices", "from_name": CONTROL, "to_name": "image"}
    return [{**shared, "value": {"choices": [label]}, "origin": "manual"}]


@pytest.fixture(scope="module")
def crowd(
    label_studio_program: Path, small_lvm: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crowd]:
    folder = tmp_path_factory.mktemp("crowd")
    server = LabelStudioServer(
        folder / "label-studio", free_port(), program=label_studio_program,
        lock_seconds=LOCK_SECONDS,
    )  # fmt: skip
    try:
        server.start()
        owner = LabelStudioClient(server.url, server.account.token)
        config = labelling_config("morphology", KINDS)
        project = owner.create_project("Crowd", config, sampling=UNCERTAINTY_SAMPLING)["id"]
        galaxies = [
            simulate(np.random.default_rng([5, at]), KINDS[at % len(KINDS)], size=64)
            for at in range(GALAXIES)
        ]
        ids = owner.import_tasks(
            project,
            [
                {"data": {"image": "data:image/png;base64,"
                          + base64.b64encode(encode_png(galaxy.rgb)).decode()}}
                for galaxy in galaxies
            ],
        )  # fmt: skip
        people = []
        for number in range(len(SKILLS)):
            account = Account.kept_in(folder / f"person-{number}", f"p{number}@example.com")
            client = LabelStudioClient(server.url, join(server, account))
            people.append(Person(number, client, int(client.current_user()["id"])))
        settings = load_settings(
            _env_file=None, model_dir=folder / "store", top_k=20, most_people=MOST_PEOPLE,
            label_studio_url=server.url, label_studio_api_key=server.account.token, tune_from=0,
        )  # fmt: skip
        store = open_store(settings)
        store.projects.save(project, "Crowd", config)
        lvm = LVM.from_pretrained(small_lvm)
        context = RoundContext(store, owner, ImageFetcher(settings, owner), lambda: lvm)
        truth = {task: galaxy.kind for task, galaxy in zip(ids, galaxies, strict=True)}
        yield Crowd(owner, project, people, truth, store, context)
        store.close()
    finally:
        server.stop()


def check_state(crowd: Crowd) -> None:
    """Label Studio opens what the order and the verdicts say, and nothing else."""
    tasks, verdicts, order = crowd.tasks(), crowd.verdicts(), crowd.order()
    opened = {
        number
        for number, task in tasks.items()
        if not task["is_labeled"] and task["total_annotations"] < task["overlap"]
    }
    for number in order:
        task = {k: v for k, v in tasks[number].items() if k not in ("data", "annotations")}
        assert number in opened, f"{number} stands in the order but nobody gets it: {task}"
        assert tasks[number]["overlap"] == tasks[number]["total_annotations"] + 1
    done = {task for task, verdict in verdicts.items() if verdict.state != "open"}
    assert not done & opened
    given = [
        (found["completed_by"], number)
        for number, task in tasks.items()
        for found in task["annotations"]
    ]
    assert max(Counter(given).values(), default=1) == 1, "nobody gets a task twice"
    assert crowd.owner.project(crowd.project)["maximum_annotations"] == 1


def check_strict_order(crowd: Crowd) -> None:
    """Everybody asks, one after the other: each gets the best task that is left for them."""
    tasks, order = crowd.tasks(), crowd.order()
    free = {number: tasks[number]["overlap"] - tasks[number]["total_annotations"]
            for number in order}  # fmt: skip
    for person in crowd.people:
        mine = {
            number
            for number, task in tasks.items()
            if any(found["completed_by"] == person.user for found in task["annotations"])
        }
        wanted = next((n for n in order if n not in mine and free[n] > 0), None)
        got = crowd.take(person)
        if wanted is None:
            continue
        assert got == wanted, f"person {person.number} got {got}, not {wanted}"
        free[wanted] -= 1
    for person in crowd.people:
        task = crowd.take(person)
        if task is not None:
            crowd.vote(person, task)


def raw(crowd: Crowd) -> list[tuple[Any, ...]]:
    return sorted(
        (found["id"], found["completed_by"], str(found["result"]), found["was_cancelled"])
        for task in crowd.tasks().values()
        for found in task["annotations"]
    )


def test_a_task_of_somebody_who_went_away_comes_back(crowd: Crowd) -> None:
    crowd.round()
    away, other = crowd.people[0], crowd.people[1]
    held = crowd.take(away)
    assert held is not None
    assert crowd.take(other) != held, "it is locked"
    crowd.round()
    assert not crowd.tasks()[held]["is_labeled"], "no vote came, so it stays open"
    time.sleep(LOCK_SECONDS + 1)
    # Its turn comes for somebody who has not answered it.
    can = [
        person
        for person in crowd.people[1:]
        if not any(a["completed_by"] == person.user for a in crowd.tasks()[held]["annotations"])
    ]
    served = set()
    for person in can:
        for _ in range(6):
            task = crowd.take(person)
            if task is None:
                break
            served.add(task)
            if task == held:
                break
            crowd.vote(person, task)
        if held in served:
            break
    assert held in served
    crowd.round()
    time.sleep(LOCK_SECONDS + 1)


def test_a_skip_is_no_vote_and_goes_to_others(crowd: Crowd) -> None:
    person = crowd.people[2]
    task = crowd.take(person)
    assert task is not None
    before = crowd.tasks()[task]["total_annotations"]
    people = crowd.verdicts()[task].people if task in crowd.verdicts() else 0
    crowd.skip(person, task)
    crowd.round()
    after = crowd.tasks()[task]
    assert after["total_annotations"] == before
    assert not after["is_labeled"]
    verdict = crowd.verdicts().get(task)
    assert verdict is not None
    assert verdict.people == people
    assert crowd.take(person) != task
    check_state(crowd)


def test_five_people_at_once_through_re_ranks(crowd: Crowd) -> None:
    crowd.round()
    clicks: list[tuple[int, int]] = []
    for phase in range(5):
        # A round re-ranks while people are at work.
        with ThreadPoolExecutor(1) as beside:
            running = beside.submit(crowd.round) if phase else None
            clicks += crowd.burst(14)
            if running is not None:
                running.result()
        before = raw(crowd)
        while crowd.round().patches_left:
            pass
        assert raw(crowd) == before, "raw votes are never altered"
        check_state(crowd)
        check_strict_order(crowd)
        crowd.round()
        check_state(crowd)
    assert len(set(clicks)) == len(clicks)
    verdicts, tasks = crowd.verdicts(), crowd.tasks()
    retired = [task for task, verdict in verdicts.items() if verdict.state == "retired"]
    counts = Counter(tasks[task]["total_annotations"] for task in retired)
    print(f"\nretired {len(retired)} of {GALAXIES} galaxies; votes each: {dict(counts)}")
    print(f"patches: {crowd.patched}, {crowd.seconds:.1f} s, "
          f"{crowd.seconds / max(crowd.patched, 1):.3f} s each")  # fmt: skip
    assert retired
    assert max(counts) <= MOST_PEOPLE
    with crowd.store.reading() as session:
        skills = {row.person: row.reliability for row in session.scalars(select(Skill))}
    best, worst = (f"person {crowd.people[at].user}" for at in (0, 4))
    print("reliability:", {k: round(v or 0, 2) for k, v in sorted(skills.items())})
    assert skills[best] > skills[worst]


def test_edits_and_deletions_open_what_they_leave_in_doubt(crowd: Crowd) -> None:
    crowd.round()
    verdicts, tasks = crowd.verdicts(), crowd.tasks()
    done = [
        task
        for task, verdict in verdicts.items()
        if verdict.state == "retired" and tasks[task]["total_annotations"] >= 2
    ]
    edited = done[0]
    one = tasks[edited]["annotations"][0]
    wrong = next(k for k in KINDS if k != one["result"][0]["value"]["choices"][0])
    crowd.owner.update_annotation(one["id"], result=region(wrong))
    assert crowd.tasks()[edited]["is_labeled"], "closed by its overlap, an edit opens nothing"
    crowd.round()
    told = crowd.verdicts()[edited]
    still = crowd.tasks()[edited]
    opened = not still["is_labeled"] and still["total_annotations"] < still["overlap"]
    assert opened == (told.state == "open" and edited in crowd.order())
    for found in tasks[edited]["annotations"]:
        crowd.owner.delete_annotation(found["id"])
    while crowd.round().patches_left:
        pass
    assert edited not in crowd.verdicts(), "nobody has answered it any more"
    again = crowd.tasks()[edited]
    assert not again["is_labeled"]
    assert again["total_annotations"] == 0
    check_state(crowd)


def test_an_overlap_changed_by_hand_is_put_right(crowd: Crowd) -> None:
    retired = next(t for t, verdict in crowd.verdicts().items() if verdict.state == "retired")
    crowd.owner.update_task(retired, overlap=9, is_labeled=False)
    crowd.round()
    task = crowd.tasks()[retired]
    assert task["is_labeled"]
    check_state(crowd)


def test_in_the_end_every_galaxy_is_settled(crowd: Crowd) -> None:
    for _ in range(12):
        crowd.burst(30)
        while crowd.round().patches_left:
            pass
        check_state(crowd)
        if all(v.state != "open" for v in crowd.verdicts().values()):
            break
    tasks, verdicts = crowd.tasks(), crowd.verdicts()
    votes = sum(task["total_annotations"] for task in tasks.values())
    states = Counter(verdict.state for verdict in verdicts.values())
    print(f"\n{votes} votes on {GALAXIES} galaxies (at most {GALAXIES * MOST_PEOPLE}): {states}")
    print(f"patches in all: {crowd.patched}, {crowd.seconds:.1f} s")
    assert set(verdicts) == set(tasks)
    assert votes < GALAXIES * MOST_PEOPLE
