"""Every strategy passes the same tests; the measures are modAL's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modAL import uncertainty as modal

from ml_backend.loop import uncertainty
from ml_backend.loop.acquisition import STRATEGIES, combined_uncertainty, rank
from ml_backend.loop.uncertainty import PoolEstimator, head_uncertainty
from ml_backend.settings import Settings
from models.heads import Head, MultipleChoiceHead, SingleChoiceHead

LABELS = ("smooth", "spiral", "merger")
_rng = np.random.default_rng(0)
TRUTH = _rng.integers(0, 3, 400)
POOL = (_rng.normal(size=(400, 12)) + 2.5 * np.eye(12)[TRUTH]).astype(np.float16)
HEAD = SingleChoiceHead(LABELS).fit(POOL[:50], np.eye(3)[TRUTH[:50]])
MANY = MultipleChoiceHead(LABELS).fit(POOL[:50], np.eye(3)[TRUTH[:50]])


@pytest.fixture(params=STRATEGIES)
def strategy(request: pytest.FixtureRequest) -> str:
    return request.param


def check_order(order: np.ndarray, count: int, forbidden: set[int]) -> None:
    assert len(order) == count
    assert len(set(order.tolist())) == count
    assert not forbidden & set(order.tolist())
    assert order.dtype == np.int64


@pytest.mark.parametrize("head", [HEAD, MANY], ids=["single", "multiple"])
@pytest.mark.parametrize("diversity", [True, False])
def test_ranks_what_may_be_ranked(strategy: str, head: Head, diversity: bool) -> None:
    ranking = rank(
        POOL,
        {"shape": head},
        strategy,
        40,
        np.random.default_rng(1),
        committees={"shape": head.committee},
        labelled=np.arange(50),
        excluded=[60, 61],
        diversity=diversity,
    )
    check_order(ranking.order, 40, {*range(50), 60, 61})
    assert ranking.uncertainty.shape == (40,)
    assert ((ranking.uncertainty >= 0) & (ranking.uncertainty <= 1)).all()


def test_prefers_what_is_doubtful(strategy: str) -> None:
    ranking = rank(
        POOL,
        {"shape": HEAD},
        strategy,
        30,
        np.random.default_rng(1),
        committees={"shape": HEAD.committee},
        labelled=np.arange(50),
    )
    everything = head_uncertainty(HEAD, POOL, strategy, HEAD.committee)
    assert ranking.uncertainty.mean() > everything.mean() * 1.1


def test_without_diversity_the_order_is_that_of_the_measure(strategy: str) -> None:
    if strategy == "ranked_batch":
        pytest.skip("ranked batch weighs nearness by definition")
    ranking = rank(
        POOL,
        {"shape": HEAD},
        strategy,
        100,
        np.random.default_rng(1),
        committees={"shape": HEAD.committee},
        diversity=False,
    )
    doubt = head_uncertainty(HEAD, POOL, strategy, HEAD.committee)
    assert (np.diff(ranking.uncertainty) <= 0).all()
    np.testing.assert_allclose(ranking.uncertainty, np.sort(doubt)[::-1][:100])


def test_committee_strategies_do_without_a_committee(strategy: str) -> None:
    doubt = head_uncertainty(HEAD, POOL, strategy, ())
    assert np.ptp(doubt) > 0.1


def test_more_than_there_are_is_all(strategy: str) -> None:
    ranking = rank(
        POOL, {"shape": HEAD}, strategy, 10_000, np.random.default_rng(1), labelled=np.arange(380)
    )
    check_order(ranking.order, 20, set(range(380)))


def test_nothing_left_and_nothing_wanted(strategy: str) -> None:
    rng = np.random.default_rng(1)
    assert len(rank(POOL, {"a": HEAD}, strategy, 5, rng, labelled=np.arange(400))) == 0
    assert len(rank(POOL, {"a": HEAD}, strategy, 0, rng)) == 0
    assert len(rank(POOL[:0], {"a": HEAD}, strategy, 5, rng)) == 0


def test_same_generator_same_order(strategy: str) -> None:
    orders = [
        rank(POOL, {"a": HEAD}, strategy, 20, np.random.default_rng(7)).order for _ in range(2)
    ]
    np.testing.assert_array_equal(*orders)


def test_a_memory_map_is_read(strategy: str, tmp_path: Path) -> None:
    np.save(tmp_path / "pool.npy", POOL)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    found = rank(mapped, {"a": HEAD}, strategy, 20, np.random.default_rng(7)).order
    expected = rank(POOL, {"a": HEAD}, strategy, 20, np.random.default_rng(7)).order
    np.testing.assert_array_equal(found, expected)


def test_one_label_is_never_doubtful(strategy: str) -> None:
    head = SingleChoiceHead(("galaxy",)).fit(POOL[:5], np.ones((5, 1)))
    assert not head_uncertainty(head, POOL, strategy, head.committee).any()
    ranking = rank(POOL, {"a": head}, strategy, 10, np.random.default_rng(0))
    check_order(ranking.order, 10, set())


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("least_confidence", lambda p: modal._proba_uncertainty(p) * 1.5),
        ("margin", lambda p: 1 - modal._proba_margin(p)),
        ("entropy", lambda p: modal._proba_entropy(p) / np.log(3)),
    ],
)
def test_measures_are_those_of_modal(name: str, measure: object) -> None:
    expected = measure(HEAD.predict(POOL).astype(np.float64))  # type: ignore[operator]
    np.testing.assert_allclose(head_uncertainty(HEAD, POOL, name), expected, atol=1e-5)


def test_modal_does_the_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    """What modAL answers is what is used."""

    def last_first(learner: object, pool: np.ndarray, n_instances: int) -> tuple:
        return np.arange(len(pool))[::-1], np.linspace(0, 0.5, len(pool))

    monkeypatch.setitem(uncertainty._QUERIES, "entropy", last_first)
    doubt = head_uncertainty(HEAD, POOL, "entropy")
    np.testing.assert_allclose(doubt[::-1] * np.log(3), np.linspace(0, 0.5, 400), atol=1e-6)


def test_committee_measures_by_hand() -> None:
    said = np.stack([member.predict(POOL) for member in HEAD.committee])
    votes = np.stack([(said.argmax(axis=2) == k).mean(axis=0) for k in range(3)], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(votes * np.log(votes), axis=1)
    np.testing.assert_allclose(
        head_uncertainty(HEAD, POOL, "vote_entropy", HEAD.committee),
        entropy / np.log(3),
        atol=1e-5,
    )
    mean = said.mean(axis=0)
    np.testing.assert_allclose(
        head_uncertainty(HEAD, POOL, "consensus_entropy", HEAD.committee),
        -np.sum(mean * np.log(mean), axis=1) / np.log(3),
        atol=1e-5,
    )


def test_large_pools_are_sorted_out_before_the_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = head_uncertainty(HEAD, POOL, "vote_entropy", HEAD.committee)
    monkeypatch.setattr(uncertainty, "_MOST_VOTED", 200)
    quick = head_uncertainty(HEAD, POOL, "vote_entropy", HEAD.committee)
    top = np.argsort(-exact)[:20]
    assert set(top.tolist()) <= set(np.argsort(-quick)[:60].tolist())


def test_multiple_choice_is_the_mean_over_labels() -> None:
    p = MANY.predict(POOL)
    np.testing.assert_allclose(
        head_uncertainty(MANY, POOL, "margin"), (1 - np.abs(2 * p - 1)).mean(axis=1), atol=1e-5
    )


def test_several_controls_weigh_alike() -> None:
    """Doubt of one control in tiny numbers counts as much as the other's in large ones."""
    sure = SingleChoiceHead(("a", "b")).fit(POOL[:50], np.eye(2)[(TRUTH[:50] > 0).astype(int)])
    both = combined_uncertainty(POOL, {"x": HEAD, "y": sure}, "margin")
    each = [head_uncertainty(head, POOL, "margin") for head in (HEAD, sure)]
    shares = [np.array([(one < value).mean() for value in one]) * 400 / 399 for one in each]
    np.testing.assert_allclose(both, np.mean(shares, axis=0), atol=1e-5)


