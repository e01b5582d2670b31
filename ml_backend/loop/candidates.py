"""Candidates: the heads that a version may publish, trained now or kept from before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from ml_backend.errors import StoreError
from ml_backend.labelstudio.config import LabelConfig
from ml_backend.loop.drafts import Basis
from ml_backend.loop.gate import GateDecision, compare
from ml_backend.loop.learning import Learned, UnseenLosses, learn
from ml_backend.loop.loss_gate import compare_losses
from ml_backend.loop.plans import head_plans, usable_heads
from ml_backend.loop.pool import Pool
from ml_backend.loop.scene_source import SceneSource
from ml_backend.loop.training import Unseen, train, unseen_by
from ml_backend.loop.trial import quality_without, without
from ml_backend.store.database import Store
from ml_backend.store.tables import Version
from ml_backend.store.versions import (
    load_arrays,
    load_heads,
    load_meta,
    version_folder,
    write_version,
)
from models.heads.base import Head

_MEMBER = "\x1f"
_NONE = np.zeros(0, np.int64)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Candidate:
    """Heads by control or plan, their committees, and what they say (or are wrong by) unseen."""

    heads: dict[str, Head]
    committees: dict[str, Sequence[Head]] = field(default_factory=dict)
    unseen: dict[str, Unseen] = field(default_factory=dict)
    losses: dict[str, UnseenLosses] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)

    def usable(self, config: LabelConfig) -> dict[str, Head]:
        """Return the heads that fit the configuration."""
        return usable_heads(self.heads, config)


def train_candidate(
    store: Store,
    config: LabelConfig,
    pool: Pool,
    basis: Basis,
    champion: Version | None,
    priors: Mapping[str, Head],
    progress: Callable[[str, float], None],
    tuned_on: npt.NDArray[np.int64] = _NONE,
    scenes: SceneSource | None = None,
) -> tuple[Candidate | None, GateDecision]:
    """Train heads on the pool's votes and compare them with the champion's.

    `tuned_on` are the tasks whose labels the LVM was tuned on: they are learned from, but neither
    version is judged on them. Without `scenes` heads that see scenes are not trained.

    Returns
    -------
    Candidate or None
        None where no vote can be learned from (its images cannot be used).
    GateDecision
    """
    same_lvm = champion is not None and champion.lvm_identity == basis.lvm_identity
    kept = kept_or_none(store, champion.name) if champion is not None and same_lvm else None
    candidate = fit_candidate(store, pool, priors, tuned_on, progress)
    learned = learn(
        head_plans(config),
        pool,
        scenes,
        _planned(kept, config),
        store.settings.seed,
        progress,
    )
    if candidate is None and not learned:
        return None, GateDecision(False, "No vote can be learned from.")
    candidate = _with_learned(candidate or Candidate(dict(priors)), learned)
    if champion is None:
        return candidate, GateDecision(True, "Promoted: it is the first version.")
    if not same_lvm:
        return candidate, GateDecision(
            True, f"Promoted: the LVM was changed, so {champion.name} cannot be compared."
        )
    if kept is None:
        return candidate, GateDecision(
            True, f"Promoted: the files of {champion.name} are broken, so it cannot be compared."
        )
    before = unseen_by_champion(kept, pool)
    votes = without(pool.consensus, tuned_on) if len(tuned_on) else pool.consensus
    decision = compare(before, candidate.unseen, votes, pool.audited)
    if not candidate.unseen:
        decision = GateDecision(True, "Promoted.")
    decision = compare_losses(learned, decision, pool.audited, tuned_on)
    stale = sorted(set(kept.heads) - set(kept.usable(config)))
    if stale and not decision.promote:
        controls = ", ".join(repr(name) for name in stale)
        reason = (
            f"Promoted: the labels of {controls} have changed, so {champion.name} is out of use."
        )
        decision = GateDecision(True, f"{reason} ({decision.reason})", decision.figures)
    return candidate, decision


def fit_candidate(
    store: Store,
    pool: Pool,
    priors: Mapping[str, Head],
    tuned_on: npt.NDArray[np.int64] = _NONE,
    progress: Callable[[str, float], None] | None = None,
) -> Candidate | None:
    """Train heads on the pool's votes; None where none can be learned from."""
    voted = {name: votes for name, votes in pool.consensus.items() if len(votes)}
    trained = train(
        voted,
        pool.task_ids,
        pool.embeddings,
        priors=priors,
        seed=store.settings.seed,
        progress=progress,
    )
    if not trained.controls:
        return None
    return Candidate(
        {**priors, **trained.heads},
        dict(trained.committees),
        trained.unseen,
        quality=quality_without(trained, tuned_on),
    )


