"""Asking for one object in the real editor: a click or a box becomes the object under it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from ml_backend.connection import connect, doctor
from ml_backend.labelstudio.config import LabelConfig, parse_controls
from ml_backend.labelstudio.reading import TypedReading, read_answers
from ml_backend.labelstudio.typed import TypedAnswer
from ml_backend.loop.typed_votes import typed_votes
from ml_backend.loop.votes import reconcile
from models.answers import Ellipse, Mask
from models.images import ImageLimits, read_image, to_rgb8
from models.rasters import mask_of
from models.segmentation import segment_at

sys.path.insert(0, str(Path(__file__).parent))

from editor import REGION, SUBMIT, drag, picture_on_screen, settled

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

Loop = Any  # RunningLoop of conftest.py, which tests cannot import
FOLDER = "loop-galaxies"
ARTIFACTS = Path(__file__).parents[2] / "artifacts"
MASKS = (Path(__file__).parents[2] / "labeling_configs" / "masks.xml").read_text()
ELLIPSES = """<View><Image name="image" value="$image"/>
<EllipseLabels name="outlines" toName="image" smart="false"><Label value="Galaxy"/></EllipseLabels>
<KeyPointLabels name="ask" toName="image" smartOnly="true"><Label value="Galaxy" hotkey="6"/>
</KeyPointLabels></View>"""
ACCEPT = "[data-testid=bottombar-accept-suggestions-button]"
AUTO_ANNOTATION = "[data-testid=bottombar-auto-annotation-toggle]"
AUTO_ACCEPT = "[data-testid=bottombar-auto-accept-toggle]"
SMART = ".lsf-toolbar .lsf-tool_smart"


class Asking:
    """A connected project, one task of which is in the editor at a time."""

    def __init__(self, loop: Loop, page: Any, title: str, text: str) -> None:
        self.loop, self.page = loop, page
        self.config: LabelConfig = parse_controls(text)
        provision = loop.server.provision()
        self.id: int = provision.create(title, text)
        provision.permit(self.id, FOLDER)
        tasks = provision.complete(self.id, FOLDER, loop.pictures)
        connect(loop.services.settings(), self.id, store=loop.store)
        files = {picture.image.key: picture.image.path for picture in loop.pictures}
        light = {task: _light(files[key]) for task, key in tasks.items()}
        # Galaxies that are large enough for an overlap to say something.
        self.truth = {task: mask for task, mask in sorted(light.items()) if mask.sum() > 300}
        self._unused: Iterator[int] = iter(self.truth)
        self.task = 0

    def open(self) -> None:
        """Open a task that was not yet open."""
        self.task = next(self._unused)
        self.page.goto(f"{self.loop.server.url}/projects/{self.id}/data?task={self.task}")
        self.page.wait_for_selector(SUBMIT)
        self.page.wait_for_load_state("networkidle")  # it is built up twice
        self.page.wait_for_function(
            """() => [...document.querySelectorAll('img')].some(image => image.naturalWidth > 0
                && image.getBoundingClientRect().width > 110)"""
        )

    def switch(self, what: str, on: bool) -> None:
        """Switch Auto-Annotation or the accepting of suggestions on or off."""
        toggle = self.page.locator(what)
        if toggle.is_checked() != on:
            toggle.click(force=True)
        settled(toggle.is_checked, on)
        self.page.evaluate("document.activeElement.blur()")  # keys go to the editor, not to it

    def choose_tool(self, name: str) -> None:
        """Choose one of the tools behind Auto-Detect with the mouse."""
        self.page.locator(SMART).first.hover()
        self.page.locator(f"{SMART} [aria-label={name}]").click()

    def choose_label(self, hotkey: str) -> None:
        self.page.keyboard.press(hotkey)
        self.page.wait_for_selector(".lsf-label_selected")

    def click(self) -> None:
        """Click on the galaxy in the middle of the picture."""
        left, top, scale = picture_on_screen(self.page)
        height, width = self.truth[self.task].shape
        self.page.mouse.click(left + width / 2 * scale, top + height / 2 * scale)

    def regions(self) -> int:
        return int(self.page.locator(REGION).count())

    def submit(self) -> tuple[dict[str, Any], TypedReading]:
        """Submit; return what Label Studio then holds, and what we read in it."""
        with self.page.expect_response(
            lambda answer: "/annotations" in answer.url and answer.request.method == "POST"
        ) as answer:
            self.page.click(SUBMIT)
        assert answer.value.ok, answer.value.text()
        [task] = [row for row in self.loop.owner.tasks(self.id) if row["id"] == self.task]
        [annotation] = task["annotations"]
        reading = read_answers(annotation, self.config)
        assert reading.problems == ()
        return annotation, reading

    def votes(self) -> dict[str, TypedAnswer]:
        """Read the votes, and return what is kept of this task, by control."""
        reconcile(self.loop.owner, self.loop.store, self.id)
        kept = {vote.control for vote in self.loop.votes(self.id) if vote.task_id == self.task}
        return {
            control: vote.answer
            for control in kept
            for vote in typed_votes(self.loop.store, self.id, control)
            if vote.task_id == self.task
        }


def _light(path: Path) -> np.ndarray:
    pixels = to_rgb8(read_image(path.read_bytes(), ImageLimits()))
    height, width = pixels.shape[:2]
    return segment_at(pixels, width / 2, height / 2)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


@pytest.fixture(scope="module")
def asking(running_loop: Loop, page: Any) -> Callable[[str, str], Asking]:
    """Make a project; the browser is logged in to it."""
    url, account = running_loop.server.url, running_loop.server.account
    page.goto(f"{url}/user/login/")
    page.fill("input[name=email]", account.email)
    page.fill("input[name=password]", account.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda address: "login" not in address)
    return lambda title, text: Asking(running_loop, page, title, text)


@pytest.fixture(scope="module")
def masks(asking: Callable[[str, str], Asking]) -> Asking:
    return asking("Asking for masks", MASKS)


def check_mask(asked: Asking, label: str) -> None:
    """The galaxy's mask is in what is on the page, in what is submitted and in the vote."""
    annotation, reading = asked.submit()
    assert [region["from_name"] for region in annotation["result"]] == ["masks"]
    votes = asked.votes()
    assert set(votes) == {"masks"}
    for answer in (reading.answer("masks"), votes["masks"]):
        assert answer is not None
        [mask] = answer.values
        assert isinstance(mask, Mask)
        assert mask.label == label
        assert overlap(mask.pixels, asked.truth[asked.task]) > 0.9