def test_settings_and_strategies_agree() -> None:
    allowed = Settings.model_fields["strategy"].annotation
    assert set(allowed.__args__) == set(STRATEGIES)  # type: ignore[union-attr]


def test_unknown_strategy_is_named() -> None:
    with pytest.raises(ValueError, match=r"Unknown strategy 'guess'.*margin"):
        rank(POOL, {"a": HEAD}, "guess", 5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="Unknown strategy"):
        head_uncertainty(HEAD, POOL, "guess")


@pytest.mark.parametrize("rows", [[-1], [400]])
def test_rows_outside_the_pool_are_named(rows: list[int]) -> None:
    with pytest.raises(ValueError, match="Rows must be in"):
        rank(POOL, {"a": HEAD}, "margin", 5, np.random.default_rng(0), labelled=rows)


def test_estimator_is_what_modal_asks_for() -> None:
    p = np.array([[0.2, 0.8], [0.6, 0.4]], dtype=np.float32)
    estimator = PoolEstimator(p)
    rows = np.array([[1], [0]])
    assert estimator.predict(rows).tolist() == [0, 1]
    assert estimator.fit(rows, np.array([0, 1])).score(rows, np.array([0, 0])) == 0.5
    np.testing.assert_array_equal(estimator.predict_proba(rows), p[::-1])


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 40),
    k=st.integers(0, 50),
    strategy=st.sampled_from(STRATEGIES),
    diversity=st.booleans(),
    data=st.data(),
)
def test_any_pool_is_ranked(n: int, k: int, strategy: str, diversity: bool, data: st.DataObject):
    seed = data.draw(st.integers(0, 100))
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 3, (n, 12)).astype(np.float32)
    labelled = rng.permutation(n)[: n // 3]
    ranking = rank(
        pool,
        {"a": HEAD},
        strategy,
        k,
        rng,
        committees={"a": HEAD.committee},
        labelled=labelled,
        diversity=diversity,
    )
    check_order(ranking.order, min(k, n - n // 3), set(labelled.tolist()))
    assert np.isfinite(ranking.uncertainty).all()
