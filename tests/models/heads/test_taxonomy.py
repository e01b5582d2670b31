"""Taxonomies: probabilities of places that agree with each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.answers import Labels, Paths
from models.heads import HeadError, TaxonomyHead, load_head
from models.opinions import Opinions

PLACES = (
    ("galaxy", "disc", "barred"),
    ("galaxy", "disc", "plain"),
    ("galaxy", "elliptical"),
    ("star",),
    ("artefact", "satellite/aircraft"),
)
NOBODY = len(PLACES)


def sky(n: int, seed: int = 0, vague: float = 0.0) -> tuple[np.ndarray, list[Opinions], np.ndarray]:
    """Embeddings of which one direction each tells the place; some stop half-way there."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, NOBODY + 1, n)
    x = rng.normal(size=(n, 10)).astype(np.float32)
    x[np.arange(n), kind] += 3.0

    def one(which: int) -> tuple[Paths, ...]:
        if which == NOBODY:
            return ()
        place = PLACES[which]
        return (Paths.of(place[:-1] if len(place) > 1 and rng.random() < vague else place),)

    return x, [Opinions.of(one(which), one(which)) for which in kind], kind


@pytest.fixture(scope="module")
def fitted() -> TaxonomyHead:
    x, opinions, _ = sky(120)
    return TaxonomyHead(PLACES).fit(x, opinions)


def test_missing_parents_are_added() -> None:
    head = TaxonomyHead(PLACES)
    assert head.labels[:4] == ("galaxy", "galaxy/disc", "galaxy/disc/barred", "galaxy/disc/plain")
    assert head.labels[-1] == r"artefact/satellite\/aircraft"


def test_parents_are_as_probable_as_their_children(fitted: TaxonomyHead) -> None:
    p = fitted.predict(sky(300, 1)[0])
    place = {label: column for column, label in enumerate(fitted.labels)}
    disc = p[:, place["galaxy/disc"]]
    below = p[:, place["galaxy/disc/barred"]] + p[:, place["galaxy/disc/plain"]]
    assert (disc >= below - 1e-6).all()
    assert (p[:, place["galaxy"]] >= disc + p[:, place["galaxy/elliptical"]] - 1e-6).all()
    tops = p[:, [place["galaxy"], place["star"], place["artefact"]]].sum(axis=1)
    assert (tops <= 1 + 1e-6).all()


def test_the_deepest_sure_place_is_answered_as_surely_as_it_says(fitted: TaxonomyHead) -> None:
    x, _, kind = sky(600, 2)
    right, scores, exact = [], [], []
    for answers, which in zip(fitted.answers(x), kind, strict=True):
        truth = PLACES[which] if which != NOBODY else ()
        for answer in answers:
            assert isinstance(answer, Paths)
            assert answer.score is not None
            assert answer.score > 0.5
            (place,) = answer.paths
            right.append(truth[: len(place)] == place)
            scores.append(answer.score)
            exact.append(truth == place)
    assert len(right) > 400
    assert np.mean(exact) > 0.75
    assert np.mean(right) == pytest.approx(np.mean(scores), abs=0.06)


def test_a_vote_for_a_parent_says_nothing_of_its_children() -> None:
    """Discs without and with votes for the kind of disc: the kind is learned from the latter."""
    x = np.zeros((40, 3), np.float32)
    vague, sure = Opinions.of((Paths.of(("a",)),)), Opinions.of((Paths.of(("a", "b")),))
    head = TaxonomyHead([("a", "b"), ("a", "c")]).fit(x, [vague] * 20 + [sure] * 20)
    p = head.predict(x[:1])[0]
    assert p[0] > 0.9
    assert p[1] > 0.9 * p[0]


def test_an_only_child_has_its_parent_against_it() -> None:
    x = np.zeros((40, 3), np.float32)
    vague, sure = Opinions.of((Paths.of(("a",)),)), Opinions.of((Paths.of(("a", "b")),))
    p = TaxonomyHead([("a", "b")]).fit(x, [vague] * 30 + [sure] * 10).predict(x[:1])[0]
    assert p[0] > 0.9
    assert p[1] == pytest.approx(0.25, abs=0.08)


