"""Vote fractions of the Galaxy Zoo 2 tree, against what the votes themselves scatter."""

from __future__ import annotations

import pathlib
import time
from dataclasses import dataclass

import numpy as np
import torch
from labelled_sets import canvases_of, embeddings_of, split
from numpy.typing import NDArray

from downstream import vote_resnet
from downstream.galaxy_zoo2 import Votes, read_votes
from ml_backend.loop.diversity import directions, representatives
from models.heads.questions import QuestionTree
from models.heads.tree import DecisionTreeHead
from models.heads.vote_fractions import VoteFractions
from models.sources import DEFAULT_FOLDER, load_lvm

NUMBERS = (20, 50, 100, 200)
SEEDS = 5
WANTED = 1.5
LEVELS = (0.68, 0.95)
MANY = 10
ORDERS = (20, 40, 60, 80)
ORDER_SEEDS = 2


@dataclass(frozen=True)
class Scatter:
    """How votes of held-out galaxies scatter, for one question.

    Attributes
    ----------
    fractions : [m, k]
        Of the m galaxies in which the question was asked.
    rows : [m]
        Which they are.
    votes : [m]
    """

    fractions: NDArray[np.float64]
    rows: NDArray[np.int64]
    votes: NDArray[np.float64]

    @classmethod
    def of(cls, counts: NDArray[np.float64], fewest: int = 1) -> Scatter:
        """Take the galaxies with so many votes, of counts [n, k]."""
        votes = counts.sum(axis=1)
        rows = np.flatnonzero(votes >= fewest)
        return cls(counts[rows] / votes[rows, None], rows, votes[rows])

    @property
    def noise(self) -> float:
        """Root of the mean of f (1 - f) / N over galaxies and labels."""
        return float(np.sqrt(np.mean(self.fractions * (1 - self.fractions) / self.votes[:, None])))

    @property
    def floor(self) -> float:
        """Ratio of someone who knows the true fractions.

        f (1 - f) / N falls short of the variance by (N - 1) / N on the average; of galaxies with
        one vote nothing is known, so they are left out.
        """
        some = self.votes > 1
        f, n = self.fractions[some], self.votes[some, None]
        return float(np.sqrt(np.mean(f * (1 - f) / (n - 1)) / np.mean(f * (1 - f) / n)))

    def ratio(self, said: NDArray[np.floating]) -> float:
        """Root mean square error of fractions [n, k] over the noise."""
        return float(np.sqrt(np.mean((said[self.rows] - self.fractions) ** 2)) / self.noise)


def ratios(
    means: NDArray[np.floating], counts: NDArray[np.float64], tree: QuestionTree, fewest: int = 1
) -> NDArray[np.float64]:
    """Return the ratio of each question, [Q]."""
    return np.array([Scatter.of(counts[:, at], fewest).ratio(means[:, at]) for at in tree.columns])


def constant(counts: NDArray[np.float64], tree: QuestionTree, n: int) -> NDArray[np.float64]:
    """Say the mean fractions of the labelled galaxies of every galaxy."""
    means = [(counts[:, at].sum(axis=0) + 1e-3) for at in tree.columns]
    return np.tile(np.concatenate([m / m.sum() for m in means]), (n, 1))


