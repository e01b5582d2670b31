"""An export becomes votes: matched, mapped, once, and seen by the loop."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parent))

from exports import classification, write

from ml_backend.labelstudio.config import parse_controls
from ml_backend.loop.counting_votes import cast_votes, counting_votes
from ml_backend.loop.typed_votes import typed_votes
from ml_backend.settings import load_settings
from ml_backend.store.crowd_tables import OutsideVote, Verdict
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Task, Vote
from ml_backend.zooniverse.classifications import (
    Classification,
    Refused,
    ZooniverseError,
    read_classifications,
)
from ml_backend.zooniverse.importing import ImportOptions, ImportReport, import_classifications
from ml_backend.zooniverse.mapping import read_mapping, sketch, written
from ml_backend.zooniverse.retirements import write_retirements
from ml_backend.zooniverse.subject_manifest import write_manifest
from ml_backend.zooniverse.subjects import Tasks, kept_subjects
from models.answers import Box, Number

XML = """<View><Image name="image" value="$image"/>
<Choices name="shape" toName="image"><Choice value="Smooth"/><Choice value="Featured"/></Choices>
<Choices name="odd" toName="image" choice="multiple"><Choice value="Ring"/><Choice value="Lens"/>
</Choices>
<RectangleLabels name="boxes" toName="image"><Label value="Galaxy"/></RectangleLabels>
<Number name="arms" toName="image" min="0" max="9"/></View>"""
CONFIG = parse_controls(XML)
SHAPE = {"task": "T0", "value": "Smooth"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(load_settings(_env_file=None, model_dir=tmp_path / "data"))
    made.projects.save(1, "Zoo", XML)
    with made.session() as session:
        session.add_all(Task(id=n, project_id=1, image=f"http://i/{n}") for n in (11, 12, 13))
    yield made
    made.close()


def tasks() -> Tasks:
    return Tasks(
        {"id": n, "data": {"image": f"http://i/{n}", "subject_id": 500 + n, "file": f"g{n}.jpg"}}
        for n in (11, 12, 13)
    )


def bring(store: Store, path: Path, **options: Any) -> ImportReport:
    return import_classifications(path, store, 1, CONFIG, tasks(), ImportOptions(**options))


def rows(store: Store) -> list[OutsideVote]:
    with store.reading() as session:
        return list(session.scalars(select(OutsideVote).order_by(OutsideVote.id)))


def test_votes_come_in_once_and_the_loop_counts_them_beside_its_own(
    store: Store, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "e.csv",
        [
            classification(1, "ann", 511, [SHAPE]),
            classification(2, "ben", 511, [{"task": "T0", "value": "featured"}]),
            classification(3, "not-logged-in-5f2a", 512, [SHAPE]),
            classification(4, "ann", 999, [SHAPE]),
        ],
    )
    report = bring(store, path)
    assert (report.added, report.known, len(report.people)) == (3, 0, 3)
    assert report.strangers == {"999"}
    assert str(report.pairing) == "subject_id = subject_id"
    again = bring(store, path)
    assert (again.added, again.known) == (0, 3)
    first = rows(store)[0]
    assert (first.person, first.labels, first.lead_time) == ("zooniverse ann", ["Smooth"], 12.5)

    with store.session() as session:
        session.add(
            Vote(annotation_id=1, control="shape", project_id=1, task_id=11, annotator=7,
                 labels=["Smooth"])
        )  # fmt: skip
    with store.reading() as session:
        cast = cast_votes(counting_votes(session, 1, CONFIG.controls))
    assert {(vote.task_id, vote.person, vote.labels) for vote in cast} == {
        (11, "person 7", ("Smooth",)),
        (11, "zooniverse ann", ("Smooth",)),
        (11, "zooniverse ben", ("Featured",)),
        (12, "zooniverse not-logged-in-5f2a", ("Smooth",)),
    }
    assert store.projects.counts(1)["outside"] == 3
    assert kept_subjects(store.folder, 1) == {"511": 11, "512": 12}


def test_marks_numbers_and_several_answers(store: Store, tmp_path: Path) -> None:
    mapping = tmp_path / "map.toml"
    mapping.write_text(
        '[T1]\ncontrol = "odd"\n[T1.labels]\n"A ring" = "Ring"\n"Nothing" = ""\n'
        '[T2]\ncontrol = "boxes"\n[T2.labels]\nblob = "Galaxy"\n[T3]\ncontrol = "arms"\n'
    )
    box = {"tool_label": "blob", "frame": 0, "x": 10, "y": 20, "width": 30, "height": 40}
    said = [
        {"task": "T1", "value": ["A ring", "Nothing"]},
        {"task": "T2", "value": [box]},
        {"task": "T3", "value": "2"},
        {"task": "T8", "value": "what"},
    ]
    path = write(
        tmp_path / "e.csv",
        [
            classification(1, "ann", 511, said),
            classification(2, "ben", 511, [{"task": "T2", "value": []}]),
            classification(3, "cem", 511, [{"task": "T3", "value": "12"}]),
            classification(4, "dan", 511, [{"task": "T1", "value": ["A lens"]}]),
        ],
    )
    report = bring(store, path, mapping=read_mapping(mapping, CONFIG))
    assert report.added == 4
    assert report.reasons == {
        "task T8 is not mapped": 1,
        "task T3: it does not fit 'arms'": 1,
        "task T1: an answer is not mapped": 1,
    }
    assert rows(store)[0].labels == ["Ring"]
    ann, ben = typed_votes(store, 1, "boxes")
    assert ann.answer.values == (Box(10, 20, 30, 40, label="Galaxy"),)
    assert ann.answer.frame is not None
    assert ann.answer.frame.size == (400, 300)
    assert (ben.person, ben.answer.values) == ("zooniverse ben", ())
    assert typed_votes(store, 1, "arms")[0].answer.values == (Number(2.0),)


def test_what_is_left_out_is_told(store: Store, tmp_path: Path) -> None:
    path = write(
        tmp_path / "e.csv",
        [
            classification(1, "ann", 511, [SHAPE]),
            classification(2, "ann", 512, [SHAPE], live=False),
            classification(3, "ann", 512, [SHAPE], workflow_id="78"),
            classification(4, "ann", 512, [SHAPE], workflow_version="11.2"),
            classification(5, "ann", 512, "[{broken"),
            classification(6, "ann", 512, [SHAPE], subject_ids="1;2"),
            classification(7, "ann", 512, [SHAPE], subject_ids="'; drop table"),
            classification(8, "", 512, [{"task": "T0", "value": ["Smooth", "Featured"]}]),
        ],
    )
    report = bring(store, path, workflow="77", version="12")
    assert report.added == 1
    assert sum(report.reasons.values()) == 7
    assert "  left out, annotations are no JSON list: 1" in str(report)


def test_a_dry_run_and_hashed_names_write_what_they_say(store: Store, tmp_path: Path) -> None:
    path = write(tmp_path / "e.csv", [classification(1, "ann", 511, [SHAPE])])
    assert bring(store, path, dry_run=True).added == 1
    assert rows(store) == []
    assert kept_subjects(store.folder, 1) == {}
    bring(store, path, hash_names=True)
    [row] = rows(store)
    assert row.person.startswith("zooniverse ")
    assert "ann" not in row.person


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a,b\n1,2\n", "no column"),
        ("classification_id,subject_ids\n1,2\n", "no column val"),
    ],
)
def test_files_that_are_no_exports_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "e.csv"
    path.write_text(text)
    with pytest.raises(ZooniverseError, match=message):
        list(read_classifications(path))
    with pytest.raises(ZooniverseError, match="cannot be read"):
        list(read_classifications(tmp_path / "none.csv"))


def test_bytes_of_any_kind_cost_rows_not_the_file(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    good = write(tmp_path / "g.csv", [classification(1, "ann", 511, [SHAPE])]).read_bytes()
    path.write_bytes(good + b'\xff\xfe,\x00"x\n2,"' + b"y" * 100)
    found = list(read_classifications(path))
    assert isinstance(found[0], Classification)
    assert all(isinstance(one, Refused) for one in found[1:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no task"),
        ("x = ", "cannot be read"),
        ("[T0]\n", "needs 'control'"),
        ('[T0]\ncontrol = "none"\n', "has no control"),
        ('[T0]\ncontrol = "shape"\n[T0.labels]\na = "Blue"\n', "no label 'Blue'"),
        ('[T0]\ncontrol = "shape"\n[T0.labels]\na = 3\n', "table of texts"),
    ],
)
def test_mappings_that_cannot_be_used_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text(text)
    with pytest.raises(ZooniverseError, match=message):
        read_mapping(path, CONFIG)


def test_a_sketch_is_a_mapping_and_names_that_match_none_ask_for_one(
    store: Store, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "e.csv",
        [
            classification(1, "ann", 511, [SHAPE]),
            classification(2, "ben", 511, [{"task": "T0", "value": 'Star or "artefact"\n'}]),
        ],
    )
    with pytest.raises(ZooniverseError, match="sketch"):
        bring(store, path)
    made = sketch(
        (one for one in read_classifications(path) if isinstance(one, Classification)), CONFIG
    )
    file = tmp_path / "map.toml"
    file.write_text(written(made, CONFIG))
    read = read_mapping(file, CONFIG)
    assert read["T0"].labels == {"Smooth": "Smooth", 'Star or "artefact"': ""}
    report = bring(store, path, mapping=read)
    assert report.added == 1


def test_subjects_are_found_by_any_common_field_or_the_one_named(
    store: Store, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "e.csv", [classification(1, "ann", 3, [SHAPE], fields={"#file": "g12.jpg"})]
    )
    assert bring(store, path).subjects == {"3": 12}
    assert bring(store, path, match="#file=file").known == 1
    for match, message in (("x", "THEIRS=OURS"), ("a=nothing", "No task has a field")):
        with pytest.raises(ZooniverseError, match=message):
            bring(store, path, match=match)
    strange = write(tmp_path / "s.csv", [classification(1, "ann", 3, [SHAPE])])
    with pytest.raises(ZooniverseError, match="--match"):
        bring(store, strange)


def test_there_and_back_again(store: Store, tmp_path: Path) -> None:
    class Fetcher:
        def fetch(self, address: str) -> bytes:
            if address.endswith("13"):
                raise ZooniverseError("It is gone.")
            import io

            from PIL import Image

            file = io.BytesIO()
            Image.new("RGB", (1500, 900), (9, 9, 40)).save(file, "PNG")
            return file.getvalue()

    listed = [
        {"id": n, "data": {"image": f"http://i/{n}", "z": 0.1 * n, "=x": "=1+1"}}
        for n in (11, 12, 13)
    ]
    count, left_out = write_manifest(tmp_path / "out", listed, "image", Fetcher())
    assert (count, left_out) == (2, ["task 13: It is gone."])
    import csv

    with (tmp_path / "out" / "manifest.csv").open() as file:
        subjects = list(csv.DictReader(file))
    assert [row["#task_id"] for row in subjects] == ["11", "12"]
    assert (tmp_path / "out" / subjects[0]["image"]).stat().st_size < 1_000_000
    path = write(
        tmp_path / "e.csv",
        [
            classification(n, "ann", 900 + n, [SHAPE], fields=dict(row))
            for n, row in enumerate(subjects)
        ],
    )
    assert bring(store, path).subjects == {"900": 11, "901": 12}
    from datetime import UTC, datetime

    with store.session() as session:
        for task, state in ((11, "retired"), (12, "expert"), (13, "retired")):
            session.add(
                Verdict(task_id=task, project_id=1, state=state, reason="why", people=3,
                        changed_at=datetime.now(UTC))
            )  # fmt: skip
    out = tmp_path / "r.csv"
    assert write_retirements(out, store, 1, kept_subjects(store.folder, 1), "77") == (2, 1)
    with out.open() as file:
        assert [(r["subject_id"], r["retirement_reason"]) for r in csv.DictReader(file)] == [
            ("900", "consensus"),
            ("901", "other"),
        ]


@pytest.fixture
def real() -> Path:
    data = os.environ.get("GALAXYLOOP_DATA")
    folder = Path(data or "") / "crowd_labels" / "zooniverse_exports"
    if not data or not folder.is_dir():
        pytest.skip("GALAXYLOOP_DATA does not name a folder with Zooniverse exports.")
    return folder


def test_real_exports_are_read_in_full(real: Path) -> None:
    drawn = list(read_classifications(real / "draw_workflow_classifications.csv"))
    assert len(drawn) == 153
    assert all(isinstance(one, Classification) and one.sizes for one in drawn)
    from ml_backend.zooniverse.answers import read_said

    said = [s for one in drawn for a in one.said for s in read_said(a)]  # type: ignore[union-attr]
    assert sum(len(one.marks) for one in said) > 170
    extract = list(read_classifications(real / "presence_absence_extract.csv"))
    assert len(extract) == 7568
    assert sum(isinstance(one, Refused) for one in extract) == 0
