"""What a crowd says goes out beside the votes; without one nothing is added."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from stand_ins import KINDS, truth
from world import World

from ml_backend.catalogue.choice_columns import vote_columns
from ml_backend.catalogue.column import Names
from ml_backend.catalogue.exporting import results_table
from ml_backend.catalogue.results import Results, Votes, gather_results
from ml_backend.labelstudio.config import parse_controls
from ml_backend.store.crowd_tables import Gold

CONFIG = """<View><Image name="i" value="$image"/>
<Choices name="features" toName="i" choice="multiple">
<Choice value="bar"/><Choice value="ring"/></Choices></View>"""


class Listing:
    """Tasks of a world as Label Studio lists them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def tasks(self, project: int, *, page_size: int, annotations: bool):  # type: ignore[no-untyped-def]
        yield from self._world.label_studio.tasks(project)


def test_the_crowd_of_a_project_goes_out_and_a_known_answer_stands(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    said = {task: truth(world.images[task]) for task in world.tasks[:20]}
    for place, (task, kind) in enumerate(said.items()):
        for person in (1, 2):
            world.label_studio.annotate(task, kind, person=person)
        wrong = KINDS[(KINDS.index(kind) + 1) % len(KINDS)]
        world.label_studio.annotate(task, wrong if place % 2 else kind, person=3)
    world.round()
    first = next(iter(said))
    other = KINDS[KINDS.index(said[first]) - 1]
    with world.store.session() as session:
        session.add(
            Gold(project_id=1, task_id=first, control="shape", labels=[other], source="file",
                 created_at=datetime.now(UTC))
        )  # fmt: skip
    results = gather_results(Listing(world), world.store, 1)
    table = results_table(results, datetime.now(UTC))
    assert table["shape_votes"][:21].tolist() == [3] * 20 + [0]
    assert table["shape_crowd"][1:20].tolist() == list(said.values())[1:]
    assert (table["shape_crowd"][0], table["shape_crowd_confidence"][0]) == (other, 1.0)
    assert table["shape_crowd"].mask[20:].all()
    assert table["shape_crowd_confidence"].mask[20:].all()
    confidence = np.asarray(table["shape_crowd_confidence"][1:20])
    assert ((confidence > 0.6) & (confidence <= 1)).all()
    # The third person differs on every other galaxy; fractions stay those of the votes.
    split = np.arange(1, 20) % 2 == 1
    shares = np.array([table[f"shape_fraction_{kind}"][1:20] for kind in KINDS]).max(axis=0)
    np.testing.assert_allclose(shares[split], 2 / 3, rtol=1e-6)
    world.store.close()


@pytest.mark.parametrize("has_crowd", [False, True])
def test_a_multiple_choice_names_what_is_likelier_than_not(has_crowd: bool) -> None:
    config = parse_controls(CONFIG)
    fractions = np.array([[1, 0.5], [0, 0], [np.nan, np.nan]], np.float32)
    posterior = np.array([[0.9, 0.2], [0.1, 0.4], [np.nan, np.nan]], np.float32)
    votes = Votes(np.array([2, 1, 0], np.int32), fractions, posterior if has_crowd else None)
    nowhere = np.full(3, np.nan)
    results = Results(["a", "b", "c"], np.arange(3), nowhere, nowhere, np.zeros(3, np.bool_),
                      config, {"features": votes}, {})  # fmt: skip
    made = list(vote_columns(config.controls[0], results, Names()))
    names = [one.name for one in made]
    plain = ["features_consensus", "features_votes", "features_fraction_bar",
             "features_fraction_ring"]  # fmt: skip
    assert names == plain + ["features_crowd", "features_crowd_confidence"] * has_crowd
    if has_crowd:
        assert made[-2][:2].tolist() == ["bar", "(none)"]
        np.testing.assert_allclose(made[-1][:2], [0.9 * 0.8, 0.9 * 0.6], rtol=1e-6)
        assert made[-1].mask.tolist() == [False, False, True]