def test_a_person_with_two_places_has_half_a_vote_for_each() -> None:
    x = np.zeros((60, 3), np.float32)
    both, none = Opinions.of((Paths.of(("a",), ("b",)),)), Opinions.of(())
    p = TaxonomyHead([("a",), ("b",)]).fit(x, [both] * 40 + [none] * 20).predict(x[:1])[0]
    np.testing.assert_allclose(p, [1 / 3, 1 / 3], atol=0.05)


def test_leaves_only() -> None:
    x, opinions, _ = sky(150, vague=0.2)
    head = TaxonomyHead(PLACES, leaves_only=True).fit(x, opinions)
    named = {path for answers in head.answers(x) for a in answers for path in a.paths}  # type: ignore[attr-defined]
    assert named <= set(PLACES)


def test_images_without_people_are_left_out() -> None:
    x, opinions, _ = sky(60)
    some = [*opinions[:50], *[Opinions.of()] * 10]
    head = TaxonomyHead(PLACES).fit(x, some)
    assert head.losses(head.predict(x), some)[-1] == 0
    np.testing.assert_allclose(
        head.predict(x[:5]),
        TaxonomyHead(PLACES).fit(x[:50], some[:50], pool=None).predict(x[:5]),
        atol=0.2,
    )
    with pytest.raises(HeadError, match="Nobody has answered"):
        TaxonomyHead(PLACES).fit(x[:3], [Opinions.of()] * 3)


def test_learning_beats_mixed_answers_and_is_honest() -> None:
    x, opinions, _ = sky(80, vague=0.3)
    new_x, new, _ = sky(300, 5, vague=0.3)
    head = TaxonomyHead(PLACES).fit(x, opinions)
    order = np.random.default_rng(0).permutation(80)
    mixed = [opinions[row] for row in order]
    other = TaxonomyHead(PLACES).fit(x, mixed)
    lost = other.losses(other.predict(new_x), new).mean()
    assert head.losses(head.predict(new_x), new).mean() < lost - 0.5
    assert other.losses(other.out_of_fold, mixed).mean() > lost - 0.15
    assert len(head.committee) >= 2
    assert head.committee[0].predict(x).shape == head.predict(x).shape


def test_kept_and_read_back(fitted: TaxonomyHead, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    again = load_head(tmp_path)
    x = sky(20, 4)[0]
    assert isinstance(again, TaxonomyHead)
    assert again.paths == fitted.paths
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))
    np.testing.assert_array_equal(again.uncertainty(x), fitted.uncertainty(x))
    for change in (
        {"paths": [["galaxy"]]},
        {"paths": 3},
        {"paths": [["galaxy", 3]]},
        {"threshold": 0.2},
        {"threshold": None},
        {"leaves_only": "no"},
    ):
        text = (tmp_path / "head.json").read_text()
        config = json.loads(text)
        config["values"] |= change
        (tmp_path / "head.json").write_text(json.dumps(config))
        with pytest.raises(HeadError):
            load_head(tmp_path)
        (tmp_path / "head.json").write_text(text)


def test_what_makes_no_sense_is_named(fitted: TaxonomyHead) -> None:
    with pytest.raises(HeadError, match="at least one place"):
        TaxonomyHead([])
    with pytest.raises(HeadError, match="path of names"):
        TaxonomyHead([("a", "")])
    with pytest.raises(HeadError, match="threshold"):
        TaxonomyHead([("a",)], threshold=0.3)
    x = np.zeros((1, 3), np.float32)
    with pytest.raises(HeadError, match="no place of this taxonomy"):
        TaxonomyHead([("a",)]).fit(x, [Opinions.of((Paths.of(("b",)),))])
    with pytest.raises(HeadError, match="as many opinions"):
        TaxonomyHead([("a",)]).fit(x, [])
    with pytest.raises(HeadError, match="no labelled row"):
        TaxonomyHead([("a",)]).fit(x[:0], [])
    with pytest.raises(HeadError, match="not fitted"):
        TaxonomyHead([("a",)]).predict(x)
    # Answers of another kind are no answer here, and the person chose no place.
    assert TaxonomyHead([("a",)]).fit(x, [Opinions.of((Labels(("a",)),))]).predict(x)[0, 0] < 0.5
