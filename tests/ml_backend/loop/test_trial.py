"""The trial of a tuned LVM: what is kept from tuning, and what counts as better."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ml_backend.loop.acquisition import audit_order
from ml_backend.loop.consensus import Consensus
from ml_backend.loop.training import Unseen, train
from ml_backend.loop.trial import GAIN, judge, quality_without, withheld, without

IDS = np.random.default_rng(0).permutation(500).astype(np.int64)


def test_a_fifth_is_kept_from_tuning_the_audit_arms_first() -> None:
    kept = withheld(IDS, seed=3)
    assert kept.sum() == 100
    order = IDS[audit_order(IDS, 3)]
    assert set(IDS[kept]) == set(order[:100])
    assert set(IDS[::-1][withheld(IDS[::-1], seed=3)]) == set(IDS[kept]), (
        "the order given is all one"
    )
    assert (withheld(IDS, seed=4) != kept).any()
    assert withheld(IDS[:0], seed=3).shape == (0,)


def test_mostly_the_same_ones_are_kept_when_labels_double() -> None:
    few, many = (set(IDS[:n][withheld(IDS[:n], seed=3)]) for n in (250, 500))
    assert len(few & many) > 0.7 * len(few)


def votes(n: int = 200, seed: int = 0) -> Consensus:
    truth = np.random.default_rng(seed).integers(0, 2, n)
    return Consensus(
        ("a", "b"), False, np.arange(n), np.eye(2, dtype=np.float32)[truth], np.ones(n, np.float32)
    )


def told(cast: Consensus, right: float, noise: float = 0.0, seed: int = 1) -> dict[str, Unseen]:
    """Give the true label this probability, more or less."""
    sure = right + noise * np.random.default_rng(seed).uniform(-1, 1, len(cast))
    answers = np.where(cast.targets > 0.5, sure[:, None], 1 - sure[:, None]).astype(np.float32)
    return {"shape": Unseen(cast.labels, cast.task_ids, answers)}


@pytest.mark.parametrize(
    ("tuned", "noise", "promote", "said"),
    [
        (0.8, 0.1, True, "Promoted"),
        (0.7, 0.0, False, "gained less than a standard error"),
        (0.5, 0.1, False, "worse on all unseen votes"),
    ],
)
def test_a_tuned_lvm_must_be_better_and_not_just_as_good(
    tuned: float, noise: float, promote: bool, said: str
) -> None:
    cast = votes()
    decision = judge(told(cast, 0.7), told(cast, tuned, noise), {"shape": cast})
    assert decision.promote is promote
    assert said in decision.reason
    figure = decision.figures["all"]
    assert promote == (figure["difference"] < -GAIN * figure["standard_error"])


def test_a_gain_within_the_noise_is_none() -> None:
    cast = votes()
    decision = judge(told(cast, 0.7, 0.25, seed=2), told(cast, 0.7, 0.25), {"shape": cast})
    assert -decision.figures["all"]["standard_error"] < decision.figures["all"]["difference"]
    assert not decision.promote


def test_too_few_to_judge_on_is_a_refusal() -> None:
    cast = votes(4)
    decision = judge(told(cast, 0.6), told(cast, 0.9), {"shape": cast})
    assert not decision.promote
    assert "too few" in decision.reason


def test_votes_and_figures_without_what_tuning_saw() -> None:
    cast = votes()
    seen = np.arange(0, 200, 2)
    assert without({"shape": cast}, seen)["shape"].task_ids.tolist() == list(range(1, 200, 2))
    trained = train({"shape": cast}, cast.task_ids, embedded(cast))
    assert quality_without(trained, np.zeros(0, np.int64)) == trained.quality
    figures = quality_without(trained, seen)["shape"]
    assert figures["rows"] == 100
    assert figures != trained.quality["shape"]
    assert quality_without(trained, cast.task_ids)["shape"] == {}


def embedded(cast: Consensus) -> NDArray[np.float32]:
    noise = np.random.default_rng(4).normal(size=(len(cast), 3)).astype(np.float32)
    noise[:, 0] += cast.targets[:, 0]
    return noise
