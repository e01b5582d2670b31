"""Cohen's and Fleiss' kappa and Krippendorff's alpha against published examples."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import cohen_kappa_score

from models.crowd.chance_agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha

MISSING = np.nan

# Krippendorff (2011), section C: four observers, twelve units, answers missing.
OBSERVERS = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, MISSING, MISSING, MISSING],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, MISSING, 3],
    [MISSING, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, MISSING],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, MISSING],
])  # fmt: skip
UNITS = np.tile(np.arange(12), 4)

# Fleiss (1971), as in the usual textbook table: ten items, fourteen raters, five labels.
FOURTEEN = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def test_cohen_with_its_error() -> None:
    # Fleiss, Cohen & Everitt (1969), table 1: diagnoses of 200 patients by two doctors.
    table = np.array([[53, 5, 2], [11, 14, 5], [1, 6, 3]]) * 2
    kappa = cohen_kappa(table)
    assert kappa is not None
    assert kappa.value == pytest.approx(0.429, abs=0.001)
    assert kappa.agreed == pytest.approx(0.70)
    assert kappa.items == 200


def test_the_error_of_cohens_kappa_is_that_of_many_draws() -> None:
    truth = np.array([[0.4, 0.05, 0.02], [0.08, 0.2, 0.05], [0.01, 0.04, 0.15]])
    rng = np.random.default_rng(11)
    draws = rng.multinomial(400, truth.ravel(), size=3000).reshape(-1, 3, 3)
    values = [cohen_kappa(draw).value for draw in draws]
    assert cohen_kappa(truth * 400).error == pytest.approx(np.std(values), rel=0.05)


def test_cohen_is_as_scikit_learn_has_it() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        first = rng.integers(0, 4, 200)
        second = np.where(rng.random(200) < 0.6, first, rng.integers(0, 4, 200))
        table = np.zeros((4, 4))
        np.add.at(table, (first, second), 1)
        assert cohen_kappa(table).value == pytest.approx(cohen_kappa_score(first, second))


def test_fleiss() -> None:
    assert fleiss_kappa(FOURTEEN) == pytest.approx(0.210, abs=0.0005)


@pytest.mark.parametrize(
    ("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_krippendorff(level: str, published: float) -> None:
    assert krippendorff_alpha(UNITS, OBSERVERS.ravel(), level) == pytest.approx(
        published, abs=0.0005
    )


def test_alpha_by_pairs_is_the_same() -> None:
    """The definition, pair by pair, on random data of uneven items."""
    rng = np.random.default_rng(5)
    items, values = rng.integers(0, 30, 200), rng.integers(0, 4, 200).astype(float)
    totals = np.bincount(values[np.bincount(items)[items] > 1].astype(int), minlength=4)

    def apart(a: float, b: float, level: str) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (a - b) ** 2
        low, high = sorted((int(a), int(b)))
        return float((totals[low : high + 1].sum() - (totals[low] + totals[high]) / 2) ** 2)

    for level in ("nominal", "ordinal", "interval"):
        observed, kept = 0.0, []
        for item in np.unique(items):
            mine = values[items == item]
            if len(mine) > 1:
                kept += list(mine)
                pairs = sum(apart(a, b, level) for a in mine for b in mine)
                observed += pairs / (len(mine) - 1)
        n = len(kept)
        expected = sum(apart(a, b, level) for a in kept for b in kept) / (n - 1)
        assert_allclose(krippendorff_alpha(items, values, level), 1 - observed / expected)


def test_nothing_to_compare_says_nothing() -> None:
    assert cohen_kappa(np.zeros((3, 3))) is None
    assert cohen_kappa([[9, 0], [0, 0]]) is None, "one label only: chance agrees as well"
    assert fleiss_kappa(np.zeros((0, 3))) is None
    assert fleiss_kappa([[1, 0], [0, 1]]) is None
    assert krippendorff_alpha([], []) is None
    assert krippendorff_alpha([1, 2, 3], [0, 1, 0]) is None
    assert krippendorff_alpha([1, 1, 2, 2], [4, 4, 4, 4], "interval") is None


def test_perfect_and_absent_agreement() -> None:
    assert krippendorff_alpha([1, 1, 2, 2], [0, 0, 1, 1]) == 1.0
    assert fleiss_kappa([[3, 0], [0, 3]]) == 1.0
    assert cohen_kappa(np.eye(2) * 5).value == 1.0
    rng = np.random.default_rng(0)
    items, values = np.repeat(np.arange(5000), 4), rng.integers(0, 3, 20_000)
    assert abs(krippendorff_alpha(items, values)) < 0.02
    assert abs(krippendorff_alpha(items, values, "ordinal")) < 0.02


@pytest.mark.parametrize("table", [[[1, 2]], [[-1, 0], [0, 1]], [[np.nan, 0], [0, 1]], [1, 2]])
def test_no_table_of_counts(table: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        cohen_kappa(table)


def test_answers_must_fit() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        krippendorff_alpha([1, 2], [1])
    with pytest.raises(ValueError, match="ratio"):
        krippendorff_alpha([1, 1], [1, 2], "ratio")


def test_close_large_numbers_keep_their_digits() -> None:
    items = np.repeat(np.arange(100), 2)
    rng = np.random.default_rng(1)
    values = rng.normal(size=200)
    plain = krippendorff_alpha(items, values, "interval")
    assert krippendorff_alpha(items, values + 1e9, "interval") == pytest.approx(plain, abs=1e-5)


def test_a_million_answers_take_seconds() -> None:
    rng = np.random.default_rng(2)
    items, values = rng.integers(0, 200_000, 1_000_000), rng.integers(0, 5, 1_000_000)
    began = time.process_time()
    for level in ("nominal", "ordinal", "interval"):
        assert abs(krippendorff_alpha(items, values, level)) < 0.01
    assert time.process_time() - began < 10
