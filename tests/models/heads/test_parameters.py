"""Numbers: right, with intervals that hold, of people who differ, circular and bounded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from blob_scenes import blobs, opinions

from models.answers import Number
from models.heads import HeadError, NumberHead
from models.heads.numbers import people_numbers, wrapped
from models.opinions import Opinions
from models.photometry import MEASURED
from models.scene_features import scene_features


def table(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows as of scenes, and a number whose noise depends on what is seen."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, MEASURED + 8)).astype(np.float32)
    noise = 0.2 * np.exp(0.7 * x[:, 5])
    return x, x[:, 0] + 0.5 * x[:, MEASURED] + noise * rng.normal(size=n)


def test_learns_from_scenes() -> None:
    scenes, truth = blobs(60, seed=0)
    new, wanted = blobs(60, seed=1)
    head = NumberHead().fit(scenes, opinions(truth[:, 0]))
    assert np.abs(head.predict(new).value - wanted[:, 0]).mean() < 0.1
    size = NumberHead(log=True).fit(scenes, opinions(truth[:, 1]))
    assert np.abs(np.log(size.predict(new).value / wanted[:, 1])).mean() < 0.05


def test_scenes_and_their_table_are_the_same() -> None:
    scenes, truth = blobs(20, seed=0)
    rows = scene_features(scenes)
    first = NumberHead().fit(scenes, opinions(truth[:, 0])).predict(scenes[:5])
    second = NumberHead().fit(rows, opinions(truth[:, 0])).predict(rows[:5])
    np.testing.assert_allclose(first.value, second.value, rtol=1e-4)


@pytest.mark.parametrize("rows", [40, 200])
def test_intervals_hold_and_know_what_is_hard(rows: int) -> None:
    held, ratio = [], []
    for seed in range(6):
        x, y = table(rows, seed)
        new, truth = table(400, 100 + seed)
        said = NumberHead().fit(x, opinions(y), seed=seed).predict(new)
        held.append([said.held(truth, level).mean() for level in (68, 95)])
        hard = new[:, 5] > 0.5
        ratio.append(said.spread[hard].mean() / said.spread[~hard].mean())
    both = np.mean(held, axis=0)
    assert abs(both[0] - 0.68) < 0.06
    assert abs(both[1] - 0.95) < 0.03
    if rows == 200:
        assert np.mean(ratio) > 1.4


def test_angles_go_round() -> None:
    scenes, truth = blobs(80, seed=2)
    new, wanted = blobs(80, seed=3)
    head = NumberHead(period=180.0).fit(scenes, opinions(truth[:, 3]))
    said = head.predict(new)
    assert said.value.min() >= 0
    assert said.value.max() < 180
    off = np.abs(wrapped(said.value - wanted[:, 3], 180))
    assert np.median(off) < 3
    assert 0.55 < said.held(wanted[:, 3], 68, 180).mean() < 0.82
    shifted = opinions(truth[:, 3] + 180)
    np.testing.assert_allclose(head.losses(said, shifted), head.losses(said, opinions(
        truth[:, 3])), atol=1e-3)  # fmt: skip


def test_bounds_and_logarithms() -> None:
    rng = np.random.default_rng(0)
    x, y = table(120, 0)
    head = NumberHead(minimum=-0.5, maximum=0.5).fit(x, opinions(np.clip(y, -0.5, 0.5)))
    said = head.predict(x)
    for part in (said.value, said.lower95, said.upper95):
        assert part.min() >= -0.5
        assert part.max() <= 0.5
    decades = NumberHead().fit(x, opinions(np.exp(2 * y)))
    assert decades.predict(rng.normal(0, 3, x.shape)).lower95.min() > 0
    assert not (NumberHead(log=False).fit(x, opinions(np.exp(2 * y))).predict(x).value > 0).all()


def test_scores_are_how_often_it_is_right() -> None:
    x, y = table(300, 0)
    new, truth = table(600, 1)
    head = NumberHead(tolerance=0.3).fit(x, opinions(y))
    (said,) = zip(*head.answers(new), strict=True)
    right = np.array([abs(a.value - t) <= 0.3 for a, t in zip(said, truth, strict=True)])
    score = np.array([a.score for a in said])
    assert abs(score.mean() - right.mean()) < 0.05
    assert right[score > np.median(score)].mean() > right[score <= np.median(score)].mean() + 0.1
    assert NumberHead().fit(x, opinions(y)).answers(new[:1])[0][0].score is None


def test_people_are_brought_together() -> None:
    rows = [
        Opinions.of([Number(1.0)], [Number(3.0)]),
        Opinions.of(*[[Number(v)] for v in (5.0, 5.1, 4.9, 90.0)]),
        Opinions.of(()),
        Opinions(()),
        Opinions.of([Number(2.0)]),
    ]
    value, variance = people_numbers(rows)
    assert value[0] == 2
    assert value[1] == pytest.approx(5.1, abs=0.2)
    assert np.isnan(value[2:4]).all()
    assert variance[4] > 0
    turn, _ = people_numbers([Opinions.of([Number(178.0)], [Number(4.0)])], 180.0)
    assert turn[0] == pytest.approx(1.0)
    with pytest.raises(HeadError, match="above 0"):
        people_numbers([Opinions.of([Number(-1.0)])], log=True)


def test_unsure_people_count_less() -> None:
    x, y = table(80, 0)
    rng = np.random.default_rng(1)
    loud = np.arange(80) % 2 == 0
    people = []
    for value, wild in zip(y, loud, strict=True):
        spread = 3.0 if wild else 0.01
        people.append(Opinions.of(*[[Number(value + spread * rng.normal())] for _ in range(2)]))
    new, truth = table(400, 2)
    means = [np.mean([a[0].value for a in one.by_person]) for one in people]
    careful = NumberHead().fit(x, people).predict(new).value
    blind = NumberHead().fit(x, opinions(np.array(means))).predict(new).value
    assert np.abs(careful - truth).mean() < np.abs(blind - truth).mean() * 1.02


def test_unanswered_rows_are_left_out() -> None:
    x, y = table(40, 0)
    people = opinions(y)
    people[3], people[7] = Opinions(()), Opinions.of(())
    head = NumberHead().fit(x, people)
    assert len(head.out_of_fold) == 40
    assert head.losses(head.out_of_fold, people)[[3, 7]].tolist() == [0, 0]
    with pytest.raises(HeadError, match="Nobody"):
        NumberHead().fit(x, [Opinions(())] * 40)


@pytest.mark.parametrize("n", [1, 2, 3, 9])
@pytest.mark.parametrize("same", [False, True])
def test_a_few_rows_are_survived(n: int, same: bool, tmp_path: Path) -> None:
    x, y = table(n, 0)
    y = np.full(n, 3.0) if same else y
    for head in (NumberHead(), NumberHead(minimum=0, maximum=9), NumberHead(period=180.0)):
        head.fit(x, opinions(y))
        for said in (head.predict(x), head.out_of_fold):
            for part in vars(said).values():
                assert np.isfinite(part).all()
        head.save(tmp_path)
        again = NumberHead.load(tmp_path)
        np.testing.assert_array_equal(again.predict(x).value, head.predict(x).value)


def test_broken_scenes_are_named() -> None:
    scenes, truth = blobs(4, seed=0)
    head = NumberHead().fit(scenes, opinions(truth[:, 0]))
    assert scenes[0].flux is not None
    broken = replace(scenes[0], flux=np.full_like(scenes[0].flux, np.nan))
    for bad in ([broken], ["x"], np.full((1, 99), np.nan), np.zeros((1, 7)), np.zeros(3)):
        with pytest.raises(HeadError):
            head.predict(bad)


@pytest.mark.parametrize(
    "given",
    [
        {"labels": ("a", "b")},
        {"minimum": 2, "maximum": 1},
        {"minimum": float("nan")},
        {"period": -1},
        {"tolerance": 0},
        {"period": 180, "log": True},
    ],
)
def test_what_does_not_go_together_is_named(given: dict[str, object]) -> None:
    with pytest.raises(HeadError):
        NumberHead(**given)  # type: ignore[arg-type]
