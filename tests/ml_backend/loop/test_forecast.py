"""The forecast: it finds known curves, its band covers what comes, and it knows when it cannot."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from ml_backend.loop.forecast import CurveForecast, forecast_quality, why_not
from ml_backend.loop.pace import WINDOW, measure_pace
from ml_backend.loop.stopping import Agreement, agreement, enough_new, stop_advice

VOTES = np.array([20, 35, 50, 80, 120, 160, 240, 320, 480, 640], np.float64)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)  # a Monday


def _truth(votes: object, floor: float, scale: float, power: float) -> np.ndarray:
    return floor + scale * np.asarray(votes, np.float64) ** -power


def _measured(rng: np.random.Generator, error: np.ndarray) -> np.ndarray:
    """Qualities as versions have them: means over all galaxies so far, which later ones share."""
    draws = rng.random(int(VOTES[-1]))
    return np.array([1.0 - np.mean(draws[: int(v)] < e) for v, e in zip(VOTES, error, strict=True)])


def test_a_curve_without_noise_is_continued_rightly() -> None:
    error = _truth(VOTES, 0.05, 1.2, 0.5)
    curve = forecast_quality(VOTES, 1 - error, VOTES * 1e5)
    assert curve is not None
    low, middle, high = curve.quality([2000])
    expected = 1 - _truth(2000, 0.05, 1.2, 0.5)
    assert middle[0] == pytest.approx(expected, abs=0.01)
    assert low[0] <= middle[0] <= high[0]
    needed = curve.needed(0.92)
    truth = (1.2 / 0.03) ** 2 - 640
    assert needed.middle == pytest.approx(truth, rel=0.3)


@pytest.mark.parametrize(("floor", "scale", "power"), [(0.05, 1.2, 0.5), (0.1, 2.0, 0.7),
                                                       (0.0, 0.9, 0.25)])  # fmt: skip
def test_the_band_covers_what_comes(floor: float, scale: float, power: float) -> None:
    inside = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        measured = _measured(rng, _truth(VOTES, floor, scale, power))
        curve = forecast_quality(VOTES, measured, VOTES, seed=seed)
        assert curve is not None
        low, _, high = curve.quality([1920])[:, 0]
        inside += low <= 1 - _truth(1920, floor, scale, power) <= high
    # 80 of 100 are promised; a band that always covers would be no band.
    assert 70 <= inside <= 98


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_points_are_not_enough(count: int) -> None:
    quality = np.linspace(0.5, 0.7, 10)
    assert forecast_quality(VOTES[:count], quality[:count], VOTES[:count]) is None
    assert f"{count} of 4" in why_not(VOTES[:count], quality[:count], VOTES[:count])


def test_points_that_lie_together_are_not_enough() -> None:
    votes = [1000, 1001, 1002, 1003, 1004]
    assert forecast_quality(votes, [0.8] * 5, votes) is None
    assert "too close together" in why_not(votes, [0.8] * 5, votes)


def test_the_same_votes_again_and_what_is_not_finite_add_no_point() -> None:
    assert forecast_quality([50] * 9, [0.8] * 9, [50] * 9) is None
    votes = [10, 20, 40, np.nan, 80, -5, 100]
    quality = [0.5, 0.6, 0.7, 0.7, np.inf, 0.8, 1.7]
    assert "3 of 4" in why_not(votes, quality, votes)


def test_a_constant_quality_goes_on_as_it_is_and_never_reaches_more() -> None:
    curve = forecast_quality(VOTES, [0.8] * 10, VOTES * 100)
    assert curve is not None
    assert curve.quality([5000])[1, 0] == pytest.approx(0.8, abs=0.02)
    assert curve.needed(0.95).middle is None
    assert curve.needed(0.95).chance < 0.1
    assert curve.needed(0.5).middle == 0


def test_a_decreasing_quality_promises_nothing() -> None:
    curve = forecast_quality(VOTES, np.linspace(0.9, 0.6, 10), VOTES)
    assert curve is not None
    low, middle, high = curve.quality([VOTES[-1], 5000.0])
    assert middle[1] <= 0.9
    assert np.all((low >= 0) & (high <= 1))
    assert curve.needed(0.95).middle is None


@pytest.mark.parametrize("quality", [[0.0] * 10, [1.0] * 10])
def test_the_ends_of_the_scale_are_no_trouble(quality: list[float]) -> None:
    curve = forecast_quality(VOTES, quality, VOTES)
    assert curve is not None
    assert np.isfinite(curve.quality(VOTES)).all()


def test_the_order_of_points_and_the_seed_settle_the_forecast() -> None:
    quality = 1 - _truth(VOTES, 0.05, 1.2, 0.5)
    first = forecast_quality(VOTES, quality, VOTES, seed=3)
    again = forecast_quality(VOTES[::-1], quality[::-1], VOTES[::-1], seed=3)
    assert first is not None
    assert again is not None
    assert np.array_equal(first.quality([900.0]), again.quality([900.0]))


def test_lengths_that_differ_are_an_error() -> None:
    with pytest.raises(ValueError, match="Lengths differ"):
        forecast_quality([1, 2], [0.5], [1, 2])


YESTERDAY = NOW.date() - timedelta(days=1)


def _days(counts: list[float], last: date = YESTERDAY) -> dict[date, float]:
    return {last - timedelta(days=at): count for at, count in enumerate(reversed(counts))}


def test_a_steady_pace_names_the_day() -> None:
    pace = measure_pace(_days([100.0] * 28), NOW)
    assert pace is not None
    assert pace.per_day == pytest.approx(100)
    dates = pace.dates([950], NOW.date())
    # The tenth day from today on: 950 of 100 a day.
    assert dates.middle == NOW.date() + timedelta(days=9)
    assert dates.low == dates.high == dates.middle


def test_the_week_has_its_pattern() -> None:
    days = {NOW.date() - timedelta(days=at): 0.0 for at in range(1, 29)}
    days |= {day: 100.0 for day in days if day.weekday() < 5}
    pace = measure_pace(days, NOW)
    assert pace is not None
    friday = pace.dates([480], NOW.date()).middle
    after = pace.dates([570], NOW.date()).middle
    assert friday is not None
    assert after is not None
    assert (after - friday).days >= 2


def test_an_uneven_pace_gives_a_band_that_covers() -> None:
    inside = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        days = rng.poisson(60, 400) * (rng.random(400) < 0.6)
        pace = measure_pace(_days(days[:28].astype(float).tolist()), NOW)
        assert pace is not None
        came = int(np.argmax(np.cumsum(days[28:]) >= 1000))
        dates = pace.dates([1000], NOW.date(), seed=seed)
        assert dates.low is not None
        assert dates.high is not None
        inside += dates.low <= NOW.date() + timedelta(days=came) <= dates.high
    assert 42 <= inside <= 59


def test_days_without_votes_count_and_old_ones_do_not() -> None:
    pace = measure_pace({NOW.date() - timedelta(days=10): 50.0}, NOW)
    assert pace is not None
    assert pace.per_day == pytest.approx(5)
    assert len(pace.days) == 10
    assert measure_pace({NOW.date() - timedelta(days=WINDOW + 1): 50.0}, NOW) is None
    assert measure_pace({}, NOW) is None


def test_a_clock_that_went_wrong_is_no_pace() -> None:
    tomorrow = {NOW.date() + timedelta(days=at): 1000.0 for at in range(1, 5)}
    assert measure_pace(tomorrow, NOW) is None
    pace = measure_pace({**tomorrow, NOW.date() - timedelta(days=1): 10.0}, NOW)
    assert pace is not None
    assert pace.per_day == 10


def test_the_first_day_counts_by_its_part() -> None:
    pace = measure_pace({NOW.date(): 30.0}, NOW)
    assert pace is not None
    assert pace.per_day == pytest.approx(60)
    assert not pace.whole_days
    assert pace.dates([np.inf], NOW.date()).middle is None


def test_equal_labels_agree_and_others_do_not() -> None:
    same = agreement(["a", "b", "a"], ["a", "b", "a"])
    assert same is not None
    assert (same.kappa, same.changed) == (1.0, 0.0)
    alone = agreement(["a", "a"], ["a", "a"])
    assert alone is not None
    assert alone.kappa == 1.0
    other = agreement(["a", "a", "b", "b"], ["a", "b", "a", "b"])
    assert other is not None
    assert other.kappa == pytest.approx(0.0)
    assert other.changed == 0.5
    assert agreement([], []) is None


def test_versions_of_nearly_the_same_votes_are_not_compared() -> None:
    assert not enough_new(100, 109)
    assert enough_new(100, 110)
    assert not enough_new(1000, 1049)
    assert not enough_new(100, 50)


def _curve(scale: float) -> CurveForecast:
    return CurveForecast(1000.0, np.full(4, 0.1), np.full(4, scale), np.full(4, 0.5))


def test_stopping_needs_both_signs() -> None:
    stable, moved = Agreement(0.995, 0.002, 2000), Agreement(0.9, 0.06, 2000)
    assert stop_advice([stable] * 3, _curve(0.01)).state == "stop"
    assert stop_advice([stable] * 3, _curve(0.5)).state == "go_on"
    assert stop_advice([stable, moved, moved], _curve(0.01)).state == "go_on"
    assert stop_advice([stable] * 2, _curve(0.01)).state == "unknown"
    assert stop_advice([stable] * 3, None).state == "unknown"
    assert stop_advice([], None).state == "unknown"
    assert any("0.2 %" in reason for reason in stop_advice([stable] * 3, _curve(0.01)).reasons)