def _planned(
    kept: Candidate | None, config: LabelConfig
) -> dict[str, tuple[Head, UnseenLosses | None]]:
    if kept is None:
        return {}
    heads = kept.usable(config)
    return {
        plan.name: (heads[plan.name], kept.losses.get(plan.name))
        for plan in head_plans(config)
        if plan.name in heads
    }


def _with_learned(candidate: Candidate, learned: Mapping[str, Learned]) -> Candidate:
    heads = {name: one.head for name, one in learned.items()}
    losses = {name: one.unseen for name, one in learned.items()}
    figures = {name: told.quality for name, told in losses.items()}
    return Candidate(
        {**candidate.heads, **heads},
        candidate.committees,
        candidate.unseen,
        {**candidate.losses, **losses},
        {**candidate.quality, **figures},
    )


def unseen_by_champion(champion: Candidate, pool: Pool) -> dict[str, Unseen]:
    """Return what a published version says of the labelled tasks without having seen them."""
    found = {}
    for control, votes in pool.consensus.items():
        head = champion.heads.get(control)
        if head is None or not len(votes):
            continue
        rows, inside = pool.rows_of(votes.task_ids)
        tasks = votes.task_ids[inside]
        if len(tasks):
            embeddings = pool.embeddings[rows[inside]]
            found[control] = unseen_by(head, tasks, embeddings, champion.unseen.get(control))
    return found


def keep(store: Store, name: str, candidate: Candidate) -> None:
    """Write a candidate as the files of a version.

    Raises
    ------
    StoreError
        The disk is full or fails; nothing is changed then.
    """
    heads = dict(candidate.heads)
    for control, members in candidate.committees.items():
        for number, member in enumerate(members):
            heads[f"{control}{_MEMBER}{number}"] = member
    arrays: dict[str, npt.NDArray[Any]] = {}
    for number, unseen in enumerate(candidate.unseen.values()):
        arrays[f"unseen.{number}.task_ids"] = np.asarray(unseen.task_ids, np.int64)
        arrays[f"unseen.{number}.probabilities"] = np.asarray(unseen.probabilities, np.float32)
    for number, told in enumerate(candidate.losses.values()):
        arrays[f"losses.{number}.task_ids"] = np.asarray(told.task_ids, np.int64)
        arrays[f"losses.{number}.losses"] = np.asarray(told.losses, np.float32)
        arrays[f"losses.{number}.digests"] = np.asarray(told.digests, np.int64)
    meta = {
        "losses": [[plan, told.labelled] for plan, told in candidate.losses.items()],
        "unseen": [[control, list(u.labels)] for control, u in candidate.unseen.items()],
        "quality": candidate.quality,
    }
    write_version(version_folder(store.folder, name), heads, arrays, meta)


def kept_candidate(store: Store, name: str) -> Candidate:
    """Read the heads of a version back.

    Raises
    ------
    StoreError
        A file is missing or broken.
    """
    folder = version_folder(store.folder, name)
    heads: dict[str, Head] = {}
    committees: dict[str, list[Head]] = {}
    for key, head in load_heads(folder).items():
        control, _, member = key.partition(_MEMBER)
        if member:
            committees.setdefault(control, []).append(head)
        else:
            heads[control] = head
    arrays, meta = load_arrays(folder), load_meta(folder)
    unseen = {}
    for number, (control, labels) in enumerate(meta.get("unseen", [])):
        ids = arrays.get(f"unseen.{number}.task_ids")
        told = arrays.get(f"unseen.{number}.probabilities")
        if ids is not None and told is not None and told.shape == (len(ids), len(labels)):
            unseen[control] = Unseen(tuple(labels), ids, told)
    losses = {}
    for number, (plan, labelled) in enumerate(meta.get("losses", [])):
        ids, wrong, digests = (
            arrays.get(f"losses.{number}.{name}") for name in ("task_ids", "losses", "digests")
        )
        if ids is None or wrong is None or digests is None:
            continue
        if len(ids) == len(wrong) == len(digests):
            losses[plan] = UnseenLosses(ids, wrong, digests, int(labelled))
    return Candidate(heads, dict(committees), unseen, losses, dict(meta.get("quality", {})))


def kept_or_none(store: Store, name: str) -> Candidate | None:
    """Read the heads of a version back; None (and a warning in the log) where they are broken."""
    try:
        return kept_candidate(store, name)
    except StoreError as error:
        _log.warning("version_broken", version=name, reason=str(error))
        return None
