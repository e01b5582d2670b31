"""Restoring: better than what was given, of any size, with flux and error bars that hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.degradation import Degradations, PsfBank, degrade, pairs_of
from models.profiles import moffat_psf
from models.restoration_filters import deconvolved, filled, noise_of
from models.restoration_inputs import RestorationError, width_of
from models.restoration_network import RestorationNetwork, RestorationShape
from models.restoration_stamps import is_held_out, simulated_scenes
from models.restorer import TILE, Restorer, shipped


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    """Simulated galaxies that training did not see: [6, 3, 64, 64]."""
    return simulated_scenes(6, 991, 64).numpy()


def error(said: np.ndarray, clean: np.ndarray) -> float:
    return float(np.mean((said - clean) ** 2))


def test_the_shipped_network_is_small() -> None:
    count = sum(parameter.numel() for parameter in shipped().network.parameters())
    assert count <= 300_000
    folder = Path(__file__).parents[2] / "models" / "weights" / "restoration"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2_000_000
    assert (folder / "MODEL_CARD.md").is_file()


@pytest.mark.parametrize("fwhm", [0.0, 3.0])
@pytest.mark.parametrize("bands", [1, 3])
def test_it_is_better_than_the_image_and_than_a_wiener_filter(
    scenes: np.ndarray, fwhm: float, bands: int
) -> None:
    gains, above = [], []
    for row, scene in enumerate(scenes):
        clean = scene[:bands]
        noise = 0.1 * float(clean.max())
        seen, psf = degrade(clean, fwhm, noise, row)
        said = shipped().restore(seen, fwhm).image
        planes = torch.from_numpy(seen / noise)[None]
        kernel = torch.from_numpy(psf).float()[None] if fwhm else None
        filtered = deconvolved(planes, kernel).wiener[0].numpy() * noise
        gains.append(10 * np.log10(error(seen, clean) / error(said, clean)))
        above.append(10 * np.log10(error(filtered, clean) / error(said, clean)))
    assert np.mean(gains) > 6
    assert np.mean(above) > 1


def test_flux_is_kept(scenes: np.ndarray) -> None:
    y, x = np.indices((64, 64)) - 31.5
    inside = np.hypot(y, x) < 22
    errors, noise = [], []
    for row, scene in enumerate(scenes):
        seen, _ = degrade(scene, 2.5, 0.02 * float(scene.max()), row)
        said = shipped().restore(seen, 2.5).image
        truth = scene[:, inside].sum()
        errors.append(abs(said[:, inside].sum() / truth - 1))
        noise.append(abs(seen[:, inside].sum() / truth - 1))
    # The faint ones among them are not known better than this before anything is done.
    assert np.median(errors) < np.median(noise) + 0.02


def test_deviations_tell_how_wrong_it_is(scenes: np.ndarray) -> None:
    ratios = []
    for row, scene in enumerate(scenes):
        seen, _ = degrade(scene, 2.5, 0.05 * float(scene.max()), row)
        done = shipped().restore(seen, 2.5)
        assert done.deviation.min() > 0
        ratios.append(np.abs(done.image - scene) / done.deviation)
    assert 0.5 < np.mean(np.concatenate(ratios) < 1) < 0.9


def test_masked_pixels_are_filled(scenes: np.ndarray) -> None:
    # Beside the core, which nobody could guess.
    scene = scenes[2]
    noise = 0.03 * float(scene.max())
    seen, _ = degrade(scene, 0.0, noise, 3)
    mask = np.zeros((64, 64), dtype=bool)
    mask[24:28, 36:40] = True
    broken = seen.copy()
    broken[:, mask] = 1e6
    done = shipped().restore(broken, 0.0, mask)
    wrong = np.sqrt(((done.image - scene)[:, mask] ** 2).mean())
    assert wrong < 0.5 * np.sqrt((scene[:, mask] ** 2).mean())
    # What stands in masked pixels does not matter, and the sum of the rest is not upset by it.
    again = shipped().restore(np.where(mask, np.float32(-50), broken), 0.0, mask)
    np.testing.assert_allclose(again.image, done.image, rtol=1e-4, atol=1e-3 * scene.max())
    assert done.deviation[:, mask].mean() > np.median(done.deviation)


@pytest.mark.parametrize("shape", [(8, 8), (1, 9, 31), (2, 33, 20), (4, 40, 40), (5, 17, 64)])
def test_any_size_and_number_of_bands(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(5, 1, shape).astype(np.float32)
    done = shipped().restore(image, 2.0)
    wanted = shape if len(shape) == 3 else (1, *shape)
    assert done.image.shape == done.deviation.shape == wanted
    assert np.isfinite(done.image).all()
    assert np.isfinite(done.deviation).all()
    assert done.noise.shape == (wanted[0],)


def test_units_and_sky_do_not_matter(scenes: np.ndarray) -> None:
    seen, _ = degrade(scenes[1], 2.0, 0.05 * float(scenes[1].max()), 4)
    one = shipped().restore(seen, 2.0)
    for factor, sky in ((1e-6, 0.0), (1e5, 3.0)):
        other = shipped().restore(seen * factor + sky * factor, 2.0)
        np.testing.assert_allclose(
            other.image / factor - sky, one.image, atol=2e-2 * float(one.noise.max())
        )


def test_large_images_are_done_in_tiles_without_seams() -> None:
    rng = np.random.default_rng(1)
    y, x = np.indices((48, TILE + 60))
    image = 40 * np.exp(-0.5 * ((y - 24) ** 2 + (x - TILE) ** 2) / 30) + rng.normal(0, 1, y.shape)
    done = shipped().restore(image.astype(np.float32), 0.0)
    whole = shipped().restore(image[:, TILE - 200 :].astype(np.float32), 0.0, noise=done.noise)
    np.testing.assert_allclose(done.image[0, :, TILE - 8 : TILE + 8],
                               whole.image[0, :, 192:208], atol=1.0)  # fmt: skip


def test_nothing_and_constants() -> None:
    for value in (0.0, 7.0):
        done = shipped().restore(np.full((3, 24, 24), value))
        np.testing.assert_allclose(done.image, value, atol=1e-3)
        assert np.isfinite(done.deviation).all()


def test_a_given_psf_counts_as_its_width(scenes: np.ndarray) -> None:
    psf = moffat_psf(3.0)
    assert width_of(psf) == pytest.approx(3.0, abs=0.4)
    assert width_of(np.ones((1, 1))) == 0
    seen, _ = degrade(scenes[2], 3.0, 0.05 * float(scenes[2].max()), 5)
    given = shipped().restore(seen, psf=psf)
    told = shipped().restore(seen, 3.0)
    assert error(given.image, told.image) < 0.2 * error(given.image, seen)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": np.zeros((3, 7, 30))}, "at least 8 pixels"),
        ({"image": np.zeros((2, 3, 20, 20))}, "at least 8 pixels"),
        ({"image": np.full((20, 20), np.nan)}, "NaN"),
        ({"psf_fwhm": -1.0}, "width of the PSF"),
        ({"psf_fwhm": np.inf}, "width of the PSF"),
        ({"mask": np.zeros((3, 3))}, "mask must be"),
        ({"mask": np.ones((20, 20))}, "without a single pixel"),
        ({"psf": np.ones((2, 3))}, "odd sides"),
        ({"psf": np.zeros((3, 3))}, "positive sum"),
        ({"noise": 0.0}, "noise must be"),
    ],
)
def test_what_cannot_be_restored_is_refused(options: dict[str, object], said: str) -> None:
    image = np.random.default_rng(0).normal(size=(20, 20))
    with pytest.raises(RestorationError, match=said):
        shipped().restore(**({"image": image} | options))  # type: ignore[arg-type]


def test_kept_and_read_back(tmp_path: Path) -> None:
    image = np.random.default_rng(2).normal(size=(3, 20, 20))
    shipped().save(tmp_path / "a")
    again = Restorer.load(tmp_path / "a")
    np.testing.assert_array_equal(again.restore(image).image, shipped().restore(image).image)
    again.save(tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("damage", ["config", "format", "cut", "nan", "shape", "missing", "factor"])
def test_broken_weights_are_refused(tmp_path: Path, damage: str) -> None:
    torch.manual_seed(0)
    Restorer(RestorationNetwork(RestorationShape(4, 1))).save(tmp_path)
    path, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    values, tensors = json.loads(config.read_text()), load_file(path)
    name = "network.last.weight"
    if damage == "config":
        config.write_text("{")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage in ("format", "factor"):
        config.write_text(json.dumps(values | {damage: 0}))
    elif damage == "nan":
        save_file(tensors | {name: torch.full_like(tensors[name], torch.nan)}, path)
    elif damage == "shape":
        save_file(tensors | {name: tensors[name][:2].clone()}, path)
    else:
        save_file({k: v for k, v in tensors.items() if k != name}, path)
    with pytest.raises(RestorationError):
        Restorer.load(tmp_path)


def test_noise_is_found_in_spite_of_a_galaxy_and_masked_pixels() -> None:
    rng = np.random.default_rng(3)
    y, x = np.indices((64, 64))
    light = 100 * np.exp(-0.5 * ((y - 30) ** 2 + (x - 30) ** 2) / 16)
    image = torch.from_numpy((light + rng.normal(0, 2, light.shape)).astype(np.float32))
    planes = image[None, None]
    assert float(noise_of(planes)) == pytest.approx(2.0, rel=0.12)
    good = torch.ones_like(planes, dtype=torch.bool)
    good[..., ::9] = False
    planes = torch.where(good, planes, 1e5)
    assert float(noise_of(planes, good)) == pytest.approx(2.0, rel=0.15)


def test_filling_leaves_good_pixels_alone() -> None:
    planes = torch.randn(2, 3, 16, 16)
    bad = torch.rand(2, 3, 16, 16) < 0.3
    bad[1, 2] = True
    found = filled(planes, bad)
    assert torch.equal(found[~bad], planes[~bad])
    assert torch.isfinite(found).all()
    assert (found[1, 2] == 0).all()


def test_degradations_repeat_and_keep_what_they_should() -> None:
    stamps = torch.from_numpy(simulated_scenes(6, 5, 48).numpy())
    stamps[0, 1:] = torch.nan
    how = Degradations(masked=1.0, neighbours=1.0)
    bank = PsfBank(how.fwhm)
    one, two = (
        pairs_of(stamps, how, bank, torch.Generator().manual_seed(7), singles=0.0) for _ in range(2)
    )
    assert torch.equal(one.observed, two.observed)
    assert one.bad[0, 1:].all()
    assert (one.observed[0, 1:] == 0).all()
    np.testing.assert_allclose(one.psf.sum((1, 2)), 1, rtol=1e-4)
    assert ((one.fwhm == 0) | (one.fwhm >= 1.5)).all()


def test_names_decide_what_is_held_out() -> None:
    shares = [is_held_out(f"galaxy {n}") for n in range(2000)]
    assert 0.2 < np.mean(shares) < 0.3
    assert is_held_out("a") == is_held_out("a")
