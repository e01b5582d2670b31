"""Mask heads: objects, regions, polygons, prompts, and what several people say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from masked_discs import LABELS, lvm, objects, pictures, polygons

from models.answers import Box, Mask, Polygon
from models.galaxy_image import GalaxyImage
from models.heads import HeadError, load_head
from models.heads.mask_losses import mask_loss
from models.heads.mask_scores import MaskScores
from models.heads.mask_task import Task
from models.heads.mask_training import Example
from models.heads.masks import MaskHead
from models.heads.prompted_masks import mask_under
from models.heads.sights import Prompt, View
from models.lvm import LVM
from models.mask_agreement import iou
from models.opinions import Opinions
from models.rasters import mask_of
from models.scenes import Scene
from models.segmentation import mask_to_box
from models.windows import Window

STEPS = 25


@pytest.fixture(scope="module")
def head() -> MaskHead:
    return MaskHead(LABELS, steps=STEPS).fit(*objects(24, 0))


@pytest.fixture(scope="module")
def unseen() -> tuple[list[Scene], list[list[Mask]]]:
    return pictures(12, 5)


def test_boxes_that_are_asked_for_are_filled(
    head: MaskHead, unseen: tuple[list[Scene], list[list[Mask]]]
) -> None:
    found = []
    for scene, masks in zip(*unseen, strict=True):
        for mask in masks:
            said = head.prompted(scene, mask_to_box(mask.pixels))
            assert said.score is not None
            found.append(iou(said.pixels, mask.pixels))
    assert np.mean(found) > 0.75


def test_points_find_the_object_under_them(
    head: MaskHead, unseen: tuple[list[Scene], list[list[Mask]]]
) -> None:
    found = []
    for scene, masks in zip(*unseen, strict=True):
        for mask in masks:
            point = mask_to_box(mask.pixels).centre
            found.append(iou(mask_under(scene, point=point, head=head).pixels, mask.pixels))
    assert np.mean(found) > 0.7


def test_proposals_of_others_are_drawn(
    head: MaskHead, unseen: tuple[list[Scene], list[list[Mask]]]
) -> None:
    scenes, masks = unseen
    boxes = [[mask_to_box(mask.pixels, mask.label) for mask in row] for row in masks]
    for row, truths in zip(head.predict(scenes, boxes), masks, strict=True):
        assert len(row) == len(truths)
        assert sorted(mask.label for mask in row) == sorted(mask.label for mask in truths)
    with pytest.raises(HeadError, match="rows of boxes"):
        head.predict(scenes, boxes[:1])


def test_a_persons_label_is_kept(head: MaskHead) -> None:
    scenes, masks = pictures(1, 8)
    box = replace(mask_to_box(masks[0][0].pixels), label="red")
    assert head.prompted(scenes[0], box).label == "red"


def test_polygons_have_few_corners_and_the_same_pixels() -> None:
    scenes, targets = polygons(10, 0)
    head = MaskHead(LABELS, "polygon", steps=STEPS).fit(scenes, targets)
    seen, masks = pictures(4, 6)
    boxes = [[mask_to_box(mask.pixels) for mask in row] for row in masks]
    drawn = head.predict(seen, boxes)
    pairs = []
    for scene, row, around in zip(seen, drawn, boxes, strict=True):
        asked = [head.prompted(scene, box).pixels for box in around]
        for polygon in row:
            assert isinstance(polygon, Polygon)
            assert len(polygon.points) < 80
            pairs.append(max(iou(mask_of(polygon, 64, 64), other) for other in asked))
    assert np.median(pairs) > 0.85


def test_regions_are_told_from_objects_and_drawn_whole() -> None:
    scenes, masks = pictures(16, 0, most=2)
    joined = []
    for row in masks:
        pixels = np.any([mask.pixels for mask in row], axis=0) if row else None
        both = [Mask(pixels, label="blue")] if pixels is not None else []
        joined.append(Opinions.of(both, size=(64, 64)))
    several = [target for target in joined if len(target.by_person[0]) == 1]
    assert several
    head = MaskHead(LABELS, instances=False, steps=30).fit(scenes, joined)
    assert not head.objects
    said = head.predict(scenes[:8])
    assert all(len(row) <= len(LABELS) for row in said)
    assert head.losses(said, joined[:8]).mean() < 0.45
    with pytest.raises(HeadError, match="regions"):
        head.prompted(scenes[0], Box(1, 1, 9, 9))
    assert mask_under(scenes[0], Box(1, 1, 40, 40), head=head).score is None


def test_nothing_to_draw_is_learned_too(tmp_path: Path) -> None:
    scenes, _ = pictures(3, 0)
    nothing = [Opinions.of([], size=(64, 64))] * 3
    head = MaskHead(LABELS, steps=2).fit(scenes, nothing)
    assert head.predict(scenes) == [(), (), ()]
    assert head.losses([(), (), ()], nothing).tolist() == [0, 0, 0]
    head.save(tmp_path)
    assert load_head(tmp_path).predict(scenes) == [(), (), ()]


def test_images_that_nobody_looked_at_are_left_out() -> None:
    scenes, targets = objects(4, 3)
    with pytest.raises(HeadError, match="no labelled image"):
        MaskHead(LABELS).fit(scenes, [Opinions(())] * 4)
    assert MaskHead(LABELS).losses([()], [Opinions(())]) == [0]
    assert len(targets) == 4


def test_what_does_not_fit_is_named() -> None:
    scenes, targets = objects(3, 3)
    wrong = [Opinions.of([Mask(np.ones((9, 9)), label="red")], size=(9, 9))] * 3
    with pytest.raises(HeadError, match="does not fit"):
        MaskHead(LABELS).fit(scenes, wrong)
    with pytest.raises(HeadError, match="list of scenes"):
        MaskHead(LABELS).fit(np.zeros((3, 8)), targets)  # type: ignore[arg-type]
    with pytest.raises(HeadError, match="polygon"):
        MaskHead(LABELS, "blob")  # type: ignore[arg-type]
    with pytest.raises(HeadError, match="one step"):
        MaskHead(LABELS, steps=0)
    broken = replace(scenes[0], inputs=torch.full_like(scenes[0].inputs, torch.nan))
    with pytest.raises(HeadError, match="not finite"):
        MaskHead(LABELS).fit([broken, *scenes[1:]], targets)


def test_losses_count_misses_false_ones_and_labels() -> None:
    scene, other = (np.zeros((20, 20), dtype=bool) for _ in range(2))
    scene[2:8, 2:8], other[12:18, 12:18] = True, True
    blue, red = Mask(scene, label="blue"), Mask(other, label="red")

    def loss(said: list[Mask], *true: Mask) -> float:
        return mask_loss(said, Opinions.of(true, size=(20, 20)), LABELS, True)

    assert loss([blue, red], red, blue) == 0
    assert loss([blue], blue, red) == pytest.approx(0.5)
    assert loss([blue, red], blue) == pytest.approx(0.5)
    assert loss([replace(blue, label="red")], blue) == pytest.approx(0.5)
    assert loss([], blue) == 1
    assert loss([blue]) == 1
    assert loss([]) == 0
    half = scene.copy()
    half[2:5] = False
    assert loss([Mask(half, label="blue")], blue) == pytest.approx(0.5)


def test_scores_follow_what_was_seen() -> None:
    rng = np.random.default_rng(0)
    quality, detected = rng.normal(1, 2, 400), rng.random(400)
    there = rng.random(400) < detected
    overlap = there / (1 + np.exp(-quality))
    scores = MaskScores().fit((quality, detected, overlap), (quality, 1 / (1 + np.exp(-quality))))
    said = np.array([scores.of_found(*pair) for pair in zip(quality, detected, strict=True)])
    assert abs(said.mean() - overlap.mean()) < 0.02
    assert np.corrcoef(said, overlap)[0, 1] > 0.6
    assert scores.of_asked(2.0) == pytest.approx(1 / (1 + np.exp(-2.0)), abs=0.03)
    bare = MaskScores().fit((np.zeros(0),) * 3, (np.zeros(0),) * 2)
    assert 0 < bare.of_found(0.0, 0.0) < bare.of_found(2.0, 0.9) < 1


def test_examples_give_the_same_pixels_in_any_window() -> None:
    pixels = np.zeros((50, 60), dtype=bool)
    pixels[20:31, 25:46] = True
    example = Example.of_object(0, pixels, np.array([1.0, 0.0]))
    for window in (Window(35.5, 25.5, 40), Window(30, 20, 40, 30, True)):
        whole = window.sample(torch.from_numpy(pixels)[None], 48)
        torch.testing.assert_close(example.truth(window, 48), whole, atol=1e-4, rtol=0)
    assert example.side() == 21


def test_errors_of_boxes_are_shares_of_the_true_sides() -> None:
    scenes, masks = pictures(1, 2)
    targets = [Opinions.of(masks[0][:1], size=(64, 64))]
    task = Task.of(scenes, targets, None, LABELS, True)
    true = mask_to_box(masks[0][0].pixels)
    wrong = replace(true, x=true.x - 0.1 * true.width, width=1.1 * true.width)
    far = Box(0, 0, 2, 2)
    np.testing.assert_allclose(task.box_errors([[far, wrong]]), [[-0.1, 0, 0, 0]], atol=1e-9)
    assert task.box_errors([[far]]).shape == (0, 4)


def test_a_prompts_box_is_drawn_where_it_is() -> None:
    prompt = Prompt.of_box(Box(10, 20, 30, 15))
    drawn = prompt.drawn(96)
    side = prompt.window.side / 96
    assert float(drawn[0].sum()) * side**2 == pytest.approx(30 * 15, rel=0.02)
    assert drawn[2].min() == 1
    spot = Prompt.of_point(5, 5, 40).drawn(96)
    assert spot[1].argmax() // 96 in (47, 48)
    assert spot[[0, 2]].max() == 0


def test_colours_are_shown_once_where_the_lvm_sees_pixels() -> None:
    scene = pictures(1, 2)[0][0]
    prompt = Prompt.of_box(Box(10, 10, 30, 30))
    view = View(scene)
    assert view._shift is not None
    _, inputs = view.look(prompt)
    assert inputs.shape == (3, lvm().preprocessing.size, lvm().preprocessing.size)


def test_without_a_head_the_object_is_measured() -> None:
    scenes, masks = pictures(1, 2)
    scene, mask = scenes[0], masks[0][0]
    box = mask_to_box(mask.pixels, "red")
    said = mask_under(scene, point=box.centre)
    assert said.score is None
    assert iou(said.pixels, mask.pixels) > 0.6
    framed = mask_under(scene, box)
    assert framed.label == "red"
    assert not (framed.pixels & ~mask_of(box, 64, 64)).any()
    with pytest.raises(ValueError, match="neither"):
        mask_under(scene)
    with pytest.raises(ValueError, match="outside"):
        mask_under(scene, point=(99, 1))


def test_another_lvm_is_refused(head: MaskHead) -> None:
    torch.manual_seed(1)
    wider = LVM(replace(lvm().config, width=12)).eval()
    pixels = np.zeros((3, 64, 64), dtype=np.float32)
    scene = Scene.of(GalaxyImage(pixels, "rgb8", ("red", "green", "blue")), wider)
    with pytest.raises(HeadError, match="another LVM"):
        head.prompted(scene, Box(10, 10, 30, 30))
