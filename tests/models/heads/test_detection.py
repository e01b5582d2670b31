"""The detection head: what it finds, what it learns from, and the object under a point."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scenes_of_discs import LABELS, discs, lvm

from models.agreement import agreed
from models.answers import Box, Ellipse, Point
from models.boxes import matched, overlaps
from models.galaxy_image import GalaxyImage
from models.heads import DetectionHead, HeadError, object_in, object_under
from models.heads.centre_finding import objects_of, shape_of
from models.heads.centre_views import Example, random_view
from models.heads.centres import Objects
from models.heads.detection_scores import best_threshold, brier, fold_of
from models.heads.judging import Judge
from models.opinions import Opinions
from models.scenes import Scene


@cache
def fitted() -> DetectionHead:
    return DetectionHead(LABELS, steps=80).fit(*discs(40, 0))


def test_it_finds_discs_and_names_them() -> None:
    scenes, truth = discs(20, 1)
    hits = named = shown = objects = 0
    for said, opinions in zip(fitted().answers(scenes), truth, strict=True):
        drawn = opinions.by_person[0]
        match = matched(overlaps(said, drawn), np.array([s.score for s in said]))
        hits += int((match >= 0).sum())
        named += sum(said[i].label == drawn[j].label for i, j in enumerate(match) if j >= 0)
        shown, objects = shown + len(said), objects + len(drawn)
    assert 2 * hits / (shown + objects) > 0.85
    assert named / hits > 0.85


def test_scores_say_how_often_they_are_right() -> None:
    scenes, truth = discs(40, 2)
    score, right = [], []
    for found, opinions in zip(fitted().found(scenes), truth, strict=True):
        match = matched(overlaps(found.shapes, opinions.by_person[0]), found.place)
        score.extend(found.place)
        right.extend(match >= 0)
    assert np.mean(score) == pytest.approx(np.mean(right), abs=0.12)


def test_doubt_counts_the_errors_to_be_expected() -> None:
    scenes, _ = discs(20, 7)
    doubt, head = fitted().uncertainty(scenes), fitted()
    for value, found, shown in zip(doubt, head.found(scenes), head.answers(scenes), strict=True):
        wrong = sum(1 - (shape.score or 0) for shape in shown)  # type: ignore[attr-defined]
        missed = found.place[found.place < head.threshold].sum()
        least = 1 - np.exp(-wrong - missed)
        assert least - 1e-5 <= value <= 1 - (1 - least) / 2 + 1e-5


def test_scenes_nobody_looked_at_are_left_aside() -> None:
    scenes, truth = discs(8, 3)
    other = Opinions.of()
    head = DetectionHead(LABELS, steps=5).fit(scenes, [*truth[:7], other])
    assert len(head.out_of_fold) == 8
    with pytest.raises(HeadError, match="no labelled"):
        DetectionHead(LABELS).fit(scenes[:2], [other, other])


def test_empty_scenes_and_labels_that_are_not_ours_are_survived() -> None:
    scenes, truth = discs(6, 4)
    nothing = [Opinions.of(()) for _ in scenes]
    head = DetectionHead(LABELS, steps=5).fit(scenes, nothing)
    assert head.losses([()] * 6, nothing).tolist() == [0] * 6
    foreign = [Opinions.of([replace(s, label="") for s in o.by_person[0]]) for o in truth]
    assert DetectionHead(LABELS, steps=5).fit(scenes, foreign).predict(scenes[:1])
    only = DetectionHead(("",), steps=5).fit(scenes, foreign)
    assert all(s.label == "" for row in only.predict(scenes) for s in row)


def test_other_sizes_and_small_pictures() -> None:
    for height, width in ((20, 33), (70, 200)):
        pixels = np.full((3, height, width), 12, np.float32)
        scene = Scene.of(GalaxyImage(pixels, "rgb8", ("red", "green", "blue")), lvm())
        assert len(fitted().predict([scene])) == 1


def test_another_lvm_is_refused() -> None:
    scenes, _ = discs(1, 0)
    with pytest.raises(HeadError, match="another LVM"):
        fitted().predict([replace(scenes[0], lvm=lvm(16))])


def test_broken_scenes_and_arguments_are_named() -> None:
    scenes, truth = discs(2, 0)
    bad = replace(scenes[1], inputs=torch.full_like(scenes[1].inputs, float("nan")))
    with pytest.raises(HeadError, match="Scene 1 is not finite"):
        DetectionHead(LABELS).fit([scenes[0], bad], truth)
    with pytest.raises(HeadError, match="scenes; row 0"):
        fitted().predict([np.zeros(3)])  # type: ignore[list-item]
    with pytest.raises(HeadError, match="Opinions"):
        DetectionHead(LABELS).fit(scenes, [1, 2])  # type: ignore[list-item]
    with pytest.raises(HeadError, match="hexagon"):
        DetectionHead(LABELS, "hexagon")
    with pytest.raises(HeadError, match="step"):
        DetectionHead(LABELS, steps=0)


def test_losses_by_hand() -> None:
    box = Box(0, 0, 10, 10, label="a")
    two = agreed(Opinions.of([box], [box, Box(50, 50, 9, 9, label="b")]))
    right = replace(box, score=0.8)
    assert brier([right], two) == pytest.approx((0.2**2 + 0.5) / 1.5)
    wrong = [replace(right, label="b"), Box(80, 80, 9, 9, label="a", score=0.3)]
    assert brier(wrong, two) == pytest.approx((0.8**2 + 0.3**2 + 0.5) / 1.5)
    assert brier([], []) == 0


def test_the_threshold_has_the_best_f1() -> None:
    place, right = np.array([0.9, 0.8, 0.4, 0.3]), np.array([1.0, 1.0, 0.0, 0.0])
    assert 0.4 < best_threshold([place], [right], [2.0]) <= 0.8
    assert best_threshold([], [], []) == 0.5


def test_the_same_picture_is_in_one_fold() -> None:
    scenes, _ = discs(4, 0)
    fold = fold_of([*scenes, *scenes], 0)
    assert fold[:4].tolist() == fold[4:].tolist()
    assert set(fold) == {0, 1, 2}


def test_the_judge_learns_and_doubts_little_evidence() -> None:
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(400, 8))
    right = (seen[:, 4] + 0.3 * rng.normal(size=400) > 0).astype(float)
    judge = Judge.of(seen, right, np.ones(400))
    p = judge.probability(rng.permuted(seen, axis=0))
    assert ((judge.probability(seen) > 0.5) == right).mean() > 0.9
    assert 0 < p.min() < p.max() < 1
    few = Judge.of(seen[:2], right[:2], np.ones(2))
    assert few.weights[1] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("shape", ["box", "ellipse", "point"])
def test_views_keep_marks_on_what_they_mark(shape: str) -> None:
    """A bright spot off the centre must lie where its mark says, however it is turned."""
    rows, columns = np.mgrid[:96, :96] + 0.5
    one = {
        "box": Box(20, 30, 24, 12),
        "ellipse": Ellipse(32, 36, 12, 5, 30),
        "point": Point(32, 36),
    }[shape]
    turn = np.radians(30)
    along = (columns - 32) * np.cos(turn) + (rows - 36) * np.sin(turn)
    across = (rows - 36) * np.cos(turn) - (columns - 32) * np.sin(turn)
    light = 200 * np.exp(-0.5 * ((along / 6) ** 2 + (across / 2.5) ** 2))
    inputs = torch.from_numpy(np.repeat(light[None], 3, axis=0) / 255).float()
    example = Example(inputs, objects_of([one], [1.0], shape, (1.0, 1.0)))
    rng = np.random.default_rng(0)
    for _ in range(30):
        view, objects = random_view(example, (), shape, 64, rng)
        if not len(objects):
            continue
        x, y = objects.numbers[0, :2]
        row, column = np.unravel_index(int(view[0].argmax()), (64, 64))
        assert abs(column + 0.5 - x) < 2
        assert abs(row + 0.5 - y) < 2
        if shape == "ellipse":
            ellipse = shape_of(objects.numbers[0], shape, (1.0, 1.0))
            assert isinstance(ellipse, Ellipse)
            r, c = np.mgrid[:64, :64] + 0.5 - np.array([y, x])[:, None, None]
            weights = view[0].numpy()
            inside = (np.hypot(r, c) < 20) * weights
            angle = np.degrees(
                np.arctan2(2 * (inside * r * c).sum(), (inside * (c**2 - r**2)).sum()) / 2
            )
            assert (
                min(abs(angle - ellipse.angle) % 180, 180 - abs(angle - ellipse.angle) % 180) < 15
            )


def test_objects_are_added_with_their_marks() -> None:
    scenes, truth = discs(6, 5)
    examples = [
        Example(s.inputs, objects_of(o.by_person[0], [1.0] * len(o.by_person[0]), "box", s.scale))
        for s, o in zip(scenes, truth, strict=True)
    ]
    empty = Example(torch.full((3, 96, 96), 0.05), Objects(np.zeros((0, 4)), np.zeros(0)))
    rng = np.random.default_rng(0)
    added = [random_view(empty, examples, "box", 96, rng) for _ in range(20)]
    assert sum(len(objects) for _, objects in added) > 5
    for view, objects in added:
        for x, y in objects.numbers[:, :2].astype(int):
            assert view[:, y, x].max() > 0.15


def test_the_object_under_a_point() -> None:
    scenes, truth = discs(6, 6)
    for head in (fitted(), DetectionHead(LABELS), None):
        right = total = 0
        for scene, opinions in zip(scenes, truth, strict=True):
            for drawn in opinions.by_person[0]:
                assert isinstance(drawn, Box)
                found = object_under(head, scene, *drawn.centre)
                right += found is not None and overlaps([found], [drawn])[0, 0] > 0.5
                total += 1
        assert right / total > 0.8
    found = object_under(None, scenes[0], *truth[0].by_person[0][0].centre, shape="ellipse")  # type: ignore[attr-defined]
    assert isinstance(found, Ellipse)
    drawn = replace(truth[0].by_person[0][0], label="mine")
    kept = object_in(fitted(), scenes[0], drawn)  # type: ignore[arg-type]
    assert kept is not None
    assert kept.label == "mine"
    with pytest.raises(ValueError, match="outside"):
        object_under(None, scenes[0], -1, 4)
