"""Imports: each galaxy once, whatever happens on the way."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sky import survey_file, wcs_at

from ml_backend.bulk.items import SourceError
from ml_backend.catalogue import importing, pictures
from ml_backend.catalogue.cutout_server import ServerUnavailable
from ml_backend.catalogue.cutouts import Cutter
from ml_backend.catalogue.galaxies import open_catalogue
from ml_backend.catalogue.image_sources import Found, LocalCutouts, NamedImages
from ml_backend.catalogue.importing import ImportOptions, ImportReport, plan_import, run_import
from ml_backend.catalogue.pictures import PictureFolder, file_name
from ml_backend.catalogue.survey_images import find_survey_images
from ml_backend.catalogue.tasks import FileSink, ProjectSink
from ml_backend.errors import LabelStudioError
from models.images import read_image
from models.picture_frame import PictureFrame, pixel_to_picture, sky_to_pixel

CONFIG = """<View><Image name="i" value="$picture"/><Choices name="shape" toName="i">
<Choice value="Smooth"/><Choice value="Spiral"/></Choices></View>"""


class Project:
    """Label Studio's tasks in memory; `fail_after` imports it is gone."""

    def __init__(self, label_config: str = CONFIG, fail_after: int = 10**9) -> None:
        self.rows: list[dict[str, Any]] = []
        self.label_config, self.fail_after = label_config, fail_after

    def project(self, project: int) -> dict[str, Any]:
        return {"label_config": self.label_config}

    def tasks(self, project: int, *, page_size: int, annotations: bool) -> Any:
        yield from self.rows

    def import_tasks(self, project: int, tasks: list[dict[str, Any]]) -> list[int]:
        if not self.fail_after:
            raise LabelStudioError("Label Studio cannot be reached.")
        self.fail_after -= 1
        self.rows += [{"id": len(self.rows) + n, **task} for n, task in enumerate(tasks)]
        return [1] * len(tasks)

    @property
    def ids(self) -> list[str]:
        return [row["data"]["id"] for row in self.rows]


class Counting(LocalCutouts):
    """Counts what is cut out."""

    found = 0

    def find(self, galaxy: Any) -> Found:
        self.found += 1
        return super().find(galaxy)


@pytest.fixture
def sources(tmp_path: Path) -> Counting:
    shape = (200, 200)
    survey_file(tmp_path / "r.fits", wcs_at(150, 2, shape), shape)
    images = find_survey_images([str(tmp_path / "r.fits")])
    return Counting(Cutter(images, 8.0), {"side": 8.0})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [f"g{n},{150 + n / 3600},2" for n in range(-5, 5)]
    rows += ["away,10,2", "bad,nan,2", "=cmd|' /C calc'!A0,150,2.001"]
    (tmp_path / "galaxies.csv").write_text("\n".join(["id,ra,dec", *rows]))
    return tmp_path / "galaxies.csv"


def run(
    table: Path,
    source: Any,
    sink: Any,
    facts: Any = None,
    prefix: str | None = "/files/",
    **options: Any,
) -> ImportReport:
    folder = PictureFolder(table.parent / "kept", facts or source.facts)
    try:
        return run_import(
            open_catalogue(table, images=isinstance(source, NamedImages)),
            source,
            folder,
            sink,
            ImportOptions(prefix, "sky", **options),
        )
    finally:
        folder.close()


def test_tasks_carry_all_that_a_person_needs(table: Path, sources: Counting) -> None:
    project = Project()
    report = run(table, sources, ProjectSink(project, 1))
    assert (report.galaxies, report.added, report.known, report.failed) == (13, 11, 0, 2)
    data = project.rows[0]["data"]
    assert data["picture"] == "/files/g-5.png"
    assert (data["id"], data["survey"], data["source"]) == ("g-5", "sky", "r.fits")
    assert (data["ra"], data["dec"]) == pytest.approx((150 - 5 / 3600, 2))
    assert data["pixel_scale"] == pytest.approx(0.25)
    assert (data["width"], data["height"], data["bands"], data["origin"]) == (32, 32, "r", "lower")
    frame = PictureFrame.from_facts(data)
    middle = pixel_to_picture(frame, *sky_to_pixel(frame, data["ra"], data["dec"]))
    assert middle == pytest.approx((16, 16), abs=0.51)
    assert {"legacy_viewer", "sdss_skyserver", "aladin_lite", "simbad", "sky_links"} <= set(data)
    shown = read_image((table.parent / "kept" / "pictures" / "g-5.png").read_bytes())
    assert shown.pixels.shape == (3, 32, 32)
    assert shown.pixels.max() > shown.pixels.min()
    failed = (table.parent / "kept" / "failed.csv").read_text().splitlines()
    assert failed[1:] == ["away,No survey image covers it in band r.", "bad,it has no ra"]


