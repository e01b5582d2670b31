"""Heads for lists of choices: fit, predict, survive, be kept."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from models.heads import Head, HeadError, MultipleChoiceHead, SingleChoiceHead, load_head
from models.metrics import macro_auc

LABELS = ("elliptical", "spiral", "Verschmelzung – ✨")
HEADS = [SingleChoiceHead, MultipleChoiceHead]


def galaxies(n: int, d: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of which the first directions tell the label, and one-hot targets."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(LABELS), n)
    x = rng.normal(size=(n, d))
    x[np.arange(n), truth] += 3.0
    return x.astype(np.float32), np.eye(len(LABELS))[truth]


@pytest.fixture(params=HEADS, ids=lambda cls: cls.kind)
def cls(request: pytest.FixtureRequest) -> type[Head]:
    return request.param


def check_probabilities(head: Head, p: np.ndarray, n: int) -> None:
    assert p.shape == (n, len(head.labels))
    assert np.isfinite(p).all()
    assert p.min() > 0
    assert p.max() < 1 or len(head.labels) == 1
    if isinstance(head, SingleChoiceHead):
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)


def test_learns_from_forty_labels(cls: type[Head]) -> None:
    x, t = galaxies(40)
    unseen, truth = galaxies(600, seed=1)
    head = cls(LABELS).fit(x, t)
    p = head.predict(unseen)
    check_probabilities(head, p, 600)
    assert macro_auc(p, truth) > 0.93


def test_out_of_fold_is_honest(cls: type[Head]) -> None:
    """On labels that mean nothing, unseen predictions must not look better than chance."""
    x, _ = galaxies(150)
    noise = np.eye(3)[np.random.default_rng(5).integers(0, 3, 150)]
    head = cls(LABELS).fit(x, noise)
    assert head.out_of_fold is not None
    assert macro_auc(head.out_of_fold, noise) < 0.62


def test_twins_share_a_fold(cls: type[Head]) -> None:
    """The same image twice must not tell its own label across folds."""
    rng = np.random.default_rng(2)
    x = np.repeat(rng.normal(size=(60, 200)).astype(np.float32), 2, axis=0)
    noise = np.repeat(np.eye(3)[rng.integers(0, 3, 60)], 2, axis=0)
    head = cls(LABELS).fit(x, noise)
    assert head.out_of_fold is not None
    assert macro_auc(head.out_of_fold, noise) < 0.65


def test_committee_predicts(cls: type[Head]) -> None:
    x, t = galaxies(30)
    head = cls(LABELS).fit(x, t)
    assert len(head.committee) >= 2
    for member in head.committee:
        check_probabilities(member, member.predict(x), 30)


def test_uncertainty_is_larger_between_the_classes(cls: type[Head]) -> None:
    x, t = galaxies(100)
    head = cls(LABELS).fit(x, t)
    clear = np.zeros((1, 24), dtype=np.float32)
    clear[0, 0] = 5
    between = np.zeros((1, 24), dtype=np.float32)
    between[0, :2] = 2
    doubt = head.uncertainty(np.vstack([clear, between]))
    assert doubt.shape == (2,)
    assert 0 <= doubt[0] < doubt[1] <= 1


def test_kept_and_read_back(cls: type[Head], tmp_path: Path) -> None:
    x, t = galaxies(30)
    head = cls(LABELS).fit(x, t)
    head.save(tmp_path / "shape")
    for again in (load_head(tmp_path / "shape"), cls.load(tmp_path / "shape")):
        assert type(again) is cls
        assert again.labels == LABELS
        np.testing.assert_array_equal(again.predict(x), head.predict(x))
    assert {path.suffix for path in (tmp_path / "shape").iterdir()} == {".json", ".safetensors"}


def test_same_seed_same_head(cls: type[Head]) -> None:
    x, t = galaxies(50)
    np.testing.assert_array_equal(
        cls(LABELS).fit(x, t, seed=3).predict(x), cls(LABELS).fit(x, t, seed=3).predict(x)
    )


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_handful_of_rows(cls: type[Head], n: int) -> None:
    x, t = galaxies(n)
    head = cls(LABELS).fit(x, t)
    check_probabilities(head, head.predict(galaxies(50, seed=9)[0]), 50)
    assert head.out_of_fold is not None
    check_probabilities(head, head.out_of_fold, n)


def test_labels_never_seen_stay_small_but_possible(cls: type[Head]) -> None:
    x, t = galaxies(60)
    t[:] = [1, 0, 0]
    head = cls(LABELS).fit(x, t)
    p = head.predict(x)
    check_probabilities(head, p, 60)
    assert p[:, 0].min() > 0.9
    assert p[:, 1:].max() < 0.1


def test_constant_and_duplicate_features(cls: type[Head]) -> None:
    _, t = galaxies(30)
    head = cls(LABELS).fit(np.ones((30, 8)), t)
    check_probabilities(head, head.predict(np.ones((4, 8))), 4)
    np.testing.assert_allclose(head.predict(np.ones((1, 8)))[0], t.mean(axis=0), atol=0.1)


def test_fractions_and_weights_count(cls: type[Head]) -> None:
    x, t = galaxies(80)
    one = cls(LABELS).fit(np.ones((40, 4)), [[1, 0, 0], [0, 1, 0]] * 20, [3, 1] * 20)
    p = one.predict(np.ones((1, 4)))[0]
    assert p[0] == pytest.approx(0.75, abs=0.06)
    soft = cls(LABELS).fit(x, 0.5 * t + 0.5 / 3)
    assert soft.predict(x).max() < cls(LABELS).fit(x, t).predict(x).max()


def test_float16_and_unlabelled_pool(cls: type[Head]) -> None:
    x, t = galaxies(20)
    pool, _ = galaxies(3000, seed=4)
    head = cls(LABELS).fit(x.astype(np.float16), t, pool=pool.astype(np.float16))
    check_probabilities(head, head.predict(x.astype(np.float16)), 20)


def test_prior_helps_few_labels_and_is_dropped_when_wrong(cls: type[Head]) -> None:
    unseen, truth = galaxies(600, seed=1)
    right = cls(LABELS).fit(*galaxies(500, seed=7))
    x, t = galaxies(5)
    alone = macro_auc(cls(LABELS).fit(x, t).predict(unseen), truth)
    helped = macro_auc(cls(LABELS).fit(x, t, prior=right).predict(unseen), truth)
    assert helped > alone + 0.02
    wrong_x, wrong_t = galaxies(500, seed=7)
    wrong = cls(LABELS).fit(wrong_x, np.roll(wrong_t, 1, axis=1))
    x, t = galaxies(100, seed=8)
    assert macro_auc(cls(LABELS).fit(x, t, prior=wrong).predict(unseen), truth) > 0.93


def test_prior_must_match(cls: type[Head]) -> None:
    x, t = galaxies(20)
    other = cls(("a", "b", "c")).fit(x, t)
    with pytest.raises(HeadError, match="does not match"):
        cls(LABELS).fit(x, t, prior=other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.full((10, 4), np.nan)}, "NaN"),
        ({"x": np.full((10, 4), np.inf)}, "infinite"),
        ({"x": np.zeros((0, 4)), "t": np.zeros((0, 3)), "w": np.zeros(0)}, "no labelled row"),
        ({"x": np.zeros(10)}, r"\[n, d\]"),
        ({"x": np.zeros((10, 0))}, r"\[n, d\]"),
        ({"t": np.zeros((10, 2))}, "targets"),
        ({"t": np.full((10, 3), 2.0)}, "fractions"),
        ({"t": np.full((10, 3), np.nan)}, "fractions"),
        ({"w": np.zeros(10)}, "positive"),
        ({"w": np.full(10, np.nan)}, "positive"),
        ({"w": np.ones(3)}, "weights"),
        ({"pool": np.full((4, 4), np.nan)}, "pool"),
        ({"pool": np.zeros((4, 5))}, "pool"),
    ],
)
def test_broken_input_is_named(
    cls: type[Head], change: dict[str, np.ndarray], message: str
) -> None:
    good = {"x": np.random.default_rng(0).normal(size=(10, 4)), "t": np.eye(3)[[0] * 10]}
    good = {**good, "w": np.ones(10), "pool": None, **change}
    with pytest.raises(HeadError, match=message):
        cls(LABELS).fit(good["x"], good["t"], good["w"], pool=good["pool"])


def test_predict_refuses_what_does_not_fit(cls: type[Head]) -> None:
    with pytest.raises(HeadError, match="not fitted"):
        cls(LABELS).predict(np.zeros((1, 3)))
    x, t = galaxies(20)
    head = cls(LABELS).fit(x, t)
    with pytest.raises(HeadError, match="another LVM"):
        head.predict(np.zeros((5, 7)))
    x[3, 2] = np.nan
    with pytest.raises(HeadError, match="Embedding 3 is not finite"):
        head.predict(x)
    assert head.predict(np.zeros((0, 24))).shape == (0, 3)


def test_labels_must_differ(cls: type[Head]) -> None:
    with pytest.raises(HeadError, match="repeat"):
        cls(("a", "a"))
    with pytest.raises(HeadError, match="at least one"):
        cls(())


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "head.json").unlink(),
        lambda f: (f / "head.json").write_text("{"),
        lambda f: (f / "head.json").write_text("[]"),
        lambda f: (f / "head.json").write_text('{"format": 99}'),
        lambda f: edit(f, kind="oracle"),
        lambda f: edit(f, labels=[1, 2, 3]),
        lambda f: edit(f, labels=["only"]),
        lambda f: (f / "head.safetensors").unlink(),
        lambda f: (f / "head.safetensors").write_bytes(b""),
        lambda f: (f / "head.safetensors").write_bytes((f / "head.safetensors").read_bytes()[:-4]),
        lambda f: save_file({"weight": np.zeros((24, 3))}, f / "head.safetensors"),
        lambda f: save_file(
            {"weight": np.full((24, 3), np.nan), "bias": np.zeros(3)}, f / "head.safetensors"
        ),
    ],
)
def test_broken_files_are_named(cls: type[Head], damage: object, tmp_path: Path) -> None:
    x, t = galaxies(20)
    cls(LABELS).fit(x, t).save(tmp_path)
    damage(tmp_path)  # type: ignore[operator]
    with pytest.raises(HeadError):
        load_head(tmp_path)


def edit(folder: Path, **values: object) -> None:
    path = folder / "head.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_load_as_another_kind_is_refused(tmp_path: Path) -> None:
    x, t = galaxies(20)
    SingleChoiceHead(LABELS).fit(x, t).save(tmp_path)
    with pytest.raises(HeadError, match="single_choice"):
        MultipleChoiceHead.load(tmp_path)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 12),
    k=st.integers(1, 5),
    d=st.integers(1, 9),
    kind=st.sampled_from(HEADS),
    seed=st.integers(0, 1000),
)
def test_any_small_problem_is_survived(n: int, k: int, d: int, kind: type[Head], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (n, d)).astype(float) * 10.0 ** rng.integers(-3, 4)
    t = rng.random((n, k)) + 1e-6
    t /= t.sum(axis=1, keepdims=True)
    head = kind([str(i) for i in range(k)]).fit(x, t, rng.random(n) + 0.1)
    p = head.predict(x)
    assert p.shape == (n, k)
    assert np.isfinite(p).all()
    assert head.out_of_fold is not None
    assert np.isfinite(head.out_of_fold).all()


def test_fast_enough(cls: type[Head]) -> None:
    """Ten times slower than measured still passes: a guard against a change of order."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(1000, 512)) * np.arange(1, 513) ** -0.7).astype(np.float32)
    t = np.eye(3)[(x @ rng.normal(size=(512, 3)) + rng.gumbel(size=(1000, 3))).argmax(axis=1)]
    start = time.process_time()
    head = cls(LABELS).fit(x, t)
    assert time.process_time() - start < 10
    many = np.zeros((100_000, 512), dtype=np.float16)
    start = time.process_time()
    head.predict(many)
    assert time.process_time() - start < 4
