"""Interactive mode: a box or a point becomes the object under it, whatever the editor sends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import StandIn, settings_of, tiny_lvm

from ml_backend.errors import FetchError
from ml_backend.labelstudio.config import LabelConfig, parse_controls
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.reading import read_answers
from ml_backend.labelstudio.typed import Item, TypedAnswer
from ml_backend.labelstudio.writing import write_answers
from ml_backend.loop.interactive import Prompt, answer_control, object_under, prompt_of
from ml_backend.loop.prediction import Predictor
from ml_backend.store.database import open_store
from models.answers import Answer, Box, Ellipse, Mask, Point, Polygon
from models.heads import EllipseHead
from models.images import ImageLimits, encode_png, read_image
from models.opinions import Opinions
from models.rasters import mask_of
from models.scenes import Scene

WIDTH, HEIGHT, X, Y = 120, 90, 70.0, 40.0
PROMPTS = """<RectangleLabels name="ask_box" toName="image" smartOnly="true">
<Label value="Galaxy"/><Label value="Star"/></RectangleLabels>
<KeyPointLabels name="ask" toName="image" smartOnly="true"><Label value="Star"/></KeyPointLabels>"""
FRAME = Frame(WIDTH, HEIGHT)


def config_with(tag: str) -> str:
    labels = '<Label value="Galaxy"/><Label value="Star"/>'
    return f"""<View><Image name="image" value="$image"/>{PROMPTS}
    <{tag} name="out" toName="image">{labels}</{tag}></View>"""


def galaxy() -> tuple[np.ndarray, np.ndarray]:
    """A picture of one galaxy on noise, and which pixels are brighter than the noise."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    light = 200 * np.exp(-(((x - X) / 9) ** 2 + ((y - Y) / 6) ** 2) / 2)
    noise = np.random.default_rng(0).normal(10, 2, (HEIGHT, WIDTH))
    picture = np.clip(light + noise, 0, 255).astype(np.uint8)
    return np.repeat(picture[..., None], 3, axis=2), light > 20


class OneGalaxy:
    """Fetches the same picture from every address but one."""

    def __init__(self) -> None:
        self.fetched = 0

    def fetch(self, address: str) -> bytes:
        self.fetched += 1
        if address == "gone://":
            raise FetchError("It is gone.")
        return encode_png(galaxy()[0])


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    """Return what asks a predictor without any version, by the tag that answers."""
    studio = StandIn(tmp_path / "ls.json")
    store = open_store(settings_of(tmp_path / "data"))
    studio.add_project(1)
    fetcher = OneGalaxy()

    def ask(tag: str, context: Any, image: str = "sky://1") -> list[dict[str, Any]]:
        store.projects.save(1, "Galaxies", config_with(tag))
        predictor = Predictor(store, 1, fetcher, tiny_lvm)
        told = predictor.interact({"id": 5, "data": {"image": image}}, context)
        assert told["model_version"] == "galaxyloop-p1-v0"
        assert told["score"] == 1.0
        result = told["result"]
        assert isinstance(result, list)
        return result

    yield ask
    store.close()


def drawn(answer: Answer, control: str) -> dict[str, Any]:
    """What the editor sends when a person has drawn something."""
    config = parse_controls(config_with("BrushLabels"))
    typed = TypedAnswer(control, (Item(answer, "manual", "r1"),), FRAME)
    return {"result": write_answers(config, [typed]).result}


CLICK = drawn(Point(X, Y, label="Star"), "ask")
BOX = drawn(Box(X - 25, Y - 18, 50, 36, label="Galaxy"), "ask_box")


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("context", [CLICK, BOX], ids=["point", "box"])
@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("BrushLabels", Mask),
        ("BitmaskLabels", Mask),
        ("PolygonLabels", Polygon),
        ("EllipseLabels", Ellipse),
    ],
)
def test_the_object_under_it_comes_back(ask: Any, tag: str, kind: type, context: Any) -> None:
    result = ask(tag, context)
    config = parse_controls(config_with(tag))
    reading = read_answers({"result": result}, config)
    assert reading.problems == ()
    answer = reading.answer("out")
    assert answer is not None
    [item] = answer.items
    assert isinstance(item.value, kind)
    assert item.value.label == ("Star" if context is CLICK else "Galaxy")
    found = mask_of(item.value, HEIGHT, WIDTH)
    assert overlap(found, galaxy()[1]) > 0.7


def test_a_point_may_become_a_box(ask: Any) -> None:
    [region] = ask("RectangleLabels", CLICK)
    assert region["type"] == "rectanglelabels"
    left, top = region["value"]["x"] / 100 * WIDTH, region["value"]["y"] / 100 * HEIGHT
    assert left < X < left + region["value"]["width"] / 100 * WIDTH
    assert top < Y < top + region["value"]["height"] / 100 * HEIGHT


