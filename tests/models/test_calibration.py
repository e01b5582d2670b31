"""Calibration recovers what was distorted, and is careful with few rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from models.calibration import expected_calibration_error, fit_platt, fit_temperature


def drawn(n: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `factor` times too large for the labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 1.5
    p = softmax(logits, axis=1)
    truth = np.array([rng.choice(4, p=row) for row in p])
    return logits * factor, np.eye(4)[truth]


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_temperature_undoes_the_distortion(factor: float) -> None:
    assert fit_temperature(*drawn(4000, factor)) == pytest.approx(factor, rel=0.08)


def test_temperature_of_few_rows_stays_near_one() -> None:
    logits, targets = drawn(3, 1.0)
    right = 10 * targets
    assert 0.5 < fit_temperature(right, targets) < 1
    assert fit_temperature(logits[:0], targets[:0]) == 1.0
    assert fit_temperature(targets, targets, prior_votes=0) == pytest.approx(0.05, rel=0.4)


def test_weights_are_repetitions() -> None:
    logits, targets = drawn(50, 2.0)
    weights = np.random.default_rng(1).integers(1, 4, 50)
    repeated = np.repeat(np.arange(50), weights)
    assert fit_temperature(logits, targets, weights) == pytest.approx(
        fit_temperature(logits[repeated], targets[repeated]), rel=1e-3
    )


def test_platt_undoes_slope_and_offsets() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(6000, 2)) * 2
    targets = (rng.random(true.shape) < expit(true)).astype(float)
    slope, offsets = fit_platt(2 * true + [1.0, -2.0], targets)
    assert slope == pytest.approx(0.5, rel=0.08)
    np.testing.assert_allclose(offsets, [-0.5, 1.0], atol=0.12)


def test_platt_without_rows_changes_nothing() -> None:
    slope, offsets = fit_platt(np.zeros((0, 3)), np.zeros((0, 3)))
    assert slope == 1
    np.testing.assert_array_equal(offsets, 0)


@pytest.mark.parametrize("fit", [fit_temperature, fit_platt])
def test_broken_input(fit: object) -> None:
    with pytest.raises(ValueError, match="Shapes"):
        fit(np.zeros((3, 2)), np.zeros((3, 3)))  # type: ignore[operator]
    with pytest.raises(ValueError, match="finite"):
        fit(np.full((3, 2), np.nan), np.zeros((3, 2)))  # type: ignore[operator]


def test_calibration_error_by_hand() -> None:
    assert expected_calibration_error([0.8, 0.8, 0.8, 0.8], [1, 1, 1, 0]) == pytest.approx(0.05)
    assert expected_calibration_error([0.9, 0.1], [0, 1]) == pytest.approx(0.9)
    assert expected_calibration_error([0.9, 0.1], [1, 1], [1, 0]) == pytest.approx(0.1)
    assert expected_calibration_error([1.0], [1]) == 0
    assert np.isnan(expected_calibration_error([], []))
    with pytest.raises(ValueError, match="Lengths"):
        expected_calibration_error([0.5], [1, 0])
