"""Votes per galaxy: how many until the answers are those of the full crowd (Galaxy Zoo 2)."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crowding.arms import ARMS, MOST_VOTES, Moment
from crowding.galaxy_zoo import FULL_CROWD, CrowdQuestion, Floats, SimulatedCrowd, read_questions
from models.calibration import expected_calibration_error
from models.sources import DEFAULT_FOLDER, load_lvm

MOMENTS = np.array([0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 40])
FIXED = "majority, all alike", "Dawid-Skene (crowd-kit), all alike"
"""Arms that are followed up to the fixed number; the others up to `MOST_VOTES`."""

SEEDS = 3
CLEAR = 2 / 3
WANTED = 0.95
_BINS = np.array([0.0, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0])


@dataclass(frozen=True)
class Curve:
    """Right answers of one arm against votes, a row per seed.

    Attributes
    ----------
    votes, right, right_clear, error : float64 [seeds, moments]
        Votes per galaxy; shares right of all and of galaxies with a clear majority; expected
        calibration error.
    """

    votes: Floats
    right: Floats
    right_clear: Floats
    error: Floats

    @classmethod
    def of(cls, question: CrowdQuestion, runs: list[list[Moment]]) -> Curve:
        """Compare the moments of each seed with the full crowd."""
        clear = question.majority >= CLEAR
        table = []
        for run in runs:
            for moment in run:
                right = moment.said.argmax(axis=1) == question.truth
                sure = moment.said.max(axis=1)
                table.append(
                    (
                        moment.votes,
                        right.mean(),
                        right[clear].mean(),
                        expected_calibration_error(sure, right),
                    )
                )
        columns = np.array(table).reshape(len(runs), -1, 4)
        return cls(*np.moveaxis(columns, 2, 0))


def votes_for(level: float, votes: Floats, right: Floats) -> float:
    """Return the votes from which on a curve is at or above a level; NaN if it never is.

    Parameters
    ----------
    level : float
    votes, right : [moments]
        Rising votes; between two moments the curve is a line.
    """
    below = np.flatnonzero(right < level)
    if not len(below):
        return float(votes[0])
    last = below[-1]
    if last + 1 == len(right):
        return float("nan")
    part = (level - right[last]) / (right[last + 1] - right[last])
    return float(votes[last] + part * (votes[last + 1] - votes[last]))


def report(data: Path, seed: int) -> None:
    """Measure all arms and print tables.

    Parameters
    ----------
    data : Path
        The folder of the real galaxies.
    seed : int
        The first of `SEEDS` that people, their votes and all chance are drawn from.
    """
    seeds = range(seed, seed + SEEDS)
    lvm = load_lvm(DEFAULT_FOLDER)
    print(
        "Votes per galaxy until the answers are the full crowd's. People are simulated from the\n"
        "real vote fractions of Galaxy Zoo 2: 100 of them, skill from Beta(4, 1) (mean 0.8; the\n"
        "rest is a habit of their own), unequal diligence. The full crowd's answer is the most\n"
        f"frequent real one; 'clear' galaxies are those where {CLEAR:.0%} or more gave it. "
        f"Seeds {seeds[0]} to {seeds[-1]}.\n"
        "Published for people and machine together: 8 times fewer (Beck et al. 2018, MNRAS 476,\n"
        "5516), on other galaxies, with a count of its own."
    )
    for question in read_questions(data):
        _measure(question, question.embeddings(lvm), seeds)


def _measure(question: CrowdQuestion, embeddings: np.ndarray, seeds: range) -> None:
    clear = question.majority >= CLEAR
    counts = np.bincount(question.truth, minlength=len(question.labels))
    answers = ", ".join(f"{name} {n}" for name, n in zip(question.labels, counts, strict=True))
    print(
        f"\n{question.name}: {len(question)} galaxies ({answers}); {clear.sum()} clear, "
        f"{(question.majority < 0.55).sum()} with less than 55 % for any answer"
    )
    crowds = {seed: SimulatedCrowd.of(question, seed) for seed in seeds}
    curves, last = {}, {}
    for name, arm in ARMS.items():
        begun = time.monotonic()
        moments = MOMENTS if name in FIXED else MOMENTS[MOMENTS <= MOST_VOTES]
        runs = [arm(question, embeddings, crowds[seed], seed, moments) for seed in seeds]
        curves[name], last[name] = Curve.of(question, runs), [run[-1] for run in runs]
        print(f"{question.name}, {name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    _print_accuracy(curves)
    _print_votes_needed(curves)
    for name in ("ours", "ours, sure to 0.99"):
        _print_end(question, name, last[name])


def _print_accuracy(curves: dict[str, Curve]) -> None:
    width = max(map(len, curves))
    for title, field in (("all galaxies", "right"), ("clear ones", "right_clear")):
        print(f"\n  right, {title}, by votes per galaxy (mean over seeds)")
        print("  " + " " * width + "".join(f"{moment:6g}" for moment in MOMENTS))
        for name, curve in curves.items():
            means = getattr(curve, field).mean(axis=0)
            print(f"  {name:{width}}" + "".join(f"{value:6.3f}" for value in means))
    spread = max(float(curve.right.std(axis=0).max()) for curve in curves.values())
    print(f"  (scatter between seeds: at most {spread:.3f})")


def _print_votes_needed(curves: dict[str, Curve]) -> None:
    full = curves["majority, all alike"].right.mean(axis=0)[-1]
    width = max(map(len, curves))
    print(
        f"\n  votes per galaxy from which on the share right stays at or above a level, and how "
        f"often they go into {FULL_CROWD}\n"
        f"  (level of all galaxies: {WANTED}, and {WANTED} of the {full:.3f} that a majority of "
        f"{FULL_CROWD} votes reaches)"
    )
    heads = f"clear {WANTED}", f"all {WANTED}", f"all {WANTED * full:.3f}"
    print(f"  {'':{width}}" + "".join(f"{head:>18}" for head in heads))
    for name, curve in curves.items():
        votes = curve.votes.mean(axis=0)
        cells = []
        for right, level in (
            (curve.right_clear, WANTED),
            (curve.right, WANTED),
            (curve.right, WANTED * full),
        ):
            needed = votes_for(level, votes, right.mean(axis=0))
            known = np.isfinite(needed)
            cells.append(
                f"{needed:.1f} ({FULL_CROWD / needed:.1f} x)" if known else f"> {votes[-1]:.1f}"
            )
        print(f"  {name:{width}}" + "".join(f"{cell:>18}" for cell in cells))


def _print_end(question: CrowdQuestion, name: str, ends: list[Moment]) -> None:
    """Where the galaxies are at the end, and whether a confidence of 0.9 is right in 9 of 10."""
    said = np.concatenate([end.said for end in ends])
    states = np.concatenate([end.states for end in ends if end.states is not None])
    right = said.argmax(axis=1) == np.tile(question.truth, len(ends))
    sure = said.max(axis=1)
    votes = np.mean([end.votes for end in ends])
    print(f"\n  {name}, at the end ({votes:.1f} votes per galaxy):", end="")
    for state in ("retired", "expert", "open"):
        mine = states == state
        share = f"{mine.mean():.3f} {state}"
        print(f" {share} ({right[mine].mean():.3f} right);" if mine.any() else f" {share};", end="")
    error = expected_calibration_error(sure, right)
    print(f" all {right.mean():.3f} right, {sure.mean():.3f} said, calibration error {error:.3f}")
    place = np.digitize(sure, _BINS[1:-1])
    for step in range(len(_BINS) - 1):
        rows = place == step
        if rows.any():
            print(
                f"    said {_BINS[step]:.2f} to {_BINS[step + 1]:.2f}: {rows.sum():5d} answers, "
                f"{sure[rows].mean():.3f} said, {right[rows].mean():.3f} right"
            )
