"""A round: reconcile, encode, agree, train, judge, rank, publish; once, whatever happens.

Every step can be repeated, and the version's row says how far it has come. A round that was killed
goes on with the same version while votes, configuration and LVM are the same: before the ranking
is on disk it is made again (training takes a moment and gives the same), after that the import is
taken up where it stopped. If votes came meanwhile, that version is abandoned for a new one.

What is published when:

* new votes, a changed configuration or LVM, or a request: heads are trained. If the gate lets them
  pass they are published; else the version stays ``rejected`` with the reason;
* no votes at all: a ``cold`` version, ordered by coverage, answered by the prior where it knows
  the labels;
* the champion's queue no longer fits (votes came but its challenger was rejected, tasks came that
  it could have ranked, fewer than half of its tasks are left): a ``rerank`` version with the
  champion's heads;
* a rollback: a ``rollback`` version with the heads of the named one. It is the champion from then
  on: the next challenger, which needs new votes or a request, must not be worse than it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import case, update

from ml_backend.errors import StoreError
from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import ChoicesControl, LabelConfig
from ml_backend.labelstudio.queue import publish
from ml_backend.loop import drafts
from ml_backend.loop.candidates import Candidate, keep, kept_candidate, train_candidate
from ml_backend.loop.cleaning import clean_disk
from ml_backend.loop.drafts import Basis
from ml_backend.loop.encoding import Fetcher, encode_missing, missing_images
from ml_backend.loop.ordering import OrderOptions, make_order
from ml_backend.loop.pool import Pool, load_pool
from ml_backend.loop.prediction import learned_controls
from ml_backend.loop.votes import ReconcileReport, reconcile
from ml_backend.store.database import Store
from ml_backend.store.tables import Project, Version
from ml_backend.store.versions import load_predictions, version_folder, write_predictions
from models.heads.base import Head
from models.lvm import LVM

ENCODE_SECONDS = 20.0
"""Longest time that a round of a project with a champion spends on new images; the rest waits."""

_log = structlog.get_logger(__name__)


@dataclass
class RoundContext:
    """What a round works with.

    Attributes
    ----------
    store : Store
    client : LabelStudioClient
    fetcher : ImageFetcher
    lvm : callable
        Returns the LVM.
    priors : callable
        Controls to the heads that know them without a vote.
    progress : callable
        Called with (share done, what is being done); may raise to stop the round.
    """

    store: Store
    client: LabelStudioClient
    fetcher: Fetcher
    lvm: Callable[[], LVM]
    priors: Callable[[Sequence[ChoicesControl]], Mapping[str, Head]] = lambda controls: {}
    progress: Callable[[float, str], None] = lambda share, message: None


@dataclass
class RoundReport:
    """What a round did; `version` is the published one, None where there was nothing to do."""

    version: str | None = None
    kind: str | None = None
    rejected: str | None = None
    message: str = ""
    images_left: int = 0
    timings: dict[str, float] = field(default_factory=dict)


def run_round(
    context: RoundContext, project_id: int, payload: Mapping[str, Any] | None = None
) -> RoundReport:
    """Run one round of a project.

    Parameters
    ----------
    context : RoundContext
    project_id : int
    payload : mapping, optional
        ``full``: read all tasks again; ``force``: train although nothing is new; ``rollback``:
        name of the version to bring back.

    Raises
    ------
    LabelStudioError, LabelConfigError, StoreError, SettingsError
        Why the round could not end; the published version is as it was, and the next round takes
        up what was begun.
    """
    wishes = dict(payload or {})
    project = _project(context.store, project_id)
    began = time.monotonic()
    clean_disk(context.store, project_id)
    work = _Round(context, project, began)
    with work.timed("reconcile", 0.02, "Reading votes from Label Studio"):
        read = reconcile(context.client, context.store, project_id, bool(wishes.get("full")))
    work.take_in(read)
    if wishes.get("rollback"):
        work.roll_back(str(wishes["rollback"]))
    else:
        work.go_on_or_begin(force=bool(wishes.get("force") or project.training_requested_at))
    _consume_hints(context.store, project)
    _log.info("round_done", project=project_id, version=work.report.version, kind=work.report.kind)
    return work.report


class _Round:
    """One round at work."""

    def __init__(self, context: RoundContext, project: Project, began: float) -> None:
        self.context, self.store = context, context.store
        self.project_id, self.began = project.id, began
        self.project = project
        self.report = RoundReport()
        self.config: LabelConfig
        self.pool: Pool
        self.basis: Basis

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

    def take_in(self, read: ReconcileReport) -> None:
        """Encode what is new, and load the pool."""
        self.config = read.config
        lvm = self.context.lvm()
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
                self.report.images_left = encoded.left
        with self.timed("pool", 0.5, "Reading votes and embeddings"):
            self.pool = load_pool(self.store, self.project_id, self.config, embeddings)
        self.basis = Basis(self.pool.digest, self.config.digest, lvm.identity)

    def go_on_or_begin(self, force: bool) -> None:
        """Finish what an earlier round left, else do what is to be done."""
        left = drafts.unfinished(self.store, self.project_id)
        if left is not None and self.basis.fits(left) and self._goes_on(left):
            return
        if left is not None:
            drafts.note(
                self.store,
                left.name,
                state="abandoned",
                problem="Votes, configuration or LVM changed before it was published.",
            )
        trained = drafts.trained_on(self.store, self.project_id, self.basis)
        if self.pool.has_votes and (force or trained is None) and self._train():
            return
        self._rerank_if_needed()

    def _goes_on(self, left: Version) -> bool:
        """Take up an unfinished version; False where it cannot be."""
        folder = version_folder(self.store.folder, left.name)
        if left.stage == "ranked":
            try:
                predictions = load_predictions(folder)
            except StoreError:
                predictions = None
            if predictions is not None:
                self._publish(left, predictions)
                return True
        if left.kind == "trained":
            return self._train(left) or self._rerank_if_needed()
        if left.kind in ("rerank", "rollback") and left.source:
            candidate = kept_candidate(self.store, left.source)
            self._order(left, candidate)
            return True
        self._cold(left)
        return True

    def _train(self, version: Version | None = None) -> bool:
        """Train, judge, and publish what passes; tell whether it did."""
        champion = drafts.champion_of(self.store, self.project_id)
        with self.timed("train", 0.55, "Training heads"):
            priors = self.context.priors(learned_controls(self.config))
            challenger, decision = train_candidate(
                self.store, self.config, self.pool, self.basis, champion, priors,
                lambda message, share: self.context.progress(0.55 + 0.1 * share, message),
            )  # fmt: skip
        if challenger is None:
            return False
        if version is None:
            version = drafts.begin(
                self.store, self.project_id, "trained", self.basis, self.pool.votes
            )
        with self.timed("keep", 0.65, f"Writing version {version.name}"):
            keep(self.store, version.name, challenger)
        gate = {
            "promote": decision.promote,
            "reason": decision.reason,
            "figures": decision.figures,
            "champion": champion.name if champion else None,
        }
        drafts.note(
            self.store,
            version.name,
            stage="trained",
            on_disk=True,
            quality=challenger.quality,
            gate=gate,
        )
        if not decision.promote:
            drafts.note(self.store, version.name, state="rejected", problem=decision.reason)
            self.report.rejected = version.name
            self.report.message = decision.reason
            return False
        self._order(version, challenger)
        return True

    def _rerank_if_needed(self) -> bool:
        """Publish the champion's heads anew, or a cold version, where the queue needs it."""
        champion = drafts.champion_of(self.store, self.project_id)
        candidate = self._usable(champion)
        if champion is None or candidate is None:
            self._cold(None)
            return True
        if self.basis.fits(champion) and not self._queue_low(champion):
            self.report.message = self.report.message or "Nothing is new."
            return False
        if champion.kind == "cold" and not self.pool.has_votes:
            self._cold(None)
            return True
        source = champion.source or champion.name
        version = drafts.begin(
            self.store, self.project_id, "rerank", self.basis, self.pool.votes, source
        )
        self._order(version, candidate, keep_it=True)
        return True

    def _usable(self, champion: Version | None) -> Candidate | None:
        """Return the champion's heads if they may answer the project as it is now."""
        if champion is None or champion.lvm_identity != self.basis.lvm_identity:
            return None
        candidate = kept_candidate(self.store, champion.name)
        same = champion.config_digest == self.basis.config_digest
        return candidate if same or candidate.usable(self.config) else None

    def _queue_low(self, champion: Version) -> bool:
        top_k = int(self.store.projects.option(self.project, "top_k"))
        ranked, unranked = drafts.unranked_free(self.store, champion.name, self.pool.free.tolist())
        return unranked > 0 and ranked < (top_k if self._has_room(champion) else top_k // 2)

    def _has_room(self, champion: Version) -> bool:
        """Whether the champion ranked all there was, so that what is unranked is new."""
        predictions = load_predictions(version_folder(self.store.folder, champion.name)) or []
        return len(predictions) < int(self.store.projects.option(self.project, "top_k"))

    def _cold(self, version: Version | None) -> None:
        if not len(self.pool.task_ids):
            self.report.message = "No task has an image that can be used yet."
            return
        priors = self.context.priors(learned_controls(self.config))
        if version is None:
            version = drafts.begin(self.store, self.project_id, "cold", self.basis, self.pool.votes)
        self._order(version, Candidate(dict(priors)), keep_it=True)

    def roll_back(self, name: str) -> None:
        """Publish the heads of an earlier version."""
        with self.store.reading() as session:
            target = session.get(Version, name)
        check_rollback(target, self.project_id, name)
        assert target is not None
        if target.lvm_identity != self.basis.lvm_identity:
            raise StoreError(
                f"{name} was trained on another LVM. Set GALAXYLOOP_LVM back to it first."
            )
        left = drafts.unfinished(self.store, self.project_id)
        mine = left is not None and left.kind == "rollback" and left.source == name
        if left is not None and mine and self.basis.fits(left) and self._goes_on(left):
            return
        version = drafts.begin(
            self.store, self.project_id, "rollback", self.basis, self.pool.votes, name
        )
        self._order(version, kept_candidate(self.store, name), keep_it=True)

    def _order(self, version: Version, candidate: Candidate, keep_it: bool = True) -> None:
        folder = version_folder(self.store.folder, version.name)
        with self.timed("rank", 0.7, "Ranking"):
            if version.kind != "trained" and keep_it:
                keep(self.store, version.name, candidate)
            order = make_order(
                version.name,
                self.pool,
                self.config,
                candidate.usable(self.config),
                candidate.committees,
                self._options(),
                cold=version.kind == "cold",
            )
            write_predictions(folder, order.predictions)
            drafts.note(self.store, version.name, on_disk=True, quality=candidate.quality)
            drafts.keep_ranking(self.store, version.name, order.rows)
        self._publish(version, order.predictions)

    def _publish(self, version: Version, predictions: list[dict[str, Any]]) -> None:
        problem: str | None = None
        with self.timed("publish", 0.75, f"Publishing {version.name}"):
            if predictions:
                told = publish(self.context.client, self.project_id, version.name, predictions)
                problem = told.problem or None
                self.report.timings["import"] = round(told.import_seconds, 4)
                self.report.timings["switch"] = round(told.switch_seconds, 4)
                if told.refused:
                    refused = ", ".join(map(str, told.refused[:5]))
                    problem = problem or (
                        f"Label Studio refused {len(told.refused)} predictions (tasks {refused}"
                        "...): they do not fit the labelling configuration."
                    )
        drafts.crown(
            self.store,
            version.name,
            self.project_id,
            seconds=round(time.monotonic() - self.began, 3),
            timings=self.report.timings,
            problem=problem,
        )
        self.report.version, self.report.kind = version.name, version.kind
        said = f"Published {version.name} ({version.kind}, {len(predictions)} tasks)."
        self.report.message = " ".join(filter(None, [self.report.message, said, problem or ""]))
        self.context.progress(1.0, said)

    def _options(self) -> OrderOptions:
        option = self.store.projects.option
        return OrderOptions(
            strategy=str(option(self.project, "strategy")),
            diversity=bool(option(self.project, "diversity")),
            audit_fraction=float(option(self.project, "audit_fraction")),
            top_k=int(option(self.project, "top_k")),
            seed=self.store.settings.seed,
        )


def check_rollback(target: Version | None, project_id: int, name: str) -> None:
    """Refuse a version that cannot be brought back.

    Raises
    ------
    StoreError
        It is not one of the project's, was never finished, or its files are gone.
    """
    if target is None or target.project_id != project_id:
        raise StoreError(
            f"Project {project_id} has no version {name!r}; "
            f"`galaxyloop versions --project {project_id}` lists them."
        )
    if target.state == "published":
        raise StoreError(f"{name} is the published version already.")
    if not target.on_disk or target.state not in ("retired", "rejected"):
        raise StoreError(
            f"{name} cannot be brought back: "
            + ("it was never finished." if target.on_disk else "its files were pruned.")
            + " Choose another one, or raise GALAXYLOOP_VERSIONS_KEPT for the future."
        )


def _project(store: Store, project_id: int) -> Project:
    project = store.projects.get(project_id)
    if project is None:
        raise StoreError(
            f"Project {project_id} is not connected. Run `galaxyloop connect --project "
            f"{project_id}`."
        )
    return project


def _consume_hints(store: Store, seen: Project) -> None:
    """Forget the hints that were there when the round began; later ones stay."""
    now = datetime.now(UTC)
    left = Project.hints - seen.hints
    asked = Project.training_requested_at
    with store.session() as session:
        session.execute(
            update(Project)
            .where(Project.id == seen.id)
            .values(
                hints=case((left > 0, left), else_=0),
                first_hint_at=case((left > 0, now), else_=None),
                training_requested_at=case((asked <= seen.training_requested_at, None), else_=asked)
                if seen.training_requested_at
                else asked,
                failures=0,
                retry_at=None,
            )
            .execution_options(synchronize_session=False)
        )
