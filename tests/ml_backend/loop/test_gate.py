"""The gate promotes what is not worse, and says why."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ml_backend.loop.consensus import Consensus
from ml_backend.loop.gate import compare
from ml_backend.loop.training import Unseen

LABELS = ("smooth", "spiral", "merger")
N = 120
TRUTH = np.random.default_rng(0).integers(0, 3, N)
IDS = np.arange(N) + 1000


def votes(labels: tuple[str, ...] = LABELS, n: int = N, multiple: bool = False) -> Consensus:
    targets = np.eye(len(labels), dtype=np.float32)[TRUTH[:n]]
    return Consensus(labels, multiple, IDS[:n], targets, np.ones(n, dtype=np.float32))


def version(
    skill: float, seed: int = 1, labels: tuple[str, ...] = LABELS, ids: np.ndarray = IDS
) -> dict[str, Unseen]:
    rng = np.random.default_rng(seed)
    logits = skill * np.eye(len(labels))[TRUTH[: len(ids)] % len(labels)]
    logits = logits + rng.normal(size=logits.shape) * 0.3
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return {"shape": Unseen(labels, ids, p.astype(np.float32))}


def test_better_is_promoted_worse_is_not() -> None:
    better = compare(version(1), version(3, 2), {"shape": votes()})
    assert better.promote
    assert "Promoted" in better.reason
    worse = compare(version(3), version(1, 2), {"shape": votes()})
    assert not worse.promote
    assert "worse on all unseen votes" in worse.reason
    figure = worse.figures["all"]
    assert figure["difference"] > 2 * figure["standard_error"] > 0
    assert f"{figure['difference']:+.3f}" in worse.reason
    json.dumps(worse.figures, allow_nan=False)


def test_equal_and_within_two_standard_errors_are_promoted() -> None:
    assert compare(version(2), version(2), {"shape": votes()}).promote
    worse = version(2)["shape"]
    # A hair worse on average, far better on some and worse on others.
    p = worse.probabilities.copy()
    rng = np.random.default_rng(3)
    p = p * np.exp(rng.normal(size=p.shape))
    p /= p.sum(axis=1, keepdims=True)
    decision = compare(
        version(2), {"shape": Unseen(LABELS, IDS, p.astype(np.float32))}, {"shape": votes()}
    )
    figure = decision.figures["all"]
    assert decision.promote == (figure["difference"] <= 2 * figure["standard_error"])


def test_standard_error_by_hand() -> None:
    old, new = version(1)["shape"], version(2, 2)["shape"]
    rows = np.arange(N)
    difference = np.log(old.probabilities[rows, TRUTH]) - np.log(new.probabilities[rows, TRUTH])
    figure = compare({"shape": old}, {"shape": new}, {"shape": votes()}).figures["all"]
    assert figure["difference"] == pytest.approx(difference.mean(), rel=1e-4)
    assert figure["standard_error"] == pytest.approx(difference.std(ddof=1) / np.sqrt(N), rel=1e-4)


def test_audit_arm_alone_can_refuse() -> None:
    """Better where the model asked, worse at random: the audit arm decides."""
    old, new = version(1)["shape"], version(6, 2)["shape"].probabilities.copy()
    bad = version(0, 3)["shape"].probabilities
    new[:35] = bad[:35]
    challenger = {"shape": Unseen(LABELS, IDS, new)}
    assert compare({"shape": old}, challenger, {"shape": votes()}).promote
    assert compare({"shape": old}, challenger, {"shape": votes()}, set(IDS[:29].tolist())).promote
    refused = compare({"shape": old}, challenger, {"shape": votes()}, set(IDS[:35].tolist()))
    assert not refused.promote
    assert "worse on the audit arm" in refused.reason
    assert refused.figures["audit"]["rows"] == 35


def test_first_version_and_no_votes() -> None:
    first = compare({}, version(0), {"shape": votes()})
    assert first.promote
    assert "first version" in first.reason
    none = compare(version(1), {}, {"shape": votes(n=0)})
    assert not none.promote
    assert "no vote" in none.reason


def test_too_few_to_compare_is_promoted_and_said() -> None:
    decision = compare(version(3), version(1, 2), {"shape": votes(n=4)})
    assert decision.promote
    assert "only 4 labelled galaxies" in decision.reason


def test_only_tasks_that_both_were_judged_on() -> None:
    decision = compare(version(2, ids=IDS[:50]), version(2, 2), {"shape": votes()})
    assert decision.figures["all"]["rows"] == 50


def test_changed_labels_are_compared_on_common_ones() -> None:
    old = version(2, labels=(*LABELS[:2], "gone"))
    decision = compare(old, version(2, 2), {"shape": votes()})
    assert "labels of 'shape' have changed, common ones compared" in decision.reason
    assert decision.figures["all"]["rows"] == np.sum(TRUTH < 2)
    strange = version(2, labels=("x", "y", "z"))
    decision = compare(strange, version(2, 2), {"shape": votes()})
    assert decision.promote
    assert "fewer than two are common" in decision.reason


def test_new_control_beside_an_old_one() -> None:
    challenger = {**version(1, 2), "bar": version(1)["shape"]}
    decision = compare(version(3), challenger, {"shape": votes(), "bar": votes()})
    assert not decision.promote
    assert "'bar' is new" in decision.reason


def test_answers_of_one_galaxy_are_not_independent() -> None:
    """The same control twice must not shrink the standard error."""
    one = compare(version(1), version(2, 2), {"shape": votes()}).figures["all"]
    twice = compare(
        {"a": version(1)["shape"], "b": version(1)["shape"]},
        {"a": version(2, 2)["shape"], "b": version(2, 2)["shape"]},
        {"a": votes(), "b": votes()},
    ).figures["all"]
    assert twice["standard_error"] == pytest.approx(one["standard_error"], rel=1e-5)
    assert twice["difference"] == pytest.approx(one["difference"], rel=1e-5)


def test_multiple_choice() -> None:
    decision = compare(version(3), version(0, 2), {"shape": votes(multiple=True)})
    assert not decision.promote
    assert decision.figures["controls"]["shape"]["champion"]["macro_auc"] > 0.9
