"""Ratings: steps of one scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.optimize import check_grad
from scipy.special import expit

from models.answers import Stars
from models.heads import HeadError, RatingHead, load_head
from models.heads.ordinal import fit_steps, fit_stretch, start_of, step_chances
from models.opinions import Opinions

EDGES = np.array([-3.0, -1.0, 0.5, 2.0])


def rated(n: int, seed: int = 0, people: int = 2) -> tuple[np.ndarray, list[Opinions]]:
    """Embeddings, and stars that grow with the first direction."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 12))
    felt = 2.5 * x[:, 0, None] + rng.logistic(size=(n, people))
    given = np.searchsorted(EDGES, felt) + 1
    return x.astype(np.float32), [Opinions.of(*[(Stars(int(s)),) for s in row]) for row in given]


@pytest.fixture(scope="module")
def fitted() -> RatingHead:
    x, opinions = rated(300)
    return RatingHead(5).fit(x, opinions, pool=rated(400, 9)[0])


def test_chances_are_those_of_the_logistic_distribution() -> None:
    p = step_chances(np.array([0.3]), np.array([-1.0, 0.0, 2.0]))
    upto = expit(np.array([-1.3, -0.3, 1.7]))
    np.testing.assert_allclose(p[0], np.diff([0, *upto, 1]), atol=1e-9)


def test_thresholds_and_slope_are_found_again() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 2))
    felt = x @ np.array([1.5, 0.0]) + rng.logistic(size=5000)
    counts = np.eye(5)[np.searchsorted(EDGES, felt)]
    ((w, cuts),) = fit_steps(x, counts, [1e-3])
    np.testing.assert_allclose(w, [1.5, 0], atol=0.1)
    np.testing.assert_allclose(cuts, EDGES, atol=0.15)
    slope, shift = fit_stretch(2 * (x @ w), np.tile(2 * cuts, (5000, 1)), counts)
    assert slope == pytest.approx(0.5, abs=0.02)
    assert shift == pytest.approx(0, abs=0.05)
    assert np.isfinite(start_of(np.zeros((0, 3)))).all()


def test_the_gradient_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    seen = []

    def spy(loss: object, theta: np.ndarray, **options: object) -> object:
        at = theta + 0.3 * rng.normal(size=theta.shape)
        error = check_grad(lambda t: loss(t)[0], lambda t: loss(t)[1], at)  # type: ignore[operator]
        seen.append(error)

        class Found:
            x = theta

        return Found

    monkeypatch.setattr("models.heads.ordinal.minimize", spy)
    fit_steps(rng.normal(size=(20, 3)), rng.random((20, 4)), [2.0])
    assert seen[0] < 1e-4


def test_more_stars_for_better_galaxies(fitted: RatingHead) -> None:
    bad, good = np.zeros((2, 1, 12), np.float32)
    bad[0, 0], good[0, 0] = -2.5, 2.5
    ((low,), (high,)) = fitted.answers(np.vstack([bad, good]))
    assert isinstance(low, Stars)
    assert isinstance(high, Stars)
    assert low.value == 1
    assert high.value == 5
    assert low.score is not None
    assert low.score > 0.6


def test_probabilities_are_right_as_often_as_they_say(fitted: RatingHead) -> None:
    x, opinions = rated(1500, 3, people=1)
    p = fitted.predict(x)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    stars = np.array([answer.value for o in opinions for _, answer in o.each(Stars)])
    best = p.argmax(axis=1)
    assert p.max(axis=1).mean() == pytest.approx((best + 1 == stars).mean(), abs=0.04)
    floor = -np.log(step_chances(2.5 * x[:, 0], EDGES)[np.arange(1500), stars - 1]).mean()
    assert fitted.losses(p, opinions).mean() < floor + 0.05


def test_uncertainty_is_the_variance(fitted: RatingHead) -> None:
    x = rated(50, 4)[0]
    p, doubt = fitted.predict(x), fitted.uncertainty(x)
    stars = np.arange(1, 6)
    expected = [np.average((stars - row @ stars) ** 2, weights=row) / 4 for row in p]
    np.testing.assert_allclose(doubt, expected, atol=1e-5)
    assert doubt.min() >= 0
    assert doubt.max() <= 1


@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("maximum", [2, 5, 10])
def test_a_handful_of_ratings(n: int, maximum: int) -> None:
    x = rated(n)[0]
    opinions = [Opinions.of((Stars(1 + row % 2),)) for row in range(n)]
    head = RatingHead(maximum).fit(x, opinions, pool=rated(60, 2)[0])
    p = head.predict(rated(30, 5)[0])
    assert p.shape == (30, maximum)
    assert np.isfinite(p).all()
    assert head.out_of_fold.shape == (n, maximum)
    assert np.isfinite(head.out_of_fold).all()


def test_images_without_stars_are_left_out() -> None:
    x, opinions = rated(40)
    some = [*opinions[:35], Opinions.of(), Opinions.of(()), *[Opinions.of()] * 3]
    head = RatingHead(5).fit(x, some)
    assert (head.losses(head.predict(x), some)[35:] == 0).all()
    assert head.out_of_fold.shape == (40, 5)
    with pytest.raises(HeadError, match="Nobody has given stars"):
        RatingHead(5).fit(x[:2], [Opinions.of(), Opinions.of(())])


def test_learning_beats_mixed_stars_and_is_honest() -> None:
    x, opinions = rated(60)
    new_x, new = rated(400, 6)
    mixed = [opinions[row] for row in np.random.default_rng(0).permutation(60)]
    head, other = RatingHead(5).fit(x, opinions), RatingHead(5).fit(x, mixed)
    lost = other.losses(other.predict(new_x), new).mean()
    assert head.losses(head.predict(new_x), new).mean() < lost - 0.2
    assert other.losses(other.out_of_fold, mixed).mean() > lost - 0.15
    assert len(head.committee) == 5


def test_kept_and_read_back(fitted: RatingHead, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    again = load_head(tmp_path)
    x = rated(20, 4)[0]
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))
    tensors = load_file(tmp_path / "head.safetensors")
    for broken in (
        tensors["thresholds"][::-1],
        tensors["thresholds"][:2],
        np.full(4, np.nan, np.float32),
    ):
        changed = {**tensors, "thresholds": np.ascontiguousarray(broken)}
        save_file(changed, tmp_path / "head.safetensors")
        with pytest.raises(HeadError, match="Roll back"):
            load_head(tmp_path)


def test_what_makes_no_sense_is_named() -> None:
    x = np.zeros((1, 3), np.float32)
    with pytest.raises(HeadError, match="two stars"):
        RatingHead(1)
    with pytest.raises(HeadError, match="6 of 5 stars"):
        RatingHead(5).fit(x, [Opinions.of((Stars(6),))])
    with pytest.raises(HeadError, match="as many opinions"):
        RatingHead(5).fit(x, [])
    with pytest.raises(HeadError, match="NaN"):
        RatingHead(5).fit(x * np.nan, [Opinions.of((Stars(1),))])
    with pytest.raises(HeadError, match="positive"):
        RatingHead(5).fit(x, [Opinions.of((Stars(1),))], [0])
    with pytest.raises(HeadError, match="not fitted"):
        RatingHead(5).save("unused")
