"""Cut-outs of images on this machine: bands, edges, missing coverage, broken files."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from sky import SCALE, light, survey_file, wcs_at

from ml_backend.bulk.items import SourceError
from ml_backend.catalogue.cutouts import Cutter, source_in
from ml_backend.catalogue.positions import Position
from ml_backend.catalogue.survey_images import find_survey_images
from ml_backend.errors import FetchError
from models.images import GalaxyImage, read_image

HERE = Position(150, 2)
SHAPE = (400, 300)


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """A folder with one field in two bands, of which one is shifted by some pixels."""
    folder = tmp_path / "field"
    folder.mkdir()
    survey_file(folder / "g.fits", wcs_at(150, 2, SHAPE), SHAPE, "g")
    survey_file(folder / "r.fits", wcs_at(150, 2, SHAPE, shift=7.0), SHAPE, "r", number=1)
    (folder / "notes.txt").write_text("no image")
    return folder


def cut(sources: list[Path | str], position: Position = HERE, **options: Any) -> GalaxyImage:
    images = find_survey_images([str(source) for source in sources])
    cutter = Cutter(images, options.pop("side", 15.0), **options)
    try:
        return read_image(cutter.cut(position).data)
    finally:
        cutter.close()


def test_bands_are_cut_out_on_one_grid(field: Path) -> None:
    image = cut([field])
    assert image.bands == ("g", "r")
    assert image.pixels.shape == (2, 60, 60)
    assert image.pixel_scale == pytest.approx(SCALE)
    assert image.wcs is not None
    sky = image.wcs.celestial.pixel_to_world(29.5, 29.5)
    assert sky.ra.deg == pytest.approx(150, abs=SCALE / 3600)
    for number in (0, 1):
        truth = light(image.wcs.celestial, (60, 60), number)
        np.testing.assert_allclose(image.pixels[number], truth, rtol=1e-3)


def test_whole_shifts_are_exact_and_others_interpolated(field: Path) -> None:
    shifted = cut([field], bands=("r",))
    alone = cut([field])
    # The same sky: the middle of both images is where light is brightest.
    assert alone.pixels[1].max() == pytest.approx(shifted.pixels[0].max(), rel=1e-3)
    (field / "r.fits").unlink()
    survey_file(field / "r.fits", wcs_at(150, 2, SHAPE, shift=7.4), SHAPE, "r", number=1)
    image = cut([field])
    assert image.wcs is not None
    truth = light(image.wcs.celestial, (60, 60), 1)
    np.testing.assert_allclose(image.pixels[1], truth, rtol=0.06)


def test_the_image_with_most_of_the_galaxy_is_taken(tmp_path: Path) -> None:
    # The galaxy lies on the edge of the first image and well inside the second.
    edge = wcs_at(150, 2 + 45 / 3600, SHAPE)
    survey_file(tmp_path / "a.fits", edge, SHAPE)
    survey_file(tmp_path / "b.fits", wcs_at(150, 2 + 20 / 3600, SHAPE), SHAPE)
    cutter = Cutter(find_survey_images([str(tmp_path)]), 15.0)
    made = cutter.cut(HERE)
    assert (made.source, made.coverage) == ("b.fits", 1.0)
    assert source_in(made.data) == "b.fits"
    (tmp_path / "b.fits").unlink()
    cutter = Cutter(find_survey_images([str(tmp_path)]), 15.0, least=0.5)
    made = cutter.cut(HERE)
    assert 0.6 < made.coverage < 0.95
    with pytest.raises(FetchError, match=r"Only \d\d % of the cut-out is covered in band r, by a"):
        Cutter(find_survey_images([str(tmp_path)]), 15.0, least=0.99).cut(HERE)


def test_holes_are_no_coverage(tmp_path: Path) -> None:
    def hole(pixels: Any) -> None:
        pixels[:, :150] = 0
        pixels[:150] = np.nan

    survey_file(tmp_path / "holes.fits", wcs_at(150, 2, SHAPE), SHAPE, change=hole)
    survey_file(tmp_path / "whole.fits", wcs_at(150, 2 - 10 / 3600, SHAPE), SHAPE)
    found = Cutter(find_survey_images([str(tmp_path)]), 15.0).cut(HERE)
    assert found.source == "whole.fits", "though the position is nearer to the middle of the other"
    (tmp_path / "whole.fits").unlink()
    with pytest.raises(FetchError, match="50 % of the cut-out"):
        cut([tmp_path])
    survey_file(tmp_path / "blank.fits", wcs_at(10, 2, SHAPE), SHAPE, change=lambda p: p.fill(0))
    with pytest.raises(FetchError, match="Only 0 %"):
        cut([tmp_path], Position(10, 2), least=0.0)


def test_a_position_that_nobody_covers_is_refused(field: Path) -> None:
    cutter = Cutter(find_survey_images([str(field)]), 15.0)
    for position in (Position(150, 2.1), Position(330, -2), Position(0, 90), Position(150.05, 2)):
        assert not cutter.covered(position)
        with pytest.raises(FetchError, match="No survey image covers it"):
            cutter.cut(position)
    assert cutter.covered(HERE)
    with pytest.raises(FetchError, match=r"1 to 4096 are cut out. Change --side"):
        Cutter(find_survey_images([str(field)]), 1e5).cut(HERE)


def test_a_band_that_is_missing_there_is_named(field: Path) -> None:
    (field / "r.fits").unlink()
    survey_file(field / "r.fits", wcs_at(151, 2, SHAPE), SHAPE, "r")
    with pytest.raises(FetchError, match="in band r"):
        cut([field])
    assert cut([field], bands=("g",)).bands == ("g",)


def test_bands_of_other_scales_are_not_mixed(field: Path) -> None:
    (field / "r.fits").unlink()
    survey_file(field / "r.fits", wcs_at(150, 2, SHAPE, 0.4), SHAPE, "r")
    with pytest.raises(FetchError, match="bring them onto one scale first"):
        cut([field])


def test_across_the_meridian_and_at_the_pole(tmp_path: Path) -> None:
    survey_file(tmp_path / "zero.fits", wcs_at(0, 0, SHAPE), SHAPE)
    survey_file(tmp_path / "pole.fits", wcs_at(0, 90, SHAPE), SHAPE)
    for position in (Position(359.999, 0), Position(0.001, 0), Position(123, 89.999)):
        image = cut([tmp_path], position, least=0.5)
        assert image.wcs is not None
        sky = image.wcs.celestial.pixel_to_world(29.5, 29.5)
        there = Position(float(sky.ra.deg) % 360, float(sky.dec.deg))
        assert there.separation(position) < SCALE


def test_cubes_extensions_and_compressed_files(tmp_path: Path) -> None:
    wcs = wcs_at(150, 2, SHAPE)
    cube = np.stack([light(wcs, SHAPE, band) for band in range(3)])
    header = wcs.to_header()
    header["BANDS"] = "grz"
    fits.PrimaryHDU(cube, header).writeto(tmp_path / "cube.fits")
    image = cut([tmp_path / "cube.fits"])
    assert image.bands == ("g", "r", "z")
    packed = fits.CompImageHDU(cube[0], wcs.to_header(), quantize_level=256)
    weights = fits.ImageHDU(np.ones(SHAPE, np.float32), wcs.to_header(), name="INVVAR")
    fits.HDUList([fits.PrimaryHDU(), packed, weights]).writeto(tmp_path / "packed.fits.fz")
    again = cut([f"g={tmp_path / 'packed.fits.fz'}"])
    assert again.bands == ("g",)
    np.testing.assert_allclose(again.pixels[0], image.pixels[0], atol=2)


def test_sources_are_named_by_band_and_weights_left_out(tmp_path: Path) -> None:
    wcs = wcs_at(150, 2, SHAPE)
    survey_file(tmp_path / "brick-image-r.fits", wcs, SHAPE, "")
    survey_file(tmp_path / "brick-invvar-r.fits", wcs, SHAPE, "")
    (tmp_path / "broken.fits").write_bytes(b"SIMPLE  =" + os.urandom(3000))
    found = find_survey_images([str(tmp_path)])
    assert [plane.path.name for plane in found.planes] == ["brick-image-r.fits"]
    assert found.bands == ("",)
    assert "broken.fits" in found.notes[0]
    named = find_survey_images([f"r={tmp_path / 'brick-image-r.fits'}"])
    assert named.bands == named.chosen("") == named.chosen("r") == ("r",)
    with pytest.raises(SourceError, match=r"in band g\. There are: r"):
        named.chosen("gr")
    survey_file(tmp_path / "other.fits", wcs, SHAPE, "g")
    with pytest.raises(SourceError, match="Name it: --survey-images g=PATH"):
        find_survey_images([str(tmp_path)])


def test_sources_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        find_survey_images([str(tmp_path / "gone.fits")])
    fits.PrimaryHDU(np.ones(SHAPE, np.float32)).writeto(tmp_path / "no-wcs.fits")
    with pytest.raises(SourceError, match="No FITS image with celestial coordinates"):
        find_survey_images([str(tmp_path / "no-wcs.fits")])


def test_a_file_that_is_cut_short_fails_its_galaxies_alone(field: Path) -> None:
    whole = (field / "g.fits").read_bytes()
    images = find_survey_images([str(field)])
    (field / "g.fits").write_bytes(whole[:20_000])
    with pytest.raises(FetchError, match=r"g.fits is broken or cut short|covers it|%"):
        Cutter(images, 15.0).cut(HERE)
    (field / "g.fits").unlink()
    with pytest.raises(FetchError, match=r"g.fits is broken"):
        Cutter(images, 15.0).cut(HERE)


def test_many_files_do_not_stay_open(tmp_path: Path) -> None:
    survey_file(tmp_path / "0.fits", wcs_at(150, 2, (80, 80)), (80, 80))
    for number in range(1, 30):
        with fits.open(tmp_path / "0.fits") as file:
            file[0].header["CRVAL1"] = 150 + number
            file.writeto(tmp_path / f"{number}.fits")
    cutter = Cutter(find_survey_images([str(tmp_path)]), 5.0)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(30):
        cutter.cut(Position(150 + number, 2))
    assert len(os.listdir("/proc/self/fd")) - before <= 8 * 2
    cutter.close()


def test_real_survey_images(tmp_path: Path) -> None:
    folder = Path(os.environ.get("GALAXYLOOP_DATA", "")) / "lvm_decals_fits"
    if not (folder / "index.csv").is_file():
        pytest.skip("GALAXYLOOP_DATA names no folder with lvm_decals_fits")
    shutil.copytree(folder / "fits", tmp_path / "fits")
    cutter = Cutter(find_survey_images([str(tmp_path / "fits")]), 30.0)
    with (folder / "index.csv").open() as file:
        for row in csv.DictReader(file):
            made = cutter.cut(Position(float(row["ra"]), float(row["dec"])))
            assert made.scale == pytest.approx(0.262, rel=1e-3)
            assert made.source == Path(row["file"]).name
            pixels = read_image(made.data).pixels
            whole = fits.getdata(tmp_path / row["file"])
            at = (whole.shape[-1] - pixels.shape[-1]) // 2
            wanted = [
                whole[:, at + y : at + y + pixels.shape[1], at + x : at + x + pixels.shape[2]]
                for x in (0, 1) for y in (0, 1)
            ]  # fmt: skip
            assert any(np.array_equal(pixels, part) for part in wanted)
