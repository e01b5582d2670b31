"""Every labelling configuration that we ship, in the real editor: shown, corrected, read back."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import (
    ChoicesControl,
    LabelConfig,
    RegionControl,
    parse_controls,
)
from ml_backend.labelstudio.reading import TypedReading, read_answers
from ml_backend.labelstudio.typed import TypedAnswer
from ml_backend.labelstudio.writing import write_answers
from models.answers import Labels, Number, Paths, Stars

sys.path.insert(0, str(Path(__file__).parent))

from golden import FRAME, HEIGHT, WIDTH, Golden, golden

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

CONFIGS = Path(__file__).parents[2] / "labeling_configs"
ARTIFACTS = Path(__file__).parents[2] / "artifacts"
FOLDER = "labelling-configs"
ADDRESS = f"/data/local-files/?d={FOLDER}/galaxy.png"
SUBMIT = "[data-testid=bottombar-submit-button]"
REGION = ".lsf-outliner-item"

# What is put right in each, of which control: what is left alone must come back unchanged.
CORRECTIONS = {
    "all_in_one": ("remove", "boxes"),
    "detection": ("remove", "not_galaxies"),
    "galaxy_zoo_tree": ("choose", "t08_odd_feature"),
    "interest": ("rate", "grade"),
    "looks": ("choose", "morphology"),
    "masks": ("remove", "masks"),
    "morphology": ("choose", "morphology"),
    "parameters": ("number", "sersic"),
    "rare_objects": ("untick", "rare"),
    "restoration_review": ("choose", "verdict"),
    "rings": ("choose", "ring"),
    "shape_and_features": ("untick", "features"),
}
DISC = {
    "t01_smooth_or_features": "a02_features_or_disk",
    "t02_edgeon": "a05_no",
    "t04_spiral": "a08_spiral",
    "t06_odd": "a14_yes",
}


@dataclass
class Editor:
    """The page of one task with what is suggested on it."""

    page: Any
    client: LabelStudioClient
    config: LabelConfig
    project: int
    task: int
    golden: Golden

    def texts_of_regions(self) -> Counter[str]:
        """What the side panel lists."""
        return Counter(
            self.page.locator(f"{REGION} .lsf-labels-list .lsf-labels-list").all_inner_texts()
        )

    def suggested(self, control: str) -> TypedAnswer:
        """What was suggested for a control."""
        return next(told for told in self.golden.answers if told.control == control)

    def ticked(self) -> set[str]:
        """The choices that are ticked, as people read them."""
        return {
            box.get_attribute("name") or ""
            for box in self.page.locator(".lsf-choice input:checked").all()
        }

    def submit(self) -> TypedReading:
        """Submit, and read what is then kept."""
        with self.page.expect_response(
            lambda answer: "/annotations" in answer.url and answer.request.method == "POST"
        ) as answer:
            self.page.click(SUBMIT)
        assert answer.value.ok, answer.value.text()
        [task] = self.client.tasks(self.project)
        [annotation] = task["annotations"]
        reading = read_answers(annotation, self.config)
        assert reading.problems == ()
        return reading


@pytest.fixture(scope="module")
def pictures(label_studio_files: Path) -> Path:
    """The folder with the picture."""
    folder = label_studio_files / FOLDER
    folder.mkdir(exist_ok=True)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    light = 230 * np.exp(-np.hypot(rows - 40, (columns - 60) / 1.6) / 12)
    made = np.stack([light, light * 0.8, light * 0.6], axis=-1).astype(np.uint8)
    Image.fromarray(made).save(folder / "galaxy.png")
    return folder


@pytest.fixture(scope="module")
def studio(label_studio: Any, pictures: Path, page: Any) -> Any:
    """Label Studio, logged in to."""
    page.set_viewport_size({"width": 1280, "height": 1300})
    page.goto(f"{label_studio.url}/user/login/")
    page.fill("input[name=email]", label_studio.account.email)
    page.fill("input[name=password]", label_studio.account.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "login" not in url)
    return label_studio


@pytest.fixture
def opened(studio: Any, page: Any) -> Callable[..., Editor]:
    """Open a configuration in the editor, with golden answers suggested."""

    def make(name: str, picks: dict[str, str] | None = None, address: str = ADDRESS) -> Editor:
        text = (CONFIGS / f"{name}.xml").read_text()
        config = parse_controls(text)
        client = LabelStudioClient(studio.url, studio.account.token)
        project = int(client.create_project(f"Configuration {name}", text)["id"])
        studio.provision().permit(project, FOLDER)
        told = golden(config, picks)
        written = write_answers(config, told.answers)
        assert written.problems == ()
        data = {image.field: address for image in config.images}
        [task] = client.import_tasks(project, [{"data": data}])
        row = {"task": task, "result": written.result, "score": 0.5, "model_version": "golden"}
        assert client.import_predictions(project, [row]) == 1
        client.update_project(project, model_version="golden")
        page.goto(f"{studio.url}/projects/{project}/data?task={task}")
        page.wait_for_selector(SUBMIT)
        editor = Editor(page, client, config, project, task, told)
        wanted = len(told.regions(config))
        page.wait_for_function(
            "([what, count]) => document.querySelectorAll(what).length >= count",
            arg=[REGION, wanted],
        )
        page.wait_for_function(
            """() => [...document.querySelectorAll('img')].some(image => image.naturalWidth > 0
                && /^blob:|local-files|pictures/.test(image.src)
                && image.getBoundingClientRect().width > 100)"""
        )
        return editor

    return make


def check_shown(editor: Editor) -> None:
    """Everything that was suggested is to be seen."""
    config, page = editor.config, editor.page
    regions: Counter[str] = Counter()
    ticked: set[str] = set()
    numbers: list[float] = []
    stars: list[int] = []
    paths: list[str] = []
    for answer in editor.golden.answers:
        control = config.find(answer.control)
        for value in answer.values:
            if isinstance(control, RegionControl):
                texts = dict(zip(control.labels, control.texts, strict=True))
                regions[texts[value.label]] += 1  # type: ignore[attr-defined]
            elif isinstance(control, ChoicesControl) and not control.per_region:
                assert isinstance(value, Labels)
                texts = dict(zip(control.labels, control.texts, strict=True))
                ticked |= {texts[label] for label in value.labels}
            elif isinstance(value, Number):
                numbers.append(value.value)
            elif isinstance(value, Stars):
                stars.append(value.value)
            elif isinstance(value, Paths):
                paths += [path[-1] for path in value.paths]
    assert editor.texts_of_regions() == regions
    assert editor.ticked() == ticked
    shown = [float(box.input_value()) for box in page.locator("input[type=number]").all()]
    assert shown == pytest.approx(numbers)
    rated = [
        rate.locator(".ant-rate-star-full").count() for rate in page.locator(".ant-rate").all()
    ]
    assert rated == stars
    assert page.locator(".htx-taxonomy .ant-select-selection-item").count() == len(paths)


def correct(editor: Editor, how: str, name: str) -> Any:
    """Put one thing right as a person would; return what the control must then say."""
    config, page = editor.config, editor.page
    control = config.find(name)
    answer = editor.suggested(name)
    if how == "remove":
        assert isinstance(control, RegionControl)
        regions = [item.region for item in editor.golden.regions(config)]
        place = regions.index(answer.items[-1].region)
        page.locator(REGION).nth(place).click()
        page.keyboard.press("Backspace")
        page.wait_for_function(
            "([what, count]) => document.querySelectorAll(what).length === count",
            arg=[REGION, len(regions) - 1],
        )
        return answer.values[:-1]
    if how in ("choose", "untick"):
        assert isinstance(control, ChoicesControl)
        [value] = answer.values
        assert isinstance(value, Labels)
        texts = dict(zip(control.labels, control.texts, strict=True))
        if how == "untick":
            clicked, left = value.labels[-1], value.labels[:-1]
        else:
            clicked = next(label for label in control.labels if label not in value.labels)
            left = (clicked,)
        page.locator(f'.lsf-choice input[name="{texts[clicked]}"]').last.click()
        return (Labels(left),)
    if how == "rate":
        page.locator(".ant-rate-star").nth(0).click()
        return (Stars(1),)
    assert how == "number"
    place = [told.control for told in editor.golden.answers if isinstance(told.values[0], Number)]
    page.locator("input[type=number]").nth(place.index(name)).fill("2.5")
    page.keyboard.press("Tab")
    return (Number(2.5),)


def check_kept(editor: Editor, reading: TypedReading, changed: dict[str, Any]) -> None:
    """What was changed says what it should; all else came back exactly as it was suggested."""
    for told in editor.golden.answers:
        found = reading.answer(told.control)
        assert found is not None, told.control
        if told.control in changed:
            wanted = changed[told.control]
            assert [bare(value) for value in found.values] == [bare(value) for value in wanted]
        else:
            assert found.same_as(told), told.control
            assert found.origin == "prediction", told.control
            assert len(found.items) == len(told.items)
        if told.frame is not None:
            assert found.frame == FRAME
            assert found.frame.rotation == 0
    named = {told.control for told in editor.golden.answers}
    extra = [found.control for found in reading.answers if found.control not in named]
    assert not extra, "nothing is said of questions that are not asked"


def bare(value: Any) -> Any:
    """The same without its score."""
    return replace(value, score=None)


def test_every_configuration_is_here() -> None:
    assert sorted(CORRECTIONS) == sorted(path.stem for path in CONFIGS.glob("*.xml"))


@pytest.mark.parametrize("name", CORRECTIONS)
def test_suggestions_are_shown_corrected_and_come_back(
    name: str, opened: Callable[..., Editor], page: Any
) -> None:
    editor = opened(name)
    check_shown(editor)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"configuration-{name}.png")
    how, control = CORRECTIONS[name]
    wanted = correct(editor, how, control)
    check_kept(editor, editor.submit(), {control: wanted})


def test_a_long_way_through_the_tree(opened: Callable[..., Editor]) -> None:
    editor = opened("galaxy_zoo_tree", DISC)
    assert {"t07_rounded", "t09_bulge_shape"} == set(editor.golden.hidden)
    check_shown(editor)
    check_kept(editor, editor.submit(), {})


def picture_on_screen(page: Any) -> tuple[float, float, float]:
    """Return left, top and pixels of the screen per pixel of the picture."""
    box = page.locator("canvas").first.bounding_box()
    scale = page.evaluate(
        """() => [...document.querySelectorAll('img')].filter(image => image.naturalWidth > 0
            && image.getBoundingClientRect().width > 100).map(image => {
                const place = image.getBoundingClientRect();
                return [place.left, place.top, place.width / image.naturalWidth];
            })[0]"""
    )
    assert box is not None
    return float(scale[0]), float(scale[1]), float(scale[2])


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Move the mouse with its button down, from and to pixels of the picture."""
    left, top, scale = picture_on_screen(page)
    page.mouse.move(left + start[0] * scale, top + start[1] * scale)
    page.mouse.down()
    for part in (0.25, 0.5, 0.75, 1.0):
        x = start[0] + part * (end[0] - start[0])
        y = start[1] + part * (end[1] - start[1])
        page.mouse.move(left + x * scale, top + y * scale)
    page.mouse.up()


