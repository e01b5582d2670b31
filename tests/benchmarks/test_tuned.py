from __future__ import annotations

import numpy as np
import pytest
from efficiency.tuned import gains, withheld

from ml_backend.loop.gate import GateDecision


def test_the_same_galaxies_are_withheld_however_many_are_labelled() -> None:
    ids = np.random.default_rng(0).permutation(500)
    whole = withheld(ids, 0.2, seed=3)
    np.testing.assert_array_equal(withheld(ids[:60], 0.2, seed=3), whole[:60])
    np.testing.assert_array_equal(withheld(ids[::-1], 0.2, seed=3), whole[::-1])
    assert 60 < whole.sum() < 140
    assert (withheld(ids, 0.2, seed=4) != whole).any()


@pytest.mark.parametrize(
    ("promote", "difference", "expected"),
    [(True, -0.01, True), (True, 0.01, False), (False, 0.2, False)],
)
def test_a_tuned_lvm_must_be_better_and_not_just_as_good(
    promote: bool, difference: float, expected: bool
) -> None:
    assert gains(GateDecision(promote, "", {"all": {"difference": difference}})) is expected


def test_a_tuned_lvm_that_could_not_be_compared_gains_nothing() -> None:
    assert not gains(GateDecision(True, "Promoted: only 3 labelled galaxies can be compared.", {}))
