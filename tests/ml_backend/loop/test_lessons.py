"""What trees learn from: people counted by how much their votes tell."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ml_backend.loop.consensus import CastVote, Consensus, consensus
from ml_backend.loop.lessons import load_lessons

SHAPE = SimpleNamespace(name="shape", labels=("smooth", "spiral"), multiple=False)


def votes(tasks: int, seed: int = 0) -> list[CastVote]:
    rng = np.random.default_rng(seed)
    made = []
    for task in range(tasks):
        right = SHAPE.labels[rng.integers(2)]
        for person in ("a", "b", "c"):
            made.append(CastVote(task, person, "shape", (right,)))
        made.append(CastVote(task, "same", "shape", ("smooth",)))
    return made


def lessons(agreed: dict[str, Consensus], learns: str) -> Any:
    plan: Any = SimpleNamespace(learns=learns, controls=(SHAPE,), companions=())
    return load_lessons(None, 1, plan, agreed, [])  # type: ignore[arg-type]


def test_counts_are_of_people_as_far_as_their_votes_tell() -> None:
    few = lessons(consensus(votes(5), [SHAPE]), "counts")
    assert set(few.targets.sum(axis=1)) == {4}
    agreed = consensus(votes(60), [SHAPE])
    many = lessons(agreed, "counts")
    split = agreed["shape"].fractions[:, 0] == 0.25
    assert split.any()
    assert (many.targets[split, 0] < 0.2).all()
    assert (many.targets[split, 1] > 2.5).all()
    assert (many.targets.sum(axis=1) <= 4).all()


def test_fractions_are_what_the_crowd_says() -> None:
    agreed = consensus(votes(60), [SHAPE])
    np.testing.assert_array_equal(lessons(agreed, "fractions").targets, agreed["shape"].targets)


@pytest.mark.parametrize("learns", ["counts", "fractions"])
def test_a_vote_elsewhere_is_no_other_answer_here(learns: str) -> None:
    before = lessons(consensus(votes(60), [SHAPE]), learns)
    more = [*votes(60), CastVote(3, "d", "shape", ("smooth",))]
    after = lessons(consensus(more, [SHAPE]), learns)
    assert not np.array_equal(before.targets[4:], after.targets[4:])
    np.testing.assert_array_equal(before.digests[4:], after.digests[4:])
    assert before.digests[3] != after.digests[3]


def test_a_known_answer_is_another_answer() -> None:
    cast = votes(60)
    before = lessons(consensus(cast, [SHAPE]), "counts")
    wrong = "smooth" if before.targets[0].argmax() else "spiral"
    after = lessons(consensus(cast, [SHAPE], {(0, "shape"): (wrong,)}), "counts")
    assert before.digests[0] != after.digests[0]
    assert after.targets[0, SHAPE.labels.index(wrong)] == 4
