"""``galaxyloop import`` and ``export``: what they say, and their exit codes."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from click.testing import CliRunner, Result
from http_stand_in import Call, Reply

from ml_backend.cli import main
from ml_backend.labelstudio.config import HEADS, BoxControl, BrushControl, NumberControl
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.typed import Item, TypedAnswer, kept
from ml_backend.settings import load_settings
from ml_backend.store.database import open_store
from ml_backend.store.tables import Vote
from models.answers import Box, Mask, Number

sys.path.insert(0, str(Path(__file__).parents[1] / "catalogue"))

from sky import stamp, survey_file, wcs_at

CONFIG = """<View><Image name="image" value="$image"/><Choices name="shape" toName="image">
<Choice value="Smooth"/><Choice value="Spiral"/></Choices></View>"""
MARKS = """<View><Image name="image" value="$image"/>
<RectangleLabels name="boxes" toName="image"><Label value="Galaxy"/></RectangleLabels>
<BrushLabels name="masks" toName="image"><Label value="Tail"/></BrushLabels>
<Number name="radius" toName="image"/></View>"""
KEY = "0123456789abcdef0123456789abcdef01234567"


class LabelStudio:
    """Label Studio's API as far as these commands go, and a cut-out server beside it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.asked = 0

    def __call__(self, call: Call) -> Reply:
        parts = urlsplit(call.path)
        query = parse_qs(parts.query)
        if parts.path == "/cutout.fits":
            self.asked += 1
            data = stamp(float(query["ra"][0]), float(query["dec"][0]), int(query["size"][0]))
            return Reply(200, data, {"Content-Type": "application/fits"})
        if parts.path == "/api/projects/7/":
            return Reply(200, {"id": 7, "title": "Galaxies", "label_config": CONFIG})
        if parts.path == "/api/projects/7/import":
            first = len(self.rows)
            self.rows += [{"id": first + n + 1, **task} for n, task in enumerate(call.json)]
            return Reply(201, {"task_ids": [row["id"] for row in self.rows[first:]]})
        if parts.path == "/api/tasks/":
            after = json.loads(query["query"][0])["filters"]["items"][0]["value"]
            page = [row for row in self.rows if row["id"] > after]
            return Reply(200, {"tasks": page[: int(query["page_size"][0])]})
        return Reply(404)


@pytest.fixture
def studio(stand_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabelStudio:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LABEL_STUDIO_URL", stand_in.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", KEY)
    survey_file(tmp_path / "r.fits", wcs_at(150, 2, (200, 200)), (200, 200))
    rows = [f"g{n},{150 + n / 3600},2" for n in range(4)]
    Path("galaxies.csv").write_text("\n".join(["id,ra,dec", *rows, "bad,500,2"]))
    stand_in.handler = LabelStudio()
    return stand_in.handler


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert "Traceback" not in result.output
    assert KEY not in result.output
    return result


CUT = ("import", "galaxies.csv", "--survey-images", "r.fits", "--side", "8")


def test_galaxies_come_into_a_project_once(studio: LabelStudio) -> None:
    result = run(*CUT, "--project", "7")
    assert result.exit_code == 0, result.output
    said = "project 7: of 5 galaxies 4 tasks made, 0 were there, 1 failed."
    assert result.stdout.strip() == said
    assert "'bad': its ra is 500" in result.stderr
    assert [row["data"]["id"] for row in studio.rows] == ["g0", "g1", "g2", "g3"]
    assert studio.rows[0]["data"]["image"].startswith("data:image/png;base64,")
    again = run(*CUT, "--project", "7", "--strict")
    assert "0 tasks made, 4 were there, 1 failed" in again.stdout
    assert again.exit_code == 1, "one failed, and --strict asks for all"
    assert len(studio.rows) == 4


def test_a_dry_run_changes_nothing(studio: LabelStudio, stand_in: Any) -> None:
    before = set(Path().rglob("*"))
    result = run(*CUT, "--project", "7", "--dry-run")
    assert result.exit_code == 0
    assert "4 tasks would be made" in result.stdout
    assert '"id": "g0"' in result.stdout
    assert not studio.rows
    assert all(call.method == "GET" for call in stand_in.calls)
    assert set(Path().rglob("*")) == before


