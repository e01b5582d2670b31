"""Anchoring: whether people agree with suggestions more because they see them.

On tasks that measure (audit arm, known answers) the suggestion is held back, so that agreement
there is what people would say by themselves. The two shares are compared within strata of the
model's confidence, with Mantel and Haenszel's weights (Mantel & Haenszel 1959, J. Natl. Cancer
Inst. 22, 719; for differences of shares Greenland & Robins 1985, Biometrics 41, 55).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ml_backend.loop.peers import wilson
from ml_backend.loop.people_votes import PeopleVotes

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]

STRATA = (0.5, 0.7, 0.85, 0.95)
"""Bounds of the model's confidence; answers whose confidence is not known are a stratum of
their own."""
LEAST_BLIND = 20
LEAST_WRONG = 10
MOST_VERSIONS = 30


def anchoring(
    votes: PeopleVotes, confidence: Doubles, right: npt.NDArray[np.int8]
) -> dict[str, Any]:
    """Compare agreement with suggestions that were shown and that were held back.

    Parameters
    ----------
    votes : PeopleVotes
    confidence : float64 [v]
        Of the suggestion, in [0, 1]; NaN where it is not known.
    right : int8 [v]
        Whether the answer is right by the consensus or a known answer; -1 where nothing is known.

    Returns
    -------
    dict
        ``shown`` and ``blind`` (answers, agreed, share, low, high), ``excess`` (value, low, high:
        by how much agreement is larger where suggestions are shown, or None), ``misled`` (the same
        of suggestions that were wrong: who went along), ``versions`` (latest first) and
        ``warning`` (a sentence, "" where there is none).
    """
    shown, blind = _arms(votes)
    agreed = votes.agrees == 1
    stratum = np.digitize(np.nan_to_num(confidence, nan=-1.0), (0.0, *STRATA))
    excess = _difference(agreed, shown, blind, stratum, votes.task)
    # Who agrees and is wrong went along with a wrong suggestion; who differs and is right did not.
    # Answers that are wrong in yet another way do not tell whether the suggestion was.
    wrong = ((right == 0) & agreed) | ((right == 1) & (votes.agrees == 0))
    misled = {"shown": _share(agreed, shown & wrong), "blind": _share(agreed, blind & wrong)}
    more = _difference(agreed, shown & wrong, blind & wrong, stratum, votes.task)
    versions = [
        {
            "version": name,
            "shown": _share(agreed, shown & mine),
            "blind": _share(agreed, blind & mine),
        }
        for name, mine in _by_version(votes)
    ]
    return {
        "shown": _share(agreed, shown),
        "blind": _share(agreed, blind),
        "excess": excess,
        "misled": {**misled, "excess": more},
        "versions": versions,
        "warning": _warning(excess, misled, more),
    }


def by_person(votes: PeopleVotes) -> dict[str, Ids]:
    """Count, for each person, answers and agreements with suggestions shown and held back."""
    shown, blind = _arms(votes)
    agreed, p = votes.agrees == 1, len(votes.persons)

    def count(of: Bools) -> Ids:
        return np.bincount(votes.person[of], minlength=p)

    return {
        "shown": count(shown),
        "accepted": count(shown & agreed),
        "blind": count(blind),
        "blind_agreed": count(blind & agreed),
    }


def _arms(votes: PeopleVotes) -> tuple[Bools, Bools]:
    told = votes.counted & (votes.agrees >= 0)
    seen = votes.accepted >= 0
    return told & seen, told & ~seen


def _by_version(votes: PeopleVotes) -> list[tuple[str, Bools]]:
    latest = np.full(len(votes.versions), -np.inf)
    np.maximum.at(latest, votes.version, votes.annotation.astype(np.float64))
    order = np.argsort(-latest, kind="stable").tolist()
    kept = [at for at in order if votes.versions[at]][:MOST_VERSIONS]
    return [(votes.versions[at], votes.version == at) for at in kept]


def _share(hits: Bools, of: Bools) -> dict[str, Any]:
    count, agreed = int(of.sum()), int((hits & of).sum())
    bounds = wilson(agreed, count)
    low, high = bounds or (None, None)
    return {
        "answers": count,
        "agreed": agreed,
        "share": agreed / count if count else None,
        "low": low,
        "high": high,
    }


def _difference(
    hits: Bools, first: Bools, second: Bools, stratum: Ids, task: Ids
) -> dict[str, Any] | None:
    """How much larger the share is in `first`, with its 95 % interval; None without both."""
    k = int(stratum.max(initial=0)) + 1
    n1, n0 = (np.bincount(stratum[of], minlength=k).astype(float) for of in (first, second))
    both = (n1 > 0) & (n0 > 0)
    if not both.any():
        return None
    a1, a0 = (np.bincount(stratum[of & hits], minlength=k).astype(float) for of in (first, second))
    v1, v0 = (_variance(hits, of, stratum, task, k)[both] for of in (first, second))
    n1, n0, a1, a0 = n1[both], n0[both], a1[both], a0[both]
    weight = n1 * n0 / (n1 + n0)
    weight = weight / weight.sum()
    value = float(weight @ (a1 / n1 - a0 / n0))
    error = float(np.sqrt(weight**2 @ (v1 + v0)))
    return {
        "value": value,
        "low": max(value - 1.96 * error, -1.0),
        "high": min(value + 1.96 * error, 1.0),
        "answers": [int(n1.sum()), int(n0.sum())],
    }


def _variance(hits: Bools, of: Bools, stratum: Ids, task: Ids, k: int) -> Doubles:
    """Variance of the share of hits in each stratum, [k]; 0 where it has no answers.

    Answers to one galaxy are not independent: all are about the same suggestion. So what is drawn
    are galaxies (the ratio estimator of Cochran 1977, "Sampling techniques", section 2.11), and
    the variance is never below that of independent answers.
    """
    rows = np.flatnonzero(of)
    base = int(task.max(initial=0)) + 1
    keys, at = np.unique(stratum[rows] * base + task[rows], return_inverse=True)
    where = keys // base
    n_task = np.bincount(at, minlength=len(keys)).astype(float)
    a_task = np.bincount(at, hits[rows], minlength=len(keys))
    n, a = np.bincount(where, n_task, k), np.bincount(where, a_task, k)
    galaxies = np.bincount(where, minlength=k).astype(float)
    # One imagined answer of each kind: a share of 0 or 1 of few answers is not certain.
    share = (a + 1) / (n + 2)
    off = np.bincount(where, (a_task - (a / np.maximum(n, 1))[where] * n_task) ** 2, k)
    off = off * galaxies / np.maximum(galaxies - 1, 1) / np.maximum(n, 1) ** 2
    return np.asarray(np.maximum(off, share * (1 - share) / np.maximum(n, 1)) * (n > 0))


def _warning(
    excess: dict[str, Any] | None, misled: dict[str, Any], more: dict[str, Any] | None
) -> str:
    along = misled["shown"]
    enough = more is not None and min(more["answers"]) >= LEAST_WRONG
    if enough and more is not None and more["low"] > 0:
        return (
            f"Suggestions mislead people: of {along['answers']} answers to galaxies whose "
            f"suggestion was wrong, {along['share']:.0%} went along with it, "
            f"{100 * more['value']:.0f} points more than without seeing it "
            f"({100 * more['low']:.0f} to {100 * more['high']:.0f})."
        )
    if not enough and along["answers"] >= LEAST_WRONG and (along["low"] or 0) > 0.5:
        return (
            f"Suggestions may mislead people: where the suggestion was wrong, {along['share']:.0%} "
            f"of {along['answers']} answers went along with it. Too few answers were given without "
            "seeing it to compare; raise the audit fraction."
        )
    if excess and min(excess["answers"]) >= LEAST_BLIND and excess["low"] > 0.05:
        return (
            f"People agree with suggestions {100 * excess['value']:.0f} points more often when "
            f"they see them ({100 * excess['low']:.0f} to {100 * excess['high']:.0f}); whether "
            "that misleads them is not known yet."
        )
    return ""
