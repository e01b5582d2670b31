"""Trees of questions: who is asked what, vote fractions, intervals, doubt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.special import softmax
from scipy.stats import betabinom

from models.answers import Labels
from models.heads import DecisionTreeHead, HeadError, Question, load_head
from models.heads.dirichlet import cumulative
from models.heads.questions import QuestionTree
from models.heads.vote_fractions import VoteFractions

ZOO = (
    Question("shape", ("smooth", "featured", "artifact")),
    Question("edge on", ("yes", "no"), (("shape", "featured"),)),
    Question("spiral", ("yes", "no"), (("edge on", "no"),)),
    Question("odd", ("yes", "no"), (("shape", "smooth"), ("shape", "featured"))),
)


def galaxies(n: int, seed: int = 0, votes: int = 20, spread: float = 0.0) -> tuple:
    """Embeddings, votes along the tree, and the true fractions; two directions tell all."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 8))
    scatter = spread * rng.normal(size=(n, 2))
    a, b = 1.5 * x[:, 0] + scatter[:, 0], 1.5 * x[:, 1] + scatter[:, 1]
    zero = np.zeros(n)
    shape = softmax(np.stack([a, -a, zero - 3], axis=1), axis=1)
    pairs = [softmax(np.stack([side, zero], axis=1), axis=1) for side in (b, a + b, b - 2)]
    truth = np.hstack([shape, *pairs])
    counts = np.zeros_like(truth)
    for row in range(n):
        counts[row, :3] = rng.multinomial(votes, shape[row])
        counts[row, 3:5] = rng.multinomial(int(counts[row, 1]), pairs[0][row])
        counts[row, 5:7] = rng.multinomial(int(counts[row, 4]), pairs[1][row])
        counts[row, 7:9] = rng.multinomial(int(counts[row, :2].sum()), pairs[2][row])
    return x.astype(np.float32), counts, truth


@pytest.fixture(scope="module")
def fitted() -> DecisionTreeHead:
    x, counts, _ = galaxies(150)
    return DecisionTreeHead(ZOO).fit(x, counts, pool=galaxies(300, 5)[0])


def test_a_question_is_reached_by_all_answers_that_lead_to_it() -> None:
    tree = QuestionTree(ZOO)
    row = np.array([[0.5, 0.4, 0.1, 0.25, 0.75, 0.5, 0.5, 0.1, 0.9]])
    np.testing.assert_allclose(tree.reached(row), [[1, 0.4, 0.4 * 0.75, 0.9]], rtol=1e-6)


def test_conditions_on_several_questions_count_a_common_way_once() -> None:
    tree = QuestionTree(
        (
            # Out of order on purpose: parents may come later.
            Question("c", ("x", "y"), (("a", "1"), ("a", "2"), ("b", "u"))),
            Question("a", ("1", "2", "3")),
            Question("b", ("u", "v"), (("a", "2"), ("a", "3"))),
        )
    )
    row = np.array([[0.5, 0.5, 0.2, 0.3, 0.5, 0.6, 0.4]])
    # c needs b = u, so a is 2 or 3, and a is 1 or 2: a = 2 and b = u.
    np.testing.assert_allclose(tree.reached(row)[0], [0.3 * 0.6, 1, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ((), "at least one"),
        ((Question("a", ("x", "y")), Question("a", ("x", "y"))), "repeat"),
        ((Question("a", ()),), "labels that differ"),
        ((Question("a", ("x", "x")),), "labels that differ"),
        ((Question("a", ("x", "y"), (("b", "x"),)),), "not in the tree"),
        ((Question("a", ("x", "y")), Question("b", ("x",), (("a", "z"),))), "whose labels"),
        (
            (Question("a", ("x", "y"), (("b", "x"),)), Question("b", ("x", "y"), (("a", "x"),))),
            "circle",
        ),
        (
            (
                Question("a", ("x", "y")),
                Question("b", ("u", "v"), (("a", "x"),)),
                Question("c", ("w",), (("b", "u"), ("a", "y"))),
            ),
            "never be asked",
        ),
    ],
)
def test_trees_that_make_no_sense_are_named(questions: tuple, message: str) -> None:
    with pytest.raises(HeadError, match=message):
        DecisionTreeHead(questions)


