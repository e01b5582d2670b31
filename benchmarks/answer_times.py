"""Answer times at concurrency 8, idle and while rounds train, beside a backend that encodes always.

Starts the real `galaxyloop serve` and `galaxyloop work` on free ports in a temporary folder, with
simulated galaxies (seeded). Label Studio is stood in for by `label_studio_stand_in.py`: the round
that trains needs its API, and the times are those of our processes. While "training", rounds
follow one another without a pause: each gets ten new votes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from load import CONCURRENCY, Call, ask, free_port, measure, wait_for

from ml_backend.settings import load_settings
from ml_backend.store.database import Store, open_store
from models.images import encode_png
from models.simulation import KINDS, simulate

HERE = Path(__file__).parent
PREDICT_TASKS = 25
SECRET = "secret-of-the-benchmark"
CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="shape" toName="image">'
    + "".join(f'<Choice value="{kind}"/>' for kind in KINDS)
    + "</Choices></View>"
)
# Name, percentile and limit in milliseconds.
LIMITS = {"health": (99, 50.0), "setup": (99, 50.0), "webhook": (99, 50.0), "predict": (50, 50.0)}
LEAST_RATIO = 20.0


@contextmanager
def process(log: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends; its output goes to `log`."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **environment}
        )
        try:
            yield child
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def calls(tasks: Sequence[dict[str, Any]]) -> dict[str, Call]:
    """Return one call of each kind, as Label Studio makes it."""

    def body(value: object) -> bytes:
        return json.dumps(value).encode()

    event = {"action": "ANNOTATION_CREATED", "project": {"id": 1, "label_config": CONFIG}}
    sent = [{**task, "meta": {}, "annotations": [], "predictions": []} for task in tasks]
    return {
        "health": ("GET", "/health", b"", {}),
        "setup": ("POST", "/setup", body({"project": "1.1700000000", "schema": CONFIG}), {}),
        "webhook": ("POST", "/webhook", body(event), {"X-GalaxyLoop-Secret": SECRET}),
        "predict": (
            "POST",
            "/predict",
            body({"tasks": sent, "project": "1.1700000000", "label_config": CONFIG}),
            {},
        ),
    }


def simulate_images(folder: Path, count: int, seed: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Write `count` simulated galaxies as PNG; return tasks and true kinds."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    tasks, labels = [], []
    for number in range(1, count + 1):
        galaxy = simulate(rng, KINDS[number % len(KINDS)])
        name = f"galaxy-{number}.png"
        (folder / name).write_bytes(encode_png(galaxy.rgb))
        address = f"/data/local-files/?d={name}"
        tasks.append({"id": number, "data": {"image": address}, "project": 1})
        labels.append(galaxy.kind)
    return tasks, labels


def wait_for_rounds(store: Store, published: int, seconds: float) -> None:
    """Wait until so many versions have been made and no job is left."""
    end = time.monotonic() + seconds
    while True:
        jobs = store.jobs.listing(1)
        failed = [job for job in jobs if job.state == "failed"]
        if failed:
            raise RuntimeError(f"a round failed: {failed[0].problem}")
        done = sum(job.state == "done" and job.kind == "round" for job in jobs)
        if done >= published and all(job.state == "done" for job in jobs):
            return
        if time.monotonic() > end:
            raise TimeoutError(f"no round was done within {seconds:.0f} s: {jobs[0].message}")
        time.sleep(0.2)


@contextmanager
def rounds_without_pause(store: Store, studio: int) -> Iterator[Callable[[], int]]:
    """Keep a round running for as long as the block lasts; the answer counts those begun."""
    stop = threading.Event()
    begun = [0]

    def keep_going() -> None:
        while not stop.is_set():
            jobs = store.jobs.listing(1, limit=2)
            if not any(job.state in ("queued", "running") for job in jobs):
                ask(studio, ("POST", "/vote?count=10", b"", {}))
                store.jobs.enqueue("round", 1, {"force": True})
                begun[0] += 1
            stop.wait(0.05)

    thread = threading.Thread(target=keep_going)
    thread.start()
    try:
        yield lambda: begun[0]
    finally:
        stop.set()
        thread.join()


def report(name: str, state: str, seconds: np.ndarray) -> dict[str, Any]:
    """Print one line and return its figures in milliseconds."""
    p50, p99 = (float(np.percentile(seconds, q)) * 1000 for q in (50, 99))
    line = f"{name:<28}{state:<10}{len(seconds):>6}{p50:>10.1f}{p99:>10.1f}"
    if name in LIMITS:
        percentile, limit = LIMITS[name]
        value = p50 if percentile == 50 else p99
        met = "met" if value <= limit else "NOT MET"
        line += f"   p{percentile} <= {limit:.0f} ms: {met}"
    print(line, flush=True)
    return {"name": name, "state": state, "calls": len(seconds), "p50_ms": p50, "p99_ms": p99}


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--galaxies", type=int, default=600, help="simulated galaxies")
    parser.add_argument("--calls", type=int, default=2000, help="calls of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory(prefix="galaxyloop-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        tasks, labels = simulate_images(folder / "images", given.galaxies, given.seed)
        (folder / "project.json").write_text(
            json.dumps({"tasks": tasks, "labels": labels, "config": CONFIG})
        )
        studio, backend, baseline = free_port(), free_port(), free_port()
        environment = {
            "LABEL_STUDIO_URL": f"http://127.0.0.1:{studio}",
            "LABEL_STUDIO_API_KEY": "0123456789abcdef0123456789abcdef01234567",
            "MODEL_DIR": str(folder / "data"),
            "PORT": str(backend),
            "GALAXYLOOP_WEBHOOK_SECRET": SECRET,
            "GALAXYLOOP_IMAGE_FOLDERS": str(folder / "images"),
            "GALAXYLOOP_MAX_PREDICT_REQUESTS": str(CONCURRENCY),
            # Rounds begin when this script asks for them: "idle" must be idle.
            "GALAXYLOOP_VOTES_PER_ROUND": "1000000",
            "GALAXYLOOP_SECONDS_PER_ROUND": "1000000",
            "LOG_LEVEL": "WARNING",
        }
        start = [sys.executable, "-m", "ml_backend.cli"]
        stand_in = [sys.executable, str(HERE / "label_studio_stand_in.py")]
        stack.enter_context(
            process(folder / "studio.log", *stand_in, str(folder / "project.json"), str(studio))
        )
        wait_for(studio)
        store = open_store(load_settings(model_dir=folder / "data"))
        stack.callback(store.close)
        store.projects.save(1, "Answer times", CONFIG)
        ask(studio, ("POST", "/vote?count=40", b"", {}))
        store.jobs.enqueue("round", 1)
        stack.enter_context(process(folder / "serve.log", *start, "serve", **environment))
        stack.enter_context(process(folder / "work.log", *start, "work", **environment))
        wait_for(backend)
        try:
            wait_for_rounds(store, 1, 600)
            made = calls(tasks[:PREDICT_TASKS])
            results = json.loads(ask(backend, made["predict"]))["results"]
            assert all(result["result"] for result in results), "a stored task was not predicted"
            print(
                f"Data: {given.galaxies} simulated galaxies, seed {given.seed}; "
                f"{CONCURRENCY} clients; {os.cpu_count()} cores, shared with clients and worker.\n"
                f"{'call':<28}{'state':<10}{'calls':>6}{'p50 ms':>10}{'p99 ms':>10}"
            )
            for call in made.values():
                measure(backend, call, 10 * CONCURRENCY)
            for kind, call in made.items():
                figures.append(report(kind, "idle", measure(backend, call, given.calls)))
            with rounds_without_pause(store, studio) as begun:
                time.sleep(1)
                for kind, call in made.items():
                    figures.append(report(kind, "training", measure(backend, call, given.calls)))
                print(f"({begun()} rounds ran meanwhile)")
        except Exception:
            for log in sorted(folder.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-3000:]}", file=sys.stderr)
            raise
        command = [str(HERE / "encode_every_time.py"), str(folder / "images"), str(baseline)]
        with process(folder / "baseline.log", sys.executable, *command, **environment):
            wait_for(baseline)
            ask(baseline, made["predict"])
            always = measure(baseline, made["predict"], 2 * CONCURRENCY)
            figures.append(report("predict, encoding always", "idle", always))
    ours = next(f for f in figures if (f["name"], f["state"]) == ("predict", "idle"))
    ratio = figures[-1]["p50_ms"] / ours["p50_ms"]
    met = "met" if ratio >= LEAST_RATIO else "NOT MET"
    print(f"The baseline takes {ratio:.0f} times as long (at least {LEAST_RATIO:.0f}: {met}).")
    if given.json:
        given.json.write_text(json.dumps({"figures": figures, "ratio": ratio}, indent=1) + "\n")


if __name__ == "__main__":
    main()
