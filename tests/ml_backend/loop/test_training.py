"""Training: heads per control, and honest predictions for labelled galaxies."""

from __future__ import annotations

import numpy as np

from ml_backend.loop.consensus import Consensus
from ml_backend.loop.training import train, unseen_by
from models.heads import MultipleChoiceHead, SingleChoiceHead

LABELS = ("smooth", "spiral")


def project(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Task numbers, embeddings and truth of a project."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    x = rng.normal(size=(n, 16))
    x[:, 0] += 3 * truth
    return np.arange(n) * 3 + 100, x.astype(np.float16), truth


def votes_on(ids: np.ndarray, truth: np.ndarray, multiple: bool = False) -> Consensus:
    targets = np.eye(2, dtype=np.float32)[truth]
    return Consensus(LABELS, multiple, ids, targets, np.ones(len(ids), dtype=np.float32))


def test_heads_and_unseen_predictions() -> None:
    ids, x, truth = project()
    said: list[tuple[str, float]] = []
    trained = train(
        {
            "shape": votes_on(ids[:60], truth[:60]),
            "tags": votes_on(ids[:60], truth[:60], True),
            "none": votes_on(ids[:0], truth[:0]),
        },
        ids,
        x,
        progress=lambda text, share: said.append((text, share)),
    )
    assert set(trained.heads) == {"shape", "tags"}
    assert isinstance(trained.heads["shape"], SingleChoiceHead)
    assert isinstance(trained.heads["tags"], MultipleChoiceHead)
    assert len(trained.committees["shape"]) >= 2
    for name in trained.heads:
        assert trained.unseen[name].task_ids.tolist() == ids[:60].tolist()
        auc = trained.quality[name]["macro_auc"]
        assert auc is not None
        assert auc > 0.9
        right = trained.heads[name].predict(x[60:]).argmax(axis=1) == truth[60:]
        assert right.mean() > 0.85
    assert len(said) == 3
    assert "'shape'" in said[0][0]


def test_unseen_predictions_did_not_see_the_vote() -> None:
    """Turning one vote round must not change what is said of that galaxy out of fold."""
    ids, x, truth = project(40)
    twisted = truth.copy()
    # Two labels are exchanged so that the folds, which are even over the labels, stay.
    a, b = np.flatnonzero(truth == 0)[0], np.flatnonzero(truth == 1)[0]
    twisted[[a, b]] = twisted[[b, a]]
    before = train({"shape": votes_on(ids, truth)}, ids, x).unseen["shape"].probabilities
    after = train({"shape": votes_on(ids, twisted)}, ids, x).unseen["shape"].probabilities
    direct = train({"shape": votes_on(ids, twisted)}, ids, x).heads["shape"].predict(x)
    assert abs(after[a, 1] - before[a, 1]) < 0.3
    assert direct[a, 1] - before[a, 1] > 0


def test_votes_without_embedding_are_left_out() -> None:
    ids, x, truth = project(30)
    trained = train({"shape": votes_on(ids, truth)}, ids[5:], x[5:])
    assert trained.unseen["shape"].task_ids.tolist() == ids[5:].tolist()
    assert train({"shape": votes_on(ids[:5], truth[:5])}, ids[5:], x[5:]).controls == {}
    assert train({"shape": votes_on(ids, truth)}, [], np.zeros((0, 16))).controls == {}


def test_prior_is_used_for_few_and_never_where_it_does_not_fit() -> None:
    ids, x, truth = project(400)
    prior = SingleChoiceHead(LABELS).fit(x[200:], np.eye(2)[truth[200:]])
    few = {"shape": votes_on(ids[:4], truth[:4])}
    alone = train(few, ids[:200], x[:200]).heads["shape"].predict(x[:200])
    helped = train(few, ids[:200], x[:200], priors={"shape": prior}).heads["shape"].predict(x[:200])
    hit_alone = np.mean(alone.argmax(axis=1) == truth[:200])
    hit_helped = np.mean(helped.argmax(axis=1) == truth[:200])
    assert hit_helped > max(0.85, hit_alone - 0.01)
    other = SingleChoiceHead(("a", "b")).fit(x[200:], np.eye(2)[truth[200:]])
    ignored = train(few, ids[:200], x[:200], priors={"shape": other}).heads["shape"]
    np.testing.assert_array_equal(ignored.predict(x[:200]), alone)


def test_unseen_by_takes_kept_predictions_for_training_tasks() -> None:
    ids, x, truth = project(50)
    trained = train({"shape": votes_on(ids[:30], truth[:30])}, ids, x)
    head, kept = trained.heads["shape"], trained.unseen["shape"]
    found = unseen_by(head, ids[20:40], x[20:40], kept)
    np.testing.assert_array_equal(found.probabilities[:10], kept.probabilities[20:])
    # Batches of other lengths may round differently.
    np.testing.assert_allclose(found.probabilities[10:], head.predict(x[30:40]), atol=1e-6)
    plain = unseen_by(head, ids[20:40], x[20:40])
    np.testing.assert_array_equal(plain.probabilities, head.predict(x[20:40]))