def test_several_answers_to_one_annotator_have_ids_of_their_own(ask: Any) -> None:
    [one] = ask("BrushLabels", CLICK)
    other = {**CLICK["result"][0], "id": "r2"}
    [two] = ask("BrushLabels", {"result": [CLICK["result"][0], other]})
    assert one["id"] != two["id"]


def test_an_image_is_fetched_once_for_several_questions(tmp_path: Path) -> None:
    store = open_store(settings_of(tmp_path))
    store.projects.save(1, "Galaxies", config_with("BrushLabels"))
    fetcher = OneGalaxy()
    predictor = Predictor(store, 1, fetcher, tiny_lvm)
    for _ in range(3):
        assert predictor.interact({"id": 5, "data": {"image": "sky://1"}}, CLICK)["result"]
    assert fetcher.fetched == 1
    store.close()


def test_nothing_to_answer_with_is_no_fault(ask: Any) -> None:
    assert ask("BrushLabels", CLICK, image="gone://") == []
    assert ask("BrushLabels", CLICK, image="") == []
    assert ask("BrushLabels", {"result": []}) == []
    # Drawn on an image of another size than the one at the address.
    moved = {**CLICK["result"][0], "original_width": 500}
    assert ask("BrushLabels", {"result": [moved]}) == []


def test_the_answering_tag_is_never_the_one_that_asked() -> None:
    config = parse_controls(config_with("RectangleLabels"))
    prompt = prompt_of(BOX, config)
    assert prompt is not None
    answer = answer_control(config, prompt)
    assert answer is not None
    assert answer.name == "out"
    assert [control.name for control in config.answered] == ["out"]


def test_the_label_says_which_tag_answers() -> None:
    config = parse_controls(
        f"""<View><Image name="image" value="$image"/>{PROMPTS}
        <BrushLabels name="tails" toName="image"><Label value="Tail"/></BrushLabels>
        <RectangleLabels name="stars" toName="image"><Label value="Star"/></RectangleLabels>
        </View>"""
    )

    def answered(context: Any) -> tuple[str, str]:
        prompt = prompt_of(context, config)
        assert prompt is not None
        control = answer_control(config, prompt)
        assert control is not None
        return prompt.shape.label, control.name

    assert answered(CLICK) == ("Star", "stars")
    assert answered(BOX) == ("Galaxy", "tails"), "no tag has it: the best of all"


def test_a_click_that_says_not_this_asks_for_nothing() -> None:
    config = parse_controls(config_with("BrushLabels"))
    [click] = CLICK["result"]
    other = {**click, "id": "r2", "is_positive": False}
    assert prompt_of({"result": [other]}, config) is None
    prompt = prompt_of({"result": [{**click, "is_positive": True}, other]}, config)
    assert prompt is not None
    assert prompt.region == "r1"


def test_a_learned_ellipse_is_given_for_a_click() -> None:
    """What a label means was learned, e.g. half the light; the object's outline is not asked."""
    middle = np.roll(galaxy()[0], (int(HEIGHT / 2 - Y), int(WIDTH / 2 - X)), axis=(0, 1))
    scene = Scene.of(read_image(encode_png(middle), ImageLimits()), tiny_lvm())
    drawn = Ellipse(WIDTH / 2, HEIGHT / 2, 6.0, 4.0, 0.0, label="Galaxy")
    head = EllipseHead(("Galaxy", "Star")).fit([scene] * 8, [Opinions.of([drawn])] * 8)
    config = parse_controls(config_with("EllipseLabels"))
    for shape in (
        Point(WIDTH / 2, HEIGHT / 2, label="Galaxy"),
        Box(WIDTH / 2 - 20, HEIGHT / 2 - 15, 40, 30, label="Galaxy"),
    ):
        prompt = Prompt("ask", "r1", shape, FRAME)
        answers = []
        for heads in ({}, {"out": head}):
            result = object_under(config, prompt, scene, heads)
            answer = read_answers({"result": result}, config).answer("out")
            assert answer is not None
            [ellipse] = answer.values
            assert isinstance(ellipse, Ellipse)
            assert ellipse.label == "Galaxy"
            answers.append(ellipse)
        assert answers[0].major > 10, "all of its light"
        assert answers[1].major == pytest.approx(6, rel=0.2)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["result", "other"]), JSON), JSON)
def test_hostile_contexts_ask_for_nothing(context: Any, value: Any) -> None:
    config: LabelConfig = parse_controls(config_with("BrushLabels"))
    prompt_of(context, config)
    region = {**CLICK["result"][0], "value": value}
    prompt_of({"result": [region, value]}, config)
    assert prompt_of(None, config) is None
