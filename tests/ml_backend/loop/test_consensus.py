"""Consensus counts people, not annotations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_backend.loop.consensus import LEAST_CHECKED, CastVote, consensus
from models.crowd.choices import ChoiceCrowd


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


def crowded(tasks: int = 40) -> list[CastVote]:
    """Two who are right, one who errs by half, and one who always says the same."""
    rng = np.random.default_rng(0)
    votes = []
    for task in range(tasks):
        truth = SHAPE.labels[rng.integers(3)]
        for person in ("anna", "ben"):
            said = truth if rng.random() < 0.95 else SHAPE.labels[rng.integers(3)]
            votes.append(vote(task, person, said))
        votes.append(vote(task, "cleo", truth if rng.random() < 0.5 else "smooth"))
        votes.append(vote(task, "same", "smooth"))
    return votes


def test_below_ten_checked_tasks_fractions_are_all_there_is() -> None:
    nine = consensus(crowded(9), [SHAPE])["shape"]
    assert nine.crowd is None
    assert nine.people == ()
    np.testing.assert_array_equal(nine.targets, nine.fractions)
    assert (nine.weights == 4).all()
    np.testing.assert_allclose(nine.counts, 4 * nine.fractions)
    ten = consensus(crowded(LEAST_CHECKED), [SHAPE])["shape"]
    assert isinstance(ten.crowd, ChoiceCrowd)


def test_lone_votes_never_make_a_crowd() -> None:
    votes = [vote(task, f"p{task % 3}", "smooth") for task in range(500)]
    found = consensus(votes, [SHAPE])["shape"]
    assert found.crowd is None
    assert (found.weights == 1).all()
    assert (found.targets[:, 0] == 1).all()


def test_with_a_crowd_targets_are_posteriors_and_fractions_stay() -> None:
    votes = crowded()
    found = consensus(votes, [SHAPE])["shape"]
    assert found.people == ("anna", "ben", "cleo", "same")
    assert found.crowd is not None
    np.testing.assert_allclose(found.targets, found.crowd.posterior, rtol=1e-6)
    np.testing.assert_allclose(found.fractions.sum(axis=1), 1)
    assert (found.answered == 4).all()
    two_against = (found.fractions[:, 0] == 0.5) & (found.fractions[:, 1] == 0.5)
    assert two_against.any()
    # Where anna and ben say one thing, cleo and the one who always says "smooth" another:
    assert (found.targets[two_against, 1] > 0.9).any()
    useful = found.crowd.usefulness()
    assert useful[3] < 0.1 < useful[:2].min()
    assert (found.weights < 4).all()
    assert (found.counts.sum(axis=1) <= 4).all()
    # The tree counts little of who always says the same.
    assert found.counts[found.fractions[:, 0] == 0.25][:, 0].max() < 0.2


def test_known_answers_are_targets_and_test_people_but_not_their_source() -> None:
    votes = [vote(task, "wrong", "smooth") for task in range(12)]
    votes += [CastVote(task, "expert", "shape", ("spiral",), is_known=True) for task in range(12)]
    golds = {(task, "shape"): ("spiral",) for task in range(12)}
    found = consensus(votes, [SHAPE], golds)["shape"]
    np.testing.assert_array_equal(found.targets, np.tile([0, 1, 0], (12, 1)))
    np.testing.assert_array_equal(found.fractions, np.tile([0.5, 0.5, 0], (12, 1)))
    assert (found.counts == [0, 2, 0]).all()
    assert (found.weights >= 1).all()
    assert found.crowd is not None
    told = dict(zip(found.people, found.crowd.votes_of_person, strict=True))
    assert told == {"expert": 0, "wrong": 12}
    reliability = dict(zip(found.people, found.crowd.confusion[:, 1, 1], strict=True))
    assert reliability["wrong"] < 0.2


def test_known_answers_count_before_there_is_a_crowd() -> None:
    golds = {(1, "shape"): ("spiral",), (1, "tags"): (), (9, "shape"): ("smooth",)}
    votes = [vote(1, "a", "smooth"), vote(2, "a", "smooth"), vote(1, "a", "bar", control="tags")]
    found = consensus(votes, [SHAPE, TAGS], golds)
    assert found["shape"].task_ids.tolist() == [1, 2]
    assert found["shape"].targets.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert found["tags"].targets.tolist() == [[0, 0]]


@pytest.mark.parametrize("labels", [("irregular",), ("smooth", "spiral"), ()])
def test_a_known_answer_that_is_none_is_passed_over(labels: tuple[str, ...]) -> None:
    found = consensus([vote(1, "a", "smooth")], [SHAPE], {(1, "shape"): labels})["shape"]
    assert found.targets.tolist() == [[1, 0, 0]]


def test_rows_keep_all_but_the_crowd() -> None:
    found = consensus(crowded(), [SHAPE])["shape"]
    part = found.rows(found.task_ids < 5)
    assert len(part) == 5
    assert part.crowd is None
    np.testing.assert_array_equal(part.targets, found.targets[:5])
    np.testing.assert_array_equal(part.answered, found.answered[:5])
    np.testing.assert_array_equal(part.counts, found.counts[:5])


def test_the_order_of_votes_changes_no_bit() -> None:
    votes = crowded()
    one = consensus(votes, [SHAPE])["shape"]
    other = consensus(votes[::-1], [SHAPE])["shape"]
    np.testing.assert_array_equal(one.targets, other.targets)
    np.testing.assert_array_equal(one.weights, other.weights)


PEOPLE = [f"person {number}" for number in range(6)] + ["annotation 7", "", "zooniverse ü", "💥"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_crowd_gives_probabilities(data: st.DataObject) -> None:
    one = st.builds(
        CastVote,
        st.integers(0, 25),
        st.sampled_from(PEOPLE),
        st.sampled_from(["shape", "tags"]),
        st.lists(st.sampled_from(["smooth", "spiral", "bar", "ring", "??"]), max_size=3).map(tuple),
        is_known=st.booleans(),
    )
    votes = data.draw(st.lists(one, min_size=60, max_size=200))
    known = st.lists(st.sampled_from(["smooth", "spiral", "ring"]), max_size=2).map(tuple)
    key = st.tuples(st.integers(0, 25), st.sampled_from(["shape", "tags"]))
    golds = data.draw(st.dictionaries(key, known, max_size=20))
    for found in consensus(votes, [SHAPE, TAGS], golds).values():
        assert ((found.targets >= 0) & (found.targets <= 1)).all()
        assert ((found.weights > 0) & (found.weights <= found.answered * (1 + 1e-6))).all()
        assert ((found.counts >= 0) & (found.counts <= found.answered[:, None] + 1e-5)).all()
        if not found.multiple:
            np.testing.assert_allclose(found.targets.sum(axis=1), 1, rtol=1e-5)
            assert (found.counts.sum(axis=1) <= found.answered * (1 + 1e-6)).all()
