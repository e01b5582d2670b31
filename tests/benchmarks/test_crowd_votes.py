"""Simulated people vote by the real fractions, arms spend votes as they say, levels are read."""

from pathlib import Path

import numpy as np
import pytest
from crowding.arms import ARMS, OurArm
from crowding.galaxy_zoo import CrowdQuestion, SimulatedCrowd, Votes, read_questions
from crowding.votes import Curve, votes_for

# crowd-kit calls pandas in ways that the next pandas will not have.
pytestmark = pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword:DeprecationWarning")

LABELS = ("smooth", "disc", "star")


def question(count: int = 90, seed: int = 0) -> tuple[CrowdQuestion, np.ndarray]:
    """Galaxies of three kinds whose embeddings tell them apart, and their vote fractions."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, count)
    fractions = np.full((count, 3), 0.08)
    fractions[np.arange(count), truth] = 0.84
    points = rng.normal(size=(count, 6))
    points[np.arange(count), truth] += 3
    files = tuple(Path(f"{place}.jpg") for place in range(count))
    return CrowdQuestion("kind", LABELS, files, fractions), points.astype(np.float16)


def test_people_vote_by_the_fractions_as_far_as_their_skill_goes():
    asked, _ = question(400)
    crowd = SimulatedCrowd.of(asked, seed=1)
    assert crowd.said.shape == (400, 100)
    right = (crowd.said == asked.truth[:, None]).mean(axis=0)
    # A vote is right with the fraction of the skilled, and by chance with the habit of the rest.
    by_chance = (crowd.habit[:, asked.truth]).mean(axis=1)
    expected = crowd.skill * 0.84 + (1 - crowd.skill) * by_chance
    assert np.abs(right - expected).max() < 0.1
    assert np.abs(right - expected).mean() < 0.03
    assert crowd.skill.std() > 0.1
    again = SimulatedCrowd.of(asked, seed=1)
    assert np.array_equal(again.said, crowd.said)
    assert not np.array_equal(SimulatedCrowd.of(asked, seed=2).said, crowd.said)


def test_nobody_votes_twice_on_a_galaxy():
    asked, _ = question(30)
    crowd = SimulatedCrowd.of(asked, 0)
    votes = Votes.none(crowd, 0)
    rng = np.random.default_rng(0)
    for _ in range(60):
        votes.ask(rng.permutation(30)[:20])
    pairs = votes.tasks * 100 + votes.people
    assert len(np.unique(pairs)) == len(votes) == 1200
    assert (votes.labels == crowd.said[votes.tasks, votes.people]).all()
    assert votes.counts.sum() == 1200
    assert votes.per_task.tolist() == votes.counts.sum(axis=1).tolist()
    # The diligent come by more often.
    asked_of = np.bincount(votes.people, minlength=100)
    assert np.corrcoef(asked_of, crowd.diligence)[0, 1] > 0.5


@pytest.mark.parametrize("name", list(ARMS))
def test_arms_spend_what_they_say_and_learn(name):
    asked, points = question()
    crowd = SimulatedCrowd.of(asked, 0)
    found = ARMS[name](asked, points, crowd, 0, np.array([1.0, 3.0, 6.0]))
    assert len(found) == 3
    for moment, most in zip(found, (1, 3, 6), strict=True):
        assert moment.votes <= most + 1e-9
        assert moment.said.shape == (90, 3)
        assert np.allclose(moment.said.sum(axis=1), 1)
    right = [(moment.said.argmax(axis=1) == asked.truth).mean() for moment in found]
    assert right[-1] > 0.75
    assert right[-1] >= right[0] - 0.02


def test_ours_stops_when_all_galaxies_have_votes_enough():
    asked, points = question()
    crowd = SimulatedCrowd.of(asked, 0)
    end = OurArm()(asked, points, crowd, 0, np.array([30.0]))[0]
    assert end.votes < 15
    assert (end.states != "open").all()
    assert (end.said.argmax(axis=1) == asked.truth).mean() > 0.93


def test_levels_are_read_off_where_a_curve_stays_above():
    votes = np.array([1.0, 2.0, 4.0, 8.0])
    assert votes_for(0.9, votes, np.array([0.8, 0.85, 0.95, 0.97])) == pytest.approx(3.0)
    # A lucky moment is not yet it.
    assert votes_for(0.9, votes, np.array([0.95, 0.85, 0.89, 0.91])) == pytest.approx(6.0)
    assert np.isnan(votes_for(0.9, votes, np.array([0.95, 0.95, 0.95, 0.89])))
    assert votes_for(0.5, votes, np.array([0.8, 0.8, 0.8, 0.8])) == 1.0


def test_curves_compare_with_the_full_crowd():
    asked, points = question()
    crowd = SimulatedCrowd.of(asked, 0)
    runs = [ARMS["majority, all alike"](asked, points, crowd, 0, np.array([1.0, 9.0]))]
    curve = Curve.of(asked, runs)
    assert curve.right.shape == (1, 2)
    assert curve.right[0, 1] > curve.right[0, 0]
    assert np.array_equal(curve.right, curve.right_clear)


def test_questions_are_read_from_the_table(tmp_path):
    folder = tmp_path / "gz2_sdss_votes"
    folder.mkdir()
    first = "t01_smooth_or_features_{}_weighted_fraction"
    names = [
        first.format(answer)
        for answer in ("a01_smooth", "a02_features_or_disk", "a03_star_or_artifact")
    ] + [f"t02_edgeon_{answer}_weighted_fraction" for answer in ("a04_yes", "a05_no")]
    rows = ["0.7,0.2,0.1,1,0", "0.2,0.8,0,0.25,0.75", "0.5,0.5,0,0.4,0.6", "1,0,0,,"]
    lines = [",".join(["file", *names])] + [f"{i}.jpg,{row}" for i, row in enumerate(rows)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    smooth, shape = read_questions(tmp_path)
    # The tie has no answer of the full crowd in the first, but one in the second.
    assert [path.name for path in smooth.files] == ["0.jpg", "1.jpg", "3.jpg"]
    assert len(shape) == 4
    assert shape.fractions[1].tolist() == pytest.approx([0.2, 0.2, 0.6, 0.0])
    assert shape.truth.tolist() == [0, 2, 0, 0]
    assert np.allclose(shape.fractions.sum(axis=1), 1)
