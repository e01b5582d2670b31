"""The queue: cold start, diversity, audit arm, and how they are mixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_backend.loop import acquisition
from ml_backend.loop.acquisition import audit_order, cold_start, interleave, rank
from ml_backend.loop.diversity import directions, representatives, squared_distances
from models.heads import SingleChoiceHead


def islands(sizes: list[int], d: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Groups of near-duplicates far from each other."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(sizes), d)) * 20
    of = np.repeat(np.arange(len(sizes)), sizes)
    return (centres[of] + rng.normal(size=(len(of), d))).astype(np.float32), of


def test_cold_start_visits_every_island_before_any_twice() -> None:
    x, of = islands([60, 55, 50, 45, 40])
    order = cold_start(x, 5, np.random.default_rng(0)).order
    assert sorted(of[order].tolist()) == [0, 1, 2, 3, 4]


def test_cold_start_takes_typical_rows_before_outliers() -> None:
    x, of = islands([150, 150])
    lonely = np.full((1, 8), 90.0, dtype=np.float32)
    order = cold_start(np.vstack([x, lonely]), 6, np.random.default_rng(0)).order
    assert 300 not in order[:2]
    for row in order[:2]:
        mates = x[of == of[row]]
        assert np.linalg.norm(x[row] - mates.mean(axis=0)) < np.median(
            np.linalg.norm(mates - mates.mean(axis=0), axis=1)
        )


def test_cold_start_leaves_known_regions() -> None:
    x, of = islands([100, 100, 100])
    order = cold_start(x, 2, np.random.default_rng(0), labelled=np.flatnonzero(of == 1)[:3]).order
    assert sorted(of[order].tolist()) == [0, 2]
    assert len(cold_start(x, 10, np.random.default_rng(0), excluded=np.arange(300))) == 0


def test_cold_start_of_a_large_pool_is_a_sample_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acquisition, "CANDIDATES", 120)
    x, of = islands([400, 300, 300])
    order = cold_start(x, 3, np.random.default_rng(0)).order
    assert sorted(of[order].tolist()) == [0, 1, 2]
    assert len(cold_start(x, 500, np.random.default_rng(0))) == 500


def doubtful_pool() -> tuple[np.ndarray, SingleChoiceHead]:
    """A crowd of near-duplicates on the border of two classes, and other doubtful rows.

    The last 80 are those that the head was fitted on.
    """
    rng = np.random.default_rng(0)
    train = rng.normal(size=(80, 6))
    train[:40, 0] += 4
    train[40:, 0] -= 4
    head = SingleChoiceHead(("a", "b")).fit(train, np.eye(2)[[0] * 40 + [1] * 40])
    many = rng.normal(size=(5000, 6)) * 3
    worst = many[head.uncertainty(many).argmax()]
    crowd = worst + rng.normal(size=(100, 6)) * 0.001
    others = rng.normal(size=(60, 6)) * 3
    others[:, 0] = rng.normal(size=60) * 0.3
    sure = rng.normal(size=(300, 6))
    sure[:, 0] = 6
    return np.vstack([crowd, others, sure, train]).astype(np.float32), head


def test_diversity_keeps_near_duplicates_apart() -> None:
    x, head = doubtful_pool()
    known = np.arange(460, 540)
    plain, spread = (
        rank(
            x, {"q": head}, "margin", 20, np.random.default_rng(0), labelled=known, diversity=spread
        ).order
        for spread in (False, True)
    )
    assert np.sum(plain < 100) > 10
    assert np.sum(spread < 100) <= 2
    assert np.sum(spread >= 160) <= 4


def test_labelled_neighbourhoods_count_as_known() -> None:
    x, head = doubtful_pool()
    spread = rank(x, {"q": head}, "margin", 10, np.random.default_rng(0), labelled=[0]).order
    assert np.sum(spread < 100) == 0


def test_coverage_gives_way_to_doubt_as_votes_come_in() -> None:
    x, head = doubtful_pool()
    doubts = []
    for known in (np.arange(460, 465), np.arange(460, 540)):
        found = rank(x, {"q": head}, "margin", 20, np.random.default_rng(0), labelled=known)
        doubts.append(found.uncertainty.mean())
    assert doubts[0] < 0.8 * doubts[1]


def test_without_heads_it_is_the_cold_start() -> None:
    x, _ = islands([50, 50])
    np.testing.assert_array_equal(
        rank(x, {}, "margin", 10, np.random.default_rng(3)).order,
        cold_start(x, 10, np.random.default_rng(3)).order,
    )


def test_candidates_narrow_with_votes() -> None:
    doubt = np.linspace(0, 1, 10_000, dtype=np.float32)
    rng = np.random.default_rng(0)
    assert len(np.unique(acquisition._candidates(doubt[:900], 10, "margin", rng))) == 900
    early = acquisition._candidates(doubt, 100, "margin", rng)
    late = acquisition._candidates(doubt, 2_000, "margin", rng)
    assert len(early) == acquisition.CANDIDATES
    assert doubt[early].min() == pytest.approx(0.5, abs=0.01)
    assert len(late) == 500
    assert doubt[late].min() == pytest.approx(0.95, abs=0.01)


def test_embeddings_must_be_a_table() -> None:
    with pytest.raises(ValueError, match=r"\[n, d\]"):
        cold_start(np.zeros(5), 1, np.random.default_rng(0))


def test_greedy_gains_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 3)).astype(np.float32)
    interest = rng.random(40).astype(np.float32)
    order, gain = representatives(points, 12, interest=interest, neighbours=5)
    similarity = squared_distances(points, points)
    width = np.median(np.sort(similarity, axis=1)[:, 5])
    similarity = np.exp(-similarity / width)
    covered = np.zeros(40)
    for row, said in zip(order, gain, strict=True):
        gains = np.maximum(similarity - covered, 0) @ interest
        assert said == pytest.approx(gains.max(), rel=1e-3)
        assert gains[row] == pytest.approx(gains.max(), rel=1e-3)
        covered = np.maximum(covered, similarity[row])


def test_representatives_of_one_and_of_equal_points() -> None:
    one = np.zeros((1, 2), dtype=np.float32)
    assert representatives(one, 5)[0].tolist() == [0]
    order, gain = representatives(np.repeat(one, 4, axis=0), 4)
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    assert gain[1:].max() == 0


def test_directions_of_constant_embeddings() -> None:
    assert directions(np.ones((5, 3))).apply(np.ones((2, 3))).shape == (2, 0)
    order = cold_start(np.ones((5, 3)), 5, np.random.default_rng(0)).order
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]


def test_audit_order_is_seeded_and_stable() -> None:
    ids = np.arange(1000) + 5_000_000_000
    order = audit_order(ids, 3)
    assert sorted(order.tolist()) == list(range(1000))
    np.testing.assert_array_equal(order, audit_order(ids, 3))
    assert (order != audit_order(ids, 4)).mean() > 0.9
    fewer = [i for i in order if i < 500]
    np.testing.assert_array_equal(fewer, audit_order(ids[:500], 3))
    # At random: the first hundred do not favour low numbers.
    assert 380 < order[:100].mean() < 620


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25, 0.5])
def test_every_stretch_of_the_queue_holds_its_share(fraction: float) -> None:
    order, audit = interleave(np.arange(1000), np.arange(5000, 6000), fraction)
    assert len(order) == 1000
    assert audit.sum() == pytest.approx(1000 * fraction, abs=1)
    window = round(1 / fraction)
    for start in range(0, 1000 - window, window):
        assert audit[start : start + window].sum() == 1
    np.testing.assert_array_equal(order[~audit], np.arange((~audit).sum()))
    np.testing.assert_array_equal(order[audit], np.arange(5000, 5000 + audit.sum()))


def test_interleave_at_its_ends() -> None:
    order, audit = interleave([1, 2, 3], [4, 5], 0)
    assert order.tolist() == [1, 2, 3]
    assert not audit.any()
    order, audit = interleave([1, 2, 3], [4, 5], 1)
    assert order.tolist() == [4, 5]
    assert audit.all()
    assert interleave([], [1, 2], 0.1)[0].tolist() == []
    with pytest.raises(ValueError, match="audit fraction"):
        interleave([1], [2], 1.5)


@given(
    st.lists(st.integers(0, 60), unique=True, max_size=40),
    st.lists(st.integers(0, 60), unique=True, max_size=40),
    st.floats(0, 1),
)
def test_interleave_never_repeats_and_never_invents(
    active: list[int], audit: list[int], fraction: float
) -> None:
    order, marks = interleave(active, audit, fraction)
    assert len(order) == len(marks) == len(set(order.tolist()))
    assert set(order[marks].tolist()) <= set(audit)
    assert set(order[~marks].tolist()) <= set(active)
    if fraction < 1:
        assert len(order) == len(active)
