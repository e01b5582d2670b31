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
* Label Studio has lost the champion's order (predictions deleted, another model version chosen,
  an older backup): the same order again, under the same name;
* a rollback: a ``rollback`` version with the heads of the named one. It is the champion from then
  on: the next challenger, which needs new votes or a request, must not be worse than it;
* an LVM that was tuned to the project is ready: a ``tuned`` version on it, if it is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from ml_backend.errors import StoreError
from ml_backend.loop import drafts
from ml_backend.loop.candidates import (
    Candidate,
    keep,
    kept_candidate,
    kept_or_none,
    train_candidate,
)
from ml_backend.loop.cleaning import clean_disk
from ml_backend.loop.expert_golds import take_experts
from ml_backend.loop.figures import keep_figures
from ml_backend.loop.golds import golds_to_serve
from ml_backend.loop.project_lvm import seen_tasks
from ml_backend.loop.publishing import (
    judge_votes,
    publish_ranked,
    rank_and_publish,
    restore_order,
)
from ml_backend.loop.requests import check_rollback
from ml_backend.loop.steering import steer_votes, tasks_waiting
from ml_backend.loop.tuned_rounds import note_stand_in, try_tuned
from ml_backend.loop.tuning import wants_tuning
from ml_backend.loop.votes import ReconcileReport, consume_hints, reconcile
from ml_backend.loop.work import RoundContext, RoundReport, RoundWork
from ml_backend.store.database import Store
from ml_backend.store.tables import Project, Version
from ml_backend.store.versions import load_predictions, version_folder

__all__ = ["RoundContext", "RoundReport", "run_round"]

_log = structlog.get_logger(__name__)


def run_round(
    context: RoundContext, project_id: int, payload: Mapping[str, Any] | None = None
) -> RoundReport:
    """Run one round of a project.

    Parameters
    ----------
    context : RoundContext
    project_id : int
    payload : mapping, optional
        ``full``: read all tasks again; ``force``: train although nothing is new; ``rerank``: order
        the queue anew although nothing is new; ``rollback``: name of the version to bring back.

    Raises
    ------
    LabelStudioError, LabelConfigError, StoreError, SettingsError
        Why the round could not end; the published version is as it was, and the next round takes
        up what was begun.
    """
    wishes = dict(payload or {})
    project = _project(context.store, project_id)
    clean_disk(context.store, project_id)
    work = RoundWork(context, project)
    with work.timed("reconcile", 0.02, "Reading votes from Label Studio"):
        read = reconcile(context.client, context.store, project_id, bool(wishes.get("full")))
    experts = context.store.projects.option(project, "experts")
    take_experts(context.store, project_id, [int(number) for number in experts])
    work.rerank = bool(wishes.get("rerank"))
    if wishes.get("rollback"):
        _roll_back(work, read, str(wishes["rollback"]))
    else:
        work.take_in(read)
        note_stand_in(work)
        _go_on_or_begin(work, force=bool(wishes.get("force") or project.training_requested_at))
    if work.crowded and read.changed and not work.judged:
        # Skips alone make no new order, yet a task that everybody skips is one for experts.
        champion = _usable(work, drafts.champion_of(work.store, project_id))
        judge_votes(work, champion or Candidate({}))
    steer_votes(work)
    with work.timed("figures", 0.95, "Counting what the pages show"):
        keep_figures(context.store, project_id, read.config, work.pool)
    consume_hints(context.store, project)
    labels = int(work.pool.is_voted.sum())
    work.report.tune = wants_tuning(context.store, project_id, work.used.base, labels)
    _log.info("round_done", project=project_id, version=work.report.version, kind=work.report.kind)
    return work.report


def _go_on_or_begin(work: RoundWork, force: bool) -> None:
    """Finish what an earlier round left, else do what is to be done."""
    left = drafts.unfinished(work.store, work.project_id)
    if left is not None and work.basis.fits(left) and _goes_on(work, left):
        return
    if left is not None:
        drafts.note(
            work.store,
            left.name,
            state="abandoned",
            problem="Votes, configuration or LVM changed before it was published.",
        )
    if try_tuned(work):
        return
    trained = drafts.trained_on(work.store, work.project_id, work.basis)
    champion = drafts.champion_of(work.store, work.project_id)
    # The configuration went back to one that a retired version answered, and the champion does not.
    went_back = (
        trained is not None
        and trained.state == "retired"
        and champion is not None
        and champion.config_digest != work.basis.config_digest
    )
    wanted = force or trained is None or went_back or _usable(work, champion) is None
    if work.pool.has_votes and wanted and _train(work):
        return
    _rerank_if_needed(work)


def _goes_on(work: RoundWork, left: Version) -> bool:
    """Take up an unfinished version; False where it cannot be."""
    folder = version_folder(work.store.folder, left.name)
    if left.stage == "ranked" and not work.rerank:
        try:
            predictions = load_predictions(folder)
        except StoreError:
            predictions = None
        if predictions is not None:
            publish_ranked(work, left, predictions)
            return True
    if left.kind == "trained":
        if _train(work, left):
            return True
        if work.report.rejected != left.name:
            return False  # nothing can be learned from what there is
        _rerank_if_needed(work)
        return True
    if left.kind == "cold":
        _cold(work, left)
        return True
    champion = drafts.champion_of(work.store, work.project_id)
    # The champion of a rerank has the heads of its source, which may have been pruned.
    heads_from = champion.name if left.kind == "rerank" and champion else left.source
    candidate = kept_or_none(work.store, heads_from or left.name)
    if candidate is None:
        return False
    rank_and_publish(work, left, candidate)
    return True


