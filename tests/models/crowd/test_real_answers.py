"""Real people's answers: as good as the best that others use, and not as over-confident."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from models.calibration import expected_calibration_error

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("GALAXYLOOP_DATA", ""))

pytestmark = [
    pytest.mark.skipif(
        not (DATA / "crowd_labels" / "bluebird_binary").is_dir(),
        reason="GALAXYLOOP_DATA names no folder with crowd_labels",
    ),
    pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword"),
]


@pytest.mark.parametrize("name", ["bluebird_binary", "dog_4class", "face_sentiment_4class",
                                  "product_pairs_binary"])  # fmt: skip
def test_as_accurate_and_better_calibrated(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from crowding.aggregators import majority, of_crowd_kit, ours, right
    from crowding.answers import read_answers

    answers = read_answers(DATA, name)
    truth = np.eye(answers.shape[2])[answers.truth]
    told = {"ours": ours(answers), "plain": majority(answers),
            "theirs": of_crowd_kit("DawidSkene")(answers)}  # fmt: skip
    share = {who: right(p, answers.truth).mean() for who, p in told.items()}
    loss = {who: -np.log((p * truth).sum(axis=1).clip(1e-4, 1)).mean() for who, p in told.items()}
    error = np.sqrt(share["ours"] * (1 - share["ours"]) / len(truth))
    assert share["ours"] > share["theirs"] - 0.5 * error
    assert share["ours"] > share["plain"] - 0.5 * error
    assert loss["ours"] < 0.75 * loss["theirs"]
    ours_off, theirs_off = (
        expected_calibration_error(told[w].max(axis=1), right(told[w], answers.truth))
        for w in ("ours", "theirs")
    )
    assert ours_off < theirs_off
    if name == "bluebird_binary":
        assert share["ours"] >= share["plain"] + 0.05
    assert "crowding" in sys.modules
