"""The demo itself: one step after the other, and a clean end."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack

from ml_backend.connection import connect
from ml_backend.demo.account import Account
from ml_backend.demo.collection import Collection, bring, collect
from ml_backend.demo.curve import HEADING, Curve, CurvePoint, HeldOut
from ml_backend.demo.guards import only_one, signals_interrupt
from ml_backend.demo.invitations import join
from ml_backend.demo.label_studio import LabelStudioServer
from ml_backend.demo.options import DemoOptions
from ml_backend.demo.people import Annotator, Crew, Question
from ml_backend.demo.progress import Landed, LoopProgress
from ml_backend.demo.project import (
    DemoProject,
    Projects,
    control_name,
    labelling_config,
)
from ml_backend.demo.services import ENVIRONMENT, Services
from ml_backend.demo.terminal import Terminal
from ml_backend.errors import DemoError, GalaxyLoopError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.store.database import open_store

INTERRUPTED = 130
FOLLOW_EVERY = 1.0


def run_demo(options: DemoOptions) -> int:
    """Run the demo until Ctrl-C, or until ``options.votes`` votes are in.

    Returns
    -------
    int
        Exit status: 0, or 130 if it was to end by itself and was interrupted before.

    Raises
    ------
    GalaxyLoopError
        It cannot start or go on; all children have been ended.
    """
    terminal = Terminal()
    with signals_interrupt(), only_one(options.data_dir), ExitStack() as stack:
        demo = Demo(options, terminal, stack)
        try:
            demo.set_up()
            if options.annotators:
                demo.let_people_annotate()
            if options.votes is None:
                demo.follow()
            return 0
        except KeyboardInterrupt:
            return 0 if options.votes is None else INTERRUPTED
        except GalaxyLoopError:
            # A child that died says more than the call that failed because of it.
            demo.check()
            raise
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            terminal.end()
            terminal.say("Ending Label Studio, backend and worker ...")
            stack.close()
            terminal.say(f"Ended. All annotations are kept in {options.data_dir}.")


class Demo:
    """One run of the demo.

    Parameters
    ----------
    options : DemoOptions
        What to do.
    terminal : Terminal
        Where to say it.
    stack : ExitStack
        Gets what must be ended.
    """

    def __init__(self, options: DemoOptions, terminal: Terminal, stack: ExitStack) -> None:
        self._options = options
        self._terminal = terminal
        self._folder = options.data_dir.resolve()
        self._files = self._folder / "files"
        self._files.mkdir(exist_ok=True)
        self._server = LabelStudioServer(
            self._folder / "label-studio", options.label_studio_port, self._files
        )
        self._services = Services(
            self._server, self._folder / "backend", options.port, bursts=options.annotators > 0
        )
        self._provision = self._server.provision()
        self._stack = stack

    def check(self) -> None:
        """Raise :class:`DemoError` if a child has ended."""
        self._server.child.check()
        self._services.check()

    def set_up(self) -> None:
        """Bring everything up to the first published version."""
        self._services.check_port()
        first = self._server.first_start
        self._collection = collection = collect(
            self._options, self._folder / "simulated", self._terminal.say, self._terminal.bar
        )
        self._stack.callback(self._server.stop)
        waiting = self._terminal.waiting(
            "Starting Label Studio (the first time takes about a minute)"
            if first
            else "Starting Label Studio"
        )
        self._server.start(waiting)
        self._stack.callback(self._services.stop)
        self._services.start(self._terminal.waiting("Starting backend and worker"))
        self._settings = self._services.settings()
        self._services.write_environment(self._services.folder.parent / ENVIRONMENT)
        self._store = open_store(self._settings)
        self._stack.callback(self._store.close)
        self._manager = self._services.manager(self._store)
        self._project = self._find_project(collection)
        self._loop = LoopProgress(self._store, self._project.id, self.check)
        self._tasks = self._fill_project(collection)
        connect(self._settings, self._project.id)
        show = self._terminal.fraction("First round: encode, rank, publish")
        self._first = self._loop.wait(0, show)
        show(1.0, self._first.version)
        self._terminal.end()
        self._measure_on(collection)
        self._welcome()

    def let_people_annotate(self) -> None:
        """Let simulated people annotate, in bursts as large as a round wants.

        After each burst they wait for the round: people label slower than rounds train, and
        would otherwise be served by a version that knows little of their answers.
        """
        crew = self._crew()
        burst = self._settings.votes_per_round
        done = self._provision.votes(self._project.id)
        goal = self._options.votes or max(done, len(self._tasks))
        if goal > self._options.annotators * len(self._tasks):
            raise DemoError(
                f"{self._options.annotators} annotators can give {len(self._tasks)} images at "
                f"most {self._options.annotators * len(self._tasks)} votes, not {goal}."
            )
        if done > self._first.votes:
            self._loop.request_round()
            self._record(self._loop.wait(done))
        step = self._terminal.bar("Votes", goal, "vote")
        step(done)
        while done < goal:
            count = min(burst, goal - done)
            done += crew.annotate(count, lambda: step(1))
            if count < burst:
                self._loop.request_round()
            self._record(self._loop.wait(done, nudge=True))
        self._terminal.end()
        self._terminal.say(f"{done} votes are in; the last round was trained on all of them.")

    def follow(self) -> None:
        """Stay until Ctrl-C, saying which versions are published."""
        self._terminal.say("Press Ctrl-C to end; a second start goes on with all annotations.")
        last = self._first.version
        while True:
            self.check()
            state = self._loop.landed(0)
            if state is not None and state.version != last:
                last = state.version
                self._record(state)
            time.sleep(FOLLOW_EVERY)

    def _find_project(self, collection: Collection) -> DemoProject:
        projects = Projects(self._folder / "projects.json")
        known = projects.latest(collection.key)
        if known is not None and not self._provision.exists(known.id):
            self._terminal.say(
                "The project of the last run was deleted in Label Studio; a new one is made."
            )
        elif known is not None:
            votes = self._provision.votes(known.id)
            if self._options.votes is None or votes < self._options.votes:
                self._terminal.say(f"Going on with project {known.id} and its {votes} votes.")
                return known
            self._terminal.say(
                f"Project {known.id} has its {votes} votes already; a new one is begun beside it."
            )
        run = known.run + 1 if known else 1
        title = collection.title if run == 1 else f"{run}. {collection.title}"
        made = self._provision.create(
            title, labelling_config(collection.question, collection.classes)
        )
        project = DemoProject(collection.key, run, made, collection.key)
        projects.keep(project)
        return project

    def _fill_project(self, collection: Collection) -> dict[int, str]:
        folder = self._files / self._project.folder
        folder.mkdir(exist_ok=True)
        pictures = bring(
            collection.shown, folder, "Preparing images", self._terminal.say, self._terminal.bar
        )
        self._provision.permit(self._project.id, self._project.folder)
        step = self._terminal.bar("Tasks in Label Studio", len(pictures))
        return self._provision.complete(self._project.id, self._project.folder, pictures, step)

    def _measure_on(self, collection: Collection) -> None:
        self._held: HeldOut | None = None
        files = [self._folder / "curves" / f"{collection.key}-{self._project.run}.json"]
        self._curve = Curve(files + ([self._options.json] if self._options.json else []))
        if not collection.held:
            return
        root = self._folder / "held-out" / collection.key
        pictures = bring(
            collection.held, root, "Preparing held-out images", self._terminal.say,
            self._terminal.bar,
        )  # fmt: skip
        held = HeldOut(self._settings, collection.classes)
        step = self._terminal.bar("Encoding held-out images", len(pictures))
        for problem in held.encode(pictures, root, self._folder / "held-out" / "embeddings", step):
            self._terminal.say(f"Not measured on: {problem}")
        self._terminal.end()
        self._held = held
        self._terminal.say(HEADING)
        for point in self._curve.points:
            self._terminal.say(point.row())
        if self._first.votes not in {point.votes for point in self._curve.points}:
            self._record(self._first)

    def _record(self, state: Landed) -> None:
        note = f"  (kept: {state.note})" if state.note else ""
        if self._held is None:
            self._terminal.say(f"{state.version} is published, with {state.votes} votes.{note}")
            return
        head = self._loop.head(state.version, control_name(self._collection.question))
        auc, hits = self._held.measure(head)
        point = CurvePoint(state.votes, auc, hits, state.seconds, state.version)
        self._curve.add(point)
        self._terminal.say(point.row() + note)

    def _crew(self) -> Crew:
        truth = self._collection.truth()
        question = Question(
            control_name(self._collection.question),
            "image",
            self._collection.classes,
            {task: truth[key] for task, key in self._tasks.items()},
        )
        people = []
        for number in range(self._options.annotators):
            name = f"annotator-{number + 1}"
            account = Account.kept_in(self._folder / "people" / name, f"{name}@example.com")
            client = LabelStudioClient(self._server.url, join(self._server, account))
            people.append(
                Annotator(
                    client, self._project.id, question, self._options.error_rate,
                    self._options.seed, number,
                )
            )  # fmt: skip
        return Crew(
            people,
            lambda count: self._provision.reopen(
                self._project.id, count, len(people), self._options.seed
            ),
        )

    def _welcome(self) -> None:
        account, say = self._server.account, self._terminal.say
        say()
        say(f"  Label Studio   {self._server.url}/projects/{self._project.id}/data")
        say(f"  Log in as      {account.email}")
        say(f"  Password       {account.password}")
        say('  Then press     "Label All Tasks" (it serves the order that the model wants;')
        say("                 opening a single task does not)")
        say(f"  Dashboard      {self._services.url}/dashboard/")
        say(f"                 name {self._manager.email}, password {self._manager.password}")
        say(f"  Other projects . {self._services.folder.parent / ENVIRONMENT}; "
            "galaxyloop connect --project N")  # fmt: skip
        say(f"  Logs and data  {self._folder}")
        say()
