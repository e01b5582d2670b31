"""Whether a galaxy has votes enough: every way out, edges, and hostile input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.crowd.retirement import STATES, Judgement, RetirementRule, judge, together

RULE = RetirementRule(confidence=0.95, most_people=5)


def one(posterior, people, gain=0.1, rule=RULE, **more):
    row = np.array([posterior])
    if "predicted" in more:
        more["predicted"] = np.array([more["predicted"]])
    found = judge(row, np.array([people]), np.array([gain]), rule, **more)
    return str(found.states[0]), found.reasons[0]


def test_every_way_out_says_why():
    names = ("smooth", "disc", "star")
    ways = {
        "nobody": one([0.99, 0.01, 0], 0, labels=names),
        "unsure": one([0.7, 0.2, 0.1], 2, labels=names),
        "lone": one([0.97, 0.02, 0.01], 1, labels=names),
        "sure": one([0.973, 0.02, 0.007], 2, labels=names),
        "backed": one([0.97, 0.02, 0.01], 1, labels=names, predicted=[0.91, 0.05, 0.04]),
        "clear": one([0.8, 0.15, 0.05], 5, labels=names),
        "split": one([0.5, 0.1, 0.4], 5, labels=names),
        "idle": one([0.5, 0.45, 0.05], 2, gain=0.0001, labels=names),
        "idle, clear": one([0.9, 0.08, 0.02], 2, gain=0.0001, labels=names),
    }
    wanted = {
        "nobody": "open",
        "unsure": "open",
        "lone": "open",
        "sure": "retired",
        "backed": "retired",
        "clear": "retired",
        "split": "expert",
        "idle": "expert",
        "idle, clear": "retired",
    }
    assert {way: state for way, (state, _) in ways.items()} == wanted
    reasons = {way: reason for way, (_, reason) in ways.items()}
    assert len(set(reasons.values())) == len(reasons)
    assert reasons["unsure"] == "Open: 'smooth' is 70 % sure after 2 answers, 95 % are wanted."
    assert "97 % sure after 2 answers" in reasons["sure"]
    assert "'star' at 40 %" in reasons["split"]
    assert "the model, which did not see it, gives the same answer 91 %" in reasons["backed"]
    assert "one in 1,000" in reasons["idle"]
    assert "1 answer," in reasons["lone"]


def test_shown_percentages_never_reach_what_was_missed():
    _, reason = one([0.9499, 0.0501], 3)
    assert "94 % sure" in reason


def test_the_model_backs_only_its_own_answer():
    assert one([0.97, 0.03], 1, predicted=[0.2, 0.8])[0] == "open"
    assert one([0.97, 0.03], 1, predicted=[0.79, 0.21])[0] == "open"
    assert one([0.97, 0.03], 1, predicted=[0.8, 0.2])[0] == "retired"


def test_the_model_alone_retires_nothing():
    assert one([1.0, 0.0], 0, gain=0.0, predicted=[1.0, 0.0])[0] == "open"


def test_least_people_is_kept_whatever_the_model_says():
    rule = RetirementRule(most_people=5, least_people=3)
    state, reason = one([0.99, 0.01], 2, rule=rule, predicted=[1.0, 0.0])
    assert state == "open"
    assert "3 are asked for" in reason
    assert one([0.99, 0.01], 3, rule=rule)[0] == "retired"
    # Even where votes seem to be worth nothing.
    assert one([0.6, 0.4], 2, gain=0.0, rule=rule)[0] == "open"


def test_one_person_per_galaxy_is_enough_where_no_more_are_wanted():
    rule = RetirementRule(most_people=1)
    assert one([0.96, 0.04], 1, rule=rule)[0] == "retired"
    assert one([0.8, 0.2], 1, rule=rule)[0] == "retired"
    assert one([0.6, 0.4], 1, rule=rule)[0] == "expert"
    assert one([0.6, 0.4], 0, rule=rule)[0] == "open"


def test_a_price_ends_the_asking():
    dear = RetirementRule(most_people=20, price=0.05)
    free = RetirementRule(most_people=20, price=0)
    assert one([0.6, 0.4], 3, gain=0.04, rule=dear)[0] == "expert"
    assert one([0.6, 0.4], 3, gain=0.06, rule=dear)[0] == "open"
    assert one([0.6, 0.4], 3, gain=0.0, rule=free)[0] == "open"


def test_a_retired_galaxy_opens_again_when_its_posterior_falls():
    people, gain = np.array([3, 3]), np.array([0.01, 0.01])
    before = judge(np.array([[0.97, 0.03], [0.97, 0.03]]), people, gain, RULE)
    after = judge(np.array([[0.97, 0.03], [0.7, 0.3]]), people, gain, RULE)
    assert before.states.tolist() == ["retired", "retired"]
    assert after.states.tolist() == ["retired", "open"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_more_certainty_never_opens_and_rows_do_not_meddle(seed, k):
    rng = np.random.default_rng(seed)
    n = 30
    p = rng.dirichlet(np.full(k, 0.3), n)
    people, gain = rng.integers(0, 8, n), rng.random(n) * 0.003
    predicted = rng.dirichlet(np.full(k, 0.3), n)
    found = judge(p, people, gain, RULE, predicted=predicted)
    assert set(found.states) <= set(STATES)
    assert all(found.reasons)
    for row in range(0, n, 7):
        alone = judge(
            p[row : row + 1],
            people[row : row + 1],
            gain[row : row + 1],
            RULE,
            predicted=predicted[row : row + 1],
        )
        assert (alone.states[0], alone.reasons[0]) == (found.states[row], found.reasons[row])
    sharper = np.eye(k)[p.argmax(axis=1)] * 0.5 + p * 0.5
    later = judge(sharper, people, gain, RULE, predicted=predicted)
    assert (later.states[found.states == "retired"] == "retired").all()
    # More people never leave a galaxy open that was not, nor after the most.
    more = judge(p, people + 1, gain, RULE, predicted=predicted)
    assert (more.states[found.states != "open"] != "open").all()
    assert (found.states[people >= 5] != "open").all()
    assert (found.states[people == 0] == "open").all()


def test_questions_of_a_galaxy_are_joined():
    def judged(*states):
        reasons = np.array([f"because {state}" for state in states], dtype=object)
        return Judgement(np.array(states), reasons)

    first = judged("retired", "retired", "expert", "expert", "retired")
    second = judged("retired", "expert", "open", "retired", "open")
    found = together([first, second])
    assert found.states.tolist() == ["retired", "expert", "open", "expert", "open"]
    assert found.reasons.tolist()[2] == "because open"
    assert together([first]).states.tolist() == first.states.tolist()
    assert len(together([judged(), judged()])) == 0
    with pytest.raises(ValueError, match="same galaxies"):
        together([first, judged("open")])
    with pytest.raises(ValueError, match="one judgement"):
        together([])


def test_nothing_to_judge():
    found = judge(np.zeros((0, 3)), np.zeros(0, int), np.zeros(0), RULE)
    assert len(found) == 0
    assert found.reasons.shape == (0,)


def test_names_are_shown_as_they_are():
    _, reason = one([0.97, 0.03], 2, labels=("{0} %s \"'<b>", "b"))
    assert "{0} %s \"'<b>" in reason


@pytest.mark.parametrize(
    ("posterior", "people", "gain", "more", "said"),
    [
        ([[np.nan, 1]], [1], [0.1], {}, "posterior"),
        ([[0.5, 0.6]], [1], [0.1], {}, "posterior"),
        ([[0.5, 0.5]], [-1], [0.1], {}, "people"),
        ([[0.5, 0.5]], [1.5], [0.1], {}, "people"),
        ([[0.5, 0.5]], [1, 2], [0.1], {}, "people"),
        ([[0.5, 0.5]], [1], [np.nan], {}, "gain"),
        ([[0.5, 0.5]], [1], [0.1, 0.1], {}, "gain"),
        ([[0.5, 0.5]], [1], [0.1], {"labels": ("a",)}, "labels"),
        ([[0.5, 0.5]], [1], [0.1], {"predicted": [[1, 0, 0]]}, "predicted"),
        ([[0.5, 0.5]], [1], [0.1], {"predicted": [[np.nan, 0.5]]}, "predicted"),
    ],
)
def test_bad_arguments_are_named(posterior, people, gain, more, said):
    with pytest.raises(ValueError, match=said):
        judge(posterior, people, gain, RULE, **more)


@pytest.mark.parametrize(
    "values",
    [
        {"confidence": 0.5},
        {"confidence": 1.0},
        {"confidence": float("nan")},
        {"most_people": 0},
        {"least_people": 0},
        {"least_people": 11},
        {"agreement": 0},
        {"agreement": 1.1},
        {"clear": 0.9},
        {"clear": float("inf")},
        {"price": -1},
        {"price": float("nan")},
    ],
)
def test_bad_rules_are_named(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        RetirementRule(**values)