def test_a_second_run_adds_nothing_and_fetches_nothing(table: Path, sources: Counting) -> None:
    project = Project()
    run(table, sources, ProjectSink(project, 1))
    before, cut = list(project.ids), sources.found
    report = run(table, sources, ProjectSink(project, 1))
    assert (report.added, report.known, report.failed) == (0, 11, 2)
    assert project.ids == before
    assert sources.found == cut + 1, "the one that failed is tried again"


def test_new_rows_are_added_and_moved_ones_left(table: Path, sources: Counting) -> None:
    project = Project()
    run(table, sources, ProjectSink(project, 1))
    lines = table.read_text().splitlines()
    lines[1] = "g-5,150.001,2.001"
    table.write_text("\n".join([*lines, "new,150,2"]))
    report = run(table, sources, ProjectSink(project, 1))
    assert (report.added, report.known, report.moved) == (1, 11, 1)
    assert project.ids[-1] == "new"


def test_a_run_that_label_studio_ends_goes_on(
    table: Path, sources: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_backend.catalogue.tasks.BATCH", 4)
    project = Project(fail_after=1)
    with pytest.raises(LabelStudioError):
        run(table, sources, ProjectSink(project, 1))
    assert len(project.ids) == 4
    cut = sources.found
    project.fail_after = 10**9
    report = run(table, sources, ProjectSink(project, 1))
    assert (report.known, report.added) == (4, 7)
    assert len(set(project.ids)) == len(project.ids) == 11
    assert sources.found - cut <= 4, "kept cut-outs are not made again"


def test_a_server_that_gives_up_leaves_what_it_gave(table: Path, sources: Counting) -> None:
    def stop(galaxy: Any) -> Found:
        if galaxy.id == "g0":
            raise ServerUnavailable("Not now.")
        return LocalCutouts.find(sources, galaxy)

    sources.find = stop  # type: ignore[method-assign]
    project = Project()
    with pytest.raises(ServerUnavailable):
        run(table, sources, ProjectSink(project, 1))
    assert project.ids == [f"g{n}" for n in range(-5, 0)]
    sink = FileSink(table.parent / "tasks.json")
    with pytest.raises(ServerUnavailable):
        run(table, sources, sink)
    assert not list(table.parent.glob("*tasks.json*")), "no half file is left"


def test_the_json_file_is_the_same_each_time(table: Path, sources: Counting) -> None:
    out = table.parent / "tasks.json"
    run(table, sources, FileSink(out))
    first = json.loads(out.read_text())
    assert len(first) == 11
    assert first[0]["data"]["image"] == "/files/g-5.png"
    run(table, sources, FileSink(out))
    assert json.loads(out.read_text()) == first


def test_several_lanes_keep_the_order(table: Path, sources: Counting) -> None:
    sources.lanes = 4  # type: ignore[misc]
    project = Project()
    run(table, sources, ProjectSink(project, 1))
    assert project.ids[:10] == [f"g{n}" for n in range(-5, 5)]


def test_pictures_may_stand_in_the_tasks(
    table: Path, sources: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project()
    run(table, sources, ProjectSink(project, 1), prefix=None)
    kind, _, coded = project.rows[0]["data"]["picture"].partition(",")
    assert kind == "data:image/png;base64"
    assert read_image(base64.b64decode(coded)).pixels.shape == (3, 32, 32)
    monkeypatch.setattr(importing, "MOST_EMBEDDED", 5)
    catalogue = open_catalogue(table, images=False)
    with pytest.raises(SourceError, match="say its address with --address"):
        plan_import(catalogue, sources, FileSink(table.parent / "t.json"), ImportOptions())


def test_a_plan_says_what_would_be_done_and_does_nothing(table: Path, sources: Counting) -> None:
    project = Project()
    before = set(table.parent.rglob("*"))
    catalogue = open_catalogue(table, images=False)
    plan = plan_import(catalogue, sources, ProjectSink(project, 1), ImportOptions("/f/"))
    assert (plan.galaxies, plan.added, plan.failed) == (13, 11, 2)
    assert plan.sample is not None
    assert plan.sample["data"]["id"] == "g-5"
    assert not project.rows
    assert sources.found == 0
    assert set(table.parent.rglob("*")) == before


def test_cutouts_of_other_settings_are_not_mixed(table: Path, sources: Counting) -> None:
    run(table, sources, ProjectSink(Project(), 1))
    with pytest.raises(SourceError, match=r"were made otherwise \(side differ\).*--restart"):
        run(table, sources, ProjectSink(Project(), 1), {**sources.facts, "side": 9.0})
    PictureFolder(table.parent / "kept", {"side": 9.0}, restart=True).close()
    assert not list((table.parent / "kept" / "cutouts").iterdir())


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "holiday.jpg").write_text("mine")
    for restart in (False, True):
        with pytest.raises(SourceError, match="that no import made"):
            PictureFolder(tmp_path, {"side": 1}, restart)
    assert (tmp_path / "pictures" / "holiday.jpg").read_text() == "mine"


def test_a_corrected_position_is_cut_out_anew(table: Path, sources: Counting) -> None:
    out = table.parent / "tasks.json"
    run(table, sources, FileSink(out))
    cut = sources.found
    lines = table.read_text().splitlines()
    lines[1] = "g-5,150.001,2.001"
    table.write_text("\n".join(lines))
    run(table, sources, FileSink(out))
    assert sources.found == cut + 2, "that one, and the one that failed"


def test_damaged_cutouts_are_made_anew(table: Path, sources: Counting) -> None:
    out = table.parent / "tasks.json"
    run(table, sources, FileSink(out))
    kept = table.parent / "kept" / "cutouts" / "g0.fits"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:3000])
    run(table, sources, FileSink(out))
    assert kept.read_bytes() == whole