def test_fractions_come_close_to_the_truth(fitted: DecisionTreeHead) -> None:
    x, counts, truth = galaxies(400, 1)
    said = fitted.predict(x)
    for name, limit in (("shape", 0.06), ("edge on", 0.12), ("odd", 0.08)):
        columns = fitted.tree.columns[fitted.tree.place(name)]
        error = np.sqrt(np.mean((said.of(name) - truth[:, columns]) ** 2))
        assert error < limit, name
        np.testing.assert_allclose(said.of(name).sum(axis=1), 1, atol=1e-5)
    assert fitted.losses(said, counts).mean() < 0.55


def test_intervals_cover_votes_and_fractions() -> None:
    """Galaxies that the embedding does not tell all of: intervals must know how much is left."""
    x, counts, _ = galaxies(400, 2, spread=0.7)
    head = DecisionTreeHead(ZOO).fit(x, counts)
    unseen, votes, truth = galaxies(600, 3, spread=0.7)
    said = head.predict(unseen)
    ranks = said.ranks(votes, np.random.default_rng(0))
    for level in (0.68, 0.95):
        assert np.nanmean(np.abs(ranks - 0.5) <= level / 2, where=~np.isnan(ranks)) == (
            pytest.approx(level, abs=0.04)
        )
        lower, upper = head.intervals(said, level)
        inside = ((lower <= truth) & (truth <= upper))[:, :2]
        assert inside.mean() == pytest.approx(level, abs=0.06)
        asked = np.stack([votes[:, at].sum(axis=1) for at in head.tree.columns], axis=1)
        lower, upper = said.intervals(level, asked)
        fractions = votes[:, :3] / 20
        assert ((lower[:, :3] <= fractions) & (fractions <= upper[:, :3])).mean() > level - 0.02


def test_intervals_of_few_votes_are_those_of_the_beta_binomial() -> None:
    tree = QuestionTree((Question("q", ("a", "b")),))
    said = VoteFractions(tree, np.array([[0.3, 0.7]], np.float32), np.array([[6.0]], np.float32))
    lower, upper = said.intervals(0.9, 7)
    peer = betabinom(7, 0.3 * 6, 0.7 * 6)
    assert [lower[0, 0] * 7, upper[0, 0] * 7] == pytest.approx([peer.ppf(0.05), peer.ppf(0.95)])
    below, upto = cumulative(said.means, said.concentrations[:, 0], 7)
    np.testing.assert_allclose(upto[0, 0], peer.cdf(np.arange(8)), atol=1e-6)
    np.testing.assert_allclose(below[0, 0, 1:], upto[0, 0, :-1])
    lower, upper = said.intervals(0.9, 0)
    assert (lower == 0).all()
    assert (upper == 1).all()


@pytest.mark.parametrize(("level", "votes"), [(0, None), (1.0, None), (0.5, -1), (0.5, 2.5)])
def test_intervals_that_make_no_sense(
    fitted: DecisionTreeHead, level: float, votes: float | None
) -> None:
    said = fitted.predict(np.zeros((2, 8)))
    with pytest.raises(HeadError):
        said.intervals(level, votes)
    with pytest.raises(HeadError, match="Votes are one number or"):
        said.intervals(0.5, np.ones((3, 3)))


def test_only_questions_on_the_way_are_answered(fitted: DecisionTreeHead) -> None:
    smooth, featured = np.zeros((2, 1, 8), np.float32)
    smooth[0, 0], featured[0, :2] = 3, (-3, -2)
    (answers,) = fitted.answers(smooth)
    assert [a.labels for a in answers if isinstance(a, Labels)] == [
        ("shape/smooth",),
        ("odd/no",),
    ]
    names = [label for a in fitted.answers(featured)[0] for label in a.labels]
    assert names[0] == "shape/featured"
    assert "edge on/no" in names
    assert any(name.startswith("spiral/") for name in names)
    assert all(a.score is not None and 0 < a.score <= 1 for a in answers)


def test_a_question_alone_has_the_same_fractions(fitted: DecisionTreeHead) -> None:
    x = galaxies(50, 7)[0]
    alone = fitted.marginal("edge on")
    assert alone.labels == ("yes", "no")
    np.testing.assert_allclose(alone.predict(x), fitted.predict(x).of("edge on"), atol=1e-5)
    with pytest.raises(HeadError, match="no question"):
        fitted.marginal("colour")


