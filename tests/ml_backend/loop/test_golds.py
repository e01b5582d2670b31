"""Golds: flagged and filed answers, how they are mixed in, and what people see of suggestions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from stand_ins import truth
from world import World

from ml_backend.catalogue.gold_files import GoldFileError, read_gold_file
from ml_backend.labelstudio.config import parse_controls
from ml_backend.loop.golds import (
    FILE,
    KnownAnswer,
    golds_of,
    golds_to_serve,
    make_known,
    mix_golds,
    remove_golds,
)
from ml_backend.store.tables import Ranking, Vote


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "world", most_people=3, gold_fraction=0.2)
    yield made
    made.store.close()


def flag(world: World, annotation: int, value: bool) -> None:
    """Set the flag as Label Studio does where another annotation takes it: no new time stamp."""
    state = world.label_studio._read()
    task, found = world.label_studio._find(state, annotation)
    found["ground_truth"] = value
    task["updated_at"] = "2099-01-01T00:00:00Z"
    world.label_studio._write(state)


def keep(world: World, tasks: list[int]) -> None:
    wanted = {(task, "shape"): KnownAnswer((truth(world.images[task]),)) for task in tasks}
    with world.store.session() as session:
        make_known(session, 1, FILE, wanted, keep_others=True)


def rankings(world: World, version: str) -> list[Ranking]:
    with world.store.reading() as session:
        query = select(Ranking).where(Ranking.version == version).order_by(Ranking.place)
        return list(session.scalars(query))


def test_a_flag_makes_an_answer_known_until_it_goes(world: World) -> None:
    one = world.label_studio.annotate(world.tasks[0], "Spiral", person=9)
    world.round()
    assert golds_of(world.store, 1) == []
    flag(world, one, True)
    world.round()
    assert [(g.task_id, g.labels, g.source, g.annotation_id) for g in golds_of(world.store, 1)] == [
        (world.tasks[0], ["Spiral"], "ground_truth", one)
    ]
    flag(world, one, False)
    world.round()
    assert golds_of(world.store, 1) == []


def test_a_file_stands_above_a_flag_which_comes_back(world: World) -> None:
    world.label_studio.annotate(world.tasks[0], "Spiral", person=9, ground_truth=True)
    world.round()
    with world.store.session() as session:
        make_known(session, 1, FILE, {(world.tasks[0], "shape"): KnownAnswer(("Merger",))})
    world.round()
    assert [(g.labels, g.source) for g in golds_of(world.store, 1)] == [(["Merger"], "file")]
    assert remove_golds(world.store, 1, [world.tasks[0]]) == 1
    world.round()
    assert [(g.labels, g.source) for g in golds_of(world.store, 1)] == [
        (["Spiral"], "ground_truth")
    ]


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5])
def test_golds_are_mixed_in_at_their_rate_from_the_first_place_on(fraction: float) -> None:
    firsts = []
    for seed in range(2000):
        rng = np.random.default_rng(seed)
        order, marks = mix_golds(range(20), range(100, 200), fraction, rng)
        assert [row for row, gold in zip(order, marks, strict=True) if not gold] == list(range(20))
        firsts.append(np.mean(marks[:10]))
    assert np.mean(firsts) == pytest.approx(fraction, abs=0.01)


def test_no_golds_no_rows_no_share() -> None:
    rng = np.random.default_rng(0)
    assert mix_golds([1, 2], [], 0.5, rng) == ([1, 2], [False, False])
    assert mix_golds([], [5], 0.5, rng) == ([], [])
    assert mix_golds([1, 2], [5], 0.0, rng) == ([1, 2], [False, False])
    with pytest.raises(ValueError, match="share"):
        mix_golds([1], [2], 1.0, rng)


def test_golds_reach_each_person_once_and_rounds_come_to_rest(world: World) -> None:
    keep(world, world.tasks[:4])
    world.round()
    given: list[tuple[int, int]] = []
    for _ in range(14):
        for click in range(18):
            person = 1 + click % 3
            task = world.label_studio.serve(1, person)
            if task is not None:
                world.label_studio.annotate(task, truth(world.images[task]), person)
                given.append((person, task))
        world.round()
    golds = [(p, t) for p, t in given if t in world.tasks[:4]]
    assert len(set(given)) == len(given)
    assert len(golds) == 12, "each of three people answered each of four golds"
    assert not len(golds_to_serve(world.store, 1, 0))
    assert world.round().version is None


def test_what_measures_is_blind_and_votes_say_what_was_shown(world: World) -> None:
    world.vote(24)
    keep(world, world.tasks[40:50])
    version = str(world.round().version)
    results = {p["task"]: p["result"] for p in world.label_studio.predictions(1, version)}
    rows = rankings(world, version)
    arms = ("active", "audit", "gold")
    assert {row.arm for row in rows} == set(arms)
    for row in rows:
        assert (results[row.task_id] == []) == (row.arm in ("audit", "gold"))
        assert row.answers["shape"]["labels"]
    served = {arm: next(row for row in rows if row.arm == arm) for arm in arms}
    for row in served.values():
        said = row.answers["shape"]["labels"][0]
        other = next(kind for kind in ("Smooth", "Spiral") if kind != said)
        world.label_studio.annotate(row.task_id, said, person=5, lead_time=0.0)
        world.label_studio.annotate(row.task_id, other, person=6, lead_time=0.0)
    world.round()
    for arm, row in served.items():
        with world.store.reading() as session:
            query = select(Vote).where(Vote.task_id == row.task_id, Vote.annotator.in_((5, 6)))
            votes = {vote.annotator: vote for vote in session.scalars(query)}
        assert [votes[person].agrees for person in (5, 6)] == [True, False]
        seen = [True, False] if arm == "active" else [None, None]
        assert [votes[person].accepted for person in (5, 6)] == seen


def test_the_option_shows_them_again(tmp_path: Path) -> None:
    world = World(tmp_path / "open", blind_audit=False)
    world.vote(24)
    world.round()
    assert all(p["result"] for p in world.label_studio.predictions(1, world.published))
    world.store.close()


CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="shape" toName="image"><Choice value="Smooth"/><Choice value="Spiral"/></Choices>
<Choices name="odd" toName="image" choice="multiple"><Choice value="Ring"/><Choice value="Lens"/>
</Choices></View>"""
TASKS = [{"id": n, "data": {"image": f"x{n}", "objid": f"g{n}"}} for n in range(1, 6)]
TASKS += [{"id": 6, "data": {"objid": "g1"}}, {"id": 7, "data": None}]


