"""Detection on composite scenes: our head, the same on an LVM of random weights, and `sep`.

The scenes are semi-synthetic (real galaxy stamps on real SDSS fields): faint objects of the
background carry no box, so that finding those counts as wrong. The last 60 scenes are the test;
training scenes are drawn from the other 300 with the seed. Source galaxies come back in both parts,
turned and scaled anew; the column "new" holds F1 on test objects whose galaxy is in no training
scene (others, and what matches them, are left out).
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.answers import Box
from models.boxes import average_precision, iou, matched
from models.calibration import expected_calibration_error
from models.heads.detection import DetectionHead
from models.heads.detection_scores import Found
from models.images import read_image
from models.lvm import LVM
from models.opinions import Opinions
from models.scenes import Scene
from models.sources import load_lvm
from models.vision_encoder import VisionEncoder

SIZES = (30, 100, 300)
TEST = 60
WANTED = 0.967
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Picture:
    """One scene of the set, with its boxes [m, 4], labels [m] and source galaxies."""

    path: Path
    boxes: Array
    labels: NDArray[np.intp]
    sources: tuple[str, ...]

    def scene(self, lvm: VisionEncoder) -> Scene:
        return Scene.of(read_image(self.path.read_bytes()), lvm)

    def opinions(self, names: Sequence[str]) -> Opinions:
        drawn = [
            Box(x, y, right - x, bottom - y, label=names[label])
            for (x, y, right, bottom), label in zip(self.boxes.tolist(), self.labels, strict=True)
        ]
        return Opinions.of(drawn)


@dataclass(frozen=True, eq=False)
class Said:
    """What is said of one picture: boxes [n, 4], scores, label or -1, and which ones are shown."""

    boxes: Array
    scores: Array
    labels: NDArray[np.intp]
    shown: NDArray[np.bool_]


def read_set(folder: Path) -> tuple[list[Picture], list[str]]:
    """Read the pictures of the set, in order, and the names of the labels."""
    told = json.loads((folder / "annotations_coco.json").read_text())
    names = [one["name"] for one in told["categories"]]
    place = {one["id"]: k for k, one in enumerate(told["categories"])}
    pictures = []
    for image in told["images"]:
        mine = [one for one in told["annotations"] if one["image_id"] == image["id"]]
        corners = np.array([one["bbox"] for one in mine], dtype=np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        labels = np.array([place[one["category_id"]] for one in mine], dtype=np.intp)
        sources = tuple(one["source_objid"] for one in mine)
        pictures.append(Picture(folder / image["file_name"], corners, labels, sources))
    return pictures, names


def said_of(found: Found, threshold: float) -> Said:
    """Turn what the head found into rows of numbers."""
    corners = np.array([shape.bounds for shape in found.shapes if isinstance(shape, Box)])
    labels = found.names.argmax(axis=1) if len(found.shapes) else np.zeros(0, np.intp)
    return Said(corners.reshape(-1, 4), found.place, labels, found.place >= threshold)


def f1(
    said: Sequence[Said], truth: Sequence[Picture], aware: bool, old: Sequence[str] = ()
) -> float:
    """F1 of the boxes shown at IoU 0.5; test objects of the galaxies `old` count for nothing."""
    hits = shown = objects = 0
    for one, picture in zip(said, truth, strict=True):
        use = np.flatnonzero(one.shown)
        common = _common(one, picture, aware)[use]
        match = matched(common, one.scores[use])
        known = np.array([source in old for source in picture.sources], dtype=bool)
        excused = np.array([j >= 0 and known[j] for j in match], dtype=bool)
        hits += int(((match >= 0) & ~excused).sum())
        shown += int((~excused).sum())
        objects += int((~known).sum())
    return 2 * hits / max(shown + objects, 1)


def ap(said: Sequence[Said], truth: Sequence[Picture], label: int | None = None) -> float:
    """Average precision at IoU 0.5, of all boxes or those of one label."""
    correct, scores, objects = [], [], 0
    for one, picture in zip(said, truth, strict=True):
        mine = np.ones(len(one.scores), bool) if label is None else one.labels == label
        true = np.ones(len(picture.labels), bool) if label is None else picture.labels == label
        common = iou(one.boxes[mine], picture.boxes[true])
        correct.append(matched(common, one.scores[mine]) >= 0)
        scores.append(one.scores[mine])
        objects += int(true.sum())
    return average_precision(np.concatenate(correct), np.concatenate(scores), objects)


def centre_rate(said: Sequence[Said], truth: Sequence[Picture]) -> float:
    """Share of objects with a shown box's centre within a quarter of their mean side of theirs."""
    near = objects = 0
    for one, picture in zip(said, truth, strict=True):
        boxes = one.boxes[one.shown]
        mine, theirs = ((b[:, :2] + b[:, 2:]) / 2 for b in (boxes, picture.boxes))
        apart = np.linalg.norm(mine[:, None] - theirs[None], axis=2)
        reach = (picture.boxes[:, 2:] - picture.boxes[:, :2]).mean(axis=1) / 4
        # As overlap: 1 at no distance, one half at the reach.
        near += int((matched(1 - apart / reach[None] / 2, one.scores[one.shown]) >= 0).sum())
        objects += len(picture.boxes)
    return near / max(objects, 1)


