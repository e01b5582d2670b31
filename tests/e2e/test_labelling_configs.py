"""Every labelling configuration that we ship, in the real editor: shown, corrected, read back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from ml_backend.labelstudio.client import LabelStudioClient
from ml_backend.labelstudio.config import (
    parse_controls,
)
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.writing import write_answers
from models.answers import Box
from models.images import image_facts, read_image
from models.picture_frame import PictureFrame, pixel_to_picture
from models.sky_shapes import measure

sys.path.insert(0, str(Path(__file__).parent))

from editor import (
    REGION,
    SUBMIT,
    Editor,
    bare,
    check_kept,
    check_shown,
    correct,
    drag,
    image_size,
    region_of,
)
from golden import HEIGHT, WIDTH, Golden, golden

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

CONFIGS = Path(__file__).parents[2] / "labeling_configs"
ARTIFACTS = Path(__file__).parents[2] / "artifacts"
FOLDER = "labelling-configs"
ADDRESS = f"/data/local-files/?d={FOLDER}/galaxy.png"

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

    def shown(editor: Editor) -> Editor:
        page.goto(f"{studio.url}/projects/{editor.project}/data?task={editor.task}")
        page.wait_for_selector(SUBMIT)
        wanted = len(editor.golden.regions(editor.config))
        page.wait_for_function(
            "([what, count]) => document.querySelectorAll(what).length >= count",
            arg=[REGION, wanted],
        )
        # Every picture is loaded, and large enough to see something.
        page.wait_for_function(
            """count => [...document.querySelectorAll('img')].filter(image =>
                image.naturalWidth > 0 && /^blob:|pictures/.test(image.src)
                && image.getBoundingClientRect().width > 110).length === count""",
            arg=len(editor.config.images),
        )
        return editor

    def make(
        name: str,
        picks: dict[str, str] | None = None,
        address: str = ADDRESS,
        suggest: bool = True,
        change: Callable[[str], str] = str,
    ) -> Editor:
        text = change((CONFIGS / f"{name}.xml").read_text())
        config = parse_controls(text)
        client = LabelStudioClient(studio.url, studio.account.token)
        project = int(client.create_project(f"Configuration {name}", text)["id"])
        studio.provision().permit(project, FOLDER)
        told = golden(config, picks) if suggest else Golden((), ())
        written = write_answers(config, told.answers)
        assert written.problems == ()
        data = {image.field: address for image in config.images}
        [task] = client.import_tasks(project, [{"data": data}])
        if not suggest:
            return shown(Editor(page, client, config, project, task, told))
        row = {"task": task, "result": written.result, "score": 0.5, "model_version": "golden"}
        assert client.import_predictions(project, [row]) == 1
        client.update_project(project, model_version="golden")
        return shown(Editor(page, client, config, project, task, told))

    return make


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


def test_a_turned_view_changes_no_coordinates(opened: Callable[..., Editor], page: Any) -> None:
    editor = opened(
        "all_in_one",
        change=lambda text: text.replace('smoothing="false"', 'rotateControl="true"'),
    )
    before = region_of(editor.suggested("ellipses"), "ellipses-0")
    page.locator("[aria-label=rotate-right]").first.click()
    page.wait_for_function("() => document.querySelector('img[style*=rotate]') !== null")
    # A quarter to the right: (x, y) of the picture is now seen at (height - y, x).
    start = HEIGHT - 41, 60.0  # in the hole of the mask, where the ellipse is uppermost
    drag(page, start, (start[0] + 15, start[1] + 20))
    page.screenshot(path=ARTIFACTS / "turned-view.png")
    reading = editor.submit()
    after = region_of(reading.answer("ellipses"), "ellipses-0")
    np.testing.assert_allclose((after.x - before.x, after.y - before.y), (20, -15), atol=0.5)
    assert after.rotation == pytest.approx(before.rotation)
    assert (after.radius_x, after.radius_y) == pytest.approx((before.radius_x, before.radius_y))
    check_kept(editor, reading, {"ellipses": (after,)}, turn=90)


def test_a_box_on_a_signed_picture_of_a_fits_file_leads_to_the_sky(
    running_loop: Any, opened: Callable[..., Editor], pictures: Path
) -> None:
    # A point source at a known place; the first row of the file is the lowest of the picture.
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.0], [50.0, 35.0]
    wcs.wcs.cdelt = [-0.3 / 3600, 0.3 / 3600]
    star = SkyCoord(150.002, 2.001, unit="deg")
    x, y = (float(place) for place in wcs.world_to_pixel(star))
    rows, columns = np.mgrid[:70, :110]
    pixels = np.random.default_rng(0).normal(0, 1, (70, 110))
    pixels += 500 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 8)
    fits.PrimaryHDU(pixels.astype(np.float32), wcs.to_header()).writeto(
        pictures / "star.fits", overwrite=True
    )
    source = f"/data/local-files/?d={FOLDER}/star.fits"
    editor = opened(
        "detection", address=running_loop.store.picture_addresses().address(source), suggest=False
    )
    assert image_size(editor.page) == (110, 70)

    facts = image_facts(read_image((pictures / "star.fits").read_bytes()))
    frame = PictureFrame.from_facts(facts)
    middle = [float(place) for place in pixel_to_picture(frame, x, y)]
    editor.page.keyboard.press("2")
    drag(editor.page, (middle[0] - 7, middle[1] - 5), (middle[0] + 7, middle[1] + 5))
    found = editor.submit().answer("galaxies")
    assert found is not None
    assert found.frame == Frame(110, 70)
    [box] = found.values
    assert isinstance(box, Box)
    told = measure(box, frame)
    away = SkyCoord(told.ra, told.dec, unit="deg").separation(star).arcsec
    assert away < 0.5 * 0.3, "half a pixel, which is what the mouse is good for"
    assert told.sky_length == pytest.approx(14 * 0.3, abs=0.3)