def read(tmp_path: Path, text: str | bytes, **options: Any) -> Any:
    path = tmp_path / "golds.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_gold_file(path, parse_controls(CONFIG), TASKS, **options)


def test_a_file_names_galaxies_by_number_or_field(tmp_path: Path) -> None:
    found = read(tmp_path, "task,shape,odd\n2,Spiral,Ring|Lens\n3,,Ring\n")
    assert {key: known.labels for key, known in found.answers.items()} == {
        (2, "shape"): ("Spiral",), (2, "odd"): ("Ring", "Lens"), (3, "odd"): ("Ring",)
    }  # fmt: skip
    found = read(tmp_path, "objid,shape\ng2,Spiral\n")
    assert list(found.answers) == [(2, "shape")]
    assert not found.problems


def test_bad_rows_are_named_and_cost_only_themselves(tmp_path: Path) -> None:
    text = (
        "objid,shape\ng2,Spiral\ng1,Smooth\nnone,Smooth\ng3,Blob\n,Smooth\ng2,Smooth\ng4,Smooth\n"
    )
    found = read(tmp_path, text)
    assert {key: known.labels for key, known in found.answers.items()} == {
        (2, "shape"): ("Spiral",), (4, "shape"): ("Smooth",)
    }  # fmt: skip
    assert len(found.problems) == 5
    assert "2 tasks" in found.problems[0]
    assert "Blob" in found.problems[2]


@pytest.mark.parametrize("text", ["", "\0\1\2", "a,b\n1,2\n", "task,other\n1,2\n", b"\xff\xfe,\n"])
def test_what_is_no_file_of_golds_is_refused(tmp_path: Path, text: str | bytes) -> None:
    from ml_backend.bulk.items import SourceError

    with pytest.raises((GoldFileError, SourceError)):
        read(tmp_path, text)
