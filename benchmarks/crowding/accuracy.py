"""Accuracy against votes used, on four benchmarks of real people's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from crowding.aggregators import aggregators, right
from crowding.answers import NAMES, Answers, read_answers

USED = (2, 3, 5, 10, 20)
DRAWS = 1
PARTS, SHARE = 1, 0.8
SLOW = "GLAD"
"""The method that takes longer than all others together is run on all votes only."""


def report(data: Path, seed: int) -> None:
    """Print the tables."""
    others = aggregators(seed)
    print(
        "Share of tasks whose likeliest label is right; labels as likely share the point. Votes\n"
        f"are drawn at random, times: {DRAWS}; +- is the standard error over tasks of all votes.\n"
        f"'80 %': four fifths of the people and of the tasks, mean over draws: {PARTS}. All\n"
        "votes are one sample, in which methods differ by one or two tasks. Wanted with all\n"
        "votes: ours at least as good as the best other; on bluebird 5 points above majority.\n"
        f"{SLOW} is slow and was run on all votes only."
    )
    for name in NAMES:
        answers = read_answers(data, name)
        n, p, k = answers.shape
        print(f"\n{name}: {n} tasks, {p} people, {k} labels, {len(answers.tasks)} votes")
        print(f"{'votes':>6} " + "".join(f"{method:>13}" for method in others))
        rows: list[tuple[str, list[Answers]]] = [
            (str(used), [answers.drawn(used, _rng(seed, used, draw)) for draw in range(DRAWS)])
            for used in USED
            if used < answers.most
        ]
        rows.append(("all", [answers]))
        rows.append(("80 %", [answers.parts(SHARE, _rng(seed, 0, draw)) for draw in range(PARTS)]))
        for title, samples in rows:
            found = [
                np.nan
                if method == SLOW and title != "all"
                else np.mean([right(told(part), part.truth).mean() for part in samples])
                for method, told in others.items()
            ]
            cells = ("-" if np.isnan(share) else f"{share:.4f}" for share in found)
            print(f"{title:>6} " + "".join(f"{cell:>13}" for cell in cells), flush=True)
            if title == "all":
                error = np.sqrt(found[0] * (1 - found[0]) / n)
                print(
                    f"       ours - best other {found[0] - max(found[1:]):+.4f}, "
                    f"ours - majority {found[0] - found[1]:+.4f} (+- {error:.4f})"
                )


def _rng(seed: int, used: int, draw: int) -> np.random.Generator:
    return np.random.default_rng([seed, used, draw])
