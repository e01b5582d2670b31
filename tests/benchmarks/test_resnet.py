"""The baseline is a ResNet18 that learns, from nothing but the labels that it is given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from efficiency.resnet import (
    SETTINGS,
    ResNetSettings,
    label_weights,
    new_network,
    predict,
    random_features,
    stopping_part,
    train,
)
from numpy.typing import NDArray

TINY = replace(SETTINGS, side=32, shown=600, batch=4, held_from=16)


def pictures(settings: ResNetSettings, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Red and blue discs on a noisy sky."""
    rng = np.random.default_rng(0)
    side = settings.canvas_side
    truth = np.arange(count) % 2
    found = rng.integers(0, 40, (count, side, side, 3), dtype=np.uint8)
    centre = slice(side // 3, -(side // 3))
    for picture, label in zip(found, truth, strict=True):
        picture[centre, centre, 2 * label] += 200
    return found, truth


def test_it_has_the_size_of_a_resnet18() -> None:
    # 11,689,512 of He et al., less the layer of 1,000 ImageNet classes, plus one of four.
    parameters = sum(p.numel() for p in new_network(4, 0).parameters())
    assert parameters == 11_689_512 - 513 * 1000 + 513 * 4


def test_it_learns_what_can_be_learned_and_answers_in_probabilities() -> None:
    canvases, truth = pictures(TINY, 24)
    network = train(canvases, truth, 2, 0, TINY)
    answers = predict(network, canvases, TINY)
    assert answers.sum(axis=1) == pytest.approx(np.ones(24), abs=1e-5)
    assert np.mean(answers.argmax(axis=1) == truth) > 0.9


def test_the_same_seed_draws_the_same_weights() -> None:
    first, second, other = (new_network(2, seed).state_dict() for seed in (1, 1, 2))
    name = "classifier.1.weight"
    assert torch.equal(first[name], second[name])
    assert not torch.equal(first[name], other[name])


def test_untrained_features_are_finite_and_of_one_scale() -> None:
    canvases, _ = pictures(TINY, 8)
    features = random_features(canvases, 0, TINY)
    assert features.shape == (8, 512)
    assert np.isfinite(features).all()
    assert 0.01 < features.mean() < 100


def test_few_labels_are_all_learned_from() -> None:
    rng = np.random.default_rng(0)
    learned, kept = stopping_part(np.arange(20) % 2, rng, SETTINGS)
    assert len(learned) == 20
    assert len(kept) == 0


def test_the_part_for_stopping_has_a_share_of_each_label() -> None:
    truth = np.repeat([0, 1, 2], [100, 40, 2])
    learned, kept = stopping_part(truth, np.random.default_rng(0), SETTINGS)
    assert sorted([*learned, *kept]) == list(range(142))
    assert np.bincount(truth[kept], minlength=3).tolist() == [15, 6, 0]


def test_rare_labels_weigh_more_and_absent_ones_nothing() -> None:
    weights = label_weights(np.repeat([0, 2], [90, 10]), 3, 0.5).numpy()
    assert weights[1] == 0
    assert weights[2] == pytest.approx(3 * weights[0])
    assert 0.9 * weights[0] + 0.1 * weights[2] == pytest.approx(1)
    assert label_weights(np.repeat([0, 1], [90, 10]), 2, 0).tolist() == pytest.approx([1, 1])


def test_few_labels_are_seen_more_often_than_many() -> None:
    settings = replace(SETTINGS, shown=1600, batch=32)
    assert [settings.steps(n) for n in (5, 20, 320)] == [50, 50, 400]
