"""More like this: examples come first, and like them what is like them."""

from __future__ import annotations

import numpy as np
import pytest

from models.metrics import auc
from models.similarity import more_like


def kinds(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    liked = np.arange(n) % 10 == 0
    x = rng.normal(size=(n, 12))
    x[:, :3] += 2.0 * liked[:, None]
    return x.astype(np.float32), liked


@pytest.mark.parametrize("examples", [1, 4])
def test_like_galaxies_come_first(examples: int) -> None:
    x, liked = kinds(400)
    chosen = np.flatnonzero(liked)[:examples]
    scores = more_like(x, x[chosen])
    assert scores.shape == (400,)
    assert scores.min() >= 0
    assert scores.max() <= 1
    rest = np.setdiff1d(np.arange(400), chosen)
    assert auc(scores[rest], liked[rest]) > 0.75
    if examples == 1:
        assert scores.argmax() == chosen[0]
        assert scores[chosen[0]] == pytest.approx(1, abs=1e-5)


def test_the_scale_of_a_number_does_not_matter() -> None:
    x, _ = kinds(100)
    scale = np.geomspace(1e-3, 1e3, 12)
    np.testing.assert_allclose(more_like(x * scale, x[:2] * scale), more_like(x, x[:2]), atol=1e-4)


def test_none_to_rank() -> None:
    x, _ = kinds(20)
    assert more_like(x[:0], x[:1], x).shape == (0,)
    assert np.isfinite(more_like(x[:1], x[:1])).all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((np.zeros((4, 3)), np.zeros((0, 3))), "example"),
        ((np.zeros((4, 3)), np.zeros((1, 2))), "cannot be compared"),
        ((np.zeros((4, 3)), np.zeros((1, 3)), np.zeros((5, 2))), "pool"),
        ((np.full((4, 3), np.nan), np.zeros((1, 3))), "not finite"),
        ((np.zeros(4), np.zeros((1, 3))), r"\[n, d\]"),
    ],
)
def test_broken_input_is_named(given: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        more_like(*given)
