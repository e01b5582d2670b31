"""Objects of interest: the interest head looks for rings, and ranks lens candidates.

The loop is simulated: it begins with a few examples, shows five galaxies, is told which of them
are rings, and goes on. Counted is which share of the rings has been seen after how many looks.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from labelled_sets import embeddings_of, read_set
from numpy.typing import NDArray
from scipy.stats import spearmanr

from models.heads.classification import SingleChoiceHead
from models.heads.interest import InterestHead
from models.heads.interest_order import interest_order
from models.images import read_image
from models.sources import load_lvm
from models.throughput import encode_images

SEEDS, BATCH, WANTED = 10, 5, 0.8
EXAMPLES = (1, 3)
RARE = 12
FOLDS, REPEATS = 5, 5
Singles = NDArray[np.float32]
Choice = Callable[[Singles, NDArray[Any], NDArray[Any], np.random.Generator], NDArray[np.int64]]


def report(data: Path, seed: int) -> None:
    """Print looks needed for the rings, and rank correlations of the lens candidates."""
    lvm = load_lvm()
    rings = read_set("decals_rings", data)
    points = embeddings_of(rings, lvm).astype(np.float32)
    found = rings.truth == rings.labels.index("ring")
    print(
        f"{rings.describe()}; batches of {BATCH}, {SEEDS} seeds from {seed}; "
        "examples count as looks"
    )
    search(points, found, EXAMPLES[-1], seed)
    print(
        f"\nrare: all galaxies without a ring and {RARE} rings drawn anew for each seed, "
        f"{RARE + int((~found).sum())} galaxies"
    )
    for examples in EXAMPLES:
        search(points, found, examples, seed, RARE)
    lenses(data, lvm, seed)


def search(
    points: Singles, found: NDArray[np.bool_], examples: int, seed: int, rare: int | None = None
) -> None:
    """Print, for each way to choose, looks until most are found and shares on the way."""
    ways: dict[str, Choice] = {
        "random": by_chance,
        "classifier, doubt": by_doubt,
        "interest, explore 0": lambda *given: by_interest(*given, explore=0.0),
        "interest, explore 0.2": lambda *given: by_interest(*given, explore=0.2),
    }
    looks: dict[str, list[int]] = {name: [] for name in ways}
    shares: dict[str, list[NDArray[Any]]] = {name: [] for name in ways}
    total = 0
    for draw in range(SEEDS):
        rng = np.random.default_rng([seed, draw])
        rows = np.arange(len(found))
        if rare is not None:
            kept = rng.choice(np.flatnonzero(found), rare, replace=False)
            rows = np.sort(np.append(np.flatnonzero(~found), kept))
        x, y = points[rows], found[rows]
        total = len(x)
        start = rng.choice(np.flatnonzero(y), examples, replace=False)
        for name, choose in ways.items():
            order = looked(x, y, start, choose, np.random.default_rng([seed, draw, 1]))
            grown = np.cumsum(y[order]) / y.sum()
            looks[name].append(int(np.argmax(grown >= WANTED - 1e-9)) + 1)
            shares[name].append(grown)
    print(f"\n{examples} example{'s' if examples > 1 else ''} to begin with")
    marks = (0.1, 0.25)
    heads = "".join(f"{f'{100 * mark:.0f} % seen':>12}" for mark in marks)
    print(f"{'':<24}{f'looks for {100 * WANTED:.0f} %':>18}{'of random':>11}{heads}")
    chance = float(np.mean(looks["random"]))
    for name, counts in looks.items():
        mean, error = np.mean(counts), np.std(counts) / np.sqrt(len(counts))
        at = [np.mean([grown[round(mark * total) - 1] for grown in shares[name]]) for mark in marks]
        told = "".join(f"{100 * share:>10.0f} %" for share in at)
        print(f"{name:<24}{f'{mean:.0f} +- {error:.0f}':>18}{mean / chance:>11.2f}{told}")
    # The best that can be: every galaxy seen is a ring.
    print(f"{'every look a ring':<24}{np.ceil(WANTED * y.sum()):>18.0f}"
          f"{np.ceil(WANTED * y.sum()) / chance:>11.2f}")  # fmt: skip


def looked(
    x: Singles, y: NDArray[Any], start: NDArray[Any], choose: Choice, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Galaxies in the order in which they were seen; the rest stand where they do when enough of
    them are found."""
    seen = list(start)
    while len(seen) < len(x):
        known = np.array(seen)
        if y[known].sum() >= WANTED * y.sum() and len(seen) >= len(x) // 4:
            break
        free = np.setdiff1d(np.arange(len(x)), known)
        seen.extend(free[choose(x, known, y, rng)[:BATCH]])
    rest = np.setdiff1d(np.arange(len(x)), seen)
    return np.append(np.array(seen), rest).astype(np.int64)


