"""Which head answers which tag: every labelling configuration that we ship, and odd ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml_backend.labelstudio.config import HEADS, ChoicesControl, parse_controls
from ml_backend.loop.annotations import main_field
from ml_backend.loop.planners import PLANNERS
from ml_backend.loop.plans import counted_controls, head_plans, learned_controls
from ml_backend.loop.question_trees import tree_of

FOLDER = Path(__file__).parents[3] / "labeling_configs"
IMAGE = '<Image name="i" value="$image"/>'
TREE = [
    "t01_smooth_or_features",
    "t02_edgeon",
    "t03_bar",
    "t04_spiral",
    "t10_arms_winding",
    "t11_arms_number",
    "t05_bulge_prominence",
    "t09_bulge_shape",
    "t07_rounded",
    "t06_odd",
    "t08_odd_feature",
]
# Kind of head and controls of each plan, and the choices with a head of their own.
EXPECTED: dict[str, tuple[list[tuple[str, list[str]]], list[str]]] = {
    "morphology.xml": ([], ["morphology"]),
    "looks.xml": ([], ["morphology"]),
    "rings.xml": ([], ["ring"]),
    "shape_and_features.xml": ([("rating", ["smoothness"])], ["shape", "features", "quality"]),
    "rare_objects.xml": ([("rating", ["certainty"]), ("detection", ["place"])], ["rare"]),
    "galaxy_zoo_tree.xml": ([("decision_tree", TREE)], []),
    "interest.xml": ([("interest", ["interest"]), ("rating", ["grade"])], []),
    "detection.xml": ([("detection", ["galaxies"]), ("detection", ["not_galaxies"])], []),
    "masks.xml": ([("masks", ["masks"])], []),
    "parameters.xml": (
        [
            ("ellipse", ["half_light"]),
            *(
                ("number", [name])
                for name in (
                    "magnitude", "radius", "axis_ratio", "position_angle", "sersic", "redshift"
                )
            ),
        ],
        [],
    ),
    "restoration_review.xml": ([("restoration", ["verdict"])], []),
    "all_in_one.xml": (
        [
            ("detection", ["boxes"]),
            ("ellipse", ["ellipses"]),
            ("detection", ["points"]),
            ("masks", ["outlines"]),
            ("masks", ["masks"]),
            ("masks", ["bad_pixels"]),
            ("decision_tree", ["shape", "arms"]),
            ("taxonomy", ["hubble"]),
            ("number", ["redshift"]),
            ("rating", ["interest"]),
        ],
        ["features"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.xml")))
def test_every_question_that_we_ship_has_its_head(name: str) -> None:
    config = parse_controls((FOLDER / name).read_text(encoding="utf-8"))
    plans = head_plans(config)
    found = [(plan.make().kind, [c.name for c in plan.controls]) for plan in plans]
    assert (found, [c.name for c in learned_controls(config)]) == EXPECTED[name]
    assert [plan.name for plan in plans] == [plan.controls[0].name for plan in plans]
    assert all(plan.fits(plan.make()) for plan in plans)
    answered = {c.name for plan in plans for c in (*plan.controls, *plan.companions)}
    assert answered | {c.name for c in learned_controls(config)} == {
        c.name for c in config.answered
    }


def test_every_type_with_a_head_has_a_planner() -> None:
    assert set(PLANNERS) == set(HEADS)


def test_a_restored_picture_is_about_the_image_it_was_made_of() -> None:
    config = parse_controls((FOLDER / "restoration_review.xml").read_text(encoding="utf-8"))
    assert main_field(config) == "image"
    [plan] = head_plans(config)
    assert {companion.name for companion in plan.companions} == {"artefacts", "quality"}
    assert plan.make().labels == ("accept", "reject")
    assert [control.name for control in counted_controls(config)] == ["verdict"]
    turned = parse_controls(
        '<View><Image name="a" value="$image"/><Image name="b" value="$restored"/>'
        '<Choices name="v" toName="b"><Choice value="Bad"/><Choice value="Acceptable"/></Choices>'
        "</View>"
    )
    [plan] = head_plans(turned)
    assert plan.make().labels == ("Acceptable", "Bad")


def choices(name: str, labels: str = "a b", **attributes: str) -> str:
    inside = "".join(f'<Choice value="{label}"/>' for label in labels.split())
    given = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f'<Choices name="{name}" toName="i"{given}>{inside}</Choices>'


def when(name: str, label: str = "", kind: str = "choice-selected") -> dict[str, str]:
    made = {"visibleWhen": kind, "whenTagName": name}
    return made | ({"whenChoiceValue": label} if label else {})


@pytest.mark.parametrize(
    "tags",
    [
        choices("x") + choices("y"),
        # A multiple choice has no single answer that could lead somewhere.
        choices("x", choice="multiple") + choices("y", **when("x", "a")),
        # Not an answer to a question.
        choices("x") + choices("y", **when("x", "a", "choice-unselected")),
        # Questions that wait for each other, and one that can never be asked.
        choices("x", **when("y")) + choices("y", **when("x")),
        choices("x") + f'<View visibleWhen="choice-selected" whenTagName="x" whenChoiceValue="a">'
        f"{choices('y', **when('x', 'b'))}</View>",
    ],
)
def test_what_is_no_tree_keeps_heads_of_its_own(tags: str) -> None:
    config = parse_controls(f"<View>{IMAGE}{tags}</View>")
    assert head_plans(config) == ()
    assert [control.name for control in learned_controls(config)] == ["x", "y"]


def test_two_trees_are_two_heads() -> None:
    tags = (
        choices("x") + choices("y", "c d e", **when("x", "a")) + choices("p")
        + choices("alone") + choices("q", **when("p"))
    )  # fmt: skip
    config = parse_controls(f"<View>{IMAGE}{tags}</View>")
    first, second = head_plans(config)
    assert [c.name for c in first.controls] == ["x", "y"]
    assert [c.name for c in second.controls] == ["p", "q"]
    assert first.make().labels == ("x/a", "x/b", "y/c", "y/d", "y/e")
    assert [control.name for control in learned_controls(config)] == ["alone"]
    control = config.control("q")
    assert isinstance(control, ChoicesControl)
    tree = tree_of(control, config)
    assert tree is not None
    assert tree.questions[1].parents == (("p", "a"), ("p", "b"))


def test_angles_go_round_and_numbers_keep_their_limits() -> None:
    tags = (
        '<Number name="position_angle" toName="i" min="0" max="180"/>'
        '<Number name="redshift" toName="i" min="0" max="15" step="0.01"/>'
        '<Number name="one" toName="i" min="3" max="3"/>'
    )
    angle, redshift, one = (
        plan.make() for plan in head_plans(parse_controls(f"<View>{IMAGE}{tags}</View>"))
    )
    assert vars(angle)["period"] == 180
    assert (vars(redshift)["minimum"], vars(redshift)["maximum"]) == (0, 15)
    assert vars(redshift)["tolerance"] == 0.01
    assert vars(one)["minimum"] is None


def test_an_ellipse_is_a_measure_beside_numbers_and_an_object_otherwise() -> None:
    ellipse = '<Ellipse name="e" toName="i"/>'
    number = '<Number name="n" toName="i"/>'
    [alone] = head_plans(parse_controls(f"<View>{IMAGE}{ellipse}</View>"))
    assert alone.make().kind == "detection"
    assert alone.make().labels == ("",)
    beside = head_plans(parse_controls(f"<View>{IMAGE}{ellipse}{number}</View>"))
    assert [plan.make().kind for plan in beside] == ["ellipse", "number"]
