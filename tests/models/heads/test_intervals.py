"""Half widths hold what they say, with few rows and with many."""

from __future__ import annotations

import numpy as np
import pytest

from models.heads.intervals import LEVELS, half_widths, share_within


@pytest.mark.parametrize("rows", [5, 30, 300])
@pytest.mark.parametrize("freedom", [3, 100])
def test_cover_on_average(rows: int, freedom: int) -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        widths = half_widths(np.abs(rng.standard_t(freedom, rows)))
        new = np.abs(rng.standard_t(freedom, 200))
        held.append([(new <= widths[list(LEVELS).index(level)]).mean() for level in (0.68, 0.95)])
    both = np.mean(held, axis=0)
    assert abs(both[0] - 0.68) < 0.05
    assert abs(both[1] - 0.95) < 0.03


@pytest.mark.parametrize("scores", [[], [0.0], [0.0] * 50, [1e12], [1e-12] * 3 + [1e6]])
def test_always_rise_and_are_above_zero(scores: list[float]) -> None:
    widths = half_widths(np.array(scores))
    assert np.isfinite(widths).all()
    assert widths[0] > 0
    assert (np.diff(widths) >= 0).all()


def test_share_is_the_inverse() -> None:
    widths = half_widths(np.abs(np.random.default_rng(0).normal(size=500)))
    np.testing.assert_allclose(share_within(widths, widths), LEVELS)
    assert share_within(np.array([0.0]), widths)[0] == 0
    assert share_within(np.array([1e9]), widths)[0] == 1