def by_chance(
    x: Singles, known: NDArray[Any], y: NDArray[Any], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Order the free ones by chance."""
    return rng.permutation(len(x) - len(known))


def by_doubt(
    x: Singles, known: NDArray[Any], y: NDArray[Any], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Smallest margin of a plain classifier first; by chance until both kinds are known."""
    chance = plain(x, known, y)
    return by_chance(x, known, y, rng) if chance is None else np.argsort(np.abs(chance - 0.5))


def plain(x: Singles, known: NDArray[Any], y: NDArray[Any]) -> NDArray[Any] | None:
    """Probability of a ring for the free ones."""
    if y[known].all() or not y[known].any():
        return None
    free = np.setdiff1d(np.arange(len(x)), known)
    targets = np.stack([y[known], ~y[known]], axis=1)
    head = SingleChoiceHead(("ring", "none")).fit(x[known], targets, pool=x)
    return np.asarray(head.predict(x[free])[:, 0])


def by_interest(
    x: Singles,
    known: NDArray[Any],
    y: NDArray[Any],
    rng: np.random.Generator,
    explore: float = 0.0,
) -> NDArray[np.int64]:
    """The order of the interest head."""
    free = np.setdiff1d(np.arange(len(x)), known)
    targets = np.stack([y[known], ~y[known]], axis=1)
    head = InterestHead(("ring", "none")).fit(x[known], targets, pool=x)
    return interest_order(head.interest(x[free]), head.uncertainty(x[free]), explore, rng)


def lenses(data: Path, lvm: Any, seed: int) -> None:
    """Print how the head's order of lens candidates agrees with the experts' grade."""
    folder = data / "spacewarps_lens_candidates"
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    files = (read_image((folder / row["file"]).read_bytes()) for row in rows)
    x = np.stack(list(encode_images(lvm, files)))
    grade = np.array([float(row["expert_grade"]) for row in rows])
    crowd = np.array([float(row["swap_posterior_P"]) for row in rows])
    liked = grade / 3
    targets = np.stack([liked, 1 - liked], axis=1)
    ours, plain_ = [], []
    for repeat in range(REPEATS):
        fold = np.random.default_rng([seed, repeat]).permutation(len(x)) % FOLDS
        said, told = np.zeros(len(x)), np.zeros(len(x))
        for held in range(FOLDS):
            learned, rest = fold != held, fold == held
            head = InterestHead().fit(x[learned], targets[learned], pool=x, seed=seed)
            said[rest] = head.interest(x[rest])
            other = SingleChoiceHead(("yes", "no")).fit(x[learned], targets[learned], pool=x)
            told[rest] = other.predict(x[rest])[:, 0]
        ours.append(spearmanr(said, grade).statistic)
        plain_.append(spearmanr(told, grade).statistic)
    reference = spearmanr(crowd, grade)
    print(
        f"\nlens candidates: {len(x)}, rank correlation (Spearman) with the experts' grade; "
        f"{FOLDS}-fold cross-validation, {REPEATS} draws of folds: interest head "
        f"{np.mean(ours):.2f} +- {np.std(ours):.2f}, plain classifier {np.mean(plain_):.2f} +- "
        f"{np.std(plain_):.2f}; volunteers' posterior {reference.statistic:.2f}. Without any "
        f"relation it scatters by {1 / np.sqrt(len(x) - 1):.2f}."
    )
