"""Labels that a level needs, and ratios of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from efficiency.curves import Curve, label_ratio, labels_needed, ratio_at_best


def curve(numbers: list[int], *rows: list[float]) -> Curve:
    return Curve(np.array(numbers), np.array(rows, dtype=float), tuple(range(len(rows))))


def test_between_two_numbers_the_mean_is_linear_in_the_logarithm() -> None:
    needed = labels_needed(curve([10, 1000], [0.6, 0.8]), 0.7)
    assert needed.labels == pytest.approx(100)
    assert not needed.at_most


def test_the_mean_over_the_seeds_decides() -> None:
    needed = labels_needed(curve([10, 1000], [0.5, 0.9], [0.7, 0.7]), 0.7)
    assert needed.labels == pytest.approx(100)


def test_a_level_that_is_lost_again_is_not_held() -> None:
    peaked = curve([10, 20, 40, 80], [0.6, 0.9, 0.7, 0.9])
    assert labels_needed(peaked, 0.8).labels == pytest.approx(math.sqrt(40 * 80))


def test_the_smallest_number_is_only_a_bound() -> None:
    needed = labels_needed(curve([5, 10], [0.8, 0.9]), 0.75)
    assert needed.at_most
    assert str(needed) == "<=5"


def test_a_level_that_is_not_reached_or_not_held_at_the_end_needs_infinitely_many() -> None:
    assert labels_needed(curve([5, 10], [0.8, 0.9]), 0.95).labels == math.inf
    assert labels_needed(curve([5, 10], [0.9, 0.8]), 0.85).labels == math.inf
    assert str(labels_needed(curve([5, 10], [0.8, 0.9]), 0.95)) == "-"


def test_what_is_known_before_the_first_label_takes_no_part() -> None:
    needed = labels_needed(curve([0, 10, 1000], [0.9, 0.6, 0.8]), 0.7)
    assert needed.labels == pytest.approx(100)
    assert labels_needed(curve([0], [0.9]), 0.7).labels == math.inf


def test_a_level_met_exactly_needs_just_that_number() -> None:
    assert labels_needed(curve([10, 20, 40], [0.6, 0.7, 0.8]), 0.7).labels == pytest.approx(20)


def test_ratio_at_the_best_level_of_the_first() -> None:
    slow = curve([20, 200, 2000], [0.5, 0.6, 0.7], [0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    fast = curve([5, 20, 80], [0.6, 0.7, 0.8], [0.6, 0.7, 0.8], [0.6, 0.7, 0.8])
    ratio = ratio_at_best(slow, fast)
    assert ratio.value == pytest.approx(100)
    assert (ratio.low, ratio.high) == (pytest.approx(100), pytest.approx(100))
    assert not ratio.at_least


def test_the_best_level_counts_with_the_fewest_labels_that_gave_it() -> None:
    early = curve([20, 200, 2000], [0.5, 0.7, 0.7])
    fast = curve([5, 20], [0.6, 0.8])
    assert ratio_at_best(early, fast).value == pytest.approx(200 / math.sqrt(5 * 20))


def test_a_ratio_against_the_smallest_number_is_a_lower_bound() -> None:
    ratio = ratio_at_best(curve([20, 200], [0.5, 0.6]), curve([5, 10], [0.7, 0.8]))
    assert str(ratio) == ">=40.0"


def test_a_second_curve_that_stays_below_has_a_ratio_of_nothing() -> None:
    ratio = ratio_at_best(curve([20, 200], [0.5, 0.9]), curve([5, 10], [0.7, 0.8]))
    assert ratio.value == 0
    assert str(ratio) == "not reached"


def test_the_interval_widens_with_the_spread_of_the_seeds() -> None:
    slow = curve([20, 200], [0.5, 0.70], [0.5, 0.66], [0.5, 0.74])
    fast = curve([5, 80], [0.6, 0.8], [0.6, 0.8], [0.6, 0.8])
    ratio = ratio_at_best(slow, fast)
    assert ratio.low < ratio.value < ratio.high
    assert ratio_at_best(slow, fast) == ratio


def test_seeds_that_only_one_curve_has_do_not_enter_the_interval() -> None:
    slow = curve([20, 200], [0.5, 0.7], [0.5, 0.7])
    assert math.isnan(ratio_at_best(slow, curve([5, 80], [0.6, 0.8])).low)


def test_nothing_is_known_where_both_have_only_bounds() -> None:
    assert math.isnan(label_ratio(curve([5], [0.9]), curve([5], [0.9]), 0.8).value)
    assert math.isnan(label_ratio(curve([5], [0.7]), curve([5], [0.9]), 0.8).value)


def test_spread_is_the_sample_deviation_and_0_for_one_seed() -> None:
    assert curve([5], [0.6], [0.8]).spread == pytest.approx([math.sqrt(0.02)])
    assert curve([5], [0.6]).spread == pytest.approx([0])
