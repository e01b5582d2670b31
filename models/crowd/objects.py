"""Marked objects: which of them are real, given how well each person finds such things."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.crowd.choices import ChoiceCrowd

LEAST_OBJECTS = 10
"""Objects that several people looked for, from which on people's reliability is told."""


@dataclass(frozen=True)
class Seen:
    """One object that somebody marked.

    Attributes
    ----------
    looked : sequence
        Names of all who looked at the image, each once.
    marked : set
        Those of them who marked it.
    """

    looked: Sequence[Hashable]
    marked: frozenset[Hashable]


def real_objects(objects: Sequence[Seen]) -> NDArray[np.float64]:
    """Return the probability that each object is real.

    Whoever looked said yes by marking it, or no by leaving it out: a question with two answers,
    to which each person has a confusion matrix of their own (how often a real object is found,
    how often something is marked that is none), see `models.crowd.choices`. An object that nobody
    marked is not known of, so the share found is of those that somebody found.

    Parameters
    ----------
    objects : sequence of Seen
        Of all images of one control: the more, the better people are known.

    Returns
    -------
    float64 [n]
        In [0, 1]; the share of those who looked that marked it where fewer than `LEAST_OBJECTS`
        objects had two people looking.
    """
    share = np.array([len(one.marked) / max(len(one.looked), 1) for one in objects], np.float64)
    if sum(len(one.looked) > 1 for one in objects) < LEAST_OBJECTS:
        return share
    names: dict[Hashable, int] = {}
    tasks, people, marks = [], [], []
    for row, one in enumerate(objects):
        for person in one.looked:
            tasks.append(row)
            people.append(names.setdefault(person, len(names)))
            marks.append(int(person in one.marked))
    crowd = ChoiceCrowd.fit(
        np.array(tasks, np.int64),
        np.array(people, np.int64),
        np.array(marks, np.int64),
        (len(objects), len(names), 2),
    )
    return np.asarray(crowd.posterior[:, 1], np.float64)
