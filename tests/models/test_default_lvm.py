"""The LVM that ships with the package."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.images import encode_png, read_image
from models.prior import SimulationPrior
from models.simulation import simulate
from models.sources import DEFAULT_FOLDER, load_lvm
from models.throughput import encode_images
from models.vision_encoder import VisionEncoder

DATA = os.environ.get("GALAXYLOOP_DATA", "")


@pytest.fixture(scope="module")
def lvm() -> VisionEncoder:
    return load_lvm()


@pytest.fixture(scope="module")
def prior() -> SimulationPrior:
    return SimulationPrior.from_pretrained(DEFAULT_FOLDER)


def test_it_is_small_and_has_a_card() -> None:
    sizes = {path.name: path.stat().st_size for path in DEFAULT_FOLDER.iterdir()}
    assert sum(sizes.values()) < 20 * 2**20
    card = (DEFAULT_FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    for source in ("SDSS", "DESI Legacy", "Galaxy Zoo", "simulated"):
        assert source in card


def test_the_bank_is_of_these_weights(lvm: VisionEncoder, prior: SimulationPrior) -> None:
    assert prior.bank.lvm_identity == lvm.identity
    assert prior.bank.embeddings.shape[1] == lvm.dimension <= 512


def test_simulated_galaxies_it_never_saw_are_told_apart(
    lvm: VisionEncoder, prior: SimulationPrior
) -> None:
    rng, labels = np.random.default_rng(987), ("elliptical", "spiral", "edge-on")
    kinds = np.array([0, 1, 2] * 12)
    images = [
        read_image(encode_png(simulate(rng, ("elliptical", "spiral", "edge_on")[k], 192).rgb))
        for k in kinds
    ]
    head = prior.head_for(labels)
    assert head is not None
    probabilities = head.predict(np.stack(list(encode_images(lvm, images))))
    scores = [roc_auc_score(kinds == k, probabilities[:, k]) for k in range(3)]
    assert np.mean(scores) > 0.9


def test_an_embedding_does_not_depend_on_its_batch(lvm: VisionEncoder) -> None:
    rng = np.random.default_rng(3)
    images = [read_image(encode_png(simulate(rng, None, 128).rgb)) for _ in range(5)]
    together = np.stack(list(encode_images(lvm, images)))
    alone = np.stack(list(encode_images(lvm, images, batch_size=1)))
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(not DATA, reason="GALAXYLOOP_DATA names no folder with real galaxies")
def test_real_galaxies_are_told_apart_before_any_vote(
    lvm: VisionEncoder, prior: SimulationPrior
) -> None:
    folder = Path(DATA) / "gz1_sdss_6class"
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if row["class_name"] in ("elliptical", "edge_on_disk")
        ]
    rows = rows[::12]
    images = (read_image((folder / row["file"]).read_bytes()) for row in rows)
    head = prior.head_for(("elliptical", "edge_on_disk"))
    assert head is not None
    chance = head.predict(np.stack(list(encode_images(lvm, images))))[:, 1]
    assert roc_auc_score([row["class_name"] == "edge_on_disk" for row in rows], chance) > 0.75