def coverage(
    said: VoteFractions, counts: NDArray[np.float64], rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Return the share of fractions inside central intervals of each level, by question [Q]."""
    ranks = said.ranks(counts, rng)
    found = []
    for level in LEVELS:
        inside = np.where(np.isnan(ranks), np.nan, np.abs(ranks - 0.5) <= level / 2)
        found.append(np.array([np.nanmean(inside[:, at]) for at in said.tree.columns]))
    return found


def report(data: pathlib.Path, seed: int) -> None:
    """Print ratios by label count and peer, coverage, and what an order of asking gains."""
    torch.set_num_threads(1)
    votes = read_votes(data)
    lvm = load_lvm(DEFAULT_FOLDER)
    x = embeddings_of(votes.galaxies, lvm).astype(np.float32)
    held, _ = split(len(x), seed)
    numbers = [*NUMBERS, len(x) - len(held)]
    seeds = range(seed, seed + SEEDS)
    print(
        f"Tree: gz2_sdss_votes, {len(x)} SDSS galaxies, a third held out, seeds {list(seeds)} "
        f"(ResNet18: seed {seed}).\nLVM {lvm.identity}. Figure: root mean square error of vote "
        "fractions over the sampling noise of the votes,\nsqrt(mean(f (1 - f) / N)) of the "
        "observed fractions f of N votes, over all held-out galaxies of which the\nquestion was "
        "asked (>= 1 vote). As f is noisy itself, nothing gets below the floor."
    )
    _print_ratios(votes, x, numbers, list(seeds), seed)
    _print_orders(votes, x, list(seeds)[:ORDER_SEEDS])


def _print_ratios(
    votes: Votes, x: NDArray[np.float32], numbers: list[int], seeds: list[int], first: int
) -> None:
    tree, counts = votes.tree, votes.counts
    settings = vote_resnet.SETTINGS
    canvases = canvases_of(votes.galaxies, settings.canvas_side, settings.canvas_crop)
    short = [question.name.split("_", 1)[0] for question in tree.questions]
    head = " ".join(f"{name:>6}" for name in short)
    print(f"\n{'labels':>6} {'who':<22} {head}  t01>={MANY} t02>={MANY} loss  cpu s")
    for number in numbers:
        rows: dict[str, list[NDArray[np.float64]]] = {"constant": [], "head": []}
        losses, covered, floors, seconds = [], [], [], 0.0
        for seed in seeds:
            held, pool = split(len(x), seed)
            use = pool[:number]
            start = time.process_time()
            fitted = DecisionTreeHead(tree.questions)
            fitted.fit(x[use], counts[use], pool=x[pool], seed=seed)
            seconds += (time.process_time() - start) / len(seeds)
            said = fitted.predict(x[held])
            losses.append(fitted.losses(said, counts[held]).mean())
            covered.append(coverage(said, counts[held], np.random.default_rng(seed)))
            floors.append([Scatter.of(counts[held][:, at]).floor for at in tree.columns])
            for name, means in (
                ("constant", constant(counts[use], tree, len(held))),
                ("head", said.means),
            ):
                rows[name].append(_figures(means, counts[held], tree))
        _line(number, "mean of the labels", np.mean(rows["constant"], axis=0))
        start = time.process_time()
        held, pool = split(len(x), first)
        network = vote_resnet.train(canvases[pool[:number]], counts[pool[:number]], tree, first)
        answered = vote_resnet.predict(network, canvases[held], tree)
        spent = time.process_time() - start
        _line(number, f"ResNet18, seed {first}", _figures(answered, counts[held], tree), spent)
        _line(number, f"this head, seed {first}", rows["head"][0])
        mean = np.mean(rows["head"], axis=0)
        _line(number, "this head, mean", mean, seconds, float(np.mean(losses)))
        _line(number, "  +- over seeds", np.std(rows["head"], axis=0))
    _line(numbers[-1], "floor", np.mean(floors, axis=0))
    for place, level in enumerate(LEVELS):
        each = np.mean([found[place] for found in covered], axis=0)
        whole = np.mean(each)
        _line(numbers[-1], f"inside {level:.0%}: {whole:.1%}", 100 * each)
    verdicts = ", ".join(
        f"{name} {value:.2f} ({'met' if value < WANTED else 'MISSED'})"
        for name, value in zip(short[:2], mean[:2], strict=True)
    )
    print(f"Wanted below {WANTED} with all labels: {verdicts}; below ResNet18 at every count.")


def _figures(
    means: NDArray[np.floating], counts: NDArray[np.float64], tree: QuestionTree
) -> NDArray[np.float64]:
    return np.concatenate([ratios(means, counts, tree), ratios(means, counts, tree, MANY)[:2]])


def _line(
    number: int,
    who: str,
    values: NDArray[np.float64],
    seconds: float | None = None,
    loss: float | None = None,
) -> None:
    cells = " ".join(f"{value:6.2f}" for value in values)
    lost = "" if loss is None else f"{loss:.3f}"
    spent = "" if seconds is None else f"{seconds:.0f}"
    print(f"{number:>6} {who:<22} {cells} {lost:>7} {spent:>5}", flush=True)


def _print_orders(votes: Votes, x: NDArray[np.float32], seeds: list[int]) -> None:
    """Ask some galaxies at a time, in several orders; loss on the held-out third."""
    tree, counts = votes.tree, votes.counts
    print(
        f"\nOrder of asking: loss per vote (nats) after {ORDERS} galaxies, the first {ORDERS[0]} "
        f"at random, mean of seeds {seeds}"
    )
    for name in ("random", "most doubtful", "doubt, spread as by the loop"):
        found = []
        for seed in seeds:
            held, pool = split(len(x), seed)
            space = directions(x[pool])
            asked, losses = list(pool[: ORDERS[0]]), []
            for more in (*np.diff(ORDERS).tolist(), 0):
                fitted = DecisionTreeHead(tree.questions)
                fitted.fit(x[asked], counts[asked], pool=x[pool], seed=seed)
                said = fitted.predict(x[held])
                losses.append(float(fitted.losses(said, counts[held]).mean()))
                rest = pool[~np.isin(pool, asked)]
                doubt = fitted.uncertainty(x[rest])
                if name == "most doubtful":
                    rest = rest[np.argsort(-doubt, kind="stable")]
                elif name != "random":
                    known = space.apply(x[asked]).astype(np.float32)
                    points = space.apply(x[rest]).astype(np.float32)
                    interest = doubt / doubt.max()
                    rest = rest[representatives(points, more, interest=interest, taken=known)[0]]
                asked += list(rest[:more])
            found.append(losses)
        cells = " ".join(f"{value:.4f}" for value in np.mean(found, axis=0))
        print(f"{name:<30} {cells}", flush=True)
