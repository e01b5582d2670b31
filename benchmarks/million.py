"""Seconds of a project with a million tasks: figures, settling, the rest of a round, and pages.

Everything is timed twice: first with nothing kept, as after an update, and again when a few votes
are new, as in every round. Left out are Label Studio's part and training. Pages are those of a
second request. The votes are synthetic; the time hardly depends on what they say.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from large_store import CONFIG, LVM, PROJECT, add_votes, fill, publish_heads
from sqlalchemy import func, select

from ml_backend.app import create_app
from ml_backend.labelstudio.config import LabelConfig, parse_controls
from ml_backend.loop.candidates import Candidate, kept_candidate, unseen_by_champion
from ml_backend.loop.demand import demand_of
from ml_backend.loop.drafts import champion_of
from ml_backend.loop.encoding import missing_images
from ml_backend.loop.figures import MAKERS, FigureContext, keep_figures
from ml_backend.loop.ordering import OrderOptions, make_order
from ml_backend.loop.pool import Pool, load_pool
from ml_backend.loop.settling import settle
from ml_backend.loop.steering import changes_wanted
from ml_backend.settings import load_settings
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Task, Vote
from ml_backend.store.vote_tallies import count_anew
from models.crowd.retirement import RetirementRule

PAGES = ("progress", "learning", "people", "queue", "explore", "models", "health")
NEW = 10
_PASSWORD = "a password for a benchmark"
_HTML = {"Accept": "text/html,*/*;q=0.8"}


class Table:
    """Prints what was timed, a line as soon as it is known.

    Besides the seconds that passed, those of the processor: where others use the machine, they
    tell what it would take alone.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, tuple[float, float]] = {}

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        """Run `work`, print and keep its seconds, and return what it returns."""
        begun, used = time.perf_counter(), time.process_time()
        found = work()
        self.seconds[name] = time.perf_counter() - begun, time.process_time() - used
        self._print(name, self.seconds[name])
        return found

    def total(self, name: str, of: str) -> None:
        """Print the sum of the rows whose name begins with `of`."""
        rows = [value for row, value in self.seconds.items() if row.startswith(of)]
        self._print(name, (sum(passed for passed, _ in rows), sum(used for _, used in rows)))

    def _print(self, name: str, told: tuple[float, float]) -> None:
        print(f"{name:44s} {told[0]:8.2f} s, processor {told[1]:8.2f} s", flush=True)


def measure(store: Store, seed: int) -> Table:
    """Time everything on a store that `fill` has made."""
    table, rng = Table(), np.random.default_rng(seed + 1)
    if champion_of(store, PROJECT) is None:
        publish_heads(store, seed)
    config = parse_controls(CONFIG)
    with store.reading() as session:
        tasks = int(session.scalar(select(func.count()).select_from(Task)) or 0)
        people = int(session.scalar(select(func.max(Vote.annotator))) or 0)
    for times, said in ((0, "first"), (NEW, f"{NEW} votes new")):
        if times:
            load = "/".join(f"{value:.1f}" for value in os.getloadavg())
            print(f"(machine load {load})")
            share = np.full(people, 1 / people)
            truth = np.zeros(tasks, np.int64)
            add_votes(store, times, share, np.full(people, 0.8), truth, rng)
        else:
            table.timed("first: tallies of votes", lambda: _count_anew(store))
        print(f"\n{said}", flush=True)
        _round(store, config, table, said, seed)
    print("\npages, second request")
    _pages(store, table)
    return table


def _count_anew(store: Store) -> None:
    with store.session() as session:
        count_anew(session, PROJECT)


def _round(store: Store, config: LabelConfig, table: Table, said: str, seed: int) -> None:
    embeddings = store.embeddings(LVM)
    table.timed(f"{said}: images that lack", lambda: missing_images(store, PROJECT, embeddings))
    pool: Pool = table.timed(
        f"{said}: load_pool", lambda: load_pool(store, PROJECT, config, embeddings)
    )
    champion = champion_of(store, PROJECT)
    assert champion is not None
    candidate: Candidate = table.timed(
        f"{said}: read the heads", lambda: kept_candidate(store, champion.name)
    )
    unseen = table.timed(f"{said}: the model's word", lambda: unseen_by_champion(candidate, pool))
    rule = RetirementRule(confidence=0.95, most_people=5)
    settled = table.timed(
        f"{said}: settle", lambda: settle(store, PROJECT, config, pool.counted, unseen, rule)
    )
    demand = table.timed(
        f"{said}: what wants a vote", lambda: demand_of(store, PROJECT, pool, settled, True)
    )
    options = OrderOptions("entropy", True, 0.1, 1000, seed)
    table.timed(
        f"{said}: rank",
        lambda: make_order(champion.name, pool, config, candidate.usable(config),
                           candidate.committees, options, demand=demand),
    )  # fmt: skip
    table.timed(f"{said}: patches", lambda: changes_wanted(store, PROJECT, True, ""))
    context = FigureContext(store, PROJECT, config, pool, datetime.now(UTC))
    for name, maker in MAKERS.items():
        table.timed(f"{said}: figure {name}", lambda maker=maker: maker(context))
    table.total("all figures", f"{said}: figure")
    table.total("a round besides training and Label Studio", f"{said}: ")
    keep_figures(store, PROJECT, config, pool)


def _pages(store: Store, table: Table) -> None:
    store.accounts.save("reader", _PASSWORD, "manager")
    client = create_app(store.settings, store, check=list).test_client()
    form = {"name": "reader", "password": _PASSWORD}
    if client.post("/dashboard/login", data=form, headers=_HTML).status_code != 302:
        raise SystemExit("The dashboard let nobody in.")
    for page in ("", *PAGES):
        address = f"/dashboard/{PROJECT}/{page}/" if page else "/dashboard/"
        told = client.get(address, headers=_HTML)
        if told.status_code != 200:
            raise SystemExit(f"{address} was answered with {told.status_code}.")
        table.timed(f"page {page or 'home'}", lambda a=address: client.get(a, headers=_HTML))


def main() -> None:
    """Fill a store, or take one that was kept, and print a row per step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--votes", type=int, default=1_500_000)
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--dimension", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep the store here, and use it again")
    options = parser.parse_args()
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{options.tasks} tasks, {options.votes} votes of {options.people} people; synthetic, seed "
        f"{options.seed}; SQLite, {platform.machine()}, {os.cpu_count()} cores, load {load}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        store = open_store(load_settings(_env_file=None, model_dir=folder, seed=options.seed))
        try:
            if store.projects.get(PROJECT) is None:
                fill(store, options.tasks, options.votes, options.people, options.dimension,
                     options.seed)  # fmt: skip
            measure(store, options.seed)
        finally:
            store.close()


if __name__ == "__main__":
    main()
