"""The restoration head beyond the contract: verdicts, tuning, what it restores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from case_restoration import data, lvm

from models.answers import Labels, Mask, Number, Stars
from models.galaxy_image import flux_image
from models.heads import HeadError, RestorationHead
from models.opinions import Opinions
from models.restoration_tuning import Reviewed, tuned
from models.restoration_verdicts import artefacts_of, verdict_of
from models.restorer import shipped
from models.scenes import Scene

ACCEPT, REJECT = Labels(("accept",)), Labels(("reject",))


def spot(value: bool = True) -> Mask:
    pixels = np.zeros((32, 32), dtype=bool)
    pixels[3:6, 4:9] = value
    return Mask(pixels, label="made_up")


@pytest.mark.parametrize(
    ("people", "share"),
    [
        ([], None),
        ([[ACCEPT]], 1.0),
        ([[ACCEPT], [REJECT], [REJECT], [ACCEPT]], 0.5),
        ([[Stars(1)]], 0.0),
        ([[Stars(3)]], 0.5),
        ([[Stars(9)]], 1.0),
        ([[ACCEPT, Stars(1), spot()]], 1.0),
        ([[spot()]], 0.0),
        ([[spot(False)]], 1.0),
        ([[]], 1.0),
        ([[Number(3)], [Labels(("else",))]], None),
        ([[Labels(("accept", "reject"))], [REJECT]], 0.0),
    ],
)
def test_what_people_say_becomes_a_share(people: list[list[object]], share: float | None) -> None:
    assert verdict_of(Opinions.of(*people)) == share  # type: ignore[arg-type]


def test_artefacts_are_shares_of_people() -> None:
    marked = artefacts_of(Opinions.of([spot()], [ACCEPT], size=(32, 32)), (32, 32))
    assert marked.max() == 0.5
    assert marked.sum() == 0.5 * 15
    assert artefacts_of(Opinions.of([spot()]), (10, 10)).sum() == 0


def test_it_restores_before_and_after_it_learned() -> None:
    scenes, opinions = data(12, 0)
    head = RestorationHead(tune_steps=2)
    before = head.restored(scenes[0])
    assert before.image.shape == (3, 32, 32)
    head.fit(scenes, opinions)
    after = head.restored(scenes[0], psf_fwhm=2.0, mask=np.eye(32, dtype=bool))
    assert np.isfinite(after.image).all()
    assert after.fwhm == 2.0
    with pytest.raises(HeadError, match="width of the PSF"):
        head.restored(scenes[0], psf_fwhm=-1)


def test_measured_values_are_restored_where_there_are_any() -> None:
    values = np.random.default_rng(0).normal(1000, 3, (2, 40, 40)).astype(np.float32)
    image = flux_image(values, ("g", "r"), origin="lower")
    head = RestorationHead()
    found = head.restored(Scene.of(image, lvm()))
    assert found.image.shape == (2, 40, 40)
    assert found.image.mean() == pytest.approx(1000, abs=3)
    np.testing.assert_allclose(head.restored(image).image.mean(), found.image.mean(), atol=1)


def test_images_nobody_judged_are_left_out() -> None:
    scenes, opinions = data(10, 1)
    silent = [*opinions[:8], Opinions.of(), Opinions.of()]
    head = RestorationHead(tune_steps=0).fit(scenes, silent)
    fewer = RestorationHead(tune_steps=0).fit(scenes[:8], opinions[:8])
    np.testing.assert_array_equal(head.predict(scenes), fewer.predict(scenes))
    assert head.out_of_fold.shape == (10, 2)
    losses = head.losses(head.predict(scenes), silent)
    assert (losses[8:] == 0).all()
    with pytest.raises(HeadError, match="no verdict"):
        RestorationHead().fit(scenes, [Opinions.of()] * 10)


def test_other_labels_and_other_rows_are_refused() -> None:
    with pytest.raises(HeadError, match="two labels"):
        RestorationHead(("good", "bad", "ugly"))
    scenes, opinions = data(3, 2)
    head = RestorationHead(tune_steps=0).fit(scenes, opinions)
    with pytest.raises(HeadError, match="sees scenes"):
        head.predict([np.zeros(3)])


def test_tuning_needs_pairs_and_has_to_pay() -> None:
    rng = np.random.default_rng(0)
    y, x = np.indices((48, 48)) - 24
    reviewed = []
    for row in range(16):
        clean = 50 * np.exp(-0.5 * (x**2 + (y / rng.uniform(0.5, 1)) ** 2) / rng.uniform(4, 30))
        # Stripes that no galaxy has: something to be learned.
        clean = np.stack([clean * (1 + 0.8 * np.sin(1.3 * y))]).astype(np.float32)
        found = shipped().restore(clean + rng.normal(0, 1, clean.shape), 0.0)
        marks = np.zeros((48, 48), dtype=np.float32)
        marks[:4, :4] = row % 2
        reviewed.append(Reviewed.of(clean, found, 1.0, marks))
    assert tuned(shipped(), reviewed[:7], 4, 0) is None
    before = {k: v.clone() for k, v in shipped().network.state_dict().items()}
    better = tuned(shipped(), reviewed, 30, 0)
    assert all((v == before[k]).all() for k, v in shipped().network.state_dict().items())
    if better is not None:
        changed = better.network.state_dict()
        assert any((changed[name] != value).any() for name, value in before.items())


def test_a_tuned_network_is_kept(tmp_path: Path) -> None:
    scenes, opinions = data(6, 4)
    head = RestorationHead(tune_steps=1).fit(scenes, opinions)
    assert not head.tuned
    head._tuned = shipped()
    head.save(tmp_path)
    again = RestorationHead.load(tmp_path)
    assert again.tuned
    np.testing.assert_array_equal(again.restored(scenes[0]).image, head.restored(scenes[0]).image)
