"""Boxes, masks and clicks on a real Label Studio: learned, suggested, and asked for at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import requests

from ml_backend.connection import connect
from ml_backend.demo.progress import LoopProgress
from ml_backend.labelstudio.config import LabelConfig, parse_controls
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.reading import read_answers
from ml_backend.labelstudio.typed import Item, TypedAnswer
from ml_backend.labelstudio.writing import write_answers
from models.answers import Answer, Box, Mask, Point
from models.images import ImageLimits, read_image, to_rgb8
from models.segmentation import mask_to_box, segment_at

pytestmark = pytest.mark.e2e

Loop = Any  # RunningLoop of conftest.py, which tests cannot import
FOLDER = "loop-galaxies"
CONFIG = """<View><Image name="image" value="$image"/>
<RectangleLabels name="boxes" toName="image"><Label value="Galaxy"/></RectangleLabels>
<BrushLabels name="masks" toName="image"><Label value="Galaxy"/></BrushLabels>
<KeyPointLabels name="ask" toName="image" smartOnly="true"><Label value="Galaxy"/></KeyPointLabels>
</View>"""


class Places:
    """A connected project that asks for boxes and masks, with the galaxies' own light as truth."""

    def __init__(self, loop: Loop, title: str) -> None:
        self.loop = loop
        provision = loop.server.provision()
        self.id = provision.create(title, CONFIG)
        provision.permit(self.id, FOLDER)
        tasks = provision.complete(self.id, FOLDER, loop.pictures)
        files = {picture.image.key: picture.image.path for picture in loop.pictures}
        self.pictures = {task: _pixels(files[key]) for task, key in tasks.items()}
        connect(loop.services.settings(), self.id, store=loop.store)
        self.progress = LoopProgress(loop.store, self.id, loop.services.check, patience=240)
        self.progress.wait(0)

    @property
    def config(self) -> LabelConfig:
        return parse_controls(CONFIG)

    def truth(self, task: int) -> np.ndarray:
        pixels = self.pictures[task]
        height, width = pixels.shape[:2]
        return segment_at(pixels, width / 2, height / 2)

    def say(self, task: int) -> None:
        """Submit the box and the mask of the galaxy in the middle."""
        mask = self.truth(task)
        given: dict[str, Answer] = {
            "boxes": mask_to_box(mask, label="Galaxy"),
            "masks": Mask(mask, label="Galaxy"),
        }
        frame = Frame(mask.shape[1], mask.shape[0])
        typed = [TypedAnswer(name, (Item(a, "manual"),), frame) for name, a in given.items()]
        self.loop.people[0].create_annotation(task, write_answers(self.config, typed).result)

    def asked(self, task: int, drawn: dict[str, Any]) -> tuple[list[dict[str, Any]], float]:
        """Ask through Label Studio, as the editor does; return the regions and the seconds."""
        [backend] = self.loop.owner.backends(self.id)
        start = time.perf_counter()
        answer = requests.post(
            f"{self.loop.server.url}/api/ml/{backend['id']}/interactive-annotating",
            json={"task": task, "context": {"result": [drawn]}},
            headers=self.loop.server.headers(),
            timeout=60,
        )
        answer.raise_for_status()
        return answer.json()["data"]["result"], time.perf_counter() - start


def _pixels(path: Any) -> np.ndarray:
    return to_rgb8(read_image(path.read_bytes(), ImageLimits()))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def box_overlap(one: Box, other: Box) -> float:
    left, top = max(one.x, other.x), max(one.y, other.y)
    right = min(one.x + one.width, other.x + other.width)
    bottom = min(one.y + one.height, other.y + other.height)
    inside = max(right - left, 0) * max(bottom - top, 0)
    return inside / (one.width * one.height + other.width * other.height - inside)


@pytest.fixture(scope="module")
def places(running_loop: Loop) -> Places:
    return Places(running_loop, "Boxes and masks")


def test_a_click_is_answered_before_anything_was_learned(places: Places) -> None:
    task = next(iter(places.pictures))
    height, width = places.pictures[task].shape[:2]
    typed = TypedAnswer(
        "ask", (Item(Point(width / 2, height / 2, label="Galaxy"), "manual", "r1"),),
        Frame(width, height),
    )  # fmt: skip
    [drawn] = write_answers(places.config, [typed]).result
    result, _ = places.asked(task, drawn)
    answer = read_answers({"result": result}, places.config).answer("masks")
    assert answer is not None
    [mask] = answer.values
    assert isinstance(mask, Mask)
    assert mask.label == "Galaxy"
    assert overlap(mask.pixels, places.truth(task)) > 0.9
    # The picture is known by now, so that the next answer is there at once.
    _, seconds = places.asked(task, drawn)
    assert seconds < 5


def test_boxes_and_masks_are_learned_and_suggested(
    places: Places, eventually: Callable[..., None]
) -> None:
    ids = sorted(places.pictures)
    for task in ids[:12]:
        places.say(task)
    loop = places.loop
    eventually(
        lambda: loop.version(loop.champion(places.id)).votes >= 2 * 12,
        "a version is trained on all boxes and masks",
        seconds=400,
    )
    version = loop.champion(places.id)
    assert set(loop.version(version).quality) >= {"boxes", "masks"}
    boxes, masks = [], []
    for row in loop.owner.predictions(places.id, version):
        reading = read_answers(row, places.config)
        assert reading.problems == ()
        found, drawn = reading.answer("boxes"), reading.answer("masks")
        truth = places.truth(row["task"])
        whole = mask_to_box(truth)
        told = [box for box in (found.values if found else ()) if isinstance(box, Box)]
        assert all(box.score is not None and box.label == "Galaxy" for box in told)
        boxes.append(max((box_overlap(box, whole) for box in told), default=0.0))
        painted = [mask for mask in (drawn.values if drawn else ()) if isinstance(mask, Mask)]
        masks.append(max((overlap(mask.pixels, truth) for mask in painted), default=0.0))
    assert len(boxes) == len(ids) - 12
    # The LVM of these tests has random weights; that it learns anything is what is shown.
    print("boxes", np.round(boxes, 2), "masks", np.round(masks, 2))
    assert max(boxes) > 0.5
    assert max(masks) > 0.5
