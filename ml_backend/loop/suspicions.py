"""Suspicions: patterns of bad faith, each with its figures, for managers to look into.

Nothing here changes a vote or what is thought of one. Each test compares a person with others on
the same galaxies, asks for a large effect besides a small probability, and shares `FALSE_ALARM`
among all people and tests (Bonferroni), so that with honest people hardly any project of any size
shows one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm

from ml_backend.loop.peers import Peers, peers_of
from ml_backend.loop.people_votes import PeopleVotes

FALSE_ALARM = 0.01
"""Chance that a project of honest, independent people shows any suspicion of one kind."""

LEAST_ANSWERS = 20
LEAST_GOLDS = 5
SAME_SHARE = 0.9
FAST_RATIO = 0.25
"""Of the time that others took for the same galaxies."""
BURST_SECONDS = 60.0
LEAST_BURST = 30
BURST_RATIO = 4.0

Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Suspicion:
    """One pattern of one person.

    Attributes
    ----------
    person : str
    kind : str
        ``same``, ``fast``, ``follows``, ``golds`` or ``burst``.
    sentence : str
        What was seen, with its figures, against what was to be expected.
    """

    person: str
    kind: str
    sentence: str


def suspicions(
    votes: PeopleVotes,
    golds: Mapping[int, tuple[int, int]] | None = None,
    peers: Peers | None = None,
) -> list[Suspicion]:
    """Look for all patterns.

    Parameters
    ----------
    votes : PeopleVotes
    golds : mapping, optional
        By person's code: how many answers to galaxies with a known answer, and how many of
        these were right.
    peers : Peers, optional
        Of `votes`, where they are known already.
    """
    peers = peers or peers_of(votes)
    found = _same_answer(votes, peers)
    found += _fast(votes)
    found += _follows(votes)
    found += _golds(votes, golds or {})
    found += _bursts(votes)
    return sorted(found, key=lambda one: (one.person, one.kind))


def _same_answer(votes: PeopleVotes, peers: Peers) -> list[Suspicion]:
    """Always one answer, where others who saw the same galaxies gave several."""
    k, found = max(len(votes.answers), 1), []
    who, said, on = (
        votes.person[peers.row], votes.answer[peers.row], votes.control[peers.row],
    )  # fmt: skip
    group, at = np.unique(on * len(votes.persons) + who, return_inverse=True)
    total = np.bincount(at)
    cells, times = np.unique(at * k + said, return_counts=True)
    tested = max(int((total >= LEAST_ANSWERS).sum()), 1)
    for cell, count in zip(cells.tolist(), times.tolist(), strict=True):
        number, answer = divmod(cell, k)
        n = int(total[number])
        if n < LEAST_ANSWERS or count < SAME_SHARE * n:
            continue
        mine = at == number
        gave = peers.share_of(answer, mine)
        # One more, imagined voice that says what all others say on the whole: two people who
        # agree on a galaxy do not make it certain.
        others = peers.others[mine]
        expected = (gave * others + float(gave.mean())) / (others + 1)
        mean, spread = expected.sum(), np.sqrt((expected * (1 - expected)).sum())
        if mean >= 0.75 * count or spread <= 0:
            continue
        if norm.sf((count - 0.5 - mean) / spread) < FALSE_ALARM / tested:
            on_control, by = divmod(int(group[number]), len(votes.persons))
            found.append(
                Suspicion(
                    votes.persons[by],
                    "same",
                    f"Answered {said_of(votes.answers[answer])} to '{votes.controls[on_control]}' "
                    f"{count} of {n} times, where "
                    f"others on the same galaxies lead to expect {mean:.0f}.",
                )
            )
    return found


def _fast(votes: PeopleVotes) -> list[Suspicion]:
    """Far faster than others on the same galaxies, or than others at all, on the same site."""
    rows = votes.submissions
    rows = rows[~votes.skipped[rows] & ~votes.known[rows] & np.isfinite(votes.lead[rows])]
    source = votes.sources[votes.person[rows]]
    sites = np.unique(source)
    return [
        one
        for site in sites
        for one in _fast_among(votes, rows[source == site], FALSE_ALARM / len(sites))
    ]


def _fast_among(votes: PeopleVotes, rows: Ids, alarm: float) -> list[Suspicion]:
    who, lead = votes.person[rows], np.maximum(votes.lead[rows], 0.01)
    at = np.unique(votes.task[rows], return_inverse=True)[1]
    logs = np.log(lead)
    counts = np.bincount(at)
    n = np.bincount(who, minlength=len(votes.persons))
    if (n >= LEAST_ANSWERS).sum() < 3:
        return []  # of two people one is always the faster
    overall = _medians(logs, who, len(votes.persons))
    mean_of_others = np.full(len(rows), np.nanmedian(overall))
    shared = counts[at] > 1
    sums = np.bincount(at, logs)
    mean_of_others[shared] = (sums[at[shared]] - logs[shared]) / (counts[at[shared]] - 1)
    ratio = logs - mean_of_others
    below = np.bincount(who, ratio < np.log(FAST_RATIO), minlength=len(votes.persons))
    middle = _medians(ratio, who, len(votes.persons))
    tested = int((n >= LEAST_ANSWERS).sum())
    found = []
    for person in np.flatnonzero((n >= LEAST_ANSWERS) & (middle < np.log(FAST_RATIO))).tolist():
        # A person who is as fast as others is so much faster on less than a quarter of them.
        if binom.sf(below[person] - 1, n[person], 0.25) < alarm / tested:
            own = float(np.exp(overall[person]))
            found.append(
                Suspicion(
                    votes.persons[person],
                    "fast",
                    f"Took {own:.1f} s for a galaxy (median of {n[person]}), "
                    f"{np.exp(-middle[person]):.0f} times less than others for the same ones.",
                )
            )
    return found


def _follows(votes: PeopleVotes) -> list[Suspicion]:
    """Never changes a suggestion, though others do."""
    shown = votes.counted & (votes.accepted >= 0)
    p = len(votes.persons)
    n = np.bincount(votes.person[shown], minlength=p)
    changed = np.bincount(votes.person[shown & (votes.accepted == 0)], minlength=p)
    all_n, all_changed = n.sum(), changed.sum()
    tested = max(int((n >= LEAST_ANSWERS).sum()), 1)
    found = []
    for person in np.flatnonzero((n >= LEAST_ANSWERS) & (changed == 0)).tolist():
        rest = all_n - n[person]
        if rest < LEAST_ANSWERS:
            continue
        # Half the others' rate: one may well be served by better versions, or easier galaxies.
        rate = 0.5 * all_changed / rest
        if (1 - rate) ** float(n[person]) < FALSE_ALARM / tested:
            found.append(
                Suspicion(
                    votes.persons[person],
                    "follows",
                    f"Left all of {n[person]} suggestions as they were; others changed "
                    f"{2 * rate:.0%} of theirs.",
                )
            )
    return found


def _golds(votes: PeopleVotes, golds: Mapping[int, tuple[int, int]]) -> list[Suspicion]:
    """Wrong on galaxies whose answer is known, far more often than others."""
    answered = sum(n for n, _ in golds.values())
    right = sum(hits for _, hits in golds.values())
    tested = max(sum(n >= LEAST_GOLDS for n, _ in golds.values()), 1)
    found = []
    for person, (n, hits) in golds.items():
        rest, others = answered - n, right - hits
        if n < LEAST_GOLDS or rest < 2 * LEAST_GOLDS:
            continue
        usual = others / rest
        # People differ honestly: only who is wrong three times as often as others is looked at.
        if (1 - hits / n) < min(3 * (1 - usual), 0.5):
            continue
        if binom.cdf(hits, n, usual) < FALSE_ALARM / tested and hits / n < 0.7 * usual:
            found.append(
                Suspicion(
                    votes.persons[person],
                    "golds",
                    f"Right on {hits} of {n} galaxies whose answer is known; others on "
                    f"{usual:.0%} of theirs.",
                )
            )
    return found


def _bursts(votes: PeopleVotes) -> list[Suspicion]:
    """More answers in a minute than anybody can give who looks."""
    rows = votes.submissions
    rows = rows[~votes.skipped[rows] & np.isfinite(votes.at[rows])]
    who, at = votes.person[rows], votes.at[rows]
    order = np.lexsort((at, who))
    who, at = who[order], at[order]
    if not len(who):
        return []
    # Times of one person lie in a stretch of their own, so that one search finds all windows.
    stretch = at.max() - at.min() + 2 * BURST_SECONDS
    line = who * stretch + (at - at.min())
    inside = np.searchsorted(line, line + BURST_SECONDS, side="right") - np.arange(len(line))
    most = np.zeros(len(votes.persons), np.int64)
    np.maximum.at(most, who, inside)
    active, sites = most > 0, votes.sources
    found = []
    for person in np.flatnonzero(most >= LEAST_BURST).tolist():
        near = active & (sites == sites[person])
        others = most[near & (np.arange(len(most)) != person)]
        usual = float(np.median(others)) if len(others) else 0.0
        if most[person] > BURST_RATIO * max(usual, LEAST_BURST / BURST_RATIO):
            found.append(
                Suspicion(
                    votes.persons[person],
                    "burst",
                    f"Sent {most[person]} answers within a minute; others at most "
                    f"{usual:.0f} (median of their fastest minutes).",
                )
            )
    return found


def said_of(answer: str) -> str:
    """Return the JSON of labels as a person reads it."""
    labels = json.loads(answer)
    return ", ".join(map(repr, labels)) if labels else "nothing"


def _medians(values: Doubles, who: Ids, count: int) -> Doubles:
    """Median of each person's values, [count]; NaN without any."""
    order = np.lexsort((values, who))
    n = np.bincount(who, minlength=count)
    start = np.cumsum(n) - n
    found = np.full(count, np.nan)
    has = n > 0
    ordered = values[order]
    low, high = start[has] + (n[has] - 1) // 2, start[has] + n[has] // 2
    found[has] = (ordered[low] + ordered[high]) / 2
    return found
