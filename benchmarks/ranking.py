"""Ranking: time and memory of a diverse queue, beside modAL's own ranked batch.

Data: made embeddings (256 dimensions of falling variance, float16, memory-mapped), a head fitted
on 200 of them; the top 200 are ranked. modAL's ranked batch on the whole pool is the named peer:
it is measured for a few picks and its time is multiplied up, because all picks take minutes.
Example: ``python benchmarks/ranking.py --rows 100000 1000000``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DIMENSION = 256
TOP = 200
LIMITS = {100_000: 1.0, 1_000_000: 10.0}


def make_pool(path: Path, rows: int) -> None:
    """Write the embeddings."""
    rng = np.random.default_rng(0)
    scales = (np.arange(1, DIMENSION + 1) ** -0.7).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(DIMENSION, DIMENSION)))[0].astype(np.float32)
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(rows, DIMENSION))
    for start in range(0, rows, 50_000):
        stop = min(start + 50_000, rows)
        noise = rng.standard_normal((stop - start, DIMENSION), dtype=np.float32)
        table[start:stop] = (noise * scales) @ turn
    table.flush()


def peak_mib() -> float:
    """Return the peak resident memory of this process, in MiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path: Path, strategy: str, peer: bool) -> None:
    """Rank once in this process and print seconds and the peak of memory in MiB."""
    from ml_backend.loop.acquisition import cold_start, rank
    from models.heads import SingleChoiceHead

    table = np.load(path, mmap_mode="r")
    rng = np.random.default_rng(1)
    truth = (table[:200].astype(np.float32) @ rng.normal(size=(DIMENSION, 4))).argmax(axis=1)
    head = SingleChoiceHead(tuple("abcd")).fit(table[:200], np.eye(4)[truth])
    start = time.perf_counter()
    if peer:
        from modAL.batch import uncertainty_batch_sampling
        from modAL.models import ActiveLearner

        class Estimator:
            """The head as modAL asks for it."""

            def fit(self, x: np.ndarray, y: np.ndarray) -> Estimator:
                return self

            def predict_proba(self, x: np.ndarray) -> np.ndarray:
                return head.predict(x)

        learner = ActiveLearner(Estimator(), uncertainty_batch_sampling)
        learner.X_training = np.asarray(table[:200], dtype=np.float32)
        picks = 3
        pool = np.asarray(table, dtype=np.float32)
        start = time.perf_counter()
        learner.query(pool, n_instances=picks)
        seconds = (time.perf_counter() - start) / picks * TOP
    elif strategy == "cold_start":
        cold_start(table, TOP, rng)
        seconds = time.perf_counter() - start
    else:
        rank(
            table,
            {"shape": head},
            strategy,
            TOP,
            rng,
            committees={"shape": head.committee},
            labelled=np.arange(200),
        )
        seconds = time.perf_counter() - start
    print(f"{seconds} {peak_mib()}")


def main() -> int:
    """Run the benchmark and print its table."""
    from ml_backend.loop.acquisition import STRATEGIES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--strategies", nargs="+", default=[*STRATEGIES, "cold_start"])
    parser.add_argument("--peer-rows", type=int, default=100_000)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        path, strategy, peer = options.measure
        measure(Path(path), strategy, peer == "peer")
        return 0
    print(f"made embeddings x {DIMENSION}, float16, memory-mapped; top {TOP} with diversity\n")
    print(f"{'rows':>9}  {'what':<24}{'seconds':>9}{'limit':>8}{'MiB':>8}{'of pool':>9}")
    slow = False
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            path = Path(folder) / f"{rows}.npy"
            make_pool(path, rows)
            size = path.stat().st_size / 2**20
            jobs = [(strategy, "ours") for strategy in options.strategies]
            if rows <= options.peer_rows:
                jobs.append(("modAL ranked_batch", "peer"))
            for strategy, side in jobs:
                # A process each, so that the peak of memory is that of one ranking.
                done = subprocess.run(
                    [sys.executable, __file__, "--measure", str(path), strategy, side],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                seconds, mib = (float(part) for part in done.stdout.split()[-2:])
                limit = LIMITS.get(rows) if side == "ours" else None
                slow |= limit is not None and seconds > limit
                print(
                    f"{rows:>9}  {strategy:<24}{seconds:>9.2f}"
                    f"{'' if limit is None else f'{limit:.0f}':>8}{mib:>8.0f}{mib / size:>9.2f}",
                    flush=True,
                )
            path.unlink()
    print("\nA limit was missed." if slow else "\nAll limits were kept.")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
