"""Curved features: likeness to galaxies of the pool."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.heads import Head, HeadError, MultipleChoiceHead, SingleChoiceHead, load_head
from models.heads.landmarks import Curves, landmarks_of, likeness
from models.metrics import macro_auc

LABELS = ("inside", "outside")


def rings(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """One label around the other: no plane parts them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    outside = np.sum(x**2, axis=1) > 3.4
    return x.astype(np.float32), np.eye(2)[outside.astype(int)]


@pytest.fixture(params=[SingleChoiceHead, MultipleChoiceHead], ids=lambda cls: cls.kind)
def cls(request: pytest.FixtureRequest) -> type[Head]:
    return request.param


def test_a_pool_lets_a_head_learn_what_no_plane_parts(cls: type[Head]) -> None:
    x, t = rings(120)
    pool, _ = rings(600, 1)
    unseen, truth = rings(600, 2)
    assert macro_auc(cls(LABELS).fit(x, t).predict(unseen), truth) < 0.7
    head = cls(LABELS).fit(x, t, pool=pool)
    assert macro_auc(head.predict(unseen), truth) > 0.85
    assert head.out_of_fold is not None
    assert macro_auc(head.out_of_fold, t) > 0.8


def test_kept_and_read_back_with_its_landmarks(cls: type[Head], tmp_path: Path) -> None:
    x, t = rings(60)
    head = cls(LABELS).fit(x, t, pool=rings(300, 1)[0])
    head.save(tmp_path)
    np.testing.assert_array_equal(load_head(tmp_path).predict(x), head.predict(x))
    for name in ("curve", "points"):
        tensors = load_file(tmp_path / "head.safetensors")
        for broken in (tensors[name][:-1], np.full_like(tensors[name], np.nan)):
            save_file({**tensors, name: broken}, tmp_path / "head.safetensors")
            with pytest.raises(HeadError, match="curve"):
                load_head(tmp_path)
        save_file(tensors, tmp_path / "head.safetensors")
    del tensors["basis"]
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(HeadError, match="basis"):
        load_head(tmp_path)


def test_far_from_all_landmarks_answers_stay_finite(cls: type[Head]) -> None:
    x, t = rings(60)
    head = cls(LABELS).fit(x, t, pool=rings(300, 1)[0])
    p = head.predict(np.full((1, 4), 1e4, dtype=np.float32))
    assert np.isfinite(p).all()


def test_a_prior_must_be_linear(cls: type[Head]) -> None:
    x, t = rings(60)
    curved = cls(LABELS).fit(x, t, pool=rings(300, 1)[0])
    with pytest.raises(HeadError, match="without a pool"):
        cls(LABELS).fit(x, t, prior=curved)


def test_features_reproduce_the_kernel_between_landmarks() -> None:
    """The features' products are likenesses, up to scale and centre (Nystroem is exact there)."""
    found = landmarks_of(rings(100)[0], 0)
    assert found is not None
    raw = likeness(found.points, found.points, found.width)
    features = raw @ found.whitening
    gram = features @ features.T
    np.testing.assert_allclose(gram / gram[0, 0], raw, atol=1e-3)


def test_what_is_kept_agrees_with_what_was_fitted() -> None:
    x, _ = rings(100)
    found = landmarks_of(x, 0)
    assert found is not None
    np.testing.assert_allclose(Curves.of(found).likeness(x), found.likeness(x), atol=1e-4)
    coefficients = np.random.default_rng(0).normal(size=(found.whitening.shape[1], 2))
    curve, bias = found.unfold(coefficients, np.ones(2))
    np.testing.assert_allclose(
        found.likeness(x) @ curve + bias, found.features(x) @ coefficients + 1, atol=1e-8
    )


def test_pools_without_variety_give_no_landmarks() -> None:
    assert landmarks_of(np.ones((50, 4)), 0) is None
    assert landmarks_of(np.repeat(np.eye(4), 20, axis=0), 0) is None
    assert landmarks_of(rings(5)[0], 0) is None
