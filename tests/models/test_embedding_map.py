"""The map: neighbours stay neighbours, the seed decides, and nothing is too few or broken."""

from __future__ import annotations

import numpy as np
import pytest

from models.embedding_map import flat_map


def _groups(count: int, kinds: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    of = rng.integers(0, kinds, count)
    return (rng.normal(size=(kinds, 64)) * 2)[of] + rng.normal(size=(count, 64)), of


def _map(table: np.ndarray, seed: int = 0, **options: int) -> np.ndarray:
    values = table.astype(np.float32)
    return flat_map(lambda rows: values[rows], len(values), seed, **options)


def _same_kind(places: np.ndarray, of: np.ndarray) -> float:
    far = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(far, np.inf)
    return float((of[far.argmin(axis=1)] == of).mean())


def test_kinds_stay_together_also_those_that_are_no_landmarks() -> None:
    table, of = _groups(900)
    places = _map(table, landmarks=200)
    assert places.shape == (900, 2)
    assert np.abs(places).max() <= 1
    assert _same_kind(places, of) > 0.97


def test_a_shuffled_table_would_not_pass() -> None:
    table, of = _groups(400)
    assert _same_kind(_map(table), np.random.default_rng(1).permutation(of)) < 0.5


def test_the_seed_decides() -> None:
    table, _ = _groups(300)
    np.testing.assert_array_equal(_map(table, 3, landmarks=100), _map(table, 3, landmarks=100))
    assert not np.array_equal(_map(table, 3, landmarks=100), _map(table, 4, landmarks=100))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9, 10, 31])
def test_few_galaxies_have_places(count: int) -> None:
    table, _ = _groups(max(count, 1))
    places = _map(table[:count])
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    if count > 2:
        assert len(np.unique(places, axis=0)) == count


def test_equal_and_broken_embeddings_break_nothing() -> None:
    assert np.isfinite(_map(np.ones((40, 8)))).all()
    table, _ = _groups(200)
    table[20:] = table[0]
    assert np.isfinite(_map(table)).all()
    table, _ = _groups(120)
    table[3] = np.nan
    table[100] = np.inf
    places = _map(table, landmarks=60)
    assert np.isfinite(places).all()
    assert (places[3] == 0).all()
    assert np.isfinite(_map(np.full((20, 8), np.nan))).all()


def test_it_tells_how_far_it_is_and_can_be_stopped() -> None:
    table, _ = _groups(60)
    values = table.astype(np.float32)
    told: list[float] = []
    flat_map(lambda rows: values[rows], 60, landmarks=30, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flat_map(lambda rows: values[rows], 60, landmarks=30, progress=stop)
