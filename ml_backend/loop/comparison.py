"""Any two versions of a project, compared on the votes of now that neither has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import select

from ml_backend.labelstudio.config import parse_controls
from ml_backend.loop.candidates import Candidate, kept_candidate
from ml_backend.loop.consensus import Consensus, consensus
from ml_backend.loop.counting_votes import CountingVote, cast_votes
from ml_backend.loop.gate import compare
from ml_backend.loop.learning import UnseenLosses
from ml_backend.loop.plans import learned_controls
from ml_backend.loop.project_lvm import seen_tasks
from ml_backend.loop.training import Unseen, unseen_by
from ml_backend.loop.trial import without
from ml_backend.store.database import Store
from ml_backend.store.tables import Project, Task, Version, Vote
from ml_backend.store.tuned_lvms import kept_tuned, load_tuned, tuned_folder

MOST_TASKS = 20_000
"""More labelled galaxies are drawn from at random: they make the error bars no use smaller."""
LEAST_TASKS = 2
_AT_ONCE = 500


@dataclass(frozen=True)
class Compared:
    """One control (or head of several) by both versions.

    Attributes
    ----------
    control : str
    rows : int
        Galaxies that both are judged on.
    first, second : dict
        Measures of each (see `models.metrics.quality`; ``loss`` for other heads).
    measure : str
        What `difference` is in: ``log_loss`` in nats, or ``loss`` (see `Head.losses`).
    difference, standard_error : float
        Second less first, below 0 where the second is better; the error is of paired differences.
    """

    control: str
    rows: int
    first: dict[str, float | None]
    second: dict[str, float | None]
    measure: str
    difference: float
    standard_error: float


def compare_versions(
    store: Store, project: Project, first: Version, second: Version
) -> list[Compared]:
    """Compare two versions whose files are kept; controls that cannot be compared are left out.

    Galaxies that a version was trained on are judged by its predictions out of fold, all others
    by its heads. Those that a tuned LVM was tuned on are left out.

    Raises
    ------
    StoreError
        Files or embeddings of a version are missing or broken.
    """
    sides = [kept_candidate(store, version.name) for version in (first, second)]
    votes = _votes(store, project)
    for version in (first, second):
        votes = without(votes, _tuned_on(store, project.id, version.lvm_identity))
    told = [
        _unseen(store, version, side, votes)
        for version, side in zip((first, second), sides, strict=True)
    ]
    found = []
    for name, agreed in votes.items():
        if name not in told[0] or name not in told[1]:
            continue
        decision = compare({name: told[0][name]}, {name: told[1][name]}, {name: agreed})
        whole, measured = decision.figures.get("all"), decision.figures.get("controls", {})
        if whole is None or name not in measured:
            continue
        found.append(
            Compared(
                name, int(whole["rows"]), measured[name]["champion"], measured[name]["challenger"],
                "log_loss", whole["difference"], whole["standard_error"],
            )
        )  # fmt: skip
    return found + _losses(sides[0].losses, sides[1].losses)


def _votes(store: Store, project: Project) -> dict[str, Consensus]:
    controls = learned_controls(parse_controls(project.label_config))
    names = [control.name for control in controls]
    columns = (
        Vote.annotation_id, Vote.control, Vote.task_id, Vote.annotator, Vote.labels,
        Vote.updated_at,
    )  # fmt: skip
    counts = Vote.project_id == project.id, ~Vote.skipped, Vote.control.in_(names)
    with store.reading() as session:
        tasks = np.array(sorted(session.scalars(select(Vote.task_id).where(*counts).distinct())))
        if len(tasks) > MOST_TASKS:
            rng = np.random.default_rng(store.settings.seed)
            tasks = np.sort(rng.choice(tasks, MOST_TASKS, replace=False))
        rows: list[CountingVote] = []
        for start in range(0, len(tasks), _AT_ONCE):
            part = tasks[start : start + _AT_ONCE].tolist()
            query = select(*columns).where(*counts, Vote.task_id.in_(part))
            rows += [
                CountingVote(*row[:4], tuple(row[4]), row[5].timestamp() if row[5] else 0.0)
                for row in session.execute(query)
            ]
    return consensus(cast_votes(rows), controls)


def _tuned_on(store: Store, project_id: int, identity: str) -> npt.NDArray[np.int64]:
    if identity not in kept_tuned(store.folder, project_id):
        return np.zeros(0, np.int64)
    tuned = load_tuned(tuned_folder(store.folder, project_id, identity))
    return seen_tasks(store, project_id, tuned.seen)


def _unseen(
    store: Store, version: Version, side: Candidate, votes: Mapping[str, Consensus]
) -> dict[str, Unseen]:
    wanted = sorted({int(t) for agreed in votes.values() for t in agreed.task_ids})
    hashes: dict[int, str] = {}
    with store.reading() as session:
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            rows = session.execute(select(Task.id, Task.content_hash).where(Task.id.in_(part)))
            hashes |= {row.id: row.content_hash for row in rows if row.content_hash}
    embeddings = store.embeddings(version.lvm_identity) if hashes else None
    found = {}
    for name, agreed in votes.items():
        ids = np.array([task for task in agreed.task_ids if int(task) in hashes], np.int64)
        head = side.heads.get(name)
        if embeddings is None or head is None or len(ids) < LEAST_TASKS:
            continue
        kept, there = embeddings.get([hashes[int(task)] for task in ids])
        if there.any():
            told = np.asarray(kept[there], np.float32)
            found[name] = unseen_by(head, ids[there], told, side.unseen.get(name))
    return found


def _losses(
    first: Mapping[str, UnseenLosses], second: Mapping[str, UnseenLosses]
) -> list[Compared]:
    """Compare heads of other kinds where both were judged on the same answers."""
    found = []
    for name in first:
        if name not in second:
            continue
        one, two = first[name], second[name]
        _, mine, theirs = np.intersect1d(one.task_ids, two.task_ids, return_indices=True)
        same = one.digests[mine] == two.digests[theirs]
        old = one.losses[mine[same]].astype(np.float64)
        new = two.losses[theirs[same]].astype(np.float64)
        if len(old) < LEAST_TASKS:
            continue
        error = float((new - old).std(ddof=1) / np.sqrt(len(old)))
        found.append(
            Compared(
                name, len(old), {"loss": float(old.mean())}, {"loss": float(new.mean())},
                "loss", float((new - old).mean()), error,
            )
        )  # fmt: skip
    return found