def test_a_cutout_server_is_asked_where_it_is_allowed(
    studio: LabelStudio, stand_in: Any, second_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    second_server.handler = studio
    template = second_server.url + "/cutout.fits?ra={ra}&dec={dec}&size={size}&layer=ls-dr10"
    arguments = ["import", "galaxies.csv", "--cutouts", template, "--side", "16"]
    arguments += ["--pixel-scale", "0.25", "--out", "tasks.json", "--address", "/f/"]
    arguments += ["--rate", "1000", "--coverage", "0.5"]
    result = run(*arguments)
    assert result.exit_code == 1
    assert f"GALAXYLOOP_IMAGE_HOSTS=127.0.0.1:{second_server.port}" in result.stderr
    assert studio.asked == 0
    monkeypatch.setenv("GALAXYLOOP_IMAGE_HOSTS", f"127.0.0.1:{second_server.port}")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    tasks = json.loads(Path("tasks.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [f"/f/g{n}.png" for n in range(4)]
    assert {task["data"]["survey"] for task in tasks} == {"ls-dr10"}
    assert tasks[0]["data"]["pixel_scale"] == pytest.approx(0.25)
    assert run(*arguments).exit_code == 0
    assert studio.asked == 4, "kept cut-outs are not fetched again"
    assert not stand_in.calls, "Label Studio is not needed for a file"


def test_what_was_marked_leaves_with_its_place_on_the_sky(
    studio: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("regions", reason="the extra `regions` is not installed")
    for kind in (BoxControl, BrushControl, NumberControl):
        monkeypatch.setitem(HEADS, kind, lambda control: "")
    assert run(*CUT, "--project", "7").exit_code == 0
    size = studio.rows[1]["data"]["width"], studio.rows[1]["data"]["height"]
    frame, pixels = Frame(*size), np.zeros(size[::-1], bool)
    pixels[3:6, 2:9] = True
    answers = {
        "boxes": Box(size[0] / 2 - 4, size[1] / 2 - 2, 8, 4, label="Galaxy"),
        "masks": Mask(pixels, label="Tail"),
        "radius": Number(2.5),
    }
    store = open_store(load_settings())
    store.projects.save(7, "Galaxies", MARKS)
    with store.session() as session:
        for name, answer in answers.items():
            told = TypedAnswer(name, (Item(answer),), None if name == "radius" else frame)
            session.add(
                Vote(annotation_id=1, control=name, project_id=7, task_id=2, annotator=1,
                     labels=[], answer=kept(told))
            )  # fmt: skip
    store.close()
    arguments = ["export", "--project", "7", "--out", "r.vot", "--objects", "o.fits"]
    arguments += ["--regions", "all.reg", "--masks", "masks", "--unit", "radius=arcsec"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "o.fits: 2 objects." in result.stdout
    assert "all.reg: 1 regions in 1 files." in result.stdout
    assert "masks: 1 masks in 1 files." in result.stdout
    assert "--masks writes them" in result.stderr
    table = Table.read("r.vot")
    assert table["radius_consensus"].unit == "arcsec"
    [box] = [row for row in Table.read("o.fits") if row["control"] == "boxes"]
    assert box["id"] == "g1"
    # The cut-out's middle is at most half a pixel from the galaxy, and so is the box's.
    here = SkyCoord(box["ra"], box["dec"], unit="deg")
    [galaxy] = [row for row in table if row["id"] == "g1"]
    assert here.separation(SkyCoord(galaxy["ra"], galaxy["dec"], unit="deg")).arcsec < 0.25
    assert box["length"] == pytest.approx(8 * 0.25, rel=1e-3)
    assert run(*arguments[:5], "--region-system", "image", "--regions", "x.reg").exit_code == 1
    assert run(*arguments[:5], "--unit", "radius=parsnips").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("import", "galaxies.csv"), 2, "either --project or --out"),
        ((*CUT, "--project", "7", "--out", "t.json"), 2, "either --project or --out"),
        ((*CUT, "--cutouts", "https://h/{ra}{dec}", "--out", "t.json"), 2, "either from"),
        (("import", "galaxies.csv", "--out", "t.json"), 2, "names no images"),
        (("import", "gone.csv", "--out", "t.json"), 1, "does not exist"),
        ((*CUT, "--bands", "z", "--out", "t.json"), 1, "No survey image is in band z"),
        ((*CUT, "--side", "-1", "--out", "t.json"), 2, "--side"),
        ((*CUT, "--ra-column", "alpha", "--out", "t.json"), 1, "no column 'alpha'"),
        ((*CUT, "--project", "8"), 1, "404"),
        (("export", "--project", "7", "--out", "r.txt"), 1, "--format"),
        (("export", "--project", "7", "--out", "r.csv"), 1, "not connected"),
        (("export", "--out", "r.csv"), 2, "--project"),
    ],
)
def test_what_cannot_be_done_is_said(
    studio: LabelStudio, arguments: tuple[str, ...], status: int, said: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == status, result.output
    assert said in result.stderr
    assert not Path("t.json").exists()


def test_results_leave_as_a_catalogue_that_joins_back(studio: LabelStudio) -> None:
    assert run(*CUT, "--project", "7").exit_code == 0
    store = open_store(load_settings())
    store.projects.save(7, "Galaxies", CONFIG)
    with store.session() as session:
        for person in (1, 2):
            session.add(
                Vote(annotation_id=person, control="shape", project_id=7, task_id=2,
                     annotator=person, labels=["Spiral"])
            )  # fmt: skip
    store.close()
    result = run("export", "--project", "7", "--out", "results.vot")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("results.vot: 4 galaxies, ")
    table = Table.read("results.vot")
    assert list(table["id"]) == ["g0", "g1", "g2", "g3"]
    assert list(table["shape_votes"]) == [0, 2, 0, 0]
    assert list(table["shape_consensus"]) == ["", "Spiral", "", ""]
    with open("galaxies.csv") as file:
        given = {row["id"]: float(row["ra"]) for row in csv.DictReader(file)}
    assert all(row["ra"] == given[row["id"]] for row in table)
    assert run("export", "--project", "7", "--out", "results.csv").exit_code == 0
    assert Path("results.columns.csv").exists()
