from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.projection import compose

Doubles = NDArray[np.float64]
REAL, MADE, WIDTH = 400, 300, 12


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def real(rng: np.random.Generator) -> Doubles:
    mixing = rng.normal(size=(WIDTH, WIDTH))
    return 5 + rng.normal(size=(REAL, WIDTH)) @ mixing * np.geomspace(0.01, 100, WIDTH)


@pytest.fixture
def made(rng: np.random.Generator) -> Doubles:
    mixing = rng.normal(size=(WIDTH, WIDTH))
    return -3 + rng.normal(size=(MADE, WIDTH)) @ mixing * np.geomspace(0.01, 100, WIDTH)


def standard(x: Doubles) -> Doubles:
    return (x - x.mean(axis=0)) / x.std(axis=0)


def float32(x: Doubles) -> NDArray[np.float32]:
    return x.astype(np.float32)


def test_truth_is_read_with_the_slopes_of_simulated_galaxies(
    real: Doubles, made: Doubles, rng: np.random.Generator
) -> None:
    slopes = rng.normal(size=(WIDTH, 2)) / made.std(axis=0)[:, None]
    measured = float32(rng.normal(size=(REAL, 3)))
    weight, bias = compose(real, measured, made, float32(made @ slopes + 40), ridge=1e-9)
    read = (real @ weight.T + bias)[:, :2]
    np.testing.assert_allclose(read, standard(real @ slopes), atol=1e-3)


def test_components_are_those_of_the_predicted_measurements(
    real: Doubles, made: Doubles, rng: np.random.Generator
) -> None:
    # Three orthogonal directions, of sizes 3, 2 and 1, and noise that the numbers do not hold.
    hidden = np.linalg.svd(standard(real), full_matrices=False)[0][:, :3] * np.sqrt(REAL)
    axes = np.linalg.qr(rng.normal(size=(20, 3)))[0].T
    measured = hidden * (3, 2, 1) @ axes
    noise = rng.normal(size=(REAL, 20))
    noise -= hidden @ np.linalg.lstsq(hidden, noise, rcond=None)[0]
    truth = float32(rng.normal(size=(MADE, 1)))
    weight, bias = compose(real, float32(measured), made, truth, components=3, ridge=1e-9)
    found = (real @ weight.T + bias)[:, 1:]
    np.testing.assert_allclose(np.abs(found.T @ hidden) / REAL, np.eye(3), atol=1e-3)
    fainter, _ = compose(real, float32(measured + noise), made, truth, components=2, ridge=1e-9)
    agreement = np.corrcoef(((real - real.mean(axis=0)) @ fainter.T)[:, 1], hidden[:, 0])[0, 1]
    assert abs(agreement) > 0.9


def test_outputs_are_standard_over_real_stamps_and_components_white(
    real: Doubles, made: Doubles, rng: np.random.Generator
) -> None:
    measured = float32(standard(real @ rng.normal(size=(WIDTH, 50))))
    truth = float32(rng.normal(size=(MADE, 5)))
    weight, bias = compose(real, measured, made, truth, components=8)
    assert weight.shape == (5 + 8, WIDTH)
    assert bias.shape == (13,)
    assert weight.dtype == bias.dtype == np.float32
    read = real @ weight.T.astype(np.float64) + bias
    np.testing.assert_allclose(read.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(read.std(axis=0), 1, atol=1e-3)
    np.testing.assert_allclose(np.cov(read[:, 5:].T, bias=True), np.eye(8), atol=1e-3)
    again = compose(real, measured, made, truth, components=8)
    assert np.array_equal(again[0], weight)
    assert np.array_equal(again[1], bias)


def test_scales_of_pooled_numbers_do_not_matter(
    real: Doubles, made: Doubles, rng: np.random.Generator
) -> None:
    measured, truth = float32(rng.normal(size=(REAL, 6))), float32(rng.normal(size=(MADE, 2)))
    factors = np.geomspace(0.1, 10, WIDTH)
    weight, bias = compose(real, measured, made, truth, components=4)
    other, moved = compose(real * factors + 2, measured, made * factors - 1, truth, components=4)
    np.testing.assert_allclose(
        (real * factors + 2) @ other.T + moved, real @ weight.T + bias, atol=2e-3
    )


def test_there_are_no_more_components_than_stamps_differ_by(rng: np.random.Generator) -> None:
    few, made = rng.normal(size=(4, WIDTH)), rng.normal(size=(9, WIDTH))
    measured, truth = float32(rng.normal(size=(4, 50))), float32(rng.normal(size=(9, 2)))
    weight, _ = compose(few, measured, made, truth)
    assert weight.shape == (2 + 3, WIDTH), "four stamps differ along three directions"
    fewer, _ = compose(few, measured[:, :1], made, truth)
    assert fewer.shape == (2 + 1, WIDTH)


def test_what_never_changes_gives_nothing(rng: np.random.Generator) -> None:
    same = np.full((5, WIDTH), 3.0)
    made, truth = rng.normal(size=(9, WIDTH)), float32(rng.normal(size=(9, 2)))
    weight, bias = compose(same, np.zeros((5, 4), np.float32), made, truth)
    assert weight.shape == (2, WIDTH)
    assert np.isfinite(weight).all()
    np.testing.assert_allclose(same @ weight.T + bias, 0, atol=1e-6)
    dead = rng.normal(size=(50, WIDTH))
    dead[:, 3] = 0
    weight, bias = compose(dead, float32(rng.normal(size=(50, 4))), made, truth)
    assert np.isfinite(weight).all()
    assert np.abs(dead @ weight.T + bias).max() < 10
