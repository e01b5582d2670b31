from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from models.images import Preprocessing
from models.lvm import LVM, LVMConfig, LVMError
from models.prior import Bank, SimulationPrior, meaning_of
from models.simulation import KINDS

D = 12
SHOWN = ("elliptical", "spiral", "edge_on", "merger", "lenticular")


def made_bank(n: int = 400, seed: int = 0) -> Bank:
    """Embeddings whose first axes are the kinds."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, len(KINDS), n)
    embeddings = rng.normal(0, 0.3, (n, D)).astype(np.float32)
    embeddings[np.arange(n), kinds] += 3
    return Bank(embeddings, kinds, "made")


@pytest.fixture(scope="module")
def prior() -> SimulationPrior:
    return SimulationPrior(made_bank())


def answers(prior: SimulationPrior, *labels: str) -> list[str]:
    """Which label the head gives to a typical galaxy of each simulated kind, as in `SHOWN`."""
    head = prior.head_for(labels)
    assert head is not None
    assert head.labels == labels
    typical = np.zeros((len(SHOWN), D), dtype=np.float32)
    typical[np.arange(len(SHOWN)), [KINDS.index(kind) for kind in SHOWN]] = 3
    probabilities = head.predict(typical)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    return [labels[i] for i in probabilities.argmax(axis=1)]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("elliptical", "spiral"), ["elliptical", "spiral"]),
        (("Spiral galaxy", "Elliptical galaxy"), ["Elliptical galaxy", "Spiral galaxy"]),
        (("early-type", "late-type"), ["early-type", "late-type", "late-type"]),
        (("Smooth", "Features or disc"), ["Smooth", "Features or disc", "Features or disc"]),
        (
            ("elliptical", "spiral", "edge_on_disk", "merger"),
            ["elliptical", "spiral", "edge_on_disk", "merger"],
        ),
        (("smooth", "disk", "edgeOn"), ["smooth", "disk", "edgeOn"]),
        (("merging", "not merging"), ["not merging", "not merging", "not merging", "merging"]),
    ],
)
def test_names_are_understood(
    prior: SimulationPrior, labels: tuple[str, ...], expected: list[str]
) -> None:
    assert answers(prior, *labels)[: len(expected)] == expected


def test_a_lenticular_is_early_where_nothing_names_it_and_itself_where_something_does(
    prior: SimulationPrior,
) -> None:
    assert answers(prior, "elliptical", "spiral")[-1] == "elliptical"
    assert answers(prior, "smooth", "features or disk")[-1] == "smooth"
    assert answers(prior, "elliptical", "S0", "spiral")[-1] == "S0"


def test_both_hands_are_spirals_and_share_their_probability(prior: SimulationPrior) -> None:
    labels = ("elliptical", "spiral_clockwise", "spiral_anticlockwise", "dont_know")
    head = prior.head_for(labels)
    assert head is not None
    typical = np.zeros((1, D), dtype=np.float32)
    typical[0, KINDS.index("spiral")] = 3
    one, two, evasive = head.predict(typical)[0, 1:]
    assert one == pytest.approx(two, abs=0.02)
    assert one + two > 0.8
    assert 0 <= evasive < 0.1


@pytest.mark.parametrize(
    "labels",
    [
        ("0", "1"),
        ("yes", "no"),
        ("cat", "dog"),
        ("ring", "no ring"),
        ("barred", "unbarred"),
        ("spiral", "lens"),
        ("spiral",),
        ("spiral", "dont_know"),
        ("spiral", "Spiral galaxy", "spirals"),
        ("", "no"),
        ("elliptical", "elliptical"),
        (),
        ("no clue", "not me"),
    ],
)
def test_names_that_say_nothing_give_no_head(
    prior: SimulationPrior, labels: tuple[str, ...]
) -> None:
    assert prior.head_for(labels) is None


def test_negation_is_the_complement() -> None:
    bank = made_bank(50)
    spiral, other = meaning_of("spiral"), meaning_of("not a spiral")
    assert spiral is not None
    assert other is not None
    assert (spiral(bank) != other(bank)).all()


def test_built_with_an_lvm_saved_and_read_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    lvm = LVM(
        LVMConfig(
            image_size=32,
            window=2,
            width=8,
            depths=(1, 1),
            heads=(2, 2),
            pooling=("mean0", "std0", "mean1"),
            decoder=False,
            preprocessing=Preprocessing(kind="rgb8", size=32),
        )
    )
    built = SimulationPrior.build(lvm, count=60, seed=3)
    assert built.bank.embeddings.shape == (60, lvm.dimension)
    assert built.bank.lvm_identity == lvm.identity
    built.save_pretrained(tmp_path)
    again = SimulationPrior.from_pretrained(tmp_path)
    np.testing.assert_allclose(again.bank.embeddings, built.bank.embeddings, atol=1e-2)
    assert (again.bank.kinds == built.bank.kinds).all()
    head = again.head_for(("edge-on", "elliptical"))
    assert head is not None
    shown = built.bank.of_kind("edge_on", "elliptical")
    right = head.predict(built.bank.embeddings[shown]).argmax(1) == built.bank.of_kind(
        "elliptical"
    )[shown].astype(int)
    assert right.mean() > 0.65, "even random features tell thin discs from round galaxies"


def test_broken_banks_are_named(tmp_path: Path) -> None:
    def refused(said: str) -> None:
        with pytest.raises(LVMError, match=said):
            SimulationPrior.from_pretrained(tmp_path)

    refused(r"holds no prior\.safetensors")
    SimulationPrior(made_bank(20)).save_pretrained(tmp_path)
    path = tmp_path / "prior.safetensors"
    whole = {name: values.copy() for name, values in load_file(path).items()}
    path.write_bytes(path.read_bytes()[:-9])
    refused("cannot be read")
    for name in ("kinds", "embeddings"):
        save_file({k: v for k, v in whole.items() if k != name}, path)
        refused(f"lacks the entry {name}")
    save_file(whole | {"kinds": whole["kinds"][:5]}, path)
    refused("entry kinds has shape")
    save_file(whole | {"kinds": whole["kinds"] + 90}, path)
    refused("not those of this simulation")
    save_file(whole | {"embeddings": np.full_like(whole["embeddings"], np.nan)}, path)
    refused("not finite")
