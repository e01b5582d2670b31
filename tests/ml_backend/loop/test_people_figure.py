"""The figure of people: who did what, how well, and how far they agree, from kept votes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import insert, select
from stand_ins import settings_of

from ml_backend.labelstudio.config import parse_controls
from ml_backend.labelstudio.typed import Item, TypedAnswer, kept
from ml_backend.loop.checked_answers import by_known, by_others
from ml_backend.loop.consensus import consensus
from ml_backend.loop.figures import FigureContext
from ml_backend.loop.peers import peers_of
from ml_backend.loop.people_figure import DAYS, make_people
from ml_backend.loop.people_votes import people_votes
from ml_backend.loop.plans import counted_controls
from ml_backend.loop.pool import cast_votes, counting_votes, known_answers
from ml_backend.loop.settling import settle
from ml_backend.store.crowd_tables import Gold, OutsideVote, Skill
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Task, Vote
from models.answers import Number, Stars
from models.crowd.chance_agreement import krippendorff_alpha
from models.crowd.retirement import RetirementRule

XML = """<View><Image name="image" value="$image"/>
<Choices name="shape" toName="image"><Choice value="Smooth"/><Choice value="Spiral"/>
<Choice value="Merger"/></Choices>
<Choices name="odd" toName="image" choice="multiple"><Choice value="Ring"/><Choice value="Lens"/>
</Choices>
<Number name="size" toName="image" min="0" max="100"/><Rating name="stars" toName="image"/>
</View>"""
CONFIG = parse_controls(XML)
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Place:
    """A store with tasks; each answer is an annotation of its own."""

    def __init__(self, folder: Path) -> None:
        self.store: Store = open_store(settings_of(folder))
        self.store.projects.save(1, "Galaxies", XML)
        self.count = 0
        with self.store.session() as session:
            session.add_all(Task(id=n, project_id=1, image=f"i{n}") for n in range(1, 101))

    def say(self, task: int, who: int | str, control: str, said: Any, **fields: Any) -> int:
        self.count += 1
        at = fields.pop("at", NOW - timedelta(minutes=1000 - self.count))
        labels, answer = said, None
        if not isinstance(said, list):
            value = Stars(said) if control == "stars" else Number(said)
            labels, answer = [], kept(TypedAnswer(control, (Item(value, "manual"),)))
        same = {
            "project_id": 1, "task_id": task, "control": control, "labels": labels,
            "answer": answer, "created_at": at,
        }  # fmt: skip
        with self.store.session() as session:
            if isinstance(who, str):
                session.add(
                    OutsideVote(
                        source="zooniverse", classification=str(self.count), person=who,
                        **same, **fields,
                    )
                )  # fmt: skip
            else:
                session.add(
                    Vote(annotation_id=self.count, annotator=who, updated_at=at, **same, **fields)
                )
        return self.count

    def know(self, task: int, control: str, said: Any, annotation: int | None = None) -> None:
        labels, answer = said, None
        if not isinstance(said, list):
            value = Stars(said) if control == "stars" else Number(said)
            labels, answer = [], kept(TypedAnswer(control, (Item(value, "manual"),)))
        with self.store.session() as session:
            session.add(
                Gold(
                    project_id=1, task_id=task, control=control, labels=labels, answer=answer,
                    source="file", annotation_id=annotation, created_at=NOW,
                )
            )  # fmt: skip

    def settle(self) -> dict[tuple[str, str], Skill]:
        controls = counted_controls(CONFIG)
        with self.store.reading() as session:
            used = counting_votes(session, 1, controls)
            golds, sources = known_answers(session, 1)
        agreed = consensus(cast_votes(used, sources), controls, golds)
        settle(self.store, 1, CONFIG, agreed, {}, RetirementRule(most_people=5))
        with self.store.reading() as session:
            return {(row.control, row.person): row for row in session.scalars(select(Skill))}

    def figure(self) -> dict[str, Any]:
        context = FigureContext(self.store, 1, CONFIG, None, NOW)  # type: ignore[arg-type]
        return dict(json.loads(json.dumps(make_people(context), allow_nan=False)))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "data")
    yield made
    made.store.close()


def test_nobody_and_one_person(place: Place) -> None:
    told = place.figure()
    assert told["people"] == told["controls"] == told["pairs"] == []
    place.say(1, 7, "shape", ["Spiral"], lead_time=3.0)
    place.say(2, 7, "shape", ["Smooth"], lead_time=5.0)
    place.say(3, 7, "", [], skipped=True)
    (one,) = place.figure()["people"]
    assert (one["person"], one["votes"], one["skips"], one["tasks"]) == ("person 7", 2, 1, 2)
    assert one["seconds"] == 4.0
    assert one["reliability"] is one["kappa"] is None
    assert one["consensus"] == one["golds"] == 0


def test_people_from_outside_stand_beside_others(place: Place) -> None:
    for task in range(1, 21):
        kind = ["Spiral"] if task % 2 else ["Smooth"]
        place.say(task, 1, "shape", kind, lead_time=10.0)
        place.say(task, 2, "shape", kind, lead_time=10.0)
        place.say(task, "zooniverse zoe", "shape", kind if task > 2 else ["Merger"], lead_time=0.5)
    told = place.figure()
    table = {one["person"]: one for one in told["people"]}
    assert set(table) == {"person 1", "person 2", "zooniverse zoe"}
    zoe = table["zooniverse zoe"]
    assert (zoe["votes"], zoe["tasks"], zoe["seconds"]) == (20, 20, 0.5)
    assert (zoe["consensus"], zoe["consensus_same"]) == (20, 18)
    assert 0 < zoe["kappa"] < 1
    assert {tuple(pair["people"]) for pair in told["pairs"]} == {
        ("person 1", "person 2"), ("person 1", "zooniverse zoe"), ("person 2", "zooniverse zoe"),
    }  # fmt: skip
    assert sum(map(sum, told["days"]["counts"])) == 60
    assert told["controls"][0]["tasks"] == 20


def test_seconds_are_compared_on_one_site_only(place: Place) -> None:
    """Twenty times as fast as all others, but nobody else answers where they do."""
    for task in range(1, 41):
        for person in (1, 2, 3):
            place.say(task, person, "shape", ["Spiral"], lead_time=10.0)
        place.say(task, "zooniverse zoe", "shape", ["Spiral"], lead_time=0.5)
    kinds = [found["kind"] for one in place.figure()["people"] for found in one["suspicions"]]
    assert "fast" not in kinds
    for task in range(1, 41):
        place.say(task, 9, "shape", ["Spiral"], lead_time=0.5)
    named = {one["person"]: one["suspicions"] for one in place.figure()["people"]}
    assert [found["kind"] for found in named["person 9"]] == ["fast"]
    assert not named["zooniverse zoe"]


def test_an_answer_is_checked_by_the_others_alone(place: Place) -> None:
    for person, kind in ((1, "Spiral"), (2, "Spiral"), (3, "Merger")):
        place.say(1, person, "shape", [kind])
    for person, kind in ((1, "Spiral"), (2, "Smooth")):
        place.say(2, person, "shape", [kind])
    for person, kind in ((1, "Spiral"), (2, "Spiral"), (3, "Merger"), (4, "Merger")):
        place.say(3, person, "shape", [kind])
    votes = people_votes(place.store, 1)
    right = by_others(votes, peers_of(votes))
    told = {
        (votes.persons[p], int(t)): int(r)
        for p, t, r in zip(votes.person, votes.task, right, strict=True)
    }
    # Of the first galaxy the two who agree have one on their side and one against them.
    assert [told[f"person {p}", 1] for p in (1, 2, 3)] == [-1, -1, 0]
    assert [told[f"person {p}", 2] for p in (1, 2)] == [-1, -1], "one other is no majority"
    assert [told[f"person {p}", 3] for p in (1, 2, 3, 4)] == [0, 0, 0, 0], "two of three others"


@pytest.mark.parametrize("seed", range(5))
def test_the_majority_of_the_others_by_counting(place: Place, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for task in range(1, 8):
        for person in rng.choice(6, rng.integers(1, 6), replace=False).tolist():
            place.say(task, person + 1, "shape", [["Smooth", "Spiral", "Merger"][rng.integers(3)]])
    votes = people_votes(place.store, 1)
    for row, found in enumerate(by_others(votes, peers_of(votes)).tolist()):
        others = votes.answer[(votes.task == votes.task[row]) & (votes.person != votes.person[row])]
        values, counts = np.unique(others, return_counts=True)
        wanted = -1
        if len(others) > 1 and counts.max() > len(others) / 2:
            wanted = int(values[counts.argmax()] == votes.answer[row])
        assert found == wanted


def test_known_answers_check_all_but_who_gave_them(place: Place) -> None:
    giver = place.say(1, 1, "odd", ["Ring", "Lens"])
    place.say(1, 2, "odd", ["Lens", "Ring"])
    place.say(1, 3, "odd", ["Ring"])
    place.say(1, "zooniverse zoe", "odd", ["Ring"])
    place.know(1, "odd", ["Lens", "Ring"], giver)
    votes = people_votes(place.store, 1)
    found = dict(zip(votes.persons, by_known(place.store, 1, votes).tolist(), strict=True))
    assert found == {"person 1": -1, "person 2": 1, "person 3": 0, "zooniverse zoe": 0}
    skills = place.settle()
    tried = {person: (row.golds, row.golds_right) for (_, person), row in skills.items()}
    assert tried == {"person 2": (1, 1), "person 3": (1, 0), "zooniverse zoe": (1, 0)}
    table = {one["person"]: (one["golds"], one["golds_right"]) for one in place.figure()["people"]}
    assert table == {**tried, "person 1": (0, 0)}


def test_of_one_persons_answers_to_a_gold_the_latest_counts(place: Place) -> None:
    place.know(1, "shape", ["Spiral"])
    place.say(1, 2, "shape", ["Smooth"])
    place.say(1, 2, "shape", ["Spiral"])
    (row,) = place.settle().values()
    assert (row.votes, row.golds, row.golds_right, row.reliability) == (1, 1, 1, None)


def test_stars_and_numbers_are_compared_as_what_they_are(place: Place) -> None:
    rng = np.random.default_rng(3)
    stars, sizes = [], []
    for task in range(1, 31):
        for person in (1, 2, "zooniverse zoe"):
            star = int(np.clip(task % 5 + 1 + rng.integers(-1, 2), 1, 5))
            size = float(task + rng.normal())
            place.say(task, person, "stars", star)
            place.say(task, person, "size", size)
            stars.append((task, star))
            sizes.append((task, size))
    told = {one["control"]: one for one in place.figure()["controls"]}
    assert (told["stars"]["level"], told["size"]["level"]) == ("ordinal", "interval")
    for name, level, given in (("stars", "ordinal", stars), ("size", "interval", sizes)):
        items, values = zip(*given, strict=True)
        assert told[name]["alpha"] == pytest.approx(
            krippendorff_alpha(items, values, level),
            abs=1e-4,  # type: ignore[arg-type]
        )
        assert told[name]["tasks"] == 30
        assert told[name]["fleiss"] is None
    assert told["size"]["alpha"] > 0.95
    # As mere names, stars that differ by one would be as bad as any.
    assert told["stars"]["alpha"] > krippendorff_alpha(*zip(*stars, strict=True)) + 0.1


def test_bias_and_scatter_of_numbers_are_kept_and_golds_tie_them_down(place: Place) -> None:
    rng = np.random.default_rng(4)
    bias = {1: 0.0, 2: 2.0, 3: 4.0}
    for task in range(1, 61):
        for person, off in bias.items():
            place.say(task, person, "size", float(task + off + rng.normal(0, 0.3)))

    def kept_biases() -> list[float]:
        skills = place.settle()
        assert all(row.reliability is None for row in skills.values())
        return [skills["size", f"person {p}"].details["bias"] for p in bias]

    # Among themselves people only know that they differ.
    assert kept_biases() == pytest.approx([-2, 0, 2], abs=0.3)
    for task in range(1, 31):
        place.know(task, "size", float(task))
    assert kept_biases() == pytest.approx([0, 2, 4], abs=0.3)
    skills = place.settle()
    assert skills["size", "person 1"].details["scatter"] == pytest.approx(0.3, abs=0.15)
    assert skills["size", "person 1"].votes == 60
    (one,) = [one for one in place.figure()["people"] if one["person"] == "person 3"]
    assert one["skills"][0]["details"]["bias"] == pytest.approx(4, abs=0.3)
    assert one["golds"] == 0, "numbers are neither right nor wrong"


def test_a_single_person_or_few_galaxies_tell_no_bias(place: Place) -> None:
    for task in range(1, 31):
        place.say(task, 1, "size", float(task))
    for task in range(1, 10):
        place.say(task, 2, "size", float(task + 1))
    assert place.settle() == {}


def test_days_beyond_the_window_and_undated_answers_are_left_out(place: Place) -> None:
    place.say(1, 1, "shape", ["Spiral"], at=NOW)
    place.say(2, 1, "shape", ["Spiral"], at=NOW - timedelta(days=DAYS - 1))
    place.say(3, 1, "shape", ["Spiral"], at=NOW - timedelta(days=DAYS))
    place.say(4, 1, "shape", ["Spiral"], at=None)
    days = place.figure()["days"]
    mine = days["counts"][days["people"].index("person 1")]
    assert (mine[0], mine[-1], sum(mine)) == (1, 1, 2)
    assert days["first"] == "2026-09-25"


def test_fifty_thousand_answers_take_seconds(place: Place) -> None:
    rng = np.random.default_rng(6)
    people, tasks = rng.integers(1, 2000, 50_000), rng.integers(1, 10_000, 50_000)
    kinds = [["Smooth"], ["Spiral"], ["Merger"]]
    rows = [
        {
            "annotation_id": n, "control": "shape", "project_id": 1, "task_id": int(task),
            "annotator": int(who), "labels": kinds[n % 3], "lead_time": 3.0, "created_at": NOW,
        }
        for n, (who, task) in enumerate(zip(people, tasks, strict=True), 1)
    ]  # fmt: skip
    with place.store.session() as session:
        session.execute(insert(Vote), rows)
    began = time.process_time()
    assert len(place.figure()["people"]) == 1999
    assert time.process_time() - began < 10
