"""The Galaxy Zoo 2 tree, and the votes of real people along it."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from labelled_sets import LabelledSet
from numpy.typing import NDArray

from models.heads.questions import Question, QuestionTree

FOLDER = "gz2_sdss_votes"
_COLUMN = re.compile(r"(t\d\d_.+?)_a\d\d_(.+)_weighted_fraction")
# After figure 1 of Willett et al. 2013 (arXiv 1308.3496); "star or artifact" ends it.
_PARENTS = {
    "t02": (("t01", "features_or_disk"),),
    "t03": (("t02", "no"),),
    "t04": (("t02", "no"),),
    "t05": (("t02", "no"),),
    "t06": (("t01", "smooth"), ("t01", "features_or_disk")),
    "t07": (("t01", "smooth"),),
    "t08": (("t06", "yes"),),
    "t09": (("t02", "yes"),),
    "t10": (("t04", "spiral"),),
    "t11": (("t04", "spiral"),),
}


@dataclass(frozen=True)
class Votes:
    """What people said of the galaxies of the set.

    Attributes
    ----------
    galaxies : LabelledSet
        All of them, of one label only.
    tree : QuestionTree
    counts : float64 [n, K]
        Whole votes.
    """

    galaxies: LabelledSet
    tree: QuestionTree
    counts: NDArray[np.float64]

    @property
    def asked(self) -> NDArray[np.float64]:
        """How many answered each question, [n, Q]."""
        return np.stack([self.counts[:, at].sum(axis=1) for at in self.tree.columns], axis=1)


def read_votes(data: Path) -> Votes:
    """Read the tree and the votes of Galaxy Zoo 2.

    The set holds fractions; how many answered a question follows from those who answered the one
    before. (So reckoned, the votes of all questions add up to the `total_votes` of the set, to
    within 0.6 % for half of the galaxies and 3 % for nine in ten.) Fractions are weighted by
    people's consistency, so counts are rounded.
    """
    folder = data / FOLDER
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns: dict[str, list[tuple[str, str]]] = {}
    for column in rows[0]:
        found = _COLUMN.fullmatch(column)
        if found:
            columns.setdefault(found[1], []).append((found[2], column))
    full = {name[:3]: name for name in columns}
    questions = [
        Question(
            name,
            tuple(label for label, _ in labels),
            tuple((full[of], label) for of, label in _PARENTS.get(name[:3], ())),
        )
        for name, labels in columns.items()
    ]
    tree = QuestionTree(tuple(questions))
    people = np.array([float(row["total_classifications"]) for row in rows])
    counts = np.zeros((len(rows), len(tree.labels)))
    for place in tree.order:
        question, at = tree.questions[place], tree.columns[place]
        fractions = np.array(
            [[float(row[column]) for _, column in columns[question.name]] for row in rows]
        )
        asked = people
        for parent, labels in question.conditions.items():
            above = tree.place(parent)
            first = tree.columns[above].start
            chosen = [first + tree.questions[above].labels.index(label) for label in labels]
            asked = counts[:, chosen].sum(axis=1)
        counts[:, at] = np.round(fractions * asked[:, None])
    files = tuple(folder / row["file"] for row in rows)
    galaxies = LabelledSet(f"{FOLDER}-all", files, ("galaxy",), np.zeros(len(rows), np.int64))
    return Votes(galaxies, tree, counts)
