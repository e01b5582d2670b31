"""A round's work: what it was given, what it has read, and how long each step took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import ChoicesControl, LabelConfig
from ml_backend.loop import drafts
from ml_backend.loop.drafts import Basis
from ml_backend.loop.encoding import Fetcher, encode_missing, missing_images
from ml_backend.loop.plans import learned_controls
from ml_backend.loop.pool import Pool, load_pool
from ml_backend.loop.project_lvm import ProjectLVM, lvm_in_use
from ml_backend.loop.scene_source import SceneSource
from ml_backend.loop.votes import ReconcileReport
from ml_backend.store.database import Store
from ml_backend.store.tables import Project, Version
from models.crowd.retirement import RetirementRule
from models.heads.base import Head
from models.vision_encoder import VisionEncoder

ENCODE_SECONDS = 20.0
"""Longest time that a round of a project with a champion spends on new images; the rest waits."""


@dataclass
class RoundContext:
    """What a round works with.

    Attributes
    ----------
    store : Store
    client : LabelStudioClient
    fetcher : ImageFetcher
    lvm : callable
        Returns the LVM of the settings.
    priors : callable
        Controls to the heads that know them without a vote, on that LVM's embeddings.
    progress : callable
        Called with (share done, what is being done); may raise to stop the round.
    """

    store: Store
    client: LabelStudioClient
    fetcher: Fetcher
    lvm: Callable[[], VisionEncoder]
    priors: Callable[[Sequence[ChoicesControl]], Mapping[str, Head]] = lambda controls: {}
    progress: Callable[[float, str], None] = lambda share, message: None


@dataclass
class RoundReport:
    """What a round did; `version` is the published one, None where there was nothing to do.

    `tune`: there are labels enough to tune the LVM. `patches_left`: tasks that wait to be opened or
    closed for votes.
    """

    version: str | None = None
    kind: str | None = None
    rejected: str | None = None
    message: str = ""
    images_left: int = 0
    tune: bool = False
    patches_left: int = 0
    timings: dict[str, float] = field(default_factory=dict)


class RoundWork:
    """One round at work.

    Attributes
    ----------
    context : RoundContext
    project : Project
        As it was when the round began.
    report : RoundReport
    config : LabelConfig
    pool : Pool
    basis : Basis
        What a version that is made now rests on.
    used : ProjectLVM
        The LVM in use; these four are there after `take_in`.
    judged : bool
        Votes have been judged in this round.
    rerank : bool
        The queue is to be ordered anew, since the project's options have changed.
    """

    config: LabelConfig
    pool: Pool
    basis: Basis
    used: ProjectLVM

    def __init__(self, context: RoundContext, project: Project) -> None:
        self.context, self.store = context, context.store
        self.project, self.project_id = project, project.id
        self.report = RoundReport()
        self.rerank = False
        self.judged = False
        self.began = time.monotonic()

    @contextmanager
    def timed(self, step: str, share: float, message: str) -> Iterator[None]:
        """Report a step and keep the seconds that it took."""
        self.context.progress(share, message)
        start = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - start
            self.report.timings[step] = round(self.report.timings.get(step, 0.0) + seconds, 4)

    def take_in(self, read: ReconcileReport, brought_back: Version | None = None) -> None:
        """Encode what is new, and load the pool, for the champion's LVM or that of a version."""
        self.config = read.config
        self.used = lvm_in_use(self.store, self.project_id, self.context.lvm(), brought_back)
        self.pool, self.basis = self.read_pool(self.used)

    def read_pool(self, used: ProjectLVM) -> tuple[Pool, Basis]:
        """Encode what is new with an LVM, and load the pool of its embeddings."""
        lvm = used.lvm
        embeddings = self.store.embeddings(lvm.identity, lvm.dimension)
        with self.timed("encode", 0.1, "Encoding new images"):
            images = missing_images(self.store, self.project_id, embeddings)
            if images:
                encoded = encode_missing(
                    self.store,
                    self.context.fetcher,
                    lvm,
                    images,
                    lambda done, total: self.context.progress(
                        0.1 + 0.4 * done / total, f"Encoded {done} of {total} images"
                    ),
                    seconds=ENCODE_SECONDS if self.project.champion else None,
                )
                self.report.images_left = max(self.report.images_left, encoded.left)
        with self.timed("pool", 0.5, "Reading votes and embeddings"):
            pool = load_pool(self.store, self.project_id, self.config, embeddings)
        return pool, Basis(pool.digest, self.config.digest, lvm.identity)

    @property
    def gold_fraction(self) -> float:
        """Share of the queue that is known answers.

        Where one vote per galaxy is wanted, answering known galaxies is work that nobody asked
        for, so there a project must say it itself.
        """
        own = self.project.options.get("gold_fraction")
        if own is None and not self.crowded:
            return 0.0
        return float(self.store.projects.option(self.project, "gold_fraction"))

    @property
    def crowded(self) -> bool:
        """Whether several people may be asked about a galaxy."""
        return int(self.store.projects.option(self.project, "most_people")) > 1

    @property
    def rule(self) -> RetirementRule:
        """When a task of the project has votes enough."""
        option = self.store.projects.option
        return RetirementRule(
            confidence=float(option(self.project, "retire_confidence")),
            most_people=int(option(self.project, "most_people")),
        )

    def priors(self) -> Mapping[str, Head]:
        """Return the heads that know the controls without a vote; they know no tuned LVM."""
        if self.used.is_tuned:
            return {}
        return self.context.priors(learned_controls(self.config))

    def scenes(self) -> SceneSource:
        """Return what makes scenes of the project's tasks, for the LVM in use."""
        return SceneSource(self.store, self.context.fetcher, self.used.lvm)

    def begin(self, kind: str, source: str | None = None, basis: Basis | None = None) -> Version:
        """Make the row of a new version, under a name that Label Studio has not seen."""
        return drafts.begin(
            self.store,
            self.project_id,
            kind,
            basis or self.basis,
            self.pool.votes,
            source,
            taken=self.context.client.model_versions(self.project_id),
        )
