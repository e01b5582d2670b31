"""Consensus counts people, not annotations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml_backend.loop.consensus import CastVote, consensus


@dataclass(frozen=True)
class Control:
    name: str
    labels: tuple[str, ...]
    multiple: bool = False


SHAPE = Control("shape", ("smooth", "spiral", "merger"))
TAGS = Control("tags", ("bar", "ring"), multiple=True)


def vote(task: int, person: str, *labels: str, control: str = "shape", **more: object) -> CastVote:
    return CastVote(task, person, control, labels, **more)  # type: ignore[arg-type]


def test_fractions_and_weights() -> None:
    found = consensus(
        [
            vote(7, "a", "smooth"),
            vote(7, "b", "smooth"),
            vote(7, "c", "spiral"),
            vote(3, "a", "merger"),
        ],
        [SHAPE],
    )["shape"]
    assert found.task_ids.tolist() == [3, 7]
    np.testing.assert_allclose(found.targets, [[0, 0, 1], [2 / 3, 1 / 3, 0]], rtol=1e-6)
    assert found.weights.tolist() == [1, 3]


def test_latest_answer_of_a_person_counts_once() -> None:
    votes = [vote(1, "a", "spiral", at=20.0), vote(1, "a", "smooth", at=10.0)]
    for order in (votes, votes[::-1]):
        found = consensus(order, [SHAPE])["shape"]
        assert found.targets.tolist() == [[0, 1, 0]]
        assert found.weights.tolist() == [1]


def test_skipped_never_counts_and_takes_nothing_back() -> None:
    found = consensus(
        [
            vote(1, "a", "smooth", at=1.0),
            vote(1, "a", "spiral", at=2.0, skipped=True),
            vote(2, "a", "spiral", skipped=True),
        ],
        [SHAPE],
    )["shape"]
    assert found.task_ids.tolist() == [1]
    assert found.targets.tolist() == [[1, 0, 0]]


def test_labels_that_are_gone_are_not_counted() -> None:
    found = consensus(
        [
            vote(1, "a", "irregular"),
            vote(2, "a", "bar", "tail", control="tags"),
            vote(3, "a", "tail", control="tags"),
            vote(4, "a", "smooth", control="renamed"),
        ],
        [SHAPE, TAGS],
    )
    assert len(found["shape"]) == 0
    assert found["shape"].targets.shape == (0, 3)
    assert found["tags"].task_ids.tolist() == [2]
    assert set(found) == {"shape", "tags"}


def test_nothing_ticked_is_an_answer_to_multiple_choice_only() -> None:
    found = consensus([vote(1, "a"), vote(1, "a", control="tags")], [SHAPE, TAGS])
    assert len(found["shape"]) == 0
    assert found["tags"].targets.tolist() == [[0, 0]]


def test_two_ticks_on_a_single_choice_share_the_vote() -> None:
    found = consensus([vote(1, "a", "smooth", "spiral")], [SHAPE])["shape"]
    assert found.targets.tolist() == [[0.5, 0.5, 0]]
    assert found.weights.tolist() == [1]


def test_multiple_choice_fractions() -> None:
    found = consensus(
        [vote(1, "a", "bar", "ring", control="tags"), vote(1, "b", "bar", control="tags")], [TAGS]
    )["tags"]
    assert found.targets.tolist() == [[1, 0.5]]


@given(
    st.lists(
        st.builds(
            CastVote,
            st.integers(0, 5),
            st.sampled_from("abc"),
            st.sampled_from(["shape", "tags", "unknown"]),
            st.lists(st.sampled_from(["smooth", "spiral", "bar", "??"]), max_size=3).map(tuple),
            st.floats(0, 100),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_any_votes_give_fractions(votes: list[CastVote]) -> None:
    for found in consensus(votes, [SHAPE, TAGS]).values():
        n = len(found)
        assert found.targets.shape == (n, len(found.labels))
        assert ((found.targets >= 0) & (found.targets <= 1)).all()
        assert ((found.weights >= 1) & (found.weights <= 3)).all()
        assert len(set(found.task_ids.tolist())) == n
        if not found.multiple and n:
            np.testing.assert_allclose(found.targets.sum(axis=1), 1, rtol=1e-5)