def _common(one: Said, picture: Picture, aware: bool) -> Array:
    common = iou(one.boxes, picture.boxes)
    return common * (one.labels[:, None] == picture.labels[None]) if aware else common


def fit_head(
    train: Sequence[Picture], names: Sequence[str], lvm: VisionEncoder, seed: int
) -> tuple[DetectionHead, float]:
    """Fit the head; also return the seconds of one processor that it took."""
    scenes = [picture.scene(lvm) for picture in train]
    start = time.process_time()
    head = DetectionHead(names).fit(scenes, [p.opinions(names) for p in train], seed=seed)
    return head, time.process_time() - start


def row_of_head(
    name: str,
    head: DetectionHead,
    seconds: float,
    train: Sequence[Picture],
    test: Sequence[Picture],
    lvm: VisionEncoder,
) -> str:
    """Measure a head on the test and return its line of the table."""
    start = time.process_time()
    found = [head.found([picture.scene(lvm)])[0] for picture in test]
    each = (time.process_time() - start) / len(test) * 1000
    said = [said_of(one, head.threshold) for one in found]
    labels = [ap(said, test, label) for label in range(len(head.labels))]
    right = [matched(iou(s.boxes, p.boxes), s.scores) >= 0 for s, p in zip(said, test, strict=True)]
    error = expected_calibration_error(
        np.concatenate([s.scores for s in said]), np.concatenate(right)
    )
    old = {source for picture in train for source in picture.sources}
    new = f1(said, test, False, tuple(old))
    return (
        f"{name:22s} {len(train):4d} {f1(said, test, False):6.3f} {new:6.3f}"
        f" {ap(said, test):6.3f} {centre_rate(said, test):7.3f} {f1(said, test, True):9.3f}"
        f" {np.nanmean(labels):8.3f} {error:6.3f} {seconds:7.0f} {each:7.0f}"
    )


