"""What people and the model marked or measured: as columns, as a table of objects, as files."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits, votable
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table, join
from astropy.wcs import WCS

sys.path.insert(0, str(Path(__file__).parent))

from sky import wcs_at

from ml_backend.catalogue.exporting import results_table
from ml_backend.catalogue.formats import FormatError, write_catalogue
from ml_backend.catalogue.frames import Frames
from ml_backend.catalogue.mask_files import write_masks
from ml_backend.catalogue.number_columns import median_and_spread
from ml_backend.catalogue.objects import MarkedObject
from ml_backend.catalogue.objects_table import objects_table
from ml_backend.catalogue.quantities import QuantityError, read_quantities
from ml_backend.catalogue.region_files import sky_region, write_regions
from ml_backend.catalogue.results import Results
from ml_backend.catalogue.said import Said
from ml_backend.labelstudio.config import HEADS, Control, parse_controls
from ml_backend.labelstudio.frame import Frame
from ml_backend.labelstudio.typed import Item, TypedAnswer, kept
from models.answers import (
    Answer,
    Box,
    Ellipse,
    Mask,
    Number,
    Paths,
    Point,
    Polygon,
    Stars,
)
from models.picture_frame import PictureFrame, picture_to_pixel, pixel_to_sky
from models.sky_shapes import measure

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LABELS = '<Label value="Galaxy"/><Label value="Bright star" alias="star"/>'
XML = f"""<View><Image name="image" value="$image"/>
<RectangleLabels name="boxes" toName="image">{LABELS}</RectangleLabels>
<Ellipse name="half light" toName="image"/>
<KeyPoint name="points" toName="image"/>
<Polygon name="outlines" toName="image"/>
<BrushLabels name="masks" toName="image">{LABELS}</BrushLabels>
<Number name="angle" toName="image"/><Number name="z" toName="image"/>
<Rating name="grade" toName="image" maxRating="5"/>
<Taxonomy name="kind" toName="image"><Choice value="Late"><Choice value="SB"/></Choice>
<Choice value="Early"/></Taxonomy></View>"""
CONFIG = parse_controls(XML, {**HEADS, Control: lambda control: ""})
WIDTH, HEIGHT = 90, 60
FRAME = Frame(WIDTH, HEIGHT)
SHAPE = (HEIGHT, WIDTH)


def facts(wcs: WCS | None, origin: str = "lower") -> dict[str, Any]:
    made = {"width": WIDTH, "height": HEIGHT, "origin": origin}
    if wcs is not None:
        made["wcs"] = wcs.to_header(relax=True).tostring(sep="\n")
    return made


def sky_of(number: int) -> WCS:
    """Turned by 20 degrees more for each galaxy."""
    wcs = wcs_at(150 + number / 10, 2.0, SHAPE)
    turn = np.radians(20 * number)
    scale = abs(wcs.wcs.cdelt[0])
    matrix = np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    wcs.wcs.cdelt, wcs.wcs.pc = [scale, scale], matrix
    return wcs


def said(name: str, *values: Answer) -> dict[str, Any]:
    shapes = name not in ("angle", "z", "grade", "kind")
    items = tuple(Item(value) for value in values)
    return kept(TypedAnswer(name, items, FRAME if shapes else None))


def mask(left: int, top: int, label: str = "Galaxy", side: int = 10, **how: Any) -> Mask:
    pixels = np.zeros(SHAPE, bool)
    pixels[top : top + side, left : left + side] = True
    return Mask(pixels, label=label, **how)


BOX = Box(30, 20, 24, 12, 30, label="Galaxy")
STAR = Box(2, 2, 5, 5, label="star")


@pytest.fixture
def results() -> Results:
    """Four galaxies: marked by two people; by one, who sees nothing; on no sky; by nobody."""
    two = lambda name, one, other: [said(name, *one), said(name, *other)]  # noqa: E731
    people: dict[str, dict[int, list[Any]]] = {
        "boxes": {
            0: two("boxes", [replace(BOX, x=31), STAR], [BOX]),
            1: [said("boxes")],
            2: [said("boxes", BOX)],
        },
        "half light": {0: [said("half light", Ellipse(45, 30, 8, 16, 10))]},
        "points": {0: two("points", [Point(40, 30)], [Point(42, 30), Point(1, 1)])},
        "outlines": {0: [said("outlines", Polygon(((10, 10), (40, 12), (30, 50))))]},
        "masks": {
            0: two("masks", [mask(40, 25), mask(44, 25, "star")], [mask(40, 25)]),
            2: [said("masks", mask(0, 0))],
        },
        "angle": {0: two("angle", [Number(178)], [Number(4)]), 1: [said("angle", Number(30))]},
        "z": {0: [said("z", Number(v)) for v in (0.1, 0.2, 0.4)]},
        "grade": {0: two("grade", [Stars(2)], [Stars(5)])},
        "kind": {
            0: two("kind", [Paths.of(("Late", "SB"))], [Paths.of(("Late", "SB"), ("Early",))]),
        },
    }
    model = {
        "boxes": {
            0: said("boxes", replace(BOX, score=0.9), replace(STAR, score=0.2)),
            3: said("boxes"),
        },
        "masks": {1: said("masks", mask(5, 5, score=0.75))},
        "z": {3: said("z", Number(1.5, score=0.5))},
        "grade": {3: said("grade", Stars(4))},
        "kind": {3: said("kind", Paths.of(("Early",), score=0.6))},
    }
    stated = [facts(sky_of(0)), facts(sky_of(1)), facts(None, "upper"), facts(sky_of(3))]
    return Results(
        ["g0", "../g 1", "g2", "=g3"],
        np.arange(4) + 11,
        np.array([150.0, 150.1, np.nan, 150.3]),
        np.array([2.0, 2.0, np.nan, 2.0]),
        np.zeros(4, bool),
        CONFIG,
        {},
        {},
        version="v1",
        title="Marked",
        said={
            control.name: Said(
                control.name,
                {
                    row: {f"person {place}": told for place, told in enumerate(answers)}
                    for row, answers in people.get(control.name, {}).items()
                },
                model.get(control.name, {}),
            )
            for control in CONFIG.answered
        },
        frames=Frames(stated),
    )


def picture_to_sky(frame: PictureFrame, x: float, y: float) -> SkyCoord:
    return SkyCoord(*pixel_to_sky(frame, *picture_to_pixel(frame, x, y)), unit="deg")


def test_shapes_have_counts_and_the_measures_of_the_main_one(results: Results) -> None:
    table = results_table(results, NOW)
    assert table["boxes_votes"].tolist() == [2, 1, 1, 0]
    assert table["boxes_count"].tolist() == [2, 0, 1, None]
    assert table["boxes_count_star"].tolist() == [1, 0, 0, None]
    assert table["boxes_label"].tolist() == ["Galaxy", None, "Galaxy", None]
    assert table["boxes_agreement"].tolist() == [1, None, 1, None]
    assert table["boxes_probability"].tolist() == [1, None, 1, None], "too few to know people"
    assert table["boxes_model_count"].tolist() == [2, None, None, 0]
    assert table["boxes_confidence"][0] == pytest.approx(0.9)
    assert table["model_version"].tolist() == ["v1", "v1", None, "v1"]
    here = SkyCoord(table["boxes_model_ra"][0], table["boxes_model_dec"][0], unit="deg")
    wanted = picture_to_sky(results.frames.of(0), *BOX.centre)
    assert here.separation(wanted).arcsec < 0.025, "a tenth of a pixel"
    assert table["boxes_model_length"][0] == pytest.approx(24 * 0.25, rel=1e-3)
    # 30 degrees clockwise from the right: 60 degrees from the top, towards the left, east.
    assert table["boxes_model_pa"][0] == pytest.approx(60, abs=0.1)
    assert table["boxes_ra"].mask.tolist() == [False, True, True, True]
    assert table["boxes_x"].mask.tolist() == [False, True, False, True]
    assert table["half_light_length"][0] == pytest.approx(32 * 0.25, rel=1e-3)
    assert table["points_x"][0] == pytest.approx(41.5)
    assert table["points_count"][0] == 2
    assert table["masks_area_pix"][0] == 100
    assert str(table["masks_area"].unit) == "arcsec2"
    assert "boxes_area" in table.colnames
    assert "points_length" not in table.colnames


def test_numbers_have_units_medians_and_spreads(results: Results) -> None:
    asked = read_quantities(["angle=deg", "nothing=mag"], ["z=src.redshift"], ["angle=180"])
    assert results.tell(asked) == ["The project asks for no number called 'nothing'."]
    table = results_table(results, NOW)
    assert table["angle_consensus"][0] == pytest.approx(1)
    assert table["angle_spread"][0] == pytest.approx(np.std([-2, 4], ddof=1))
    assert table["angle_spread"].mask.tolist() == [False, True, True, True]
    assert str(table["angle_consensus"].unit) == "deg"
    assert table["z_consensus"][0] == pytest.approx(0.2)
    assert table["z_consensus"].meta["ucd"] == "src.redshift;stat.median"
    assert table["z_model"].tolist() == [None, None, None, 1.5]
    assert 0.1 < table["z_together"][0] < 0.4
    assert table["z_error"][0] > 0
    assert table["z_error"].mask.tolist() == [False, True, True, True]
    assert (table["angle_together"][0] - 1 + 90) % 180 - 90 == pytest.approx(0, abs=2)
    assert table["angle_together"].info.unit == table["angle_error"].info.unit == "deg"
    assert table["grade_consensus"][0] == 3.5
    assert table["grade_model"][3] == 4
    assert table["kind_consensus"].filled("?").tolist() == ["Late/SB | Early", "?", "?", "?"]
    assert table["kind_agreement"][0] == 1
    assert table["kind_model"][3] == "Early"


def test_medians_on_a_circle() -> None:
    middle, spread = median_and_spread(np.array([170.0, 175, 10]), 180)
    assert (middle, spread) == (pytest.approx(175), pytest.approx(np.std([-10, -5, 10], ddof=1)))
    assert median_and_spread(np.array([5.0]))[0] == 5
    assert np.isnan(median_and_spread(np.array([5.0]))[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((["z"], [], []), "NAME=WHAT"),
        ((["z=parsnips"], [], []), "no unit"),
        (([], ["z=made.up"], []), "no UCD"),
        (([], [], ["z=-1"]), "above 0"),
        (([], [], ["z=x"]), "above 0"),
    ],
)
def test_what_is_no_quantity_is_refused(options: Any, message: str) -> None:
    with pytest.raises(QuantityError, match=message):
        read_quantities(*options)


@pytest.mark.parametrize("make", [results_table, objects_table])
def test_catalogues_of_marks_are_valid(tmp_path: Path, results: Results, make: Any) -> None:
    results.tell(read_quantities(["z=mag"], ["z=phot.mag"], ["z=180"]))
    table = make(results, NOW)
    for name in table.colnames:
        assert check_ucd(table[name].meta["ucd"], check_controlled_vocabulary=True), name
        assert table[name].description
    path = tmp_path / "r.vot"
    write_catalogue(table, path, "votable")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        votable.parse(path, verify="exception")
        back = Table.read(path, format="votable")
    assert back.colnames == table.colnames
    for form, name in (("fits", "r.fits"), ("csv", "r.csv"), ("ecsv", "r.ecsv")):
        write_catalogue(table, tmp_path / name, form)
        assert len(
            Table.read(tmp_path / name, **({"format": "ascii.csv"} if form == "csv" else {}))
        )


def test_objects_join_back_by_id(tmp_path: Path, results: Results) -> None:
    write_catalogue(objects_table(results, NOW), tmp_path / "o.fits", "fits")
    objects = Table.read(tmp_path / "o.fits")
    objects["id"].description = results_table(results, NOW)["id"].description
    assert len(objects) == 4 + 1 + 2 + 1 + 2 + 1 + 1 + 1
    both = join(objects, results_table(results, NOW)["id", "boxes_votes"], keys="id")
    assert len(both) == len(objects)
    boxes = objects[(objects["control"] == "boxes") & (objects["source"] == "people")]
    assert boxes["persons"].tolist() == [2, 1, 1]
    assert boxes["votes"].tolist() == [2, 2, 1]
    assert boxes["label"].tolist() == ["Galaxy", "star", "Galaxy"]
    assert boxes["ra"].mask.tolist() == [False, False, True]
    assert objects["shape"][objects["control"] == "masks"].tolist() == ["mask"] * 4
    assert objects.colnames[:2] == ["id", "task_id"]


def test_a_project_without_marks_has_an_empty_table(tmp_path: Path, results: Results) -> None:
    table = objects_table(replace(results, said={}), NOW)
    assert len(table) == 0
    for form, name in (("votable", "o.vot"), ("fits", "o.fits"), ("csv", "o.csv")):
        write_catalogue(table, tmp_path / name, form)


@pytest.fixture
def regions() -> Iterator[Any]:
    return pytest.importorskip("regions", reason="the extra `regions` is not installed")


def test_regions_lead_back_to_what_was_drawn(
    tmp_path: Path, results: Results, regions: Any
) -> None:
    report = write_regions(results, tmp_path / "reg")
    assert sorted(path.name for path in (tmp_path / "reg").iterdir()) == ["g0-11.reg", "g2-13.reg"]
    assert (report.files, report.masks) == (2, 4)
    found = regions.Regions.read(tmp_path / "reg" / "g0-11.reg", format="ds9")
    assert len(found) == report.regions - 1
    frame = results.frames.of(0)
    boxes = [one for one in found if isinstance(one, regions.RectangleSkyRegion)]
    [model] = [one for one in boxes if "0.90" in one.meta["text"]]
    corners = np.stack(
        [*model.to_pixel(frame.wcs).corners.T]
    ).T  # of pixel centres from 0, rows upwards
    for x, y in BOX.corners:
        wanted = np.array(picture_to_pixel(frame, x, y))
        assert np.hypot(*(corners - wanted).T).min() < 0.1
    [ellipse] = [one for one in found if isinstance(one, regions.EllipseSkyRegion)]
    drawn = ellipse.to_pixel(frame.wcs)
    assert (drawn.center.x, drawn.center.y) == pytest.approx((44.5, 29.5), abs=0.01)
    for away in ((-16 * np.sin(np.radians(10)), 16 * np.cos(np.radians(10))),):
        x, y = picture_to_pixel(frame, 45 + away[0], 30 + away[1])
        inside = 0.99 * (np.array([x, y]) - (44.5, 29.5)) + (44.5, 29.5)
        outside = 1.01 * (np.array([x, y]) - (44.5, 29.5)) + (44.5, 29.5)
        assert drawn.contains(regions.PixCoord(*inside))
        assert not drawn.contains(regions.PixCoord(*outside))
    [polygon] = [one for one in found if isinstance(one, regions.PolygonSkyRegion)]
    points = polygon.to_pixel(frame.wcs).vertices
    wanted = np.stack(picture_to_pixel(frame, [10, 40, 30], [10, 12, 50]))
    np.testing.assert_allclose(points.xy, wanted, atol=0.01)


@pytest.mark.parametrize("mirror", [1, -1])
@pytest.mark.parametrize("first_row", ["lower", "upper"])
def test_a_turned_box_comes_back_through_ds9(
    mirror: int, first_row: Any, results: Results, regions: Any
) -> None:
    wcs = sky_of(2)
    wcs.wcs.pc = wcs.wcs.pc @ np.diag([mirror, 1])
    frame = PictureFrame(WIDTH, HEIGHT, first_row, wcs)
    one = MarkedObject(0, "boxes", "people", 1, BOX, frame, measure(BOX, frame))
    made = sky_region(one)
    assert made is not None
    text = regions.Regions([made]).serialize(format="ds9", precision=9)
    [back] = regions.Regions.parse(text, format="ds9")
    corners = np.array(back.to_pixel(wcs).corners)
    for x, y in BOX.corners:
        wanted = np.array(picture_to_pixel(frame, x, y))
        assert np.hypot(*(corners - wanted).T).min() < 0.1


def test_regions_in_pixels(tmp_path: Path, results: Results, regions: Any) -> None:
    write_regions(results, tmp_path / "reg", "image")
    found = regions.Regions.read(tmp_path / "reg" / "g2-13.reg", format="ds9")
    [box] = found
    corners = np.array(box.corners)
    np.testing.assert_allclose(
        sorted(corners.tolist()), sorted((BOX.corners - 0.5).tolist()), atol=1e-4
    )
    assert "image" in (tmp_path / "reg" / "g2-13.reg").read_text()


def test_one_file_of_regions_for_all(tmp_path: Path, results: Results, regions: Any) -> None:
    report = write_regions(results, tmp_path / "all.reg")
    assert report.without_sky == 1
    text = (tmp_path / "all.reg").read_text()
    assert len(regions.Regions.parse(text, format="ds9")) == report.regions
    assert "icrs" in text or "fk5" in text
    assert "g0" in text
    with pytest.raises(FormatError, match="Pixels mean nothing"):
        write_regions(results, tmp_path / "all.reg", "image")
    write_regions(replace(results, said={}), tmp_path / "none.reg")
    assert len(regions.Regions.read(tmp_path / "none.reg", format="ds9")) == 0


def test_texts_cannot_break_out_of_a_region_file(
    tmp_path: Path, results: Results, regions: Any
) -> None:
    results.ids[0] = "x} # \n; circle(1,1,1) {\"'é"
    report = write_regions(results, tmp_path / "all.reg")
    found = regions.Regions.read(tmp_path / "all.reg", format="ds9")
    assert len(found) == report.regions
    assert not any(isinstance(one, regions.CircleSkyRegion) for one in found)


def test_without_the_package_it_is_named(
    tmp_path: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "regions", None)
    with pytest.raises(FormatError, match=r"pip install 'galaxyloop\[regions\]'"):
        write_regions(results, tmp_path / "all.reg")


def test_masks_are_images_on_the_grid_of_the_file(tmp_path: Path, results: Results) -> None:
    report = write_masks(results, tmp_path / "masks", NOW)
    names = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert names == ["g0-11-masks.fits", "g2-13-masks.fits", "g_1-12-masks.fits"]
    assert (report.files, report.objects) == (3, 4)
    with fits.open(tmp_path / "masks" / "g0-11-masks.fits", checksum=True) as file:
        file.verify("exception")
        assert [hdu.name for hdu in file] == ["PRIMARY", "PEOPLE", "PEOPLE_ID"]
        assert file[0].header["OBJECT"] == "g0"
        assert file[0].header["TASK"] == 11
        header, bits = file["PEOPLE"].header, file["PEOPLE"].data
        assert (header["BIT0"], header["BIT1"]) == ("Galaxy", "star")
        assert bits.shape == SHAPE
        # The first row of the file is the bottom one of the picture.
        drawn = bits[::-1]
        assert ((drawn & 1) > 0).sum() == 100
        assert drawn[25:35, 40:50].min() >= 1
        assert ((drawn & 2) > 0)[25:35, 44:54].all()
        numbers = file["PEOPLE_ID"].data[::-1]
        assert set(np.unique(numbers)) == {0, 1, 2}
        rows, columns = np.nonzero(bits & 1)
        here = WCS(header).pixel_to_world(columns.mean(), rows.mean())
    table = objects_table(results, NOW)
    [one] = table[(table["control"] == "masks") & (table["persons"].filled(0) == 2)]
    assert here.separation(SkyCoord(one["ra"], one["dec"], unit="deg")).arcsec < 0.001
    with fits.open(tmp_path / "masks" / "g2-13-masks.fits") as file:
        assert file["PEOPLE"].data[:10, :10].all(), "pictures keep their order"
        assert "CTYPE1" not in file["PEOPLE"].header
    with fits.open(tmp_path / "masks" / "g_1-12-masks.fits") as file:
        assert [hdu.name for hdu in file] == ["PRIMARY", "MODEL", "MODEL_ID"]


def test_marks_on_a_picture_of_another_size_have_no_sky(results: Results) -> None:
    frame = results.frames.of(0, Frame(45, 30))
    assert frame.wcs is None
    assert (frame.width, frame.height, frame.first_row) == (45, 30, "upper")
    assert results.frames.of(0, FRAME).wcs is not None
    assert Frames().of(5, FRAME).wcs is None
    with pytest.raises(ValueError, match="size"):
        Frames().of(5)


def test_what_cannot_be_read_any_more_is_passed_over(results: Results) -> None:
    results.said["boxes"].people[0]["person 9"] = {"items": [{"kind": "unheard of"}]}
    results.said["boxes"].model[0] = {"items": "x"}
    table = results_table(results, NOW)
    assert table["boxes_count"][0] == 2
    assert table["boxes_model_count"][0] == 0
