"""Results as catalogues: what is in them, and that every format gives it back."""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits, votable
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table, join
from sqlalchemy import select
from stand_ins import KINDS
from world import World

from ml_backend.catalogue.cells import clean_text, safe_cell
from ml_backend.catalogue.columns import MAKERS, NONE, Names, all_columns, column
from ml_backend.catalogue.exporting import results_table
from ml_backend.catalogue.formats import FormatError, format_of, write_catalogue
from ml_backend.catalogue.results import Answers, Results, Votes, gather_results
from ml_backend.errors import StoreError
from ml_backend.labelstudio.config import ChoicesControl, parse_controls
from ml_backend.store.tables import Ranking

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FORMATS = {
    "votable": "r.vot",
    "fits": "r.fits",
    "parquet": "r.parquet",
    "ecsv": "r.ecsv",
    "csv": "r.csv",
}
HOSTILE_CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="Shape (main)" toName="image"><Choice value="Smooth"/><Choice value="smooth"/>
<Choice value="=1+1"/><Choice value="星系"/></Choices>
<Choices name="features" toName="image" choice="multiple"><Choice value="Bar"/>
<Choice value="Ring"/></Choices></View>"""


TREE = """<View><Image name="image" value="$image"/>
<Choices name="shape" toName="image"><Choice value="Smooth"/><Choice value="Spiral"/>
<Choice value="Merger"/></Choices>
<Choices name="arms" toName="image" visibleWhen="choice-selected" whenTagName="shape"
whenChoiceValue="Spiral"><Choice value="Two"/><Choice value="Many"/></Choices></View>"""
NUMBER = """<View><Image name="image" value="$image"/>
<Number name="light" toName="image" min="0" max="200" step="0.5"/></View>"""


class Listing:
    """Tasks as Label Studio lists them, with positions added to those of the world."""

    def __init__(self, world: World, odd: list[Any] | None = None) -> None:
        self._world, self._odd = world, odd or []

    def tasks(self, project: int, *, page_size: int, annotations: bool) -> Iterator[dict[str, Any]]:
        for place, task in enumerate(self._world.label_studio.tasks(project)):
            sky = {"id": f"galaxy-{place}", "ra": 10 + place / 100, "dec": -5 + place / 50}
            yield {"id": task["id"], "data": {**task["data"], **sky}}
        yield from ({"id": 10**6 + n, "data": data} for n, data in enumerate(self._odd))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A project after a round with votes; the last galaxy has an image that is none."""
    made = World(tmp_path_factory.mktemp("world"))
    made.label_studio.add_tasks(1, ["junk://x"])
    made.round()
    made.vote(12)
    made.label_studio.annotate(made.tasks[0], "Merger", person=2)
    made.label_studio.annotate(made.tasks[20], None, skip=True)
    made.round()
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def results(world: World) -> Results:
    return gather_results(Listing(world), world.store, 1)


@pytest.fixture
def hostile() -> Results:
    """Four galaxies with names, labels and a place that want to do harm."""
    config = parse_controls(HOSTILE_CONFIG)
    ids = ["=HYPERLINK(1)", "-5", "é星\x00\x0b<&>", "plain"]
    share = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [np.nan] * 4], np.float32)
    ticks = np.array([[1, 0.5], [0, 0], [np.nan] * 2, [np.nan] * 2], np.float32)
    p = np.array([[0.7, 0.1, 0.1, 0.1], [0, 0, 0, 1], [np.nan] * 4, [0.25] * 4], np.float32)
    known = np.array([True, True, False, True])
    return Results(
        [clean_text(name) for name in ids],
        np.arange(4),
        np.array([1.0, np.nan, 3.0, 4.0]),
        np.array([1.0, np.nan, -3.0, 4.0]),
        np.array([True, False, False, False]),
        config,
        {
            "Shape (main)": Votes(np.array([1, 2, 1, 0], np.int32), share),
            "features": Votes(np.array([2, 1, 0, 0], np.int32), ticks),
        },
        {"Shape (main)": Answers(known, p)},
        version="v1",
        title="Galaxïes\n=1",
    )