def test_doubt_is_larger_where_questions_are_open(fitted: DecisionTreeHead) -> None:
    clear, open_ = np.zeros((2, 1, 8), np.float32)
    clear[0, 0] = 4
    doubt = fitted.uncertainty(np.vstack([clear, open_]))
    assert 0 <= doubt[0] < doubt[1] <= 1


def test_questions_nobody_was_asked_are_left_open() -> None:
    x, counts, _ = galaxies(30)
    counts[:, 5:7] = 0
    counts[4] = 0
    head = DecisionTreeHead(ZOO).fit(x, counts)
    np.testing.assert_allclose(head.predict(x).of("spiral"), 0.5, atol=1e-6)
    assert head.losses(head.predict(x), counts)[4] == 0
    assert np.isfinite(np.asarray(head.out_of_fold)).all()
    assert len(head.out_of_fold) == 30


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_a_handful_of_galaxies(n: int) -> None:
    x, counts, _ = galaxies(n)
    head = DecisionTreeHead(ZOO).fit(x, counts, pool=x)
    said = head.predict(galaxies(40, 9)[0])
    assert np.isfinite(np.asarray(said)).all()
    assert all(len(member.predict(x)) == n for member in head.committee)


def test_out_of_fold_is_honest() -> None:
    """On votes that belong to other galaxies, what is left out must not look better than new."""
    x, counts, _ = galaxies(120)
    mixed = counts[np.random.default_rng(1).permutation(120)]
    head = DecisionTreeHead(ZOO).fit(x, mixed)
    new = head.losses(head.predict(galaxies(400, 3)[0]), galaxies(400, 4)[1]).mean()
    assert head.losses(head.out_of_fold, mixed).mean() > new - 0.03


def test_rows_of_what_is_said(fitted: DecisionTreeHead) -> None:
    x = galaxies(6, 8)[0]
    said = fitted.predict(x)
    assert said[2:4] == fitted.predict(x)[np.array([2, 3])]
    assert said[1].means.shape == (1, 9)
    assert len(list(said)) == 6
    assert np.asarray(said).shape == (6, 13)
    assert said != said[:3]
    assert said != 3


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.zeros((5, 9)), "Nobody has answered"),
        (np.ones((5, 8)), "need votes"),
        (np.full((5, 9), np.nan), "0 or more"),
        (np.full((5, 9), -1.0), "0 or more"),
    ],
)
def test_broken_votes_are_named(counts: np.ndarray, message: str) -> None:
    with pytest.raises(HeadError, match=message):
        DecisionTreeHead(ZOO).fit(np.zeros((5, 3)), counts)


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.clear(),
        lambda values: values.update(questions=3),
        lambda values: values.update(questions=[{"name": "a"}]),
        lambda values: values["questions"].pop(),
        lambda values: values["questions"][0].update(labels=["a", 3]),
        lambda values: values["questions"][1].update(parents=[["shape"]]),
        lambda values: values["questions"][0].update(parents=[["odd", "yes"]]),
    ],
)
def test_damaged_questions_are_named(
    fitted: DecisionTreeHead, damage: object, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    config = json.loads((tmp_path / "head.json").read_text())
    damage(config["values"])  # type: ignore[operator]
    (tmp_path / "head.json").write_text(json.dumps(config))
    with pytest.raises(HeadError):
        load_head(tmp_path)


@pytest.mark.parametrize("name", ["weight", "bias", "spread", "curve", "basis", "origin", "points"])
@pytest.mark.parametrize("what", ["missing", "shape", "nan", "kind"])
def test_damaged_tensors_are_named(
    fitted: DecisionTreeHead, name: str, what: str, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    again = load_head(tmp_path)
    assert again.predict(np.zeros((2, 8))) == fitted.predict(np.zeros((2, 8)))
    tensors = load_file(tmp_path / "head.safetensors")
    if what == "missing":
        del tensors[name]
    elif what == "shape":
        tensors[name] = np.ascontiguousarray(tensors[name][:-1])
    elif what == "nan":
        tensors[name] = np.full_like(tensors[name], np.nan)
    else:
        tensors[name] = tensors[name].astype(np.int32)
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(HeadError, match="Roll back"):
        load_head(tmp_path)
