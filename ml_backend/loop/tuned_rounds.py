"""What a round does with a tuned LVM: judge the one that is ready, publish on it or remove it."""

from __future__ import annotations

import structlog

from ml_backend.errors import StoreError
from ml_backend.loop import drafts
from ml_backend.loop.candidates import (
    Candidate,
    fit_candidate,
    keep,
    kept_or_none,
    unseen_by_champion,
)
from ml_backend.loop.gate import GateDecision, compare
from ml_backend.loop.pool import Pool
from ml_backend.loop.project_lvm import ProjectLVM, discard, seen_tasks, tuned_lvm
from ml_backend.loop.publishing import rank_and_publish
from ml_backend.loop.trial import judge, without
from ml_backend.loop.work import RoundWork
from ml_backend.store.tables import Tuning, Version

_log = structlog.get_logger(__name__)


def try_tuned(work: RoundWork) -> bool:
    """Judge the tuned LVM that is ready, if there is one; tell whether a version on it is out.

    Raises
    ------
    LabelStudioError, StoreError
        It could not be published, or the disk is full; the next round judges it again.
    """
    if not work.store.settings.tune_from:
        return False
    tuning = work.store.tunings.ready(work.project_id, work.used.base)
    champion = drafts.champion_of(work.store, work.project_id)
    if tuning is None or tuning.lvm_identity is None or champion is None:
        return False
    if champion.lvm_identity == tuning.lvm_identity:
        # A round was killed between the switch and this note.
        work.store.tunings.note(tuning.id, state="accepted")
        return False
    if champion.lvm_identity != work.used.identity or not work.pool.has_votes:
        return False
    try:
        tuned = tuned_lvm(work.store, work.project_id, tuning.lvm_identity, work.context.lvm())
    except StoreError as error:
        _lose(work, tuning, str(error))
        return False
    pool, basis = work.read_pool(tuned)
    if work.report.images_left:
        return False  # the round that reads the rest judges it
    with work.timed("trial", 0.55, "Judging the tuned LVM"):
        candidate, decision = _judged(work, champion, tuned, pool)
    version = work.begin("tuned", basis=basis)
    gate = {
        "promote": decision.promote,
        "reason": decision.reason,
        "figures": decision.figures,
        "champion": champion.name,
    }
    quality = candidate.quality if candidate else {}
    drafts.note(work.store, version.name, gate=gate, quality=quality)
    if candidate is None or not decision.promote:
        drafts.note(work.store, version.name, state="rejected", problem=decision.reason)
        work.report.rejected, work.report.message = version.name, decision.reason
        work.store.tunings.note(tuning.id, state="refused", reason=decision.reason)
        discard(work.store, work.project_id, tuning.lvm_identity)
        return False
    with work.timed("keep", 0.65, f"Writing version {version.name}"):
        keep(work.store, version.name, candidate)
        drafts.note(work.store, version.name, stage="trained", on_disk=True)
    work.used, work.pool, work.basis = tuned, pool, basis
    rank_and_publish(work, version, candidate)
    work.store.tunings.note(tuning.id, state="accepted", reason=decision.reason)
    return True


def note_stand_in(work: RoundWork) -> None:
    """Say that the LVM of the settings stands in for a tuned one that is damaged or gone."""
    if not work.used.problem:
        return
    work.report.message = work.used.problem
    champion = drafts.champion_of(work.store, work.project_id)
    identity = champion.lvm_identity if champion else ""
    tuning = work.store.tunings.of_lvm(work.project_id, identity)
    if tuning is not None:
        _lose(work, tuning, work.used.problem)


def _lose(work: RoundWork, tuning: Tuning, reason: str) -> None:
    _log.error("tuned_lvm_lost", project=work.project_id, reason=reason)
    work.store.tunings.note(tuning.id, state="lost", reason=reason)


def _judged(
    work: RoundWork, champion: Version, tuned: ProjectLVM, pool: Pool
) -> tuple[Candidate | None, GateDecision]:
    """Train on both LVMs' embeddings; the tuned side must beat that, and the champion's gate."""
    store, current = work.store, work.pool
    # Neither side may be judged on what its LVM was tuned on.
    seen = seen_tasks(store, work.project_id, tuned.seen | work.used.seen)
    own = seen_tasks(store, work.project_id, tuned.seen)
    before = fit_candidate(store, current, work.priors(), seen)
    after = fit_candidate(store, pool, {}, own)
    if before is None or after is None:
        return None, GateDecision(False, "Not promoted: no vote can be learned from.")
    votes = without(pool.consensus, seen)
    decision = judge(before.unseen, after.unseen, votes, current.audited)
    if not decision.promote:
        return after, decision
    kept = kept_or_none(store, champion.name)
    if kept is not None and kept.heads:
        against = compare(unseen_by_champion(kept, current), after.unseen, votes, current.audited)
        if not against.promote:
            return after, against
    return after, decision