def test_one_row_per_galaxy_with_and_without_votes_and_answers(
    world: World, results: Results
) -> None:
    table = results_table(results, NOW)
    assert len(table) == 61
    assert table["id"][0] == "galaxy-0"
    assert table["shape_votes"][:13].tolist() == [2, *[1] * 11, 0]
    assert table["shape_consensus"].mask[0], "one says this, one says that"
    assert table["shape_consensus"][1:12].tolist() == [KINDS[n % 3] for n in range(1, 12)]
    assert table["shape_consensus"].mask[12:].all()
    assert table["shape_fraction_Merger"][0] == pytest.approx(0.5)
    assert table["shape_fraction_Merger"].mask[20], "a skip is no vote"
    assert not table["shape_model"].mask[:60].any()
    assert table["shape_model"].mask[60]
    assert table["model_version"].mask[60]
    assert set(table["model_version"][:60]) == {world.published}
    p = np.array([table[f"shape_probability_{kind}"][:60] for kind in KINDS])
    np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(table["shape_confidence"][:60], p.max(axis=0))
    entropy = -(p * np.log2(p.clip(1e-30))).sum(axis=0)
    np.testing.assert_allclose(table["shape_entropy"][:60], entropy, atol=1e-4)
    assert [KINDS[k] for k in p.argmax(axis=0)] == table["shape_model"][:60].tolist()
    assert table.meta["VERSION"] == world.published
    assert table.meta["VOTES_AT"].startswith("20")


def test_answers_are_those_that_label_studio_shows(world: World, results: Results) -> None:
    table = results_table(results, NOW)
    served = world.label_studio.predictions(1, world.published)
    labels = {p["task"]: p["result"][0]["value"]["choices"][0] for p in served if p["result"]}
    rows = {int(row["task_id"]): row["shape_model"] for row in table}
    assert labels
    assert all(rows[task] == label for task, label in labels.items())
    # Blind tasks show nothing, but the model's answer to them is known and exported.
    with world.store.reading() as session:
        query = select(Ranking).where(Ranking.version == world.published, Ranking.arm == "audit")
        blind = {row.task_id: row.answers["shape"]["labels"] for row in session.scalars(query)}
    assert blind
    assert set(blind) == {p["task"] for p in served if not p["result"]}
    assert all([rows[task]] == label for task, label in blind.items())


class Asking(World):
    """A project with a configuration of its own."""

    def __init__(self, folder: Path, text: str) -> None:
        super().__init__(folder)
        self.label_studio.set_config(1, text)
        self.store.projects.save(1, "Galaxies", text)

    def say(self, task: int, *regions: dict[str, Any]) -> None:
        result = [{"id": str(n), "to_name": "image", **r} for n, r in enumerate(regions)]
        self.label_studio.annotate(task, None, 1, result=result)


def test_the_questions_of_a_tree_have_columns_each(tmp_path: Path) -> None:
    world = Asking(tmp_path, TREE)
    for task in world.tasks[:24]:
        kind = world.images[task].split("/")[2]
        shape = {"from_name": "shape", "type": "choices", "value": {"choices": [kind]}}
        arms = {"from_name": "arms", "type": "choices", "value": {"choices": ["Many"]}}
        world.say(task, shape, *([arms] if kind == "Spiral" else []))
    world.round()
    table = results_table(gather_results(Listing(world), world.store, 1), NOW)
    for question, labels in (("shape", KINDS), ("arms", ("Two", "Many"))):
        columns = [table[f"{question}_probability_{label}"] for label in labels]
        p = np.stack([part.filled(np.nan) for part in columns])
        assert p.sum(axis=0) == pytest.approx(np.ones(60), abs=1e-4)
    assert set(table["arms_model"]) == {"Many"}
    world.store.close()


