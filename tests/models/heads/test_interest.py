"""Interest: from one example on, better with marks, and a queue that mixes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.answers import Labels, Stars
from models.heads import HeadError, InterestHead
from models.heads.interest_order import interest_order
from models.metrics import auc
from models.opinions import Opinions


def galaxies(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of which one of five is of interest, and which."""
    rng = np.random.default_rng(seed)
    liked = np.arange(n) % 5 == 0
    x = rng.normal(size=(n, 20))
    x[:, :2] += 1.8 * liked[:, None]
    return x.astype(np.float32), liked


def marks(liked: np.ndarray) -> np.ndarray:
    return np.stack([liked, ~liked], axis=1).astype(float)


def test_from_one_example_to_many_marks() -> None:
    x, liked = galaxies(500)
    new, wanted = galaxies(500, seed=1)
    found = []
    for rows in ([0], [0, 5, 10], range(20), range(200)):
        rows = list(rows)
        means = []
        for shift in range(0, 250, 50):
            chosen = [row + shift for row in rows]
            head = InterestHead().fit(x[chosen], marks(liked[chosen]), pool=x)
            p = head.predict(new)
            assert p.shape == (500, 2)
            np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
            means.append(auc(p[:, 0], wanted))
        found.append(np.mean(means))
    assert found[0] > 0.6
    assert found[1] > found[0]
    assert found[3] > found[2] > 0.8
    assert found[3] > 0.93


def test_examples_alone_do_not_make_all_interesting() -> None:
    x, liked = galaxies(300)
    chosen = np.flatnonzero(liked)[:10]
    head = InterestHead().fit(x[chosen], marks(liked[chosen]), pool=x)
    assert head.predict(x)[:, 0].mean() < 0.4


def test_probabilities_are_calibrated() -> None:
    x, liked = galaxies(300)
    new, wanted = galaxies(1000, seed=1)
    p = InterestHead().fit(x, marks(liked), pool=x).predict(new)[:, 0]
    assert abs(p.mean() - wanted.mean()) < 0.06
    assert abs(p[wanted].mean() + p[~wanted].mean() * 4 - 5 * wanted.mean()) < 0.3


def test_stars_and_labels_of_people() -> None:
    x, liked = galaxies(60)
    stars = [Opinions.of([Stars(5 if like else 1)]) for like in liked]
    named = [Opinions.of([Labels(("hm",) if like else ("meh",))]) for like in liked]
    by_fraction = InterestHead(("hm", "meh")).fit(x, marks(liked))
    for targets in (stars, named):
        head = InterestHead(("hm", "meh")).fit(x, targets)
        np.testing.assert_allclose(head.predict(x), by_fraction.predict(x), atol=1e-6)
    head.losses(head.predict(x), stars)


def test_unmarked_rows_are_left_out() -> None:
    x, liked = galaxies(30)
    people = [Opinions.of([Stars(5 if like else 1)]) for like in liked]
    people[4] = Opinions(())
    head = InterestHead().fit(x, people)
    assert len(head.out_of_fold) == 30
    assert head.losses(head.out_of_fold, people)[4] == 0
    with pytest.raises(HeadError, match="Nobody"):
        InterestHead().fit(x, [Opinions(())] * 30)


def test_the_second_label_may_be_the_one() -> None:
    x, liked = galaxies(60)
    first = InterestHead(("yes", "no")).fit(x, marks(liked)).predict(x)
    second = InterestHead(("no", "yes"), positive="yes").fit(x, marks(liked)[:, ::-1])
    np.testing.assert_allclose(second.predict(x)[:, ::-1], first, atol=1e-6)


@pytest.mark.parametrize("both", [False, True])
def test_kept_and_read_back(both: bool, tmp_path: Path) -> None:
    x, liked = galaxies(40)
    rows = np.arange(40) if both else np.flatnonzero(liked)
    head = InterestHead().fit(x[rows], marks(liked[rows]), pool=x)
    head.save(tmp_path)
    np.testing.assert_array_equal(InterestHead.load(tmp_path).predict(x), head.predict(x))


def test_what_does_not_go_together_is_named() -> None:
    for given in ({"labels": ("a",)}, {"positive": "x"}, {"most": 1}):
        with pytest.raises(HeadError):
            InterestHead(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(("explore", "share"), [(0.0, 0), (0.25, 10), (1.0, 40)])
def test_a_queue_mixes(explore: float, share: int) -> None:
    rng = np.random.default_rng(0)
    p = np.linspace(0, 1, 400)
    doubt = np.where(p < 0.5, p, 0.0)
    order = interest_order(p, doubt, explore, rng)
    assert sorted(order) == list(range(400))
    assert abs(int((p[order[:40]] < 0.5).sum()) - share) <= 1


def test_a_broken_queue_is_named() -> None:
    rng = np.random.default_rng(0)
    for p, doubt, explore in (([1.0], [1.0, 2.0], 0.5), ([np.nan], [0.0], 0.5), ([1.0], [0.0], 2)):
        with pytest.raises(ValueError, match=r"length|finite|share"):
            interest_order(p, doubt, explore, rng)
    assert len(interest_order([], [], 0.5, rng)) == 0
