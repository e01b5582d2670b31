"""Seconds to count the figures of Progress and Learning, and to read their pages, by project size.

Votes are synthetic (the time does not depend on what they say): ``--tasks`` galaxies with one vote
each by ``--people`` people over a year. The embeddings are random numbers.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import insert

from ml_backend.dashboard.outlook import outlook
from ml_backend.dashboard.progress_rows import read_progress
from ml_backend.labelstudio.config import parse_controls
from ml_backend.loop.figures import MAKERS, FigureContext, keep_figures
from ml_backend.loop.pool import load_pool
from ml_backend.settings import load_settings
from ml_backend.store.crowd_tables import Verdict
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Task, Vote

LABELS = ("elliptical", "spiral", "merger")
CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="shape" toName="image">'
    + "".join(f'<Choice value="{label}"/>' for label in LABELS)
    + "</Choices></View>"
)
_BLOCK = 50_000


def main() -> None:
    """Print a row per step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--dimension", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(load_settings(_env_file=None, model_dir=Path(folder)))
        _fill(store, options.tasks, options.people, options.dimension, options.seed)
        config = parse_controls(CONFIG)
        embeddings = store.embeddings("figures", options.dimension)
        pool = load_pool(store, 1, config, embeddings)
        context = FigureContext(store, 1, config, pool, datetime.now(UTC))
        print(f"{options.tasks} tasks and votes, {options.people} people; seed {options.seed}")
        for name in ("counts", "progress", "learning"):
            begun = time.perf_counter()
            MAKERS[name](context)
            print(f"figure {name:10s} {time.perf_counter() - begun:7.2f} s", flush=True)
        keep_figures(store, 1, config, pool)
        begun = time.perf_counter()
        progress, _ = read_progress(store, 1)
        outlook(store, 1, progress)
        print(f"read a page       {time.perf_counter() - begun:7.2f} s")
        store.close()


def _fill(store: Store, count: int, people: int, dimension: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    store.projects.save(1, "Figures", CONFIG)
    table = store.embeddings("figures", dimension)
    now = datetime.now(UTC)
    for start in range(0, count, _BLOCK):
        rows = range(start, min(start + _BLOCK, count))
        hashes = [hashlib.sha256(str(row).encode()).hexdigest() for row in rows]
        table.add(hashes, rng.normal(size=(len(rows), dimension)).astype(np.float32))
        days, who = rng.integers(0, 365, len(rows)), rng.integers(0, people, len(rows))
        told = rng.integers(0, len(LABELS), len(rows))
        tasks, votes, verdicts = [], [], []
        for at, row in enumerate(rows):
            tasks.append(
                {"id": row + 1, "project_id": 1, "content_hash": hashes[at], "image": "",
                 "is_labeled": bool(row % 2)}
            )  # fmt: skip
            votes.append(
                {"annotation_id": row + 1, "control": "shape", "project_id": 1, "task_id": row + 1,
                 "annotator": int(who[at]), "labels": [LABELS[told[at]]], "lead_time": 5.0,
                 "created_at": now - timedelta(days=int(days[at]))}
            )  # fmt: skip
            verdicts.append(
                {"task_id": row + 1, "project_id": 1, "people": 1, "changed_at": now,
                 "state": "retired" if row % 2 else "open"}
            )  # fmt: skip
        with store.session() as session:
            session.execute(insert(Task), tasks)
            session.execute(insert(Vote), votes)
            session.execute(insert(Verdict), verdicts)


if __name__ == "__main__":
    main()
