"""Ellipses: as people draw them, from one image on."""

from __future__ import annotations

import numpy as np
import pytest
from blob_scenes import SIDE, blobs

from models.answers import Ellipse
from models.heads import EllipseHead, HeadError
from models.opinions import Opinions
from models.scenes import Scene


def drawn(
    n: int, seed: int, factor: float = 3.0
) -> tuple[list[Scene], list[Opinions], list[Ellipse]]:
    """Scenes, one person's ellipse at some sigma of the light, and the same without noise."""
    scenes, truth = blobs(n, seed)
    shapes = [
        Ellipse(SIDE / 2, SIDE / 2, factor * sigma, factor * sigma * ratio, angle, label="galaxy")
        for _, sigma, ratio, angle in truth
    ]
    return scenes, [Opinions.of([shape]) for shape in shapes], shapes


@pytest.mark.parametrize(("rows", "wanted"), [(1, 0.5), (5, 0.75), (40, 0.85)])
def test_overlap_grows_with_what_people_drew(rows: int, wanted: float) -> None:
    head = EllipseHead(("galaxy",)).fit(*drawn(rows, 0)[:2])
    scenes, targets, _ = drawn(40, 1)
    assert 1 - head.losses(head.predict(scenes), targets).mean() > wanted


def test_habits_of_people_are_learned() -> None:
    scenes, _, _ = drawn(20, 1)
    small = EllipseHead(("galaxy",)).fit(*drawn(20, 0, 1.5)[:2]).predict(scenes)
    large = EllipseHead(("galaxy",)).fit(*drawn(20, 0, 3.0)[:2]).predict(scenes)
    ratio = large.shape[:, 0, 2] / small.shape[:, 0, 2]
    assert np.median(ratio) == pytest.approx(2, rel=0.1)


def test_answers_and_presence() -> None:
    scenes, targets, _ = drawn(20, 0)
    head = EllipseHead(("galaxy", "bar")).fit(scenes, targets)
    for answers in head.answers(scenes):
        assert [answer.label for answer in answers] == ["galaxy"]
        assert answers[0].score is not None
        assert 0 <= answers[0].score <= 1
    nothing = EllipseHead(("galaxy",)).fit(scenes, [Opinions.of(())] * 20)
    assert nothing.answers(scenes) == [()] * 20
    assert nothing.losses(nothing.predict(scenes), [Opinions.of(())] * 20).max() == 0


def test_the_object_under_a_click() -> None:
    scenes, targets, shapes = drawn(20, 0)
    head = EllipseHead(("galaxy",)).fit(scenes, targets)
    found = head.at(scenes[3], SIDE / 2 + 1, SIDE / 2 - 1)
    assert found.label == "galaxy"
    assert found.major == pytest.approx(shapes[3].major, rel=0.25)


def test_nobody_looked() -> None:
    scenes, targets, _ = drawn(6, 0)
    targets[2] = Opinions(())
    head = EllipseHead(("galaxy",)).fit(scenes, targets)
    assert len(head.out_of_fold) == 6
    assert head.losses(head.out_of_fold, targets)[2] == 0
    with pytest.raises(HeadError, match="Nobody"):
        EllipseHead(("galaxy",)).fit(scenes, [Opinions(())] * 6)


def test_rows_can_be_chosen() -> None:
    scenes, targets, _ = drawn(6, 0)
    said = EllipseHead(("galaxy",)).fit(scenes, targets).predict(scenes)
    assert len(said[2:4]) == 2
    assert len(said[3]) == 1
