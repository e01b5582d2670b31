"""``galaxyloop work``: the process that encodes, trains and publishes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from types import FrameType

import structlog
import torch
from threadpoolctl import threadpool_limits

from ml_backend.errors import GalaxyLoopError
from ml_backend.jobs import Runner
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import ChoicesControl
from ml_backend.labelstudio.images import ImageFetcher
from ml_backend.loop.cleaning import clean, removable
from ml_backend.loop.encoding import load_lvm
from ml_backend.loop.project_map import make_map
from ml_backend.loop.requests import request_round
from ml_backend.loop.rounds import RoundContext, run_round
from ml_backend.loop.tuning import tune
from ml_backend.queue_transport import NAME, Transport
from ml_backend.schedule import BACKLOG, Lane, Scheduler, due
from ml_backend.settings import Settings
from ml_backend.store.database import Store, open_store
from ml_backend.store.jobs import BESIDE
from ml_backend.store.tables import Job
from models.heads.base import Head
from models.prior import SimulationPrior
from models.sources import DEFAULT_FOLDER

NICENESS = 10
LAST_NICENESS = 19
TICK_SECONDS = 0.25
_SIGN_SECONDS = 5.0
_log = structlog.get_logger(__name__)


def run_worker(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; the job at work is then put back, nothing is lost.

    Several workers may share a store. Only in the main thread of a process.

    Raises
    ------
    StoreError, SettingsError
        The store, the queue or the LVM cannot be opened.
    """
    store = open_store(settings)
    _be_modest()
    stopping = threading.Event()
    runner = Runner(store, JobWork(store), stopping)
    transport = Transport(settings, runner.run)
    beside = Transport(settings, runner.run, f"{NAME}-beside")
    scheduler = Scheduler(
        store, Lane(transport.send, transport.waiting), Lane(beside.send, beside.waiting)
    )
    _log.info("worker_started", worker=runner.name, data=str(settings.model_dir))
    store.jobs.sign(runner.name)
    scheduler.start()
    transport.start()
    beside.start()
    _stop_on_signals(stopping)  # after the transport, which sets handlers of its own
    signed = datetime.now(UTC)
    try:
        while not stopping.wait(TICK_SECONDS):
            try:
                scheduler.tick()
                if (datetime.now(UTC) - signed).total_seconds() > _SIGN_SECONDS:
                    signed = datetime.now(UTC)
                    store.jobs.sign(runner.name)
            except Exception:  # noqa: BLE001  a database away for a moment must not end us
                _log.exception("tick_failed")
                stopping.wait(5)
    finally:
        stopping.set()
        transport.stop()
        beside.stop()
        store.jobs.sign_off(runner.name)
        store.close()
        _log.info("worker_ended", worker=runner.name)


class JobWork:
    """Does the jobs: ``round``, ``clean``, ``tune`` and ``map``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._client = LabelStudioClient.from_settings(store.settings)
        self._fetcher = ImageFetcher(store.settings, self._client, store.picture_addresses())

    def __call__(self, job: Job, progress: Callable[[float, str], None]) -> str:
        """Do one job and return a sentence about it."""
        if job.kind == "round":
            return self._round(job, progress)
        if job.kind == "clean":
            return self._clean(job, progress)
        if job.kind == "tune":
            return self._tune(job, progress)
        if job.kind == "map":
            step_back()
            return make_map(self._store, job.project_id, progress)
        raise GalaxyLoopError(
            f"Nobody knows how to do a job of kind {job.kind!r}: it came from a newer GalaxyLoop. "
            "Start that one's worker."
        )

    def _round(self, job: Job, progress: Callable[[float, str], None]) -> str:
        report = run_round(self._context(progress), job.project_id, job.payload)
        # Where no patch got through, the next round would fail alike: it comes when it is due.
        if report.images_left or (report.patches_left and report.timings.get("patches")):
            request_round(self._store, job.project_id)
        if report.tune:
            self._store.jobs.enqueue("tune", job.project_id)
        return report.message

    def _tune(self, job: Job, progress: Callable[[float, str], None]) -> str:
        step_back()
        message = tune(self._context(progress), job.project_id)
        request_round(self._store, job.project_id)
        return message

    def _context(self, progress: Callable[[float, str], None]) -> RoundContext:
        settings = self._store.settings
        return RoundContext(
            store=self._store,
            client=self._client,
            fetcher=self._fetcher,
            lvm=lambda: load_lvm(settings),
            priors=lambda controls: prior_heads(settings, controls),
            progress=progress,
        )

    def _clean(self, job: Job, progress: Callable[[float, str], None]) -> str:
        backlog = len(removable(self._store, job.project_id))

        def may_continue() -> bool:
            progress(0.5, "Removing old versions from Label Studio")
            others = (other for other in self._store.jobs.queued() if other.kind not in BESIDE)
            if any(other.id != job.id for other in others):
                return False
            project = self._store.projects.get(job.project_id)
            if project is None:
                return False
            if due(project, datetime.now(UTC), self._store.settings, self._store):
                return False
            return backlog >= BACKLOG or not project.hints

        deleted = clean(self._client, self._store, job.project_id, may_continue)
        self._store.jobs.prune()
        return f"Removed {deleted} old predictions from Label Studio."


def prior_heads(settings: Settings, controls: Sequence[ChoicesControl]) -> dict[str, Head]:
    """Return the heads that know a control's labels from simulated galaxies alone."""
    folder = settings.lvm or str(DEFAULT_FOLDER)
    identity = load_lvm(settings).identity
    found = {}
    for control in controls:
        head = None if control.multiple else _prior_head(folder, identity, control.labels)
        if head is not None and head.labels == control.labels:
            found[control.name] = head
    return found


@lru_cache(maxsize=64)
def _prior_head(folder: str, identity: str, labels: tuple[str, ...]) -> Head | None:
    prior = _prior(folder)
    return prior.head_for(labels) if prior and prior.bank.lvm_identity == identity else None


@lru_cache(maxsize=2)
def _prior(folder: str) -> SimulationPrior | None:
    try:
        return SimulationPrior.from_pretrained(folder)
    except (OSError, ValueError) as error:
        _log.info("no_prior", folder=folder, reason=str(error))
        return None


def step_back() -> None:
    """Let this thread, and those that it starts, run only when rounds leave the processor free."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LAST_NICENESS)
    except OSError as error:
        _log.warning("not_nice", reason=str(error))


def _be_modest() -> None:
    """Leave the processor to those who answer people."""
    try:
        os.nice(NICENESS)
    except OSError as error:
        _log.warning("not_nice", reason=str(error))
    threads = max(1, (os.cpu_count() or 2) // 2)
    torch.set_num_threads(threads)
    threadpool_limits(threads)


def _stop_on_signals(stopping: threading.Event) -> None:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            os._exit(130)  # asked twice: leave; what was begun is taken up again
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, stop)