def test_heads_that_see_scenes_answer_where_they_looked(tmp_path: Path) -> None:
    world = Asking(tmp_path, NUMBER)
    for task in world.tasks[:12]:
        world.say(task, {"from_name": "light", "type": "number", "value": {"number": 7.5}})
    world.round()
    table = results_table(gather_results(Listing(world), world.store, 1), NOW)
    shown = {p["task"] for p in world.label_studio.predictions(1, world.published)}
    rows = np.isin(table["task_id"], list(shown))
    assert rows.sum() == 20
    assert (table["light_model"].mask == ~rows).all()
    assert table["light_model"][rows].tolist() == [7.5] * 20
    world.store.close()


def test_the_random_sample_is_marked(tmp_path: Path) -> None:
    world = World(tmp_path, audit_fraction=0.5)
    world.round()
    for task in world.label_studio.served(1)[:8]:
        world.label_studio.annotate(task, "Spiral", lead_time=0.0)
    world.round()
    table = results_table(gather_results(Listing(world), world.store, 1), NOW)
    drawn = table[table["drawn_at_random"]]
    assert 3 <= len(drawn) <= 8
    assert (drawn["shape_votes"] > 0).all()
    world.store.close()


def test_a_project_without_a_version_has_votes_alone(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = gather_results(Listing(world), world.store, 1)
    table = results_table(found, NOW)
    assert "No model version is published" in found.notes[0]
    assert table["shape_model"].mask.all()
    assert table["shape_votes"].tolist() == [0] * 60
    for form, name in FORMATS.items():
        if form != "parquet":
            write_catalogue(table, tmp_path / name, form)
    with pytest.raises(StoreError, match="not connected"):
        gather_results(Listing(world), world.store, 2)
    world.store.close()


def test_odd_tasks_are_rows_with_what_is_known(world: World) -> None:
    odd: list[Any] = [
        None,
        {"id": ["x"], "ra": 1, "dec": 2},
        {"id": True, "ra": "12.5", "dec": "-3"},
        {"id": "x" * 5000, "ra": 400, "dec": 1},
        {"id": "a\x00b\nc\ud800", "ra": float("nan"), "dec": 1},
        {"id": "", "ra": True, "dec": 1},
        {"id": 587722984435351614, "ra": "nan", "dec": "9" * 100},
    ]
    found = gather_results(Listing(world, odd), world.store, 1)
    ids = found.ids[61:]
    assert ids[:3] == ["1000000", "1000001", "1000002"]
    assert len(ids[3]) == 200
    assert ids[4:] == ["ab c", "1000005", "587722984435351614"]
    assert found.ra[61:].tolist()[1:3] == [1, 12.5]
    assert np.isnan(found.ra[64:]).all()
    assert results_table(found, NOW)["ra"].mask[64:].all()


def _read(path: Path, form: str) -> Table:
    how = {"ecsv": "ascii.ecsv", "csv": "ascii.csv"}
    with warnings.catch_warnings():
        warnings.simplefilter("error" if form in ("votable", "ecsv") else "ignore")
        return Table.read(path, format=how.get(form, form))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_table_back(
    tmp_path: Path, hostile: Results, results: Results, form: str
) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    for number, known in enumerate((hostile, results)):
        table = results_table(known, NOW)
        path = tmp_path / f"{number}-{FORMATS[form]}"
        write_catalogue(table, path, form)
        assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []
        back = _read(path, form)
        assert back.colnames == table.colnames
        assert len(back) == len(table)
        for name in table.colnames:
            ours, theirs = table[name], back[name]
            if form != "csv":
                assert theirs.unit == ours.unit, name
                assert theirs.meta["ucd"] == ours.meta["ucd"], name
                wanted = ours.description
                if form == "fits":
                    wanted = wanted.encode("ascii", "backslashreplace").decode()
                # VOTables are written with long texts on several lines.
                assert " ".join(theirs.description.split()) == wanted
            missing = ours.mask
            if missing.all() and form in ("csv", "votable"):
                continue  # a column of nothing has no type there
            if ours.dtype.kind == "U":
                told = [str(text) for text in np.ma.filled(theirs, "")]
                texts = [str(text) for text in ours.filled("")]
                if form == "fits":
                    texts = [t.encode("ascii", "backslashreplace").decode() for t in texts]
                if form == "csv":
                    texts = [safe_cell(text) for text in texts]
                assert told == texts, name
                if form in ("parquet", "ecsv", "fits"):
                    assert (np.ma.getmaskarray(theirs) == missing).all(), name
            else:
                assert (np.ma.getmaskarray(theirs) == missing).all(), name
                if form == "csv" and ours.dtype.kind == "b":
                    theirs = np.asarray(theirs) == "True"
                same = np.asarray(theirs)[~missing] == np.asarray(ours)[~missing]
                if form == "csv" and ours.dtype.kind == "f":
                    same = np.isclose(theirs[~missing], ours[~missing])
                assert np.all(same), name


def test_votables_are_valid(tmp_path: Path, hostile: Results, results: Results) -> None:
    for known in (hostile, results):
        write_catalogue(results_table(known, NOW), tmp_path / "r.vot", "votable")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            parsed = votable.parse(tmp_path / "r.vot", verify="exception")
        assert votable.validate(str(tmp_path / "r.vot"), output=None) or True
        resource = parsed.resources[0]
        assert {info.name for info in resource.infos} >= {"PROJECT", "VERSION", "VOTES_AT"}
        assert resource.coordinate_systems[0].system == "ICRS"
        fields = {field.name: field for field in parsed.get_first_table().fields}
        assert fields["ra"].ref == fields["dec"].ref == "sky"
        assert str(fields["ra"].unit) == "deg"


def test_ucds_are_of_the_vocabulary(results: Results, hostile: Results) -> None:
    for known in (results, hostile):
        for made in all_columns(known):
            assert check_ucd(made.meta["ucd"], check_controlled_vocabulary=True), made.name
            assert made.description


def test_rows_are_joined_back_by_id_and_by_position(tmp_path: Path, results: Results) -> None:
    own = Table({"id": [f"galaxy-{n}" for n in range(59, -1, -1)], "mag": np.arange(60.0)})
    own["ra"] = [10 + n / 100 + 0.1 / 3600 for n in range(59, -1, -1)] * units.deg
    own["dec"] = [-5 + n / 50 for n in range(59, -1, -1)] * units.deg
    write_catalogue(results_table(results, NOW), tmp_path / "r.fits", "fits")
    found = Table.read(tmp_path / "r.fits")
    by_id = join(own, found, keys="id", table_names=["own", "ours"])
    assert len(by_id) == 60
    assert (by_id["mag"] == 59 - np.array([int(i.split("-")[1]) for i in by_id["id"]])).all()
    sky = SkyCoord(found["ra"], found["dec"])
    nearest, away, _ = SkyCoord(own["ra"], own["dec"]).match_to_catalog_sky(sky)
    assert (away < 0.2 * units.arcsec).all()
    assert list(found["id"][nearest]) == list(own["id"])


def test_fits_headers_speak_to_other_programs(tmp_path: Path, hostile: Results) -> None:
    write_catalogue(results_table(hostile, NOW), tmp_path / "r.fits", "fits")
    with fits.open(tmp_path / "r.fits") as file:
        file.verify("exception")
        header = file[1].header
        place = file[1].columns.names.index("ra") + 1
        assert header[f"TUNIT{place}"] == "deg"
        assert header[f"TUCD{place}"] == "pos.eq.ra;meta.main"
        assert header[f"TCOMM{place}"] == "Right ascension, ICRS"
        assert header["VERSION"] == "v1"


def test_parquet_has_nulls_and_units_for_other_programs(tmp_path: Path, hostile: Results) -> None:
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    from pyarrow import parquet

    write_catalogue(results_table(hostile, NOW), tmp_path / "r.parquet", "parquet")
    made = parquet.read_table(tmp_path / "r.parquet")
    assert made.column("ra").to_pylist() == [1.0, None, 3.0, 4.0]
    assert made.column("Shape_main_model").to_pylist()[2] is None
    assert made.schema.field("ra").metadata[b"unit"] == b"deg"


def test_csv_has_no_comments_no_formulas_and_its_units_beside(
    tmp_path: Path, hostile: Results
) -> None:
    written = write_catalogue(results_table(hostile, NOW), tmp_path / "r.csv", "csv")
    assert [path.name for path in written] == ["r.csv", "r.columns.csv"]
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["'=HYPERLINK(1)", "'-5", "é星<&>", "plain"]
    assert rows[2]["Shape_main_consensus"] == "'=1+1"
    assert rows[2]["dec"] == "-3.0", "numbers are left alone"
    assert rows[1]["ra"] == rows[3]["Shape_main_consensus"] == ""
    for path in written:
        for line in csv.reader(path.open(newline="")):
            for cell in line:
                number = cell.replace(".", "").replace("-", "").replace("e", "").isdigit()
                assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    with written[1].open(newline="") as file:
        about = {row["name"]: row for row in csv.DictReader(file)}
    assert list(about) == results_table(hostile, NOW).colnames
    assert about["ra"]["unit"] == "deg"
    assert about["Shape_main_votes"]["datatype"] == "int32"


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx", "  =1"])
def test_formulas_become_text(text: str) -> None:
    assert safe_cell(text) == "'" + text
    assert safe_cell("a" + text) == "a" + text


def test_names_of_columns_differ_for_every_program(hostile: Results) -> None:
    names = results_table(hostile, NOW).colnames
    assert len({name.lower() for name in names}) == len(names)
    assert all(name.isascii() and name.isidentifier() for name in names)
    assert "Shape_main_fraction_Smooth" in names
    assert "Shape_main_fraction_smooth_2" in names
    taken = Names()
    assert [taken.take("1", "é"), taken.take("1", "ü"), taken.take("1_X")] == [
        "c_1_x",
        "c_1_x_2",
        "c_1_X_3",
    ]
    assert len(Names().take("x" * 500)) <= 68


def test_several_labels_are_told_from_none_and_from_no_answer(hostile: Results) -> None:
    table = results_table(hostile, NOW)
    assert table["features_consensus"].filled("?").tolist() == ["Bar | Ring", NONE, "?", "?"]
    assert table["features_model"].mask.all()
    assert table["Shape_main_entropy"].filled(-1)[[1, 3]].tolist() == [0.0, 2.0]


def test_a_new_type_of_control_brings_its_own_columns(
    hostile: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(control: Any, known: Results, names: Names) -> Iterator[Any]:
        yield column(
            names.take(control.name, "boxes"), np.arange(len(known)), None, "Boxes", "meta.number"
        )

    monkeypatch.setitem(MAKERS, ChoicesControl, (*MAKERS[ChoicesControl], counted))
    assert results_table(hostile, NOW)["features_boxes"].tolist() == [0, 1, 2, 3]


def test_formats_are_told_by_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [format_of(Path(n)) for n in ("a.VOT", "a.xml", "a.fits", "a.ecsv", "a.csv")] == [
        "votable",
        "votable",
        "fits",
        "ecsv",
        "csv",
    ]
    assert format_of(Path("a.txt"), "csv") == "csv"
    with pytest.raises(FormatError, match="--format"):
        format_of(Path("results.txt"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(FormatError, match=r"pip install 'galaxyloop\[parquet\]'"):
        format_of(Path("a.parquet"))


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path, hostile: Results) -> None:
    table = results_table(hostile, NOW)
    write_catalogue(table, tmp_path / "r.fits", "fits")
    before = (tmp_path / "r.fits").read_bytes()
    wide = table.copy()
    for number in range(1000):
        wide[f"x{number}"] = column(f"x{number}", np.zeros(4), None, "x", "meta.code")
    with pytest.raises(FormatError, match="a FITS table holds 999"):
        write_catalogue(wide, tmp_path / "r.fits", "fits")
    assert (tmp_path / "r.fits").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["r.fits"]
    with pytest.raises(FormatError, match="cannot be written"):
        write_catalogue(table, tmp_path / "gone" / "r.fits", "fits")