def test_a_click_becomes_a_mask_once_it_is_accepted(masks: Asking, page: Any) -> None:
    masks.open()
    masks.switch(AUTO_ANNOTATION, True)
    masks.switch(AUTO_ACCEPT, False)
    page.keyboard.press("m")
    masks.choose_label("6")
    masks.click()
    page.wait_for_selector(ACCEPT)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "interactive.png")
    page.click(ACCEPT)
    page.wait_for_selector(ACCEPT, state="detached")
    settled(masks.regions, 1)
    check_mask(masks, "Galaxy")


def test_a_box_becomes_a_mask_that_is_accepted_by_itself(masks: Asking) -> None:
    masks.open()
    masks.switch(AUTO_ANNOTATION, True)
    masks.switch(AUTO_ACCEPT, True)
    masks.choose_tool("rectangle-tool")
    masks.choose_label("0")
    rows, columns = np.nonzero(masks.truth[masks.task])
    start = float(columns.min()) - 4, float(rows.min()) - 4
    with masks.page.expect_response(lambda answer: "interactive-annotating" in answer.url):
        drag(masks.page, start, (float(columns.max()) + 4, float(rows.max()) + 4))
    settled(masks.regions, 1)
    check_mask(masks, "Companion")


def test_a_click_becomes_an_ellipse(asking: Callable[[str, str], Asking], page: Any) -> None:
    asked = asking("Asking for ellipses", ELLIPSES)
    asked.open()
    asked.switch(AUTO_ANNOTATION, True)
    asked.switch(AUTO_ACCEPT, False)
    page.keyboard.press("m")
    asked.choose_label("6")
    asked.click()
    page.click(ACCEPT)
    page.wait_for_selector(ACCEPT, state="detached")
    annotation, reading = asked.submit()
    assert [region["from_name"] for region in annotation["result"]] == ["outlines"]
    for answer in (reading.answer("outlines"), asked.votes()["outlines"]):
        assert answer is not None
        [ellipse] = answer.values
        assert isinstance(ellipse, Ellipse)
        assert ellipse.label == "Galaxy"
        truth = asked.truth[asked.task]
        assert overlap(mask_of(ellipse, *truth.shape), truth) > 0.7


def test_a_suggestion_that_was_forgotten_is_no_vote(masks: Asking, page: Any) -> None:
    masks.open()
    masks.switch(AUTO_ANNOTATION, True)
    masks.switch(AUTO_ACCEPT, False)
    masks.choose_tool("key-point-tool")  # M would take another one, after boxes
    masks.choose_label("6")
    masks.click()
    page.wait_for_selector(ACCEPT)
    annotation, reading = masks.submit()
    assert [region["from_name"] for region in annotation["result"]] == ["ask_by_click"]
    answer = reading.answer("masks")
    assert answer is not None
    assert answer.values == ()
    assert masks.votes() == {}, "not even that nothing is there"


def test_a_backend_that_may_not_be_asked_is_found_and_put_right(masks: Asking, page: Any) -> None:
    loop = masks.loop
    [backend] = loop.owner.backends(masks.id)
    credentials = loop.services.settings()
    answer = requests.patch(
        f"{loop.server.url}/api/ml/{backend['id']}",
        json={
            "project": masks.id,
            "url": backend["url"],
            "is_interactive": False,
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": credentials.basic_auth_user,
            "basic_auth_pass": credentials.basic_auth_pass.get_secret_value(),
        },
        headers=loop.server.headers(),
        timeout=60,
    )
    answer.raise_for_status()
    masks.open()
    assert page.locator(AUTO_ANNOTATION).count() == 0
    name = f"project {masks.id}: backend"

    def finding() -> Any:
        found = doctor(loop.services.settings(), loop.store, [masks.id], loop.owner)
        return next(item for item in found if item.check == name)

    assert "interactive" in finding().problem
    connect(loop.services.settings(), masks.id, store=loop.store)
    assert finding().ok
    masks.open()
    page.wait_for_selector(AUTO_ANNOTATION, state="attached")