def test_two_runs_in_one_folder_do_not_meet(table: Path, sources: Counting) -> None:
    folder = PictureFolder(table.parent / "kept", sources.facts)
    with pytest.raises(SourceError, match="Another import uses"):
        run(table, sources, ProjectSink(Project(), 1))
    folder.close()


def _die(table: Path, sources: Counting) -> None:
    def stop(galaxy: Any) -> Found:
        if galaxy.id == "g0":
            os._exit(9)
        return LocalCutouts.find(sources, galaxy)

    sources.find = stop  # type: ignore[method-assign]
    run(table, sources, FileSink(table.parent / "tasks.json"))


def test_a_killed_run_goes_on(table: Path, sources: Counting) -> None:
    child = multiprocessing.get_context("fork").Process(target=_die, args=(table, sources))
    child.start()
    child.join(60)
    assert child.exitcode == 9
    report = run(table, sources, FileSink(table.parent / "tasks.json"))
    assert report.added == 11
    assert sources.found == 11 - 5 + 1
    assert len(json.loads((table.parent / "tasks.json").read_text())) == 11


def test_named_images_are_copied_drawn_or_left_where_they_are(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    survey_file(tmp_path / "b.fits", wcs_at(150, 2, (40, 40)), (40, 40))
    (tmp_path / "c.png").write_text("no picture")
    (tmp_path / "t.csv").write_text(
        "id,file\na,a.jpg\nb,b.fits\nc,c.png\nd,https://host/d.jpg\ne,https://host/e.fits?x\n"
        "f,ftp://host/f.jpg\ng,gone.jpg\n"
    )
    project = Project()
    report = run(tmp_path / "t.csv", NamedImages(10**6), ProjectSink(project, 1))
    found = {row["data"]["id"]: row["data"] for row in project.rows}
    assert {name: data["picture"] for name, data in found.items()} == {
        "a": "/files/a.jpg",
        "b": "/files/b.png",
        "d": "https://host/d.jpg",
    }
    assert (tmp_path / "kept" / "pictures" / "a.jpg").read_bytes() == (
        tmp_path / "a.jpg"
    ).read_bytes()
    assert found["b"]["ra"] == pytest.approx(150), "read from its header"
    assert "ra" not in found["a"]
    reasons = " ".join(reason for _, reason in report.examples)
    for said in ("not an image", "neither FITS nor TIFF", "not read from ftp", "does not exist"):
        assert said in reasons


def test_a_folder_of_images_is_a_catalogue(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (20, 20), (9, 8, 7)).save(tmp_path / "in" / "x.png")
    survey_file(tmp_path / "in" / "y.fits", wcs_at(150, 2, (40, 40)), (40, 40))
    project = Project()
    folder = PictureFolder(tmp_path / "kept", {})
    catalogue = open_catalogue(tmp_path / "in")
    run_import(catalogue, NamedImages(10**6), folder, ProjectSink(project, 1), ImportOptions("/"))
    folder.close()
    assert project.ids == ["x", "y"]


@pytest.mark.parametrize(
    ("label_config", "field", "said"),
    [
        ("<View/>", None, "--image-field"),
        (CONFIG.replace("$picture", "$id"), None, "keep something else .* under 'id'"),
        (CONFIG, "ra", "keep something else"),
        (CONFIG, "wcs", "keep something else"),
        (CONFIG, " ", "keep something else"),
    ],
)
def test_projects_that_show_no_image_are_refused(
    label_config: str, field: str | None, said: str
) -> None:
    with pytest.raises((LabelStudioError, SourceError), match=said):
        ProjectSink(Project(label_config), 1, field)


def test_odd_tasks_that_are_there_do_no_harm() -> None:
    project = Project()
    odd: list[Any] = [None, [], {"id": None}, {"id": {"a": 1}}, {"id": 7, "ra": "x", "dec": 1}]
    project.rows = [{"id": n, "data": data} for n, data in enumerate(odd)]
    assert ProjectSink(project, 1).known == {"7": None}


@pytest.mark.parametrize(
    "name", ["../up", "a/b", ".hidden", "-rf", "é", "a" * 200, "a b", "A:1", ""]
)
def test_file_names_stay_in_their_folder(name: str) -> None:
    made = file_name(name)
    assert "/" not in made
    assert not made.startswith((".", "-"))
    assert made.isascii()
    assert len(made) < 110
    assert file_name(name + "x") != made


def test_a_full_disk_is_one_message(table: Path, sources: Counting, monkeypatch: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictures.os, "replace", full)
    with pytest.raises(SourceError, match="No space left on device"):
        run(table, sources, ProjectSink(Project(), 1))


@pytest.mark.parametrize("prefix", ["/files/", None])
def test_tasks_may_hold_the_restored_picture(
    table: Path, sources: Counting, prefix: str | None
) -> None:
    project = Project()
    report = run(table, sources, ProjectSink(project, 1), prefix=prefix, restored=True)
    assert (report.added, report.failed) == (11, 2)
    data = project.rows[0]["data"]
    kept = table.parent / "kept" / "pictures"
    if prefix is None:
        assert data["restored"].startswith("data:image/png;base64,")
    else:
        assert data["restored"] == "/files/g-5.restored.png"
    before, after = (
        read_image((kept / name).read_bytes()).pixels for name in ("g-5.png", "g-5.restored.png")
    )
    assert before.shape == after.shape
    assert (before != after).any()
    again = run(table, sources, ProjectSink(project, 1), prefix=prefix, restored=True)
    assert (again.added, again.known) == (0, 11)


def test_images_that_lie_elsewhere_are_restored_at_a_signed_address(tmp_path: Path) -> None:
    table = tmp_path / "galaxies.csv"
    table.write_text("id,ra,dec,image\na,1,2,https://h.example/a.jpg\n")
    source = NamedImages(10**6)
    signed, project = [], Project()

    def sign(address: str) -> str:
        signed.append(address)
        return "https://backend.example/pictures/x.y.png"

    report = run(table, source, ProjectSink(project, 1), restored=True, sign=sign)
    assert report.examples == []
    assert signed == ["https://h.example/a.jpg"]
    assert project.rows[0]["data"]["restored"] == "https://backend.example/pictures/x.y.png"
    report = run(table, NamedImages(10**6), ProjectSink(Project(), 1), restored=True)
    assert report.failed == 1
    assert "nobody can sign" in report.examples[0][1]
