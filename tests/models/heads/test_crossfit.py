"""The weights of the penalties owe nothing to the votes that they are judged on."""

from typing import Any

import numpy as np
import pytest

from models.heads import crossfit
from models.metrics import macro_auc


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_row_is_not_weighed_by_its_own_vote(
    monkeypatch: pytest.MonkeyPatch, exclusive: bool
) -> None:
    rng = np.random.default_rng(5)
    embeddings = rng.normal(size=(12, 6)).astype(np.float32)
    targets = np.eye(3)[rng.integers(0, 3, 12)]
    changed = targets.copy()
    changed[0] = np.roll(changed[0], 1)
    fold = np.arange(12) % 4
    # Models that learn nothing: then a vote can act through the weights of the grid alone.
    grid = rng.normal(size=(len(crossfit.VARIANCES), 6, 3)), np.zeros((len(crossfit.VARIANCES), 3))

    def learns_nothing(*_: Any) -> Any:
        return grid

    monkeypatch.setattr(crossfit, "folds_of", lambda *_: fold)
    monkeypatch.setattr(crossfit, "fit_linear", learns_nothing)
    one, other = (
        crossfit.cross_fit(embeddings, t, np.ones(12), exclusive=exclusive).logits
        for t in (targets, changed)
    )
    np.testing.assert_allclose(one[fold == 0], other[fold == 0], rtol=1e-12)
    assert not np.allclose(one[fold != 0], other[fold != 0])


def test_few_rows_do_not_decide_between_members() -> None:
    """Half a dozen votes weigh the members, they do not choose one: answers would jump about."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8)).astype(np.float32)
    truth = np.eye(2)[(x[:, 0] > 0).astype(int)]
    prior = np.zeros((8, 2)), np.zeros(2)
    prior[0][0] = [-1, 1]
    for seed in range(6):
        rows = np.random.default_rng(seed).permutation(400)[:6]
        fit = crossfit.cross_fit(
            x[rows], truth[rows], np.ones(6), exclusive=True, pool=x, prior=prior, seed=seed
        )
        weight, bias, curve = fit.model
        assert fit.landmarks is not None
        said = x @ weight + bias + fit.landmarks.likeness(x) @ curve
        assert macro_auc(said, truth) > 0.9