def _train(work: RoundWork, version: Version | None = None) -> bool:
    """Train, judge, and publish what passes; tell whether it did."""
    champion = drafts.champion_of(work.store, work.project_id)
    with work.timed("train", 0.55, "Training heads"):
        challenger, decision = train_candidate(
            work.store, work.config, work.pool, work.basis, champion, work.priors(),
            lambda message, share: work.context.progress(0.55 + 0.1 * share, message),
            seen_tasks(work.store, work.project_id, work.used.seen),
            work.scenes(),
        )  # fmt: skip
    if challenger is None:
        return False
    if version is None:
        version = work.begin("trained")
    with work.timed("keep", 0.65, f"Writing version {version.name}"):
        keep(work.store, version.name, challenger)
    gate = {
        "promote": decision.promote,
        "reason": " ".join(filter(None, [decision.reason, work.used.problem])),
        "figures": decision.figures,
        "champion": champion.name if champion else None,
    }
    drafts.note(
        work.store,
        version.name,
        stage="trained",
        on_disk=True,
        quality=challenger.quality,
        gate=gate,
    )
    if not decision.promote:
        drafts.note(work.store, version.name, state="rejected", problem=decision.reason)
        work.report.rejected = version.name
        work.report.message = decision.reason
        return False
    rank_and_publish(work, version, challenger)
    return True


def _rerank_if_needed(work: RoundWork) -> bool:
    """Publish the champion's heads anew, or a cold version, where the queue needs it."""
    champion = drafts.champion_of(work.store, work.project_id)
    candidate = _usable(work, champion)
    if champion is None or candidate is None:
        _cold(work, None)
        return True
    if work.basis.fits(champion) and not _queue_low(work, champion) and not work.rerank:
        try:
            if restore_order(work, champion):
                return True
        except StoreError as error:
            _log.warning("order_not_restored", version=champion.name, reason=str(error))
        else:
            work.report.message = work.report.message or "Nothing is new."
            return False
    if champion.kind == "cold" and not work.pool.has_votes:
        _cold(work, None)
        return True
    rank_and_publish(work, work.begin("rerank", champion.source or champion.name), candidate)
    return True


def _usable(work: RoundWork, champion: Version | None) -> Candidate | None:
    """Return the champion's heads if they are whole and may answer the project as it is now."""
    if champion is None or champion.lvm_identity != work.basis.lvm_identity:
        return None
    candidate = kept_or_none(work.store, champion.name)
    same = champion.config_digest == work.basis.config_digest
    return candidate if candidate and (same or candidate.usable(work.config)) else None


def _queue_low(work: RoundWork, champion: Version) -> bool:
    """Whether open tasks wait unranked while the champion's queue has room or runs out."""
    top_k = int(work.store.projects.option(work.project, "top_k"))
    free = tasks_waiting(work)
    if float(work.store.projects.option(work.project, "gold_fraction")) > 0:
        # Golds are mixed in at their rate: those left over want no new order.
        golds = golds_to_serve(work.store, work.project_id, work.store.settings.seed)
        free = sorted(set(free) - set(golds.tolist()))
    places, ranked, unranked = drafts.coverage(work.store, champion.name, free)
    return unranked > 0 and (places < top_k or ranked < top_k // 2)


def _cold(work: RoundWork, version: Version | None) -> None:
    if not len(work.pool.task_ids):
        work.report.message = "No task has an image that can be used yet."
        return
    if version is None:
        version = work.begin("cold")
    rank_and_publish(work, version, Candidate(dict(work.priors())))


def _roll_back(work: RoundWork, read: ReconcileReport, name: str) -> None:
    """Publish the heads of an earlier version, on its LVM."""
    with work.store.reading() as session:
        target = session.get(Version, name)
    check_rollback(target, work.project_id, name)
    assert target is not None
    work.take_in(read, target)
    if work.used.problem:
        raise StoreError(f"{name} cannot be brought back. {work.used.problem}")
    if target.lvm_identity != work.basis.lvm_identity:
        raise StoreError(f"{name} was trained on another LVM. Set GALAXYLOOP_LVM back to it first.")
    left = drafts.unfinished(work.store, work.project_id)
    mine = left is not None and left.kind == "rollback" and left.source == name
    if left is not None and mine and work.basis.fits(left) and _goes_on(work, left):
        return
    candidate = kept_candidate(work.store, name)
    rank_and_publish(work, work.begin("rollback", name), candidate)


def _project(store: Store, project_id: int) -> Project:
    project = store.projects.get(project_id)
    if project is None:
        raise StoreError(
            f"Project {project_id} is not connected. Run `galaxyloop connect --project "
            f"{project_id}`."
        )
    return project
