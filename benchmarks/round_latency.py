"""From a submitted annotation to a `next` that follows the new model, on a real Label Studio.

Starts Label Studio, `galaxyloop serve` and `galaxyloop work` in a temporary folder, with the
images of a labels file (by default the 1,454 stamps of gz1_sdss_6class in GALAXYLOOP_DATA).
Several times, one person submits as many annotations as start a round; the clock runs from the
answer to the last one until `next` serves the first task of the new version's order. The chosen
debounce is taken off. Label Studio's own part is the time of all calls that are made to it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from ml_backend.connection import connect
from ml_backend.demo.account import Account
from ml_backend.demo.children import free_port
from ml_backend.demo.invitations import join
from ml_backend.demo.label_studio import LabelStudioServer
from ml_backend.demo.labels import read_labels
from ml_backend.demo.people import Annotator, Question
from ml_backend.demo.pictures import place
from ml_backend.demo.progress import LoopProgress
from ml_backend.demo.project import control_name, labelling_config
from ml_backend.demo.services import Services
from ml_backend.errors import DemoError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Ranking, Version

LIMIT = 5.0
FOLDER = "stamps"
LOOK_EVERY = 0.02
# Steps of a round that are calls to Label Studio, all or nearly all of their time.
LABEL_STUDIO_STEPS = ("reconcile", "publish")


@dataclass(frozen=True)
class Measured:
    """Seconds of one round.

    Parameters
    ----------
    votes : int
        Votes that the version was trained on.
    total : float
        From the answer to the last submitted annotation to the answer of `next`.
    round : float
        From the start of the round to the switch.
    label_studio : float
        Reading votes, importing and switching, and the one `next`.
    steps : dict of str to float
        All steps of the round.
    """

    votes: int
    total: float
    round: float
    label_studio: float
    steps: dict[str, float]


def newest(store: Store, project: int, votes: int) -> Version | None:
    """Return the published version with `votes` votes or more, None while there is none."""
    with store.reading() as session:
        return session.scalar(
            select(Version)
            .where(
                Version.project_id == project,
                Version.state == "published",
                Version.votes >= votes,
            )
            .order_by(Version.number.desc())
            .limit(1)
        )


def first_of(store: Store, version: str, without: set[int]) -> int:
    """Return the task that the version's order serves first."""
    with store.reading() as session:
        tasks = session.scalars(
            select(Ranking.task_id).where(Ranking.version == version).order_by(Ranking.place)
        )
        return next(task for task in tasks if task not in without)


def measure(
    person: Annotator,
    asking: LabelStudioClient,
    store: Store,
    project: int,
    before: int,
    votes: int,
    held: set[int],
    patience: float = 120.0,
) -> Measured:
    """Submit `votes` annotations to a project that has `before`; time the way to the new order.

    `held` are the tasks that Label Studio keeps for those who asked before; the one that is
    served now is added.
    """
    for _ in range(votes):
        person.annotate_next()
    begun = time.perf_counter()
    while (version := newest(store, project, before + votes)) is None:
        if time.perf_counter() - begun > patience:
            raise DemoError(f"No version came within {patience:.0f} s.")
        time.sleep(LOOK_EVERY)
    asked = time.perf_counter()
    task = asking.next_task(project)
    ended = time.perf_counter()
    expected = first_of(store, version.name, held)
    if task is None or task["id"] != expected:
        raise DemoError(f"`next` served {task and task['id']}, the order begins with {expected}.")
    held.add(expected)
    steps = {name: float(seconds) for name, seconds in version.timings.items()}
    own = sum(steps.get(name, 0.0) for name in LABEL_STUDIO_STEPS) + ended - asked
    return Measured(before + votes, ended - begun, version.seconds or 0.0, own, steps)


def run(labels: Path, rounds: int, folder: Path) -> tuple[list[Measured], float, int]:
    """Return the measurements, the debounce (s) and the number of tasks."""
    labelled = read_labels(labels)
    files = folder / "files"
    pictures, problems = place(labelled.images, files / FOLDER)
    if problems:
        print(f"{len(problems)} images are left out, e.g. {problems[0]}")
    with ExitStack() as stack:
        server = LabelStudioServer(folder / "label-studio", free_port(), files)
        stack.callback(server.stop)
        server.start()
        services = Services(server, folder / "backend", free_port(), bursts=True)
        stack.callback(services.stop)
        services.start()
        settings = services.settings()
        store = open_store(settings)
        stack.callback(store.close)
        provision = server.provision()
        config = labelling_config(labelled.question, labelled.classes)
        project = provision.create("Round latency", config)
        provision.permit(project, FOLDER)
        keys = provision.complete(project, FOLDER, pictures)
        truth = {image.key: image.label or "" for image in labelled.images}
        connect(settings, project, store=store)
        print(f"{len(keys)} tasks; encoding and first order ...", flush=True)
        LoopProgress(store, project, services.check).wait(0)
        question = Question(
            control_name(labelled.question),
            "image",
            labelled.classes,
            {task: truth[key] for task, key in keys.items()},
        )
        measured: list[Measured] = []
        # A person of their own asks each `next`, because Label Studio keeps a task for who asked.
        tokens = [
            join(server, Account.kept_in(folder / f"person-{n}", f"person-{n}@example.com"))
            for n in range(rounds + 1)
        ]
        client = LabelStudioClient(server.url, tokens[0])
        person = Annotator(client, project, question, 0.05, seed=0, number=0)
        held: set[int] = set()
        for number in range(rounds):
            before = number * settings.votes_per_round
            asking = LabelStudioClient(server.url, tokens[number + 1])
            votes = settings.votes_per_round
            measured.append(measure(person, asking, store, project, before, votes, held))
        return measured, settings.debounce_seconds, len(keys)


def report(measured: Sequence[Measured], debounce: float, tasks: int, labels: Path) -> bool:
    """Print the table; tell whether the median is within the limit."""
    print(f"Data: {labels} ({tasks} tasks). Debounce {debounce:.1f} s, taken off below.")
    print(f"{'votes':>6} {'besides debounce':>17} {'Label Studio':>13} {'ours':>7}   steps (s)")
    for one in measured:
        rest = one.total - debounce
        steps = ", ".join(
            f"{name} {seconds:.2f}" for name, seconds in one.steps.items() if seconds >= 0.01
        )
        print(
            f"{one.votes:>6} {rest:>15.2f} s {one.label_studio:>11.2f} s "
            f"{rest - one.label_studio:>5.2f} s   {steps}"
        )
    rests = [one.total - debounce for one in measured]
    middle, worst = statistics.median(rests), max(rests)
    good = middle <= LIMIT
    print(
        f"Median {middle:.2f} s, worst {worst:.2f} s besides the debounce; wanted: at most "
        f"{LIMIT:.0f} s: {'met' if good else 'NOT met'}."
    )
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; exit status 1 where the limit is not met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    data = os.environ.get("GALAXYLOOP_DATA")
    usual = Path(data) / "gz1_sdss_6class" / "labels.csv" if data else None
    parser.add_argument("--labels", type=Path, default=usual, help="labels file with its images")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to measure (5)")
    options = parser.parse_args(arguments)
    if options.labels is None or not options.labels.exists():
        print("Skipped: GALAXYLOOP_DATA names no folder with gz1_sdss_6class; give --labels.")
        return 0
    with tempfile.TemporaryDirectory(prefix="round-latency-") as folder:
        measured, debounce, tasks = run(options.labels, options.rounds, Path(folder))
    return 0 if report(measured, debounce, tasks, options.labels) else 1


if __name__ == "__main__":
    sys.exit(main())
