"""Seconds per step of the interest search: marks in, a new order of all galaxies out.

Embeddings are synthetic (the time does not depend on what they say): ``--galaxies`` rows of
``--dimension`` numbers in a store on disk. A step is what a page does: fit to the marks, score
all galaxies, take the best.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy import insert

from ml_backend.loop.search import SearchSpaces
from ml_backend.settings import load_settings
from ml_backend.store.database import open_store
from ml_backend.store.tables import Task, Version


def main() -> None:
    """Print a row per number of marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--galaxies", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(_env_file=None, model_dir=Path(folder))
        store = open_store(settings)
        count, dimension = options.galaxies, options.dimension
        hashes = [hashlib.sha256(str(row).encode()).hexdigest() for row in range(count)]
        table = store.embeddings("speed", dimension)
        kinds = rng.normal(size=(8, dimension)) * 0.7
        of = rng.integers(0, 8, count)
        for start in range(0, count, 20_000):
            part = slice(start, start + 20_000)
            noise = rng.normal(size=(len(of[part]), dimension))
            table.add(hashes[part], kinds[of[part]] + noise)
        store.projects.save(1, "Speed", champion="p1-v1")
        now = datetime.now(UTC)
        with store.session() as session:
            session.add(
                Version(
                    name="p1-v1", project_id=1, number=1, kind="cold", created_at=now,
                    lvm_identity="speed",
                )
            )  # fmt: skip
            rows = [
                {"id": row + 1, "project_id": 1, "content_hash": digest, "image": ""}
                for row, digest in enumerate(hashes)
            ]
            session.execute(insert(Task), rows)
        spaces = SearchSpaces(store)
        begun = time.perf_counter()
        space = spaces.of(1)
        assert space is not None
        print(f"{count} galaxies, {dimension} numbers each; seed {options.seed}")
        print(f"opened in {time.perf_counter() - begun:.2f} s (once)")
        print("marks  median s  slowest s")
        liked = (np.flatnonzero(of == 0) + 1).tolist()
        others = (np.flatnonzero(of != 0) + 1).tolist()
        for marks in (1, 2, 10, 40, 100, 400):
            yes = liked[: max(1, marks // 3)]
            no = others[: marks - len(yes)]
            seconds = []
            for _ in range(options.repeats):
                begun = time.perf_counter()
                found = space.step(yes, no)
                seconds.append(time.perf_counter() - begun)
                assert len(found.task_ids) == 24
            print(f"{marks:5d}  {np.median(seconds):8.2f}  {max(seconds):9.2f}", flush=True)
        store.close()


if __name__ == "__main__":
    main()