def row_of_sep(train: Sequence[Picture], test: Sequence[Picture], seed: int) -> str:
    """Tune source extraction on (up to 40 of) the training scenes, and measure it on the test."""
    import sep

    order = np.random.default_rng(seed).permutation(len(train))[:40]
    tune = [train[i] for i in order]
    start = time.process_time()
    wide = np.exp(-0.5 * (np.hypot(*np.mgrid[-4:5, -4:5]) / 2) ** 2)
    narrow = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=np.float64)

    def extract(picture: Picture, sigmas: float, contrast: float, kernel: Array) -> Array:
        pixels = read_image(picture.path.read_bytes()).pixels
        light = np.ascontiguousarray(pixels.mean(axis=0), dtype=np.float32)
        sky = sep.Background(light, bw=128, bh=128)
        objects = sep.extract(
            light - sky,
            sigmas,
            err=sky.globalrms,
            minarea=5,
            deblend_cont=contrast,
            filter_kernel=kernel,
        )
        edges = [objects["xmin"], objects["ymin"], objects["xmax"] + 1, objects["ymax"] + 1]
        return np.column_stack([*edges, objects["npix"], objects["flux"]]).astype(np.float64)

    def said(rows: Array, least: float) -> Said:
        rows = rows[rows[:, 4] >= least]
        none = np.full(len(rows), -1, np.intp)
        return Said(rows[:, :4], rows[:, 4], none, np.ones(len(rows), bool))

    best: tuple[float, tuple[float, float, int], float] = (-1.0, (0.0, 0.0, 0), 0.0)
    for way in itertools.product((3.0, 6.0, 10.0, 15.0, 25.0), (0.005, 0.05, 0.3), (0, 1)):
        rows = [extract(p, way[0], way[1], (narrow, wide)[way[2]]) for p in tune]
        for least in (30, 60, 120, 200, 300, 400, 600, 900, 1300, 1800, 2500):
            value = f1([said(r, least) for r in rows], tune, False)
            if value > best[0]:
                best = (value, way, least)
    _, way, least = best
    seconds = time.process_time() - start
    start = time.process_time()
    rows = [said(extract(p, way[0], way[1], (narrow, wide)[way[2]]), least) for p in test]
    each = (time.process_time() - start) / len(test) * 1000
    old = tuple({source for picture in train for source in picture.sources})
    new = f1(rows, test, False, old)
    return (
        f"{'sep, tuned':22s} {len(train):4d} {f1(rows, test, False):6.3f} {new:6.3f}"
        f" {ap(rows, test):6.3f}"
        f" {centre_rate(rows, test):7.3f} {'':9s} {'':8s} {'':6s} {seconds:7.0f} {each:7.0f}"
        f"  ({way[0]:.0f} sigma, deblending {way[1]}, filter {'3x3' if not way[2] else '9x9'}, "
        f"at least {least:.0f} pixels)"
    )


def report(data: Path, seed: int, sizes: Sequence[int] = SIZES, arms: Sequence[str] = ()) -> None:
    """Print the table; `arms` of "sep", "ours", "random" (all if left out)."""
    torch.set_num_threads(1)
    pictures, names = read_set(data / "sdss_composite_scenes")
    rest, test = pictures[:-TEST], pictures[-TEST:]
    objects = sum(len(picture.boxes) for picture in test)
    print(
        f"Detection: sdss_composite_scenes (semi-synthetic; faint background objects carry no "
        f"box), seed {seed}, {len(test)} test scenes with {objects} objects. "
        f"Wanted: F1 >= {WANTED} from 300 scenes, above sep."
    )
    print(
        f"{'':22s} {'n':>4s} {'F1':>6s} {'new':>6s} {'AP':>6s} {'centres':>7s} {'F1, label':>9s}"
        f" {'AP,label':>8s} {'calib.':>6s} {'fit, s':>7s} {'ms each':>7s}"
    )
    known = load_lvm()
    torch.manual_seed(seed)
    assert isinstance(known, LVM)
    blank = LVM(known.config)
    order = np.random.default_rng(seed).permutation(len(rest))
    for size in sizes:
        train = [rest[i] for i in order[:size]]
        if not arms or "sep" in arms:
            print(row_of_sep(train, test, seed), flush=True)
        for name, arm, lvm in (("ours", "ours", known), ("LVM of random weights", "random", blank)):
            if not arms or arm in arms:
                head, seconds = fit_head(train, names, lvm, seed)
                print(row_of_head(name, head, seconds, train, test, lvm), flush=True)
