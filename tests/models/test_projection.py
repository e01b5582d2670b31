from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from models.projection import compose

Doubles = NDArray[np.float64]
REAL, WIDTH = 400, 12


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def real(rng: np.random.Generator) -> Doubles:
    mixing = rng.normal(size=(WIDTH, WIDTH))
    return 5 + rng.normal(size=(REAL, WIDTH)) @ mixing * np.geomspace(0.01, 100, WIDTH)


def standard(x: Doubles) -> Doubles:
    return (x - x.mean(axis=0)) / x.std(axis=0)


def embedded(x: Doubles, components: int = 64) -> Doubles:
    weight, bias = compose(x, components)
    assert weight.dtype == bias.dtype == np.float32
    return np.asarray(x @ weight.T + bias)


def test_distances_are_those_of_the_standardised_numbers(real: Doubles) -> None:
    rows = embedded(real)
    assert rows.shape == (REAL, WIDTH)
    ratio = pdist(rows) / pdist(standard(real))
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


def test_few_components_are_the_leading_ones(real: Doubles) -> None:
    u, sizes, _ = np.linalg.svd(standard(real), full_matrices=False)
    ratio = pdist(embedded(real, 3)) / pdist(u[:, :3] * sizes[:3])
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


def test_numbers_are_centred_and_of_one_size_together(real: Doubles) -> None:
    rows = embedded(real, 5)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-3)
    assert (rows**2).mean() == pytest.approx(1, abs=1e-3)


def test_standardising_them_changes_little(rng: np.random.Generator) -> None:
    # One strong direction and many weak ones: unturned, standardising would drown the strong one.
    wide = rng.normal(size=(800, 1)) @ rng.normal(size=(1, 60)) + 0.4 * rng.normal(size=(800, 60))
    rows = embedded(wide, 40)
    spread = rows.std(axis=0)
    assert spread.max() < 8 * spread.min()
    assert np.corrcoef(pdist(standard(rows)), pdist(rows))[0, 1] > 0.9


def test_units_of_the_numbers_do_not_matter(real: Doubles, rng: np.random.Generator) -> None:
    factors = np.exp(rng.normal(size=WIDTH))
    np.testing.assert_allclose(embedded(real * factors + 2), embedded(real), atol=2e-3)


def test_the_same_stamps_give_the_same_map(real: Doubles) -> None:
    for first, again in zip(compose(real), compose(real.copy()), strict=True):
        np.testing.assert_array_equal(first, again)


def test_fewer_stamps_than_numbers(real: Doubles) -> None:
    weight, bias = compose(real[:5])
    assert weight.shape == (4, WIDTH), "five points span four directions"
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()


def test_numbers_that_never_change_are_left_out(real: Doubles) -> None:
    dead = np.hstack([real, np.full((REAL, 2), 3.7)])
    weight, _ = compose(dead)
    assert weight.shape == (WIDTH, WIDTH + 2)
    assert (weight[:, -2:] == 0).all()


def test_stamps_that_are_all_alike_are_refused() -> None:
    with pytest.raises(ValueError, match="all alike"):
        compose(np.full((5, 4), 2.5))
