"""The editor of Label Studio in a browser: what it shows, and what people do in it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from golden import FRAME, Golden

from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import ChoicesControl, LabelConfig, RegionControl
from ml_backend.labelstudio.reading import TypedReading, read_answers
from ml_backend.labelstudio.typed import TypedAnswer
from models.answers import Labels, Number, Paths, Stars

SUBMIT = "[data-testid=bottombar-submit-button]"
REGION = ".lsf-outliner-item"


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

    def numbers(self) -> list[float]:
        """What stands in the boxes for numbers; NaN in empty ones."""
        boxes = self.page.locator("input[type=number]").all()
        return [float(box.input_value() or "nan") for box in boxes]

    def stars(self) -> list[int]:
        """How many stars are lit, of each rating."""
        rates = self.page.locator(".ant-rate").all()
        return [rate.locator(".ant-rate-star-full").count() for rate in rates]

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
    settled(editor.texts_of_regions, regions)
    settled(editor.ticked, ticked)
    settled(editor.numbers, pytest.approx(numbers))
    settled(editor.stars, stars)
    settled(page.locator(".htx-taxonomy .ant-select-selection-item").count, len(paths))


def settled(read: Callable[[], Any], wanted: Any, seconds: float = 30.0) -> None:
    """Wait until what is shown is what should be; the editor fills itself in piece by piece."""
    deadline = time.monotonic() + seconds
    while read() != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert read() == wanted


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


def check_kept(
    editor: Editor, reading: TypedReading, changed: dict[str, Any], turn: int = 0
) -> None:
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
            assert found.frame == replace(FRAME, rotation=turn)
    named = {told.control for told in editor.golden.answers}
    extra = [found.control for found in reading.answers if found.control not in named]
    assert not extra, "nothing is said of questions that are not asked"


def bare(value: Any) -> Any:
    """The same without its score."""
    return replace(value, score=None)


def picture_on_screen(page: Any) -> tuple[float, float, float]:
    """Return left, top and pixels of the screen per pixel of the picture."""
    box = page.locator("canvas").first.bounding_box()
    scale = page.evaluate(
        """() => [...document.querySelectorAll('img')].filter(image => image.naturalWidth > 0
            && image.getBoundingClientRect().width > 100).map(image => {
                const place = image.getBoundingClientRect();
                return [place.left, place.top,
                    Math.max(place.width, place.height)
                    / Math.max(image.naturalWidth, image.naturalHeight)];
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


def image_size(page: Any) -> tuple[int, int]:
    """Return width and height of the picture in the editor, as the browser knows it."""
    found = page.evaluate(
        """() => [...document.querySelectorAll('img')].filter(image =>
            /^blob:|pictures/.test(image.src) && image.getBoundingClientRect().width > 110)
            .map(image => [image.naturalWidth, image.naturalHeight])[0]"""
    )
    return int(found[0]), int(found[1])