def region_of(answer: TypedAnswer | None, region: str) -> Any:
    """Return what was said with the region of that id."""
    assert answer is not None
    [value] = [item.value for item in answer.items if item.region == region]
    return value


def test_a_turned_box_that_is_moved_keeps_its_size_and_turn(opened: Callable[..., Editor]) -> None:
    editor = opened("detection")
    suggested = editor.suggested("galaxies")
    before = region_of(suggested, "galaxies-1")
    x, y = before.centre
    editor.page.locator(REGION).nth(1).click()
    drag(editor.page, (x, y), (x - 12, y + 9))
    found = editor.submit().answer("galaxies")
    after = region_of(found, "galaxies-1")
    assert (after.width, after.height) == pytest.approx((before.width, before.height), abs=1e-3)
    assert after.rotation == pytest.approx(33, abs=1e-6)
    np.testing.assert_allclose(np.subtract(after.centre, (x, y)), (-12, 9), atol=0.5)
    assert found is not None
    assert found.origin == "prediction-changed"
    assert bare(region_of(found, "galaxies-0")) == bare(region_of(suggested, "galaxies-0"))


def test_a_mask_that_is_painted_on_keeps_its_other_pixels(opened: Callable[..., Editor]) -> None:
    editor = opened("masks")
    before = region_of(editor.suggested("masks"), "masks-0")
    editor.page.locator(REGION).nth(0).click()
    editor.page.keyboard.press("b")
    drag(editor.page, (8, 70), (24, 70))
    after = region_of(editor.submit().answer("masks"), "masks-0")
    assert after.label == before.label
    assert not (before.pixels & ~after.pixels).any(), "nothing is lost"
    rows, columns = np.nonzero(after.pixels & ~before.pixels)
    assert after.pixels[70, 10:22].all(), "the stroke is there"
    assert rows.min() > 50, "and nothing else"
    assert columns.max() < 45
