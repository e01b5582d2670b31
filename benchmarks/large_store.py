"""A store of one project as large as wanted: tasks, embeddings, unequal people's votes, heads."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from sqlalchemy import func, insert, select, update

from ml_backend.labelstudio.config import LabelConfig, parse_controls
from ml_backend.loop.candidates import Candidate, keep
from ml_backend.loop.drafts import Basis, begin, crown, keep_ranking, note
from ml_backend.loop.pool import Pool, load_pool
from ml_backend.loop.training import Unseen
from ml_backend.store.database import Store
from ml_backend.store.names import version_name
from ml_backend.store.tables import Ranking, Task, Vote
from ml_backend.store.vote_tallies import count_anew, tallied
from models.heads.classification import SingleChoiceHead

PROJECT = 1
CONTROL = "shape"
LABELS = ("elliptical", "spiral", "merger", "artefact")
CONFIG = (
    f'<View><Image name="image" value="$image"/><Choices name="{CONTROL}" toName="image">'
    + "".join(f'<Choice value="{label}"/>' for label in LABELS)
    + "</Choices></View>"
)
LVM = "large-store"
DAYS = 365
_BLOCK = 50_000
_FEW = 1000
"""Votes that are brought in as a round does; more as a first reading does."""
_TRAINED_ON = 5000
_QUEUE = 5000

Ids = npt.NDArray[np.int64]


def fill(store: Store, tasks: int, votes: int, people: int, dimension: int, seed: int) -> None:
    """Make the project with its tasks, embeddings and votes.

    Parameters
    ----------
    store : Store
        An empty one.
    tasks, votes, people, dimension : int
        The embeddings are random numbers, moved a little by what a galaxy is. The votes fall on
        six tenths of the tasks, so that some have several, over a year.
    seed : int
    """
    rng = np.random.default_rng(seed)
    store.projects.save(PROJECT, "Large", CONFIG, options={"most_people": 5, "top_k": _QUEUE})
    truth = rng.integers(0, len(LABELS), tasks)
    table = store.embeddings(LVM, dimension)
    places = rng.normal(size=(len(LABELS), dimension))
    for start in range(0, tasks, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, tasks))
        hashes = [hashlib.sha256(str(row).encode()).hexdigest() for row in rows.tolist()]
        points = rng.normal(size=(len(rows), dimension)) + 0.5 * places[truth[rows]]
        table.add(hashes, points.astype(np.float32))
        made = [
            {"id": row + 1, "project_id": PROJECT, "content_hash": name, "image": f"/{row}.jpg"}
            for row, name in zip(rows.tolist(), hashes, strict=True)
        ]
        with store.session() as session:
            session.execute(insert(Task), made)
    # The busiest tenth of the people gives half of the votes, as in citizen science.
    share = rng.pareto(1.2, people) + 0.1
    skill = rng.beta(6, 2, people)
    add_votes(store, votes, share / share.sum(), skill, truth, rng)


def add_votes(
    store: Store,
    count: int,
    share: npt.NDArray[np.float64],
    skill: npt.NDArray[np.float64],
    truth: Ids,
    rng: np.random.Generator,
    now: datetime | None = None,
) -> None:
    """Add votes of people, who give these shares of all and are right with this chance."""
    with store.reading() as session:
        first = int(session.scalar(select(func.max(Vote.annotation_id))) or 0) + 1
    end = now or datetime.now(UTC)
    for start in range(0, count, _BLOCK):
        n = min(_BLOCK, count - start)
        task = rng.integers(0, max(int(0.6 * len(truth)), 1), n)
        who = rng.choice(len(share), n, p=share)
        right = rng.random(n) < skill[who]
        said = np.where(right, truth[task], rng.integers(0, len(LABELS), n))
        suggested = np.where(rng.random(n) < 0.7, truth[task], rng.integers(0, len(LABELS), n))
        audit, skipped = rng.random(n) < 0.05, rng.random(n) < 0.02
        lead = rng.lognormal(1.5, 0.6, n)
        age = (1 - (start + np.arange(n)) / count) * DAYS
        rows = []
        for at in range(n):
            time = end - timedelta(days=float(age[at]))
            agrees = None if skipped[at] else bool(said[at] == suggested[at])
            rows.append(
                {"annotation_id": first + start + at, "project_id": PROJECT,
                 "control": "" if skipped[at] else CONTROL, "task_id": int(task[at]) + 1,
                 "annotator": int(who[at]) + 1, "skipped": bool(skipped[at]),
                 "labels": [] if skipped[at] else [LABELS[said[at]]], "answer": None,
                 "created_at": time, "updated_at": time, "lead_time": float(lead[at]),
                 "audit": bool(audit[at]), "agrees": agrees,
                 "accepted": None if audit[at] else agrees,
                 "shown_version": version_name(PROJECT, 1)}
            )  # fmt: skip
        with store.session() as session:
            few = count <= _FEW
            with tallied(session, PROJECT, (task + 1).tolist()) if few else nullcontext():
                session.execute(insert(Vote), rows)
    if count <= _FEW:
        return
    with store.session() as session:
        count_anew(session, PROJECT)
        done = select(Vote.task_id).group_by(Vote.task_id).having(func.count() >= 3)
        session.execute(update(Task).where(Task.id.in_(done)).values(is_labeled=True))


def publish_heads(store: Store, seed: int) -> tuple[LabelConfig, Pool]:
    """Publish a version with a head of a part of the votes; its word on all of them is kept."""
    config = parse_controls(CONFIG)
    pool = load_pool(store, PROJECT, config, store.embeddings(LVM))
    votes = pool.consensus[CONTROL]
    rows, _ = pool.rows_of(votes.task_ids)
    some = np.linspace(0, len(rows) - 1, min(_TRAINED_ON, len(rows))).astype(np.int64)
    head = SingleChoiceHead(LABELS)
    head.fit(pool.embeddings[rows[some]], votes.targets[some], votes.weights[some], seed=seed)
    unseen = Unseen(LABELS, votes.task_ids, np.asarray(pool.scored(head.predict, rows), np.float32))
    basis = Basis(pool.digest, config.digest, LVM)
    version = begin(store, PROJECT, "trained", basis, pool.votes, None, taken={})
    quality = {CONTROL: {"accuracy": 0.7, "log_loss": 0.8, "rows": float(len(votes))}}
    keep(store, version.name, Candidate({CONTROL: head}, unseen={CONTROL: unseen}, quality=quality))
    note(store, version.name, stage="ranked", on_disk=True, quality=quality)
    queue = pool.task_ids[~pool.is_voted][:_QUEUE]
    answer = {CONTROL: {"labels": [LABELS[0]], "confidence": 0.7}}
    keep_ranking(
        store,
        version.name,
        [
            Ranking(version=version.name, task_id=task, place=at, score=1 - at / _QUEUE,
                    uncertainty=0.5, arm="active", answers=answer)
            for at, task in enumerate(queue.tolist())
        ],
    )  # fmt: skip
    crown(store, version.name, PROJECT, seconds=1.0, timings={}, problem=None)
    return config, pool
