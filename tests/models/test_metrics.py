"""Figures of quality against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as oracle

from models.metrics import accuracy, auc, label_accuracy, log_loss, macro_auc, quality


def sample(n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, n)
    p = softmax(np.eye(4)[truth] + rng.normal(size=(n, 4)), axis=1).round(2)
    p /= p.sum(axis=1, keepdims=True)
    return p, truth, rng.random(n) + 0.1


def test_macro_auc_is_that_of_scikit_learn() -> None:
    p, truth, weights = sample()
    targets = np.eye(4)[truth]
    each = [oracle.roc_auc_score(targets[:, j], p[:, j], sample_weight=weights) for j in range(4)]
    assert macro_auc(p, targets, weights) == pytest.approx(np.mean(each))


def test_log_loss_and_accuracy_are_those_of_scikit_learn() -> None:
    p, truth, weights = sample()
    targets = np.eye(4)[truth]
    assert log_loss(p, targets, weights) == pytest.approx(
        oracle.log_loss(truth, np.clip(p, 1e-7, 1), sample_weight=weights, labels=range(4))
    )
    assert accuracy(p, targets, weights) == pytest.approx(
        oracle.accuracy_score(truth, p.argmax(axis=1), sample_weight=weights)
    )


def test_fraction_is_two_rows() -> None:
    """A galaxy of which 3 of 4 people said yes is three yes and one no."""
    scores = np.array([0.9, 0.3, 0.5])
    fractions = np.array([0.75, 0.0, 1.0])
    assert auc(scores, fractions, [4, 1, 1]) == pytest.approx(
        auc([0.9] * 4 + [0.3, 0.5], [1, 1, 1, 0, 0, 1])
    )


def test_undefined_is_nan_and_none() -> None:
    assert np.isnan(auc([0.1, 0.2], [1, 1]))
    one = np.array([[1.0, 0.0]])
    assert np.isnan(macro_auc(one, one))
    assert np.isnan(accuracy(one[:0], one[:0]))
    figures = quality(one[:0], one[:0])
    assert figures == {
        "macro_auc": None,
        "accuracy": None,
        "log_loss": None,
        "calibration_error": None,
        "rows": 0.0,
    }


def test_label_left_out_where_it_cannot_be_measured() -> None:
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    assert macro_auc(p, np.eye(3)[:2]) == 1.0


def test_multiple_choice_figures() -> None:
    p = np.array([[0.9, 0.2], [0.6, 0.8]])
    t = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert label_accuracy(p, t) == 0.75
    assert log_loss(p, t, exclusive=False) == pytest.approx(-np.mean(np.log([0.9, 0.8, 0.4, 0.8])))
    assert quality(p, t, exclusive=False)["accuracy"] == 0.75


def test_certain_and_wrong_is_finite() -> None:
    assert np.isfinite(log_loss([[1.0, 0.0]], [[0.0, 1.0]]))
    assert np.isfinite(log_loss([[1.0, 0.0]], [[0.0, 1.0]], exclusive=False))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="Shapes"):
        macro_auc(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="Shapes"):
        auc([1.0], [1.0, 0.0])
